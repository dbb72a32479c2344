//! A run as clean-up sees it, and what proves that something belongs to it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;

use crate::names::{MANAGED_BY, PROVIDER_PREFIX, SANDBOX_INFIX, annotation, label};

/// A run whose objects are to be removed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunRef {
    /// The run id.
    pub run_id: String,
    /// Name of its test.
    pub test: String,
    /// Where its Restore is.
    pub provider_namespace: String,
    /// Its sandboxes: name and, where known, UID.
    pub sandboxes: Vec<(String, Option<String>)>,
}

impl RunRef {
    /// The run of `test` that wrote these notes into its Lease.
    pub fn noted(test: &str, notes: &BTreeMap<String, String>) -> Self {
        let note = |key: &str| notes.get(key).cloned().unwrap_or_default();
        let sandboxes = note(annotation::SANDBOXES);
        let names = sandboxes.split(',').filter_map(|pair| pair.split_once('='));
        Self {
            run_id: note(annotation::RUN),
            test: test.to_owned(),
            provider_namespace: note(annotation::PROVIDER_NAMESPACE),
            sandboxes: names.map(|(_, name)| (name.to_owned(), None)).collect(),
        }
    }

    /// Name of its Restore, and what all its objects in the provider's namespace begin with.
    pub fn provider_name(&self) -> String {
        format!("{PROVIDER_PREFIX}{}", self.run_id)
    }

    /// Selects everything that carries the run's labels.
    pub fn selector(&self) -> String {
        format!("{}={MANAGED_BY},{}={}", label::MANAGED_BY, label::RUN, self.run_id)
    }

    /// The names of its sandboxes.
    pub(super) fn sandbox_names(&self) -> BTreeSet<&str> {
        self.sandboxes.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The labels of `meta` say that it is this run's.
    pub fn owns(&self, meta: &ObjectMeta) -> bool {
        label_of(meta, label::MANAGED_BY) == Some(MANAGED_BY)
            && label_of(meta, label::RUN) == Some(self.run_id.as_str())
    }

    /// Its name is one that this run gives as well. Anybody can write a label.
    pub(crate) fn made(&self, meta: &ObjectMeta) -> bool {
        let name = meta.name.as_deref().unwrap_or_default();
        self.owns(meta) && (is_sandbox_of(name, &self.run_id) || is_at_provider_of(name, &self.run_id))
    }

    /// Why `namespace` may not be deleted as the sandbox of this run that was known under `uid`.
    pub fn refuses(&self, namespace: &Namespace, uid: Option<&str>) -> Option<&'static str> {
        let meta = &namespace.metadata;
        if !is_sandbox_of(meta.name.as_deref().unwrap_or_default(), &self.run_id) {
            Some("its name is not that of a sandbox of this run")
        } else if !self.owns(meta) {
            Some("its labels do not say that it is a sandbox of this run")
        } else if label_of(meta, label::TEST) != Some(self.test.as_str()) {
            Some("it belongs to another test")
        } else if !meta
            .annotations
            .as_ref()
            .is_some_and(|a| a.contains_key(annotation::EXPIRES_AT))
        {
            Some("it does not say when it expires, as every sandbox does")
        } else if uid.is_some() && uid != meta.uid.as_deref() {
            Some("it is another namespace of the same name (its UID has changed)")
        } else {
            None
        }
    }
}

/// The name is that of a sandbox of this run. Such names are reserved: nobody but the runner can give them.
fn is_sandbox_of(name: &str, run_id: &str) -> bool {
    !run_id.is_empty()
        && name
            .strip_suffix(run_id)
            .and_then(|rest| rest.strip_suffix(SANDBOX_INFIX))
            .is_some_and(|readable| !readable.is_empty())
}

