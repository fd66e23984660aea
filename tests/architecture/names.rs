//! No file is orphaned, and the files and tests that the documents name exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::source::{code, files, is_rust};

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file and all those that it, or one of them, makes a module.
fn reached(root: PathBuf, all: &mut BTreeSet<PathBuf>) {
    let text = read(&root);
    let directory = root.parent().unwrap();
    let is_root =
        ["mod.rs", "main.rs", "lib.rs"].iter().any(|name| root.ends_with(name)) || directory.ends_with("tests");
    let below = if is_root { directory.to_owned() } else { root.with_extension("") };
    all.insert(root.clone());
    let mut path = None;
    for (line, code) in text.lines().zip(code(&text).lines()) {
        let code = code.trim();
        // By itself, where the attribute is too long for a line.
        if code.starts_with("path =") || code.starts_with("#[") && code.contains("path = ") {
            path = line.rsplit('"').nth(1);
        }
        let Some((_, name)) = code.strip_suffix(';').and_then(|code| code.rsplit_once("mod ")) else { continue };
        // A path that only some platforms take leaves the others with the module's own place.
        let places = [below.join(format!("{name}.rs")), below.join(name).join("mod.rs")];
        let mut found = path
            .take()
            .map(|path| directory.join(path))
            .into_iter()
            .chain(places)
            .filter(|file| file.exists())
            .peekable();
        assert!(found.peek().is_some(), "{} declares {name}, which is nowhere", root.display());
        for file in found.map(|file| file.canonicalize().unwrap()) {
            if !all.contains(&file) {
                reached(file, all);
            }
        }
    }
}

/// What Cargo makes a target by itself, in a directory, and where it is a `main.rs`, one of the directories in it.
fn targets(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let main = |path: PathBuf| if path.is_dir() { path.join("main.rs") } else { path };
    entries.map(main).filter(|path| is_rust(path) && path.exists()).collect()
}

#[test]
fn each_file_is_part_of_a_target() {
    let mut all = BTreeSet::new();
    let mut roots = vec![package().join("src/lib.rs"), package().join("examples/cognigy_gateway/load/baseline.rs")];
    for directory in ["tests", "examples", "benches"] {
        roots.extend(targets(&package().join(directory)));
    }
    for root in roots {
        reached(root.canonicalize().unwrap(), &mut all);
    }
    let orphan = |file: &PathBuf| {
        let elsewhere = ["tests/loom", "benches/peers"].iter().any(|other| file.starts_with(package().join(other)));
        is_rust(file) && !elsewhere && !all.contains(&file.canonicalize().unwrap())
    };
    let inside = ["src", "tests", "examples", "benches"].iter().flat_map(|directory| files(&package().join(directory)));
    let orphans: Vec<_> = inside.filter(orphan).collect();
    assert!(orphans.is_empty(), "no target has: {orphans:#?}");
    assert!(all.len() > 150, "{}", all.len());
}

#[test]
fn what_tests_read_is_read_by_one() {
    let texts: Vec<_> =
        files(&package().join("tests")).into_iter().filter(|file| is_rust(file)).map(|file| read(&file)).collect();
    for file in files(&package().join("tests/data")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(texts.iter().any(|text| text.contains(name)), "no test reads {name}");
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_path(quoted: &str) -> bool {
    ["src/", "tests/", "examples/", "benches/", "fuzz/", "ci/", "api/", ".ci/"]
        .iter()
        .any(|room| quoted.starts_with(room))
        && !quoted.contains(char::is_whitespace)
}

/// Long enough to be a test's, and no setting's.
fn is_name(quoted: &str) -> bool {
    quoted.matches('_').count() >= 2
        && quoted.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
}

/// What the attributes in this text make tests.
fn tests(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        let function = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
        let Some((name, _)) = function.and_then(|function| function.split_once('(')) else { continue };
        if is_test {
            found.insert(name);
        }
        is_test = false;
    }
    found
}

fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n## {title}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

#[test]
fn the_files_that_the_documents_name_exist() {
    // In a package that was unpacked there is not all that a repository has.
    if !package().join(".ci").exists() {
        return;
    }
    let mut found = 0;
    for document in ["README.md", "DESIGN.md", "CONTRIBUTING.md"] {
        let text = read(&package().join(document));
        for path in quoted(&text).filter(|quoted| is_path(quoted)) {
            // A pattern stands for a directory with something in it that fits.
            let (path, pattern) = path.split_once('*').map_or((path, false), |(path, _)| (path, true));
            let whole = package().join(path);
            let fits = |whole: &Path| {
                let begin = whole.file_name().unwrap().to_str().unwrap();
                let entries = fs::read_dir(whole.parent().unwrap()).unwrap();
                entries.into_iter().any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with(begin))
            };
            assert!(
                if pattern && !path.ends_with('/') { fits(&whole) } else { whole.exists() },
                "{document} names {path}"
            );
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}

#[test]
fn each_line_that_can_be_relied_on_names_a_test_that_exists() {
    let readme = read(&package().join("README.md"));
    let rust = ["examples", "src", "tests"]
        .iter()
        .flat_map(|directory| files(&package().join(directory)))
        .filter(|file| is_rust(file));
    let code: Vec<_> = rust.map(|file| read(&file)).collect();
    let known: BTreeSet<_> = code.iter().flat_map(|text| tests(text)).collect();
    let lines: Vec<_> = section(&readme, "What you can rely on").split("\n- ").skip(1).collect();
    for line in &lines {
        let tests: Vec<_> = quoted(line).filter(|quoted| is_name(quoted)).collect();
        for test in &tests {
            assert!(known.contains(test), "the README names {test}, which is no test");
        }
        let files = quoted(line).filter(|quoted| is_path(quoted)).count();
        let compiler = line.contains("the compiler is told");
        assert!(!tests.is_empty() || files > 0 || compiler, "no test holds this line of the README: {line}");
    }
    assert!(lines.len() > 15, "{}", lines.len());
}

#[test]
fn each_fault_of_the_gateway_names_a_test_that_exists() {
    let readme = read(&package().join("examples/cognigy_gateway/README.md"));
    let rows: Vec<_> = section(&readme, "What can fail, and what then happens").split("\n| ").skip(3).collect();
    for row in &rows {
        let (_, held_by) = row.trim().trim_end_matches('|').rsplit_once('|').unwrap();
        let mut text = String::new();
        for name in quoted(held_by) {
            // What stands without a module is a part of the test before it.
            let Some((module, test)) = name.split_once("::") else {
                assert!(text.contains(&format!("fn {name}(")), "the gateway's README names {name}, which is nowhere");
                continue;
            };
            text = read(&package().join(format!("tests/gateway/{module}.rs")));
            assert!(tests(&text).contains(test), "the gateway's README names {name}, which is no test");
        }
        assert!(!text.is_empty(), "no test holds this row of the gateway's README: {row}");
    }
    assert!(rows.len() > 15, "{}", rows.len());
}

#[test]
fn a_function_is_a_test_where_an_attribute_makes_it_one() {
    let text = "#[test]\n#[ignore]\nfn one() {\n    fn inner() {}\n}\n#[tokio::test(start_paused = true)]\n    async fn two() {}\n\nasync fn helper() {}\n// #[test]\nfn other() {}";
    assert_eq!(tests(text), BTreeSet::from(["one", "two"]));
}
