//! Reads objects that were stored under another schema than this program's, as far as they can be read.
//!
//! The API server never looks again at what it has stored, so a field may hold what no longer fits. Such a test is still a run
//! with a report, so it is read without the fields that cannot be: what is sound (limits, the policy, the provider's namespace)
//! stays in force, and each field that is not is told.

use std::collections::BTreeMap;

use kube::core::DynamicObject;
use serde_json::{Value, json};
use serde_path_to_error::{Path, Segment};

use super::problems::PlanError;
use crate::api::{
    BackupSource, Completeness, Duration, HealthCheckPolicy, HealthCheckPolicySpec, HealthChecks, LogCollection,
    Notifications, PodStartup, Provider, RestoreOptions, RestoreTest, RestoreTestSpec, Sandbox, Selection, Sla,
};
use crate::facts::{Reason, Stop};

/// More mistakes than anybody reads, and an end to looking for them.
const MOST: usize = 50;

/// A test, and what of its spec cannot be read; with any of that it must not be run.
pub fn stored_test(stored: &DynamicObject) -> (RestoreTest, Vec<PlanError>) {
    let (spec, problems) = test_spec(part(stored, "spec"));
    let test = RestoreTest {
        metadata: stored.metadata.clone(),
        spec,
        // What earlier runs left is theirs; none of it decides anything.
        status: serde_json::from_value(part(stored, "status")).ok(),
    };
    (test, problems)
}

/// A policy, or what of it cannot be read. The first such field alone, for without it the list of checks is none.
pub fn stored_policy(stored: &DynamicObject) -> Result<HealthCheckPolicy, PlanError> {
    let spec = part(stored, "spec");
    let name = stored.metadata.name.clone().unwrap_or_default();
    match serde_path_to_error::deserialize::<_, HealthCheckPolicySpec>(&spec) {
        Ok(spec) => Ok(HealthCheckPolicy {
            metadata: stored.metadata.clone(),
            spec,
            status: None,
        }),
        Err(error) => Err(PlanError {
            path: format!("HealthCheckPolicy {name} {}", below("spec", error.path())),
            message: error.inner().to_string(),
        }),
    }
}

/// The end of a run whose test or policy cannot be read.
pub fn unreadable(problems: &[PlanError]) -> Stop {
    let texts: Vec<String> = problems.iter().map(PlanError::to_string).collect();
    let message = format!(
        "{}; this was stored under another schema than this version's: `kubectl explain restoretest.spec` and `kubectl explain \
         healthcheckpolicy.spec` say what each field takes",
        texts.join("; ")
    );
    Stop::new(Reason::InvalidSpec, message)
}

fn part(stored: &DynamicObject, name: &str) -> Value {
    stored.data.get(name).cloned().unwrap_or_default()
}

fn test_spec(mut spec: Value) -> (RestoreTestSpec, Vec<PlanError>) {
    let mut problems = Vec::new();
    let mut taken_out: Vec<String> = Vec::new();
    while problems.len() < MOST {
        let error = match serde_path_to_error::deserialize::<_, RestoreTestSpec>(&spec) {
            Ok(spec) => return (spec, problems),
            Err(error) => error,
        };
        let message = error.inner().to_string();
        let missing = message
            .strip_prefix("missing field `")
            .and_then(|m| m.strip_suffix('`'));
        // That a field is missing which was taken out is no news.
        if !missing.is_some_and(|field| taken_out.iter().any(|taken| taken == field)) {
            problems.push(PlanError {
                path: below("spec", error.path()),
                message: message.clone(),
            });
        }
        let place = below("", error.path());
        if missing.is_some() && ["", ".backupSource"].contains(&place.as_str()) {
            complete(&mut spec);
        } else if let Some(taken) = take_out(&mut spec, error.path()) {
            taken_out.push(taken);
        } else {
            break;
        }
    }
    (nothing_but_defaults(), problems)
}