/// The name is one that this run gives in a provider's namespace.
fn is_at_provider_of(name: &str, run_id: &str) -> bool {
    !run_id.is_empty()
        && name
            .strip_prefix(PROVIDER_PREFIX)
            .and_then(|rest| rest.strip_prefix(run_id))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// A label's value.
pub(crate) fn label_of<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// An annotation's value.
pub(crate) fn annotation_of<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// When the sandbox says that it may be removed at the latest. One that cannot be read is no expiry.
pub(crate) fn expiry(meta: &ObjectMeta) -> Option<DateTime<Utc>> {
    let text = annotation_of(meta, annotation::EXPIRES_AT)?;
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

/// A sandbox that was kept on purpose: its run is over, and it goes when it expires.
pub(crate) fn is_kept(meta: &ObjectMeta) -> bool {
    annotation_of(meta, annotation::KEPT) == Some("true")
}

/// Groups what carries our labels, and a name that its run gives, by run. Metadata without a run, or of another test than `test`, is
/// left out.
pub(super) fn group<'a>(
    test: Option<&str>,
    provider_namespace: &str,
    namespaces: &[Namespace],
    others: impl IntoIterator<Item = &'a ObjectMeta>,
) -> Vec<RunRef> {
    let mut runs: BTreeMap<(String, String), RunRef> = BTreeMap::new();
    let mut run_of = |meta: &ObjectMeta| -> Option<(String, String)> {
        let run = RunRef {
            run_id: label_of(meta, label::RUN)?.to_owned(),
            test: label_of(meta, label::TEST)?.to_owned(),
            provider_namespace: provider_namespace.to_owned(),
            sandboxes: Vec::new(),
        };
        if !run.made(meta) || test.is_some_and(|test| test != run.test) {
            return None;
        }
        let key = (run.test.clone(), run.run_id.clone());
        runs.entry(key.clone()).or_insert(run);
        Some(key)
    };
    for meta in others {
        run_of(meta);
    }
    let owned: Vec<_> = namespaces
        .iter()
        .filter_map(|namespace| Some((run_of(&namespace.metadata)?, &namespace.metadata)))
        .collect();
    for (key, meta) in owned {
        let Some(run) = runs.get_mut(&key) else { continue };
        if let Some(provider) = annotation_of(meta, annotation::PROVIDER_NAMESPACE) {
            provider.clone_into(&mut run.provider_namespace);
        }
        if let Some(name) = &meta.name {
            run.sandboxes.push((name.clone(), meta.uid.clone()));
        }
    }
    runs.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    fn run() -> RunRef {
        RunRef {
            run_id: "abc123".to_owned(),
            test: "shop".to_owned(),
            provider_namespace: "velero".to_owned(),
            sandboxes: Vec::new(),
        }
    }

    fn namespace(name: &str, labels: impl Serialize, annotations: impl Serialize) -> Namespace {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": "u-1", "labels": labels, "annotations": annotations},
        }))
        .unwrap()
    }

    fn ours() -> serde_json::Value {
        json!({"kymaros.io/managed-by": "kymaros", "kymaros.io/run": "abc123", "kymaros.io/test": "shop"})
    }

    fn expiring() -> serde_json::Value {
        json!({"kymaros.io/expires-at": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn everything_has_to_agree_before_a_namespace_is_deleted() {
        let name = "rp-test-shop-kymaros-abc123";
        let with = |key: &str, value: &str| {
            let mut labels = ours();
            labels[key] = json!(value);
            labels
        };
        for (namespace, uid, allowed) in [
            (namespace(name, ours(), expiring()), Some("u-1"), true),
            (namespace(name, ours(), expiring()), None, true),
            (namespace(name, ours(), expiring()), Some("u-0"), false),
            (namespace(name, ours(), json!({})), Some("u-1"), false),
            (namespace(name, json!({}), expiring()), Some("u-1"), false),
            (
                namespace(name, with("kymaros.io/managed-by", "somebody"), expiring()),
                None,
                false,
            ),
            (
                namespace(name, with("kymaros.io/run", "abc124"), expiring()),
                None,
                false,
            ),
            (
                namespace(name, with("kymaros.io/test", "other"), expiring()),
                None,
                false,
            ),
            (namespace("shop", ours(), expiring()), None, false),
            (namespace("-kymaros-abc123", ours(), expiring()), None, false),
            (
                namespace("rp-test-shop-kymaros-abc124", ours(), expiring()),
                None,
                false,
            ),
        ] {
            assert_eq!(
                run().refuses(&namespace, uid).is_none(),
                allowed,
                "{namespace:?} {uid:?}"
            );
        }
        let nameless = RunRef::default();
        assert!(
            nameless
                .refuses(&namespace("x-kymaros-", json!({}), expiring()), None)
                .is_some()
        );
    }

    #[test]
    fn leftovers_are_grouped_by_run() {
        let meta = |name: &str, labels: serde_json::Value| {
            serde_json::from_value::<ObjectMeta>(json!({ "name": name, "labels": labels })).unwrap()
        };
        let of = |run: &str, test: &str| json!({"kymaros.io/managed-by": "kymaros", "kymaros.io/run": run, "kymaros.io/test": test});
        let mut annotations = expiring();
        annotations["kymaros.io/provider-namespace"] = json!("backup");
        let namespaces = [
            namespace("a-kymaros-abc123", ours(), annotations),
            namespace("b-kymaros-abc123", ours(), expiring()),
            namespace(
                "shop",
                json!({"kymaros.io/run": "abc123", "kymaros.io/test": "shop"}),
                json!({}),
            ),
            namespace("shop", ours(), expiring()),
        ];
        let others = [
            meta("kymaros-zzz999", of("zzz999", "shop")),
            meta("kymaros-yyy888-alive-0", of("yyy888", "other")),
            meta("kymaros-xxx777", json!({"kymaros.io/managed-by": "kymaros"})),
            // Anybody can write these labels.
            meta("orders", of("www666", "shop")),
            meta("kymaros-vvv555", of("uuu444", "shop")),
            meta("kymaros-ttt333more", of("ttt333", "shop")),
        ];
        let found = group(Some("shop"), "velero", &namespaces, &others);
        assert_eq!(
            found.iter().map(|r| r.run_id.as_str()).collect::<Vec<_>>(),
            ["abc123", "zzz999"]
        );
        assert_eq!(found[0].provider_namespace, "backup");
        assert_eq!(found[0].sandboxes.len(), 2);
        assert_eq!(
            (found[1].provider_namespace.as_str(), found[1].sandboxes.len()),
            ("velero", 0)
        );
        assert_eq!(group(None, "velero", &namespaces, &others).len(), 3);
    }

    #[test]
    fn an_expiry_that_cannot_be_read_is_none() {
        let sandbox = namespace("x", json!({}), expiring());
        assert_eq!(
            expiry(&sandbox.metadata).unwrap().to_rfc3339(),
            "2026-01-01T00:00:00+00:00"
        );
        let broken = namespace("x", json!({}), json!({"kymaros.io/expires-at": "soon"}));
        assert_eq!(expiry(&broken.metadata), None);
    }
}
