//! The import rules of the source tree, held by reading it: what decides cannot fetch, wait, or look at the clock.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]
use std::fs;
use std::path::{Path, PathBuf};

/// Where nothing but data comes in and nothing but data goes out.
const PURE: &[&str] = &[
    "src/api",
    "src/velero",
    "src/plan",
    "src/build",
    "src/facts.rs",
    "src/judge",
    "src/retention.rs",
    "src/names.rs",
    "src/digest.rs",
    "src/redact.rs",
    "src/pattern.rs",
];

/// What pure code may not name, and why.
const BANNED: &[(&str, &str)] = &[
    ("kube::Client", "it would reach the cluster"),
    ("kube::Api", "it would reach the cluster"),
    ("Api<", "it would reach the cluster"),
    ("kube::runtime", "it would reach the cluster"),
    ("crate::cluster", "it would reach the cluster"),
    ("crate::clock", "time comes in as an argument"),
    ("async ", "what decides does not wait"),
    (".await", "what decides does not wait"),
    ("tokio", "what decides does not wait"),
    ("::now(", "time comes in as an argument"),
    ("std::env", "only settings.rs reads the environment"),
    ("getrandom", "chance comes in as an argument"),
    ("reqwest", "it would reach the network"),
];

/// A folder, and what of this crate it must not use although it may do I/O.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "src/cluster",
        &[
            "crate::plan",
            "crate::judge",
            "crate::checks",
            "crate::run",
            "crate::report",
        ],
    ),
    ("src/checks", &["crate::judge", "crate::report", "crate::run"]),
    ("src/observe", &["crate::judge", "crate::report", "crate::run"]),
    ("src/judge", &["crate::plan", "crate::build", "crate::velero"]),
    (
        "src/api",
        &["crate::plan", "crate::judge", "crate::facts", "crate::velero"],
    ),
    ("src/velero", &["crate::plan", "crate::judge", "crate::api"]),
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut files: Vec<PathBuf> = entries.flat_map(|entry| sources(&entry.unwrap().path())).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "rs"));
    files.sort();
    files
}

/// The lines of a file that are code: neither comments nor what only tests see.
fn code(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap();
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(n, line)| (n + 1, line.to_owned()))
        .collect()
}

fn is_test(file: &Path) -> bool {
    file.components().any(|c| c.as_os_str() == "tests")
        || file
            .file_name()
            .is_some_and(|n| n.to_string_lossy().ends_with("tests.rs"))
}

#[test]
fn what_decides_cannot_fetch_wait_or_look_at_the_clock() {
    let mut broken = Vec::new();
    for place in PURE {
        let files = sources(Path::new(place));
        assert!(
            !files.is_empty(),
            "{place} holds no source: is the list in this test out of date?"
        );
        for file in files.iter().filter(|file| !is_test(file)) {
            for (line, text) in code(file) {
                for (token, why) in BANNED.iter().filter(|(token, _)| text.contains(token)) {
                    broken.push(format!("{}:{line}: names `{token}`: {why}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn lower_layers_do_not_use_higher_ones() {
    let mut broken = Vec::new();
    for (folder, banned) in LAYERS {
        for file in sources(Path::new(folder)) {
            for (line, text) in code(&file) {
                for token in banned.iter().filter(|token| text.contains(**token)) {
                    broken.push(format!("{}:{line}: uses `{token}`", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn only_the_cluster_folder_names_the_client() {
    let mut broken = Vec::new();
    for file in sources(Path::new("src")) {
        if file.starts_with("src/cluster") {
            continue;
        }
        for (line, text) in code(&file) {
            for token in ["kube::Client", "kube::Api", "Api::<", "Api<"]
                .iter()
                .filter(|token| text.contains(**token))
            {
                broken.push(format!("{}:{line}: names `{token}`", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_file_can_be_read_in_one_sitting() {
    let mut long = Vec::new();
    for file in sources(Path::new("src")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines > 700 {
            long.push(format!("{}: {lines} lines", file.display()));
        }
    }
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

/// Each claim of the threat model names what tries it, and that is there.
#[test]
fn claims_of_security_name_their_tests() {
    let text = fs::read_to_string("docs/security.md").unwrap();
    let fence: String = ["tests/fence", "tests/schema"]
        .iter()
        .flat_map(|folder| sources(Path::new(folder)))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let is_there = |name: &str| {
        let folders = ["tests/safety", "tests/truth", "tests/scenarios"];
        fence.contains(&format!("fn {name}()"))
            || folders
                .iter()
                .any(|folder| Path::new(folder).join(format!("{name}.yaml")).exists())
    };
    let mut claims = 0;
    let mut wrong = Vec::new();
    let mut lines = text.lines();
    while let Some(header) = lines.next() {
        if !header.ends_with("| shown by |") {
            continue;
        }
        for row in lines.by_ref().skip(1).take_while(|row| row.starts_with('|')) {
            claims += 1;
            let tests = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
            let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
            if names.is_empty() || !names.iter().all(|name| is_there(name)) {
                wrong.push(row);
            }
        }
    }
    assert!(claims > 25, "only {claims} claims were found");
    assert!(wrong.is_empty(), "claims that nothing tries: {wrong:#?}");
}
