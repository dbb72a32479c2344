//! `manifests/crds` is generated from `src/api` by this test: it fails when a file is stale, and rewrites it when run with
//! `UPDATE_CRDS=1`. It also holds the schemas to what every field owes its users: a description and a bound.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kymaros_runner::api::{HealthCheckPolicy, RestoreReport, RestoreTest};
use serde_json::{Map, Value};

const HEADER: &str =
    "# Generated from src/api by tests/crds.rs; run UPDATE_CRDS=1 cargo test --test crds to renew it.\n";

fn definitions() -> Vec<(PathBuf, Value)> {
    [RestoreTest::crd(), HealthCheckPolicy::crd(), RestoreReport::crd()]
        .into_iter()
        .map(|crd: CustomResourceDefinition| {
            let file = format!("{}.yaml", crd.spec.names.plural);
            let mut json = serde_json::to_value(crd).unwrap();
            json["spec"]["names"].as_object_mut().unwrap().remove("categories");
            tidy(&mut json["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
            (
                Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/crds").join(file),
                json,
            )
        })
        .collect()
}

/// Takes out what the derive macro says and we do not mean.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    // An explicit null is dropped by the API server only where the field is not nullable; nullable fields would make
    // `has()` in the rules true for a null.
    object.remove("nullable");
    // The macro's name of the type.
    object.remove("title");
    // Doc comments are wrapped for the reader of the code; `kubectl explain` wraps for its own.
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text
            .split("\n\n")
            .map(|part| part.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
    // Rust's integer types; the API server warns of formats it does not know. The bounds say the same.
    if object
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with("uint"))
    {
        object.remove("format");
    }
    for bound in ["minimum", "maximum"] {
        if let Some(number) = object.get(bound).and_then(Value::as_f64) {
            #[expect(clippy::cast_possible_truncation, reason = "our bounds are small whole numbers")]
            object.insert(bound.to_owned(), Value::from(number as i64));
        }
    }
    // A section's default is given by its fields' defaults; repeating it for the whole says everything twice.
    if object.contains_key("properties") && object.contains_key("default") {
        object.insert("default".to_owned(), Value::Object(Map::new()));
    }
    for_each_child(object, |_, child| tidy(child));
}

fn for_each_child(object: &mut Map<String, Value>, mut visit: impl FnMut(&str, &mut Value)) {
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, child) in properties.iter_mut() {
            visit(name, child);
        }
    }
    for (key, name) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(child) = object.get_mut(key) {
            visit(name, child);
        }
    }
}

#[test]
fn committed_definitions_are_current() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a person asks this test to rewrite the files"
    )]
    let update = std::env::var("UPDATE_CRDS").is_ok_and(|value| value == "1");
    let mut stale = Vec::new();
    for (path, json) in definitions() {
        let text = format!("{HEADER}{}", serde_saphyr::to_string(&json).unwrap());
        let reread: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(
            reread,
            json,
            "{} does not survive being written as YAML",
            path.display()
        );
        if std::fs::read_to_string(&path).unwrap_or_default() == text {
            continue;
        }
        if update {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        } else {
            stale.push(path.display().to_string());
        }
    }
    assert!(
        stale.is_empty(),
        "stale, run UPDATE_CRDS=1 cargo test --test crds: {}",
        stale.join(", ")
    );
}

#[test]
fn every_field_has_a_description_and_a_bound() {
    let mut problems = Vec::new();
    for (path, mut json) in definitions() {
        let kind = path.file_stem().unwrap().to_string_lossy().into_owned();
        audit(
            &kind,
            &mut json["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            true,
            &mut problems,
        );
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Collects what a schema lacks. Nothing is exempt but times, whose length their format bounds, and the entries of
/// lists and maps, whose list or map is described.
fn audit(path: &str, schema: &mut Value, described: bool, problems: &mut Vec<String>) {
    let object = schema.as_object_mut().unwrap_or_else(|| panic!("{path} is no schema"));
    let has = |key: &str| object.contains_key(key);
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut lack = |what: &str| problems.push(format!("{path} lacks {what}"));
    if described
        && !object
            .get("description")
            .is_some_and(|text| text.as_str().is_some_and(|text| text.ends_with('.')))
    {
        lack("a description in whole sentences");
    }
    let time = object.get("format").and_then(Value::as_str) == Some("date-time");
    match kind {
        "string" if !time && !has("maxLength") => lack("maxLength"),
        "array" if !has("maxItems") => lack("maxItems"),
        "object" if has("additionalProperties") && !has("maxProperties") => lack("maxProperties"),
        "integer" if !has("minimum") => lack("minimum"),
        "" if !has("x-kubernetes-int-or-string") || !has("maxLength") => lack("a type, or a length of its text"),
        "string" | "array" | "object" | "integer" | "boolean" | "" => {}
        _ => lack("a type we know how to bound"),
    }
    if has("x-kubernetes-preserve-unknown-fields") || has("anyOf") || has("oneOf") {
        lack("a plain structure");
    }
    for_each_child(object, |name, child| {
        let entry = matches!(name, "[]" | "{}");
        audit(&format!("{path}.{name}"), child, !entry, problems);
    });
}

#[test]
fn every_field_of_a_finished_report_is_frozen() {
    let report = serde_json::to_value(RestoreReport::crd()).unwrap();
    let schema = &report["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let rules = schema["x-kubernetes-validations"].as_array().unwrap();
    let frozen = |field: &str| {
        rules.iter().any(|rule| {
            rule["rule"]
                .as_str()
                .unwrap()
                .contains(&format!("has(self.status.{field}) "))
        })
    };
    for field in schema["properties"]["status"]["properties"].as_object().unwrap().keys() {
        // That clean-up may write its condition is tried by tests/schema.
        assert!(
            frozen(field)
                || field == "conditions"
                    && rules
                        .iter()
                        .any(|rule| rule["message"].as_str().unwrap().contains("only SandboxCleanedUp")),
            "{field}"
        );
    }
}

/// Functions that CEL offers to new rules on Kubernetes 1.30, as far as we use them. The libraries for addresses and
/// formats came later, and an API server refuses a whole definition for one unknown function.
const CEL_FUNCTIONS: [&str; 13] = [
    "all",
    "duration",
    "exists",
    "getHours",
    "has",
    "isGreaterThan",
    "isQuantity",
    "matches",
    "quantity",
    "size",
    "string",
    "timestamp",
    "type",
];

#[test]
fn rules_keep_to_what_the_oldest_supported_kubernetes_knows() {
    let mut seen = 0;
    for (path, mut json) in definitions() {
        each_rule(
            &mut json["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            &mut |rule| {
                seen += 1;
                // Texts may hold anything; what is left are names, and those before a parenthesis are functions.
                let code: String = rule.split('\'').step_by(2).collect();
                let calls = code.split('(').rev().skip(1).map(|before| {
                    before
                        .rsplit(|c: char| !c.is_ascii_alphanumeric())
                        .next()
                        .unwrap_or_default()
                });
                for name in calls.filter(|name| !name.is_empty()) {
                    assert!(CEL_FUNCTIONS.contains(&name), "{}: {name} in {rule}", path.display());
                }
            },
        );
    }
    assert!(seen > 80, "only {seen} rules were found");
}

fn each_rule(schema: &mut Value, visit: &mut impl FnMut(&str)) {
    let object = schema.as_object_mut().unwrap();
    for rule in object
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        visit(rule["rule"].as_str().unwrap());
    }
    for_each_child(object, |_, child| each_rule(child, visit));
}
