//! What the living source namespace holds and the backup does not: which kinds are compared, and which objects count.
//!
//! The backup's own list says what has to come back, but nobody would learn from it of what it should have held. An object
//! counts if it is older than the backup, is of a kind that a restore brings back, and nothing makes it anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::expectation::{excluded_by_spec, ignored};
use super::rules::{self, Rule};
use super::served::Served;
use super::{Point, ValidTest};
use crate::velero::{self, Contents};

/// Kinds of Kubernetes that are compared: group, kind, plural. The component `compare-with-source` grants to list them, and
/// nothing else. Secrets are none of them: to list them is to read them.
///
/// The first is asked for before all others, to see whether the runner may look at all.
pub const COMPARED: [(&str, &str, &str); 18] = [
    ("apps", "Deployment", "deployments"),
    ("apps", "StatefulSet", "statefulsets"),
    ("apps", "DaemonSet", "daemonsets"),
    ("apps", "ReplicaSet", "replicasets"),
    ("batch", "CronJob", "cronjobs"),
    ("", "ConfigMap", "configmaps"),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("", "Pod", "pods"),
    ("", "PodTemplate", "podtemplates"),
    ("", "ReplicationController", "replicationcontrollers"),
    ("", "Service", "services"),
    ("", "ServiceAccount", "serviceaccounts"),
    ("networking.k8s.io", "Ingress", "ingresses"),
    ("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    ("rbac.authorization.k8s.io", "Role", "roles"),
    ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),
    ("resource.k8s.io", "ResourceClaim", "resourceclaims"),
    ("resource.k8s.io", "ResourceClaimTemplate", "resourceclaimtemplates"),
];

/// What the Role and the `RoleBinding` of the component are called, before the name of their test. They belong to the drill.
pub const RIGHTS: &str = "kymaros-compare-with-source.";

/// A comparison of the living namespaces of a test with its backup.
#[derive(Clone, Debug)]
pub struct Comparison {
    test: ValidTest,
    contents: Arc<Contents>,
    before: DateTime<Utc>,
    kinds: Vec<(String, String)>,
}

/// What an object is to a comparison.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Compared {
    /// It is in the backup, need not be, or is too young to be.
    Fine,
    /// It should be in the backup and is not: what is known of the reason.
    Absent(String),
    /// The same, but the spec says that it need not come back.
    Ignored(String),
}

impl Comparison {
    /// Of this test with this backup, on a cluster that serves these kinds.
    pub fn new(test: &ValidTest, served: &Served, point: &Point, contents: &Arc<Contents>) -> Self {
        let excluded = excluded_by_spec(test, served);
        let let_in = &test.spec.restore.custom_resources;
        let named: Vec<String> = let_in.iter().filter(|entry| *entry != "*").cloned().collect();
        let in_backup: BTreeSet<(&str, &str)> = contents
            .kinds
            .keys()
            .map(|kind| (kind.group.as_str(), kind.kind.as_str()))
            .collect();
        let built_in = COMPARED.iter().map(|(group, kind, _)| (*group, *kind));
        // A cluster may serve hundreds of custom kinds: with "*" only those that the backup has some of are asked for.
        let custom = served.kinds().filter(|(group, kind)| {
            let let_in = if in_backup.contains(&(*group, *kind)) {
                let_in
            } else {
                &named
            };
            rules::is_custom(group) && rules::of_kind(group, kind, let_in) == Rule::Expected
        });
        let kinds = built_in.chain(custom).filter(|(group, kind)| {
            let resource = served.resource(group, kind);
            resource.is_some_and(|resource| !excluded.contains(resource))
        });
        Self {
            test: test.clone(),
            contents: Arc::clone(contents),
            before: point.asked_at.map_or(point.started_at, |at| at.min(point.started_at)),
            kinds: kinds.map(|(group, kind)| (group.to_owned(), kind.to_owned())).collect(),
        }
    }

    /// The source namespaces.
    pub fn sources(&self) -> Vec<String> {
        self.test.sources()
    }

    /// The kinds that are compared, group and kind.
    pub fn kinds(&self) -> &[(String, String)] {
        &self.kinds
    }

    /// The labels of what the test restores; empty for all. What a test does not restore says nothing in it.
    pub fn labels(&self) -> String {
        let labels = self.test.spec.backup_source.label_selector.iter();
        labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Was this made too late to be missed? In the second in which a backup begins nobody can tell.
    ///
    /// The backup's start is told by the provider's clock and the age of objects by the API server's, so the instant at which
    /// the API server was asked for the backup counts where it is earlier: what was made before that, the backup has seen.
    pub fn too_young(&self, metadata: &ObjectMeta) -> bool {
        let created = metadata.creation_timestamp.as_ref().map(crate::api::time::from_time);
        created.is_none_or(|created| created >= self.before)
    }

    /// What an object of the living namespace is to the comparison.
    pub fn look(&self, source: &str, group: &str, kind: &str, metadata: &ObjectMeta) -> Compared {
        let name = metadata.name.as_deref().unwrap_or_default();
        let (held, any) = self.in_backup(source, group, kind, name);
        if held
            || metadata.deletion_timestamp.is_some()
            || self.too_young(metadata)
            || made_anew(group, kind, metadata)
            || rules::of_object(group, kind, name, |_| false, |_| false) != Rule::Expected
            || (group == "rbac.authorization.k8s.io" && name.starts_with(RIGHTS))
        {
            return Compared::Fine;
        }
        let reason = match velero::kept_out(metadata.labels.as_ref()) {
            Some(label) => format!("it is labelled {label}"),
            None if any => "it was there when the backup was made, and the backup does not list it".to_owned(),
            None => format!("the backup holds no {kind} of this namespace"),
        };
        if ignored(&self.test, kind, name) {
            Compared::Ignored(reason)
        } else {
            Compared::Absent(reason)
        }
    }

    /// Does the backup hold this object, and any of its kind in this namespace? The same kind may be listed in two versions.
    fn in_backup(&self, source: &str, group: &str, kind: &str, name: &str) -> (bool, bool) {
        let of_kind = self
            .contents
            .kinds
            .iter()
            .filter(|(k, _)| k.group == group && k.kind == kind);
        let lists = of_kind.filter_map(|(_, by_namespace)| by_namespace.get(source));
        lists.fold((false, false), |(held, any), names| {
            let here = names.binary_search_by(|listed| listed.as_str().cmp(name)).is_ok();
            (held || here, any || !names.is_empty())
        })
    }
}

/// Would a controller make it anew? A claim would come back, but empty: it counts unless it lives and dies with a pod.
fn made_anew(group: &str, kind: &str, metadata: &ObjectMeta) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    let is_claim = (group, kind) == ("", "PersistentVolumeClaim");
    controllers.any(|owner| !is_claim || owner.kind == "Pod")
}
