//! Pods that are not waited for, although they came back. Pure.
//!
//! | which | because |
//! |---|---|
//! | its custom resource is held, and nothing controls it | what it needs is kept out by the drill itself |
//! | it runs to an end (`restartPolicy` `Never` or `OnFailure`), and nothing controls it | it is work that was caught running, and no service |
//! | `podStartup.ignore` covers it | the test says so |
//!
//! They are named with the reason, and earn nothing. Whether such a pod is ready makes no difference: a verdict that hangs on the
//! moment of the look would be another one every night.

use std::collections::BTreeMap;

use super::seen::PodSeen;
use crate::plan::{IgnoredPods, Orphan};

/// What is known of such pods before they are there.
#[derive(Clone, Debug, Default)]
pub struct Exclusions {
    ignored: IgnoredPods,
    /// Pods whose owner is held, with the reason, by source namespace and name.
    orphans: BTreeMap<String, BTreeMap<String, String>>,
    partial: bool,
}

/// Why something is not waited for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Why {
    /// For a person.
    pub(super) reason: String,
    /// It is the drill's own doing.
    pub(super) by_the_drill: bool,
}

impl Why {
    fn ignored(entry: &str) -> Self {
        Self {
            reason: format!("podStartup.ignore: {entry}"),
            by_the_drill: false,
        }
    }
}

impl Exclusions {
    /// `podStartup.ignore`, and pods whose owner is held. `partial`: only a part of the backup is restored, so what is not there
    /// may not have been selected.
    pub fn new(ignored: IgnoredPods, orphans: Vec<Orphan>, partial: bool) -> Self {
        let mut by_source = BTreeMap::<String, BTreeMap<String, String>>::new();
        for orphan in orphans {
            by_source
                .entry(orphan.source)
                .or_default()
                .insert(orphan.name, orphan.reason);
        }
        Self {
            ignored,
            orphans: by_source,
            partial,
        }
    }

    /// The names of the pods that should be in this namespace, and whose owner is held.
    pub(super) fn orphans(&self, source: &str) -> impl Iterator<Item = &String> {
        let orphans = self.orphans.get(source).filter(|_| !self.partial);
        orphans.into_iter().flat_map(BTreeMap::keys)
    }

    /// Why this pod is not waited for, if it stands by itself or what controls it is not known.
    pub(super) fn of_pod(&self, source: &str, pod: &PodSeen) -> Option<Why> {
        let name = pod.identity.name.as_str();
        if pod.identity.ours {
            return None;
        }
        if pod.identity.owner.is_none() {
            if let Some(why) = self.of_absent(source, name) {
                return Some(why);
            }
            if !pod.restarts_always {
                return Some(Why {
                    reason: format!(
                        "work, not a service: restartPolicy {}, and nothing controls it",
                        pod.restart_policy
                    ),
                    by_the_drill: false,
                });
            }
        }
        self.of_workload("Pod", name, &pod.labels)
    }

    /// Why a pod that is not there, and of which the name alone is known, is not waited for.
    pub(super) fn of_absent(&self, source: &str, name: &str) -> Option<Why> {
        match self.orphans.get(source).and_then(|orphans| orphans.get(name)) {
            Some(reason) => Some(Why {
                reason: reason.clone(),
                by_the_drill: true,
            }),
            None => self.of_workload("Pod", name, &BTreeMap::new()),
        }
    }

    /// Why this workload, whose pods have these labels, is not waited for.
    pub(super) fn of_workload(&self, kind: &str, name: &str, labels: &BTreeMap<String, String>) -> Option<Why> {
        self.ignored.covers(kind, name, labels).map(Why::ignored)
    }
}

/// Pods that a check may look for in vain because the drill keeps them out or lacks what they need.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeftOut {
    /// The source namespace.
    pub source: String,
    /// Name of the pod or of its workload.
    pub name: String,
    /// The labels of the pods, if they are known: of a pod by itself that was refused they are not.
    pub labels: Option<BTreeMap<String, String>>,
    /// Why, for a person.
    pub reason: String,
}