/// `path` as a field below `root`.
fn below(root: &str, path: &Path) -> String {
    let segments = path.iter().filter_map(|segment| match segment {
        Segment::Map { key } => Some(format!(".{key}")),
        Segment::Seq { index } => Some(format!("[{index}]")),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    format!("{root}{}", segments.collect::<String>())
}

/// Takes the field or entry at `path` out; says which. `None` if there is none, as at the root.
fn take_out(spec: &mut Value, path: &Path) -> Option<String> {
    let steps: Vec<&Segment> = path
        .iter()
        .filter(|segment| matches!(segment, Segment::Map { .. } | Segment::Seq { .. }))
        .collect();
    let (last, way) = steps.split_last()?;
    let mut place = spec;
    for step in way {
        place = match step {
            Segment::Map { key } => place.get_mut(key)?,
            Segment::Seq { index } => place.get_mut(*index)?,
            Segment::Enum { .. } | Segment::Unknown => return None,
        };
    }
    match (last, place) {
        (Segment::Map { key }, Value::Object(fields)) => fields.remove(key).map(|_| key.clone()),
        (Segment::Seq { index }, Value::Array(entries)) if *index < entries.len() => {
            entries.remove(*index);
            Some(index.to_string())
        }
        _ => None,
    }
}

/// Puts in what has no default.
fn complete(spec: &mut Value) {
    let Value::Object(fields) = spec else { return };
    let source = fields.entry("backupSource").or_insert_with(|| json!({}));
    if let Value::Object(source) = source {
        source.entry("provider").or_insert_with(|| json!("velero"));
        source.entry("namespaces").or_insert_with(|| json!([]));
    }
}

/// The spec of a test of which nothing can be read.
fn nothing_but_defaults() -> RestoreTestSpec {
    RestoreTestSpec {
        backup_source: BackupSource {
            provider: Provider::Velero,
            provider_namespace: "velero".to_owned(),
            backup_name: super::valid::LATEST.to_owned(),
            schedule_name: None,
            storage_location: None,
            selection: Selection::Newest,
            window: None,
            allow_partially_failed: false,
            namespaces: Vec::new(),
            label_selector: BTreeMap::new(),
        },
        schedule: None,
        sandbox: Sandbox::default(),
        restore: RestoreOptions::default(),
        completeness: Completeness::default(),
        pod_startup: PodStartup::default(),
        health_checks: HealthChecks::default(),
        dependencies: Vec::new(),
        sla: Sla::default(),
        notifications: Notifications::default(),
        timeout: Duration::from_mins(120),
        history_limit: 10,
        log_collection: LogCollection::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{from, good_policy, good_test};

    /// The good test, spoilt, with what was told of it.
    fn read(spoil: impl FnOnce(&mut Value)) -> (RestoreTest, Vec<String>) {
        let mut object = serde_json::to_value(good_test()).unwrap();
        spoil(&mut object["spec"]);
        let (test, problems) = stored_test(&from(object));
        (test, problems.iter().map(PlanError::to_string).collect())
    }

    #[test]
    fn a_sound_test_is_read_whole() {
        assert_eq!(read(|_| {}), (good_test(), Vec::new()));
    }

    #[test]
    fn each_field_that_cannot_be_read_is_told_and_the_others_stay_in_force() {
        let (test, problems) = read(|spec| {
            spec["sandbox"]["ttl"] = json!(30);
            spec["sla"]["maxRTO"] = json!("soon");
            spec["backupSource"]["provider"] = json!("kasten");
            spec["dependencies"] = json!([{"service": "redis"}, {"service": "mq", "namespace": "infra", "port": 5672}]);
            spec["historyLimit"] = json!(500);
        });
        let paths: Vec<&str> = problems.iter().filter_map(|text| text.split(": ").next()).collect();
        assert_eq!(
            paths,
            [
                "spec.backupSource.provider",
                "spec.dependencies[0]",
                "spec.sandbox.ttl",
                "spec.sla.maxRTO"
            ],
            "{problems:#?}"
        );
        assert!(problems[0].contains("kasten"), "{problems:?}");
        assert_eq!(problems[1], "spec.dependencies[0]: missing field `namespace`");
        assert_eq!(test.metadata, good_test().metadata);
        assert_eq!(test.spec.history_limit, 500);
        assert_eq!(test.spec.health_checks.policy_ref.as_deref(), Some("app"));
        assert_eq!(
            test.spec.backup_source.namespaces,
            good_test().spec.backup_source.namespaces
        );
        assert_eq!(test.spec.dependencies[0].service, "mq");
        assert_eq!(test.spec.sandbox.ttl, Sandbox::default().ttl);
    }

    #[test]
    fn what_has_no_default_is_told_once() {
        for (spoil, expected) in [
            (json!({}), "spec: missing field `backupSource`"),
            (
                json!({"backupSource": {"namespaces": []}}),
                "spec.backupSource: missing field `provider`",
            ),
            (
                json!({"backupSource": 5}),
                "spec.backupSource: invalid type: integer `5`, expected struct BackupSource",
            ),
            (Value::Null, "spec: invalid type: null"),
        ] {
            let (test, problems) = read(|spec| *spec = spoil.clone());
            assert!(
                problems.len() == 1 && problems[0].starts_with(expected),
                "{spoil}: {problems:?}"
            );
            assert!(test.spec.backup_source.namespaces.is_empty());
            assert_eq!(test.metadata.name.as_deref(), Some("nightly"));
        }
    }

    #[test]
    fn the_namespace_of_the_provider_stays() {
        let (test, problems) = read(|spec| spec["backupSource"] = json!({"providerNamespace": "backups"}));
        assert_eq!(test.spec.backup_source.provider_namespace, "backups");
        assert!(!problems.is_empty());
    }

    /// The defaults here are those of the schema.
    #[test]
    fn of_nothing_come_the_defaults() {
        let least = json!({"backupSource": {"provider": "velero", "namespaces": []}});
        assert_eq!(nothing_but_defaults(), serde_json::from_value(least).unwrap());
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_named() {
        let mut object = serde_json::to_value(good_policy()).unwrap();
        assert_eq!(stored_policy(&from(object.clone())), Ok(good_policy()));
        object["spec"]["checks"][1]["httpGet"]["port"] = json!({"number": 80});
        let problem = stored_policy(&from(object)).unwrap_err();
        assert_eq!(problem.path, "HealthCheckPolicy app spec.checks[1].httpGet.port");
        let stop = unreadable(&[problem]);
        assert_eq!(stop.reason, Reason::InvalidSpec);
        assert!(
            stop.message.contains("kubectl explain healthcheckpolicy.spec"),
            "{}",
            stop.message
        );
    }
}
