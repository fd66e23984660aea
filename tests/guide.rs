//! What the guide says of tests, events and metrics is so.

use std::{
    collections::BTreeSet,
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

/// The operator's page: each event and each metric that the source has, and no other.
fn operating() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/operating.md");
    fs::read_to_string(page).unwrap()
}

fn source() -> Vec<String> {
    let is_code = |path: &PathBuf| !path.ends_with("src/trace.rs") && !path.ends_with("tests.rs");
    files("src", "rs").into_iter().filter(is_code).map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The first cell that is code, in each row of the table under that heading.
fn rows(page: &str, heading: &str) -> BTreeSet<String> {
    let table = page.split(heading).nth(1).unwrap().split("\n# ").next().unwrap();
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|row| row.split('`').nth(1))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_event_is_on_the_operators_page() {
    let told = |text: &String| {
        let events = text.split("event!(").skip(1).filter_map(|call| call.split('"').nth(1));
        events.map(|event| event.replace('`', "")).collect::<Vec<_>>()
    };
    let events: BTreeSet<_> = source().iter().flat_map(told).collect();
    assert!(events.len() >= 14, "{events:?}");
    assert_eq!(rows(&operating(), "\n# Events\n"), events);
}

#[test]
fn each_metric_is_on_the_operators_page() {
    let named = |text: &String| {
        between(text, "\"portcullis_", "\"").map(|name| format!("portcullis_{name}")).collect::<Vec<_>>()
    };
    let metrics: BTreeSet<_> = source().iter().flat_map(named).collect();
    assert!(metrics.len() >= 6, "{metrics:?}");
    let page = operating();
    let table = page.split("Worth an alert").next().unwrap();
    assert_eq!(rows(table, "\n# Metrics\n"), metrics);
}

/// Each reason is written in the table of its kind.
#[test]
fn each_reason_is_on_the_operators_page() {
    let page = operating();
    let in_rows = |heading: &str| {
        let table = page.split(heading).nth(1).unwrap().split("\n# ").next().unwrap();
        let cells = table.lines().filter(|line| line.starts_with("| `")).filter_map(|row| row.split('|').nth(1));
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let words = |file: &str, kinds: &[&str]| {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        // Those of the labels: what is printed is written for people.
        let labels = text.split("fn as_str(").skip(1).map(|rest| rest.split("\n    }\n").next().unwrap());
        let arms = labels.flat_map(str::lines);
        let arms = arms.filter_map(|line| line.trim().strip_suffix("\",")?.split_once(" => \""));
        arms.filter(|(kind, _)| kinds.iter().any(|own| kind.starts_with(own)))
            .map(|(_, word)| word.to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(in_rows("# Why retries gave up"), words("src/retry/attempt.rs", &["Self::"]));
    assert_eq!(in_rows("# Why requests were refused"), words("src/signature/refusal.rs", &["Self::", "RefusalKind::"]));
}
