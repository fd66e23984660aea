//! What the guide says of tests, events and metrics is so.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found
}

fn texts(dir: &str, extension: &str) -> Vec<String> {
    files(dir, extension).into_iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// What stands between the nearest pair of `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
}

#[test]
fn each_test_that_a_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for page in texts("src/guide", "md") {
        for cited in between(&page, "`tests/", "`") {
            let (file, test) = cited.split_once("::").unwrap_or((cited, ""));
            let source =
                fs::read_to_string(root.join("tests").join(file)).unwrap_or_else(|_| panic!("no tests/{file}"));
            assert!(test.is_empty() || source.contains(&format!("fn {test}(")), "no {test} in tests/{file}");
            named += 1;
        }
    }
    assert!(named >= 25, "{named} are found");
}
