//! Rust files as this test reads them: without comments, what stands in strings, and unit tests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

pub(crate) struct Source {
    /// Below the directory that was read, with `/` between its parts.
    pub(crate) path: String,
    pub(crate) lines: usize,
    pub(crate) code: String,
}

/// All Rust files in and below a directory of this package, but for unit tests that are files of their own.
pub(crate) fn sources(directory: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        Source { path, lines: text.lines().count(), code: without_tests(&code(&text)) }
    };
    files(&root).into_iter().filter(|file| is_rust(file) && !is_unit_test(file)).map(read).collect()
}

/// All files in and below a directory, in order.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { &mut left } else { &mut all }.push(path);
        }
    }
    all.sort();
    all
}

pub(crate) fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}

fn is_unit_test(file: &Path) -> bool {
    file.iter().any(|part| part == "tests" || part == "tests.rs")
}

/// The code without the modules that only tests have.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, from)) =
        ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|gate| split_at(rest, gate)).min()
    {
        let item = from.split_once(']').map_or("", |(_, item)| item.trim_start());
        let end = if item.starts_with("mod ") { end_of_item(item) } else { 0 };
        kept.push_str(before);
        rest = &item[end..];
    }
    kept + rest
}

fn split_at<'a>(code: &'a str, at: &str) -> Option<(&'a str, &'a str)> {
    code.find(at).map(|at| code.split_at(at))
}

/// Behind the first brace that closes all that are open, or a semicolon before any.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b';' => {}
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The text with blanks in place of comments and of what stands in quotes.
pub(crate) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest, code.chars().next_back());
        if length > 0 {
            code.extend(rest[..length].chars().map(|other| if other == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// How much of the beginning is a comment, a string or a character.
fn skipped(rest: &str, before: Option<char>) -> usize {
    let to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let in_a_word = before.is_some_and(|char| char.is_alphanumeric() || char == '_');
    if rest.starts_with("//") {
        to("\n", 0) - 1
    } else if rest.starts_with("/*") {
        to("*/", 2)
    } else if rest.starts_with('r') && !in_a_word && rest[1 + hashes..].starts_with('"') {
        to(&format!("\"{}", "#".repeat(hashes)), hashes + 2)
    } else if rest.starts_with('"') {
        quoted(rest, b'"').unwrap_or(rest.len())
    } else if rest.starts_with("'\\") || rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
        quoted(rest, b'\'').unwrap_or(rest.len())
    } else {
        0
    }
}

fn quoted(rest: &str, quote: u8) -> Option<usize> {
    let mut bytes = rest.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
        } else if byte == quote {
            return Some(at + 1);
        }
    }
    None
}

/// Whether that stands in the code, and is no part of a longer word.
pub(crate) fn names(code: &str, what: &str) -> bool {
    let joins = |char: Option<char>| char.is_some_and(|char| char.is_alphanumeric() || char == '_');
    let open = |edge: Option<char>, next: Option<char>| !joins(edge) || !joins(next);
    code.match_indices(what).any(|(at, _)| {
        open(what.chars().next(), code[..at].chars().next_back())
            && open(what.chars().next_back(), code[at + what.len()..].chars().next())
    })
}

/// What is named directly below `root` (such as `crate::`), in paths and in the braces of `use`.
pub(crate) fn below<'a>(code: &'a str, root: &str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        let rest = &code[at + root.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.extend(first_word(rest));
            continue;
        };
        let mut depth = 1_usize;
        let mut begins = true;
        for (at, char) in group.char_indices() {
            if begins && depth == 1 && !char.is_whitespace() && char != '}' {
                names.extend(first_word(&group[at..]));
                begins = false;
            }
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' => begins = depth == 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

fn first_word(code: &str) -> Option<&str> {
    let end = code.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(code.len());
    (end > 0).then(|| &code[..end])
}

#[test]
fn only_code_is_read() {
    let text = r##"
        use std::{fmt, sync::{Arc, Mutex}, /* comment */ task::Poll}; // comment
        /// comment
        fn a<'a>(x: &'a str) -> char { crate::b::c(); if x == "comment \" comment" { '"' } else { '\'' } }
        const C: &str = r#"comment " comment"#; // comment"##;
    let code = code(text);
    assert!(!names(&code, "comment"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(below(&code, "std::"), ["fmt", "sync", "task"].into());
    assert_eq!(below(&code, "crate::"), ["b"].into());
    assert!(["Mutex", "Poll", "a", "x", "C"].iter().all(|word| names(&code, word)), "{code}");

    assert_eq!(without_tests("a #[cfg(test)] fn b() {} #[cfg(test)]\nmod tests { c { d } } e"), "a fn b() {}  e");
    assert_eq!(without_tests("a #[cfg(all(test, not(x)))]\nmod tests; b"), "a  b");
}
