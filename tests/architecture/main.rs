//! What keeps the rooms apart that `CONTRIBUTING.md` draws: what a file may name, which module may know which, and that no file and
//! no test that a document names is lost.

mod names; // of files and tests
mod rules; // and the exceptions, with their reasons
mod source; // as it is read

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use rules::{But, CORE, FEATURES, KNOWS, LONG, MOST_LINES, ROOT, RULES, Rule};
use source::{Source, below, names, sources};

/// What stands in a list, and what nothing in it is needed for; each once it is asked for is needed.
struct Exceptions {
    list: But,
    unused: BTreeSet<&'static str>,
}

impl Exceptions {
    fn new(list: But) -> Self {
        let unused = list.iter().map(|(path, _)| *path).collect();
        Self { list, unused }
    }

    fn has(&mut self, file: &str) -> bool {
        let Some((path, _)) = self.list.iter().find(|(path, _)| covers(path, file)) else { return false };
        self.unused.remove(path);
        true
    }

    /// What was found, and what is excepted in vain.
    fn and(self, mut found: Vec<String>) -> Vec<String> {
        found.extend(self.unused.iter().map(|path| format!("{path} is excepted, and needs not be")));
        found
    }
}

fn covers(path: &str, file: &str) -> bool {
    path == file || path.ends_with('/') && file.starts_with(path)
}

fn is_shell(file: &str) -> bool {
    ["/layer.rs", "/service.rs", "/future.rs"].iter().any(|name| file.ends_with(name))
}

fn breaches(rule: &Rule, sources: &[Source]) -> Vec<String> {
    let mut exceptions = Exceptions::new(rule.but);
    let mut found = Vec::new();
    for Source { path, code, .. } in sources {
        let named: Vec<_> = rule.code.iter().filter(|name| names(code, name)).collect();
        let may = named.is_empty() || exceptions.has(path) || rule.shell && is_shell(path);
        if !may {
            found.push(format!("{path} names {named:?}, which are {}", rule.of));
        }
    }
    exceptions.and(found)
}

#[test]
fn each_file_names_only_what_is_of_its_ring() {
    let sources = sources("src");
    let found: Vec<_> = RULES.iter().flat_map(|rule| breaches(rule, &sources)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_core_is_excepted_from_nothing() {
    let sources = sources("src");
    for core in CORE {
        assert!(sources.iter().any(|source| covers(core, &source.path)), "{core} is no more");
        for rule in RULES {
            let but = rule.but.iter().find(|(path, _)| covers(path, core) || covers(core, path));
            assert_eq!(but, None, "{core} is of the core, and excepted from: {}", rule.of);
        }
    }
    let shell_and_core = CORE.iter().find(|core| is_shell(core));
    assert_eq!(shell_and_core, None);
}

fn module(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap()
}

#[test]
fn modules_know_only_what_they_are_said_to_know() {
    let mut known = BTreeMap::<_, BTreeSet<_>>::new();
    let sources = sources("src");
    for Source { path, code, .. } in sources.iter().filter(|source| source.path != "lib.rs") {
        let of = module(path);
        let is_root = *path == format!("{of}.rs") || *path == format!("{of}/mod.rs");
        let root = if is_root { "super::" } else { "crate::" };
        let names = below(code, "crate::").into_iter().chain(below(code, root));
        let modules =
            names.filter_map(|name| ROOT.iter().find(|(item, _)| *item == name).map_or(Some(name), |(_, of)| *of));
        known.entry(of).or_default().extend(modules.filter(|name| *name != of));
    }
    // What loom's own package puts in place of it.
    known.get_mut("breaker").unwrap().remove("stand_in");
    let said: BTreeMap<_, BTreeSet<_>> =
        KNOWS.iter().map(|(of, known)| (*of, known.iter().copied().collect())).collect();
    assert_eq!(known, said);
}

#[test]
fn the_four_modules_stand_alone() {
    const ALONE: [&str; 4] = ["bearer", "breaker", "retry", "signature"];
    for (of, known) in KNOWS.iter().filter(|(of, _)| ALONE.contains(of)) {
        let other = known.iter().find(|known| ALONE.contains(known));
        assert_eq!(other, None, "{of} knows it");
    }
}

#[test]
fn features_are_asked_for_only_where_they_are_said_to_be() {
    let mut exceptions = Exceptions::new(FEATURES);
    let asks = |code: &str| {
        let gates = ["#[cfg(", "#![cfg(", "cfg!(", "cfg_attr("].iter().flat_map(|gate| code.match_indices(gate));
        // What only the documentation shows is not asked for.
        gates
            .filter_map(|(at, _)| code[at..].lines().next())
            .any(|line| line.contains("feature =") && !line.contains("docsrs"))
    };
    let found = sources("src").into_iter().filter(|source| asks(&source.code) && !exceptions.has(&source.path));
    let found: Vec<_> = found.map(|source| format!("{} asks for a feature", source.path)).collect();
    let found = exceptions.and(found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_future_that_nobody_polls_is_warned_of() {
    let mut futures = 0;
    for Source { path, code, .. } in sources("src") {
        for name in code.split(" Future for ").skip(1).filter_map(|rest| rest.split(['<', ' ']).next()) {
            let Some((before, _)) = code.split_once(&format!("pub struct {name}")) else { continue };
            let attributes = before.rsplit(['{', '}', ';']).next().unwrap();
            assert!(attributes.contains("#[must_use"), "{name} in {path} is no #[must_use]");
            futures += 1;
        }
    }
    assert!(futures >= 8, "{futures} are found");
}

#[test]
fn a_file_can_be_read_in_one_go() {
    let mut exceptions = Exceptions::new(LONG);
    let long = |source: &Source| source.lines > MOST_LINES && !exceptions.has(&source.path);
    let long: Vec<_> = sources("src").into_iter().filter(long).map(|source| (source.path, source.lines)).collect();
    let found = exceptions.and(long.into_iter().map(|(path, lines)| format!("{path} has {lines} lines")).collect());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_breach_is_found() {
    let source = |path: &str, code: &str| Source { path: path.to_owned(), lines: 1, code: code.to_owned() };
    let rule = |of: &str| iter::once(RULES.iter().find(|rule| rule.of == of).unwrap());
    for (of, code) in [
        ("tower", "use tower_service::Service;"),
        ("polling", "use std::{mem, task::Poll};"),
        ("tokio", "tokio::spawn(x)"),
        ("timers", "crate::time::timeout(x)"),
        ("the clocks", "clock.now()"),
        ("locks and atomics", "use std::sync::{Arc, Mutex};"),
        ("threads", "std::thread::current()"),
        ("randomness", "rand::random()"),
        ("logs and metrics", "event!(WARN)"),
    ] {
        let found: Vec<_> = rule(of).flat_map(|rule| breaches(rule, &[source("breaker/machine.rs", code)])).collect();
        assert!(found[0].contains("breaker/machine.rs"), "{of}: {found:?}");
    }
    assert!(!names("fn timeouts(knower: Mutexes)", "Mutex"));
    assert!(!names("self.snow()", "now()"));
}
