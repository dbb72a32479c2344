//! What is shipped to be applied: it parses, it builds, its parts fit each other, and it says what the program says.

#![expect(clippy::panic, reason = "a test that cannot go on says why")]

#[path = "../support/mod.rs"]
mod support;

mod overlays;
mod policies;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use support::{kubectl, root};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

fn shipped() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root().join("manifests"), &mut found);
    files(&root().join("kustomize"), &mut found);
    found.sort();
    found
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).expect("YAML")
}

fn read(path: &Path) -> Vec<Value> {
    documents(&fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Builds a kustomization. Without kubectl this fails rather than pass for nothing.
fn build(folder: &Path) -> Vec<Value> {
    documents(&kubectl(&["kustomize", &folder.to_string_lossy()]).expect("the kustomization builds"))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| text(object, "/kind") == kind).collect()
}

fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found: Vec<&Value> = of_kind(objects, kind)
        .into_iter()
        .filter(|object| text(object, "/metadata/name") == name)
        .collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

#[test]
fn every_file_parses() {
    let files = shipped();
    assert!(files.len() > 40, "only {} files found", files.len());
    for path in files {
        for document in read(&path) {
            assert!(
                !text(&document, "/kind").is_empty(),
                "{}: a document without kind",
                path.display()
            );
        }
    }
}

#[test]
fn every_kustomization_builds_and_names_every_file_beside_it() {
    for path in shipped()
        .into_iter()
        .filter(|path| path.ends_with("kustomization.yaml"))
    {
        let kustomization = read(&path).remove(0);
        let folder = path.parent().expect("a folder");
        let named: BTreeSet<&str> = kustomization["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for entry in fs::read_dir(folder).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_string_lossy();
            let beside = name.ends_with(".yaml") && name != "kustomization.yaml";
            assert!(
                !beside || named.contains(name.as_ref()),
                "{}: {name} is not named",
                path.display()
            );
        }
        if text(&kustomization, "/kind") == "Kustomization" {
            assert!(!build(folder).is_empty(), "{}", path.display());
        }
    }
}
