//! Which pods and `ReplicaSets` of a backup something made, and which stand by themselves. Its list of objects says nothing
//! of owners, so their names have to tell.
//!
//! | made by | form of the name |
//! |---|---|
//! | `ReplicaSet`, `DaemonSet`, `ReplicationController`, Job | `<name>-x7k2p` |
//! | Job with indexes | `<name>-3-x7k2p` |
//! | `StatefulSet` | `<name>-3` |
//! | Deployment whose `ReplicaSet` is not in the backup | `<name>-5d8f7c9b4d-x7k2p` |
//! | custom resource | anything that holds its name |
//! | Deployment, makes a `ReplicaSet` | `<name>-5d8f7c9b4d` |
//!
//! Where a name leaves a doubt, something made it. To miss a pod by itself whose name is like that of a workload's pods is
//! the lesser harm: to expect one that its owner made anew under another name would fail a healthy application. Pods of
//! custom resources are in doubt by nature. Of a resource that is let in they are judged while they are there, but not missed;
//! of one that is held they are not waited for ([`owners`](super::owners)).

use std::collections::BTreeSet;

use super::rules;
use crate::velero::Contents;

/// What Kubernetes makes random parts of names of: no vowels, nothing that looks like another.
const SAFE: &str = "bcdfghjklmnpqrstvwxz2456789";
/// Length of the random part of a generated name.
const RANDOM: usize = 5;
/// Longest generated name; a longer beginning is cut.
const LONGEST: usize = 63;
/// Longest hash of a pod template.
const HASH: usize = 10;

/// What makes pods in one namespace of a backup.
#[derive(Clone, Debug, Default)]
pub(super) struct Makers<'c> {
    deployments: BTreeSet<&'c str>,
    stateful_sets: BTreeSet<&'c str>,
    /// Those whose pods have a random name.
    generating: BTreeSet<&'c str>,
    jobs: BTreeSet<&'c str>,
    custom: BTreeSet<&'c str>,
}

impl<'c> Makers<'c> {
    /// Those of this namespace.
    pub(super) fn of(contents: &'c Contents, source: &str) -> Self {
        let mut makers = Self::default();
        for (kind, by_namespace) in &contents.kinds {
            let set = match (kind.group.as_str(), kind.kind.as_str()) {
                ("apps", "Deployment") => &mut makers.deployments,
                ("apps", "StatefulSet") => &mut makers.stateful_sets,
                ("apps", "ReplicaSet" | "DaemonSet") | ("", "ReplicationController") => &mut makers.generating,
                ("batch", "Job") => &mut makers.jobs,
                (group, kind) if rules::may_make_pods(group, kind) => &mut makers.custom,
                _ => continue,
            };
            set.extend(by_namespace.get(source).into_iter().flatten().map(String::as_str));
        }
        makers
    }

    /// Did one of them make the pod of this name, or may it have?
    pub(super) fn made_pod(&self, name: &str) -> bool {
        self.made_by_form(name) || self.custom.iter().any(|custom| holds(name, custom))
    }

    /// Has the pod of this name the form that a built-in kind gives its pods' names?
    pub(super) fn made_by_form(&self, name: &str) -> bool {
        let by_form = name.rsplit_once('-').is_some_and(|(owner, end)| {
            let ordinal = is_number(end) && self.stateful_sets.contains(owner);
            ordinal || (is_random(end) && self.generated(owner))
        });
        by_form || self.generated_cut(name)
    }

    /// Did a Deployment make the `ReplicaSet` of this name, or may a custom resource have?
    pub(super) fn made_replica_set(&self, name: &str) -> bool {
        self.is_of_deployment(name) || self.custom.iter().any(|custom| holds(name, custom))
    }

    fn generated(&self, owner: &str) -> bool {
        self.generating.contains(owner) || self.is_job(owner) || self.is_of_deployment(owner)
    }

    /// Is this a Job, or one of a Job with indexes?
    fn is_job(&self, owner: &str) -> bool {
        let indexed = || owner.rsplit_once('-').filter(|(_, index)| is_number(index));
        self.jobs.contains(owner) || indexed().is_some_and(|(job, _)| self.jobs.contains(job))
    }

    fn is_of_deployment(&self, replica_set: &str) -> bool {
        let parts = replica_set.rsplit_once('-');
        parts.is_some_and(|(owner, hash)| {
            (1..=HASH).contains(&hash.len()) && is_safe(hash) && self.deployments.contains(owner)
        })
    }

    /// A pod whose owner's name was too long for the whole of it to be in the pod's.
    fn generated_cut(&self, name: &str) -> bool {
        if name.len() != LONGEST || !name.is_char_boundary(LONGEST - RANDOM) {
            return false;
        }
        let (begin, end) = name.split_at(LONGEST - RANDOM);
        let mut owners = self.generating.iter().chain(&self.jobs);
        is_random(end) && owners.any(|owner| owner.starts_with(begin))
    }
}

/// The pods of Jobs of these namespaces, each with its namespace.
pub fn job_pods(contents: &Contents, sources: &[String]) -> Vec<(String, String)> {
    pods(contents, sources, |makers, name| {
        name.rsplit_once('-')
            .is_some_and(|(owner, end)| is_random(end) && makers.is_job(owner))
    })
}

/// The pods of these namespaces that nothing made, each with its namespace. Those that had ended are among them: the list
/// of a backup does not tell them apart.
pub fn bare_pods(contents: &Contents, sources: &[String]) -> Vec<(String, String)> {
    pods(contents, sources, |makers, name| !makers.made_pod(name))
}

/// The pods for which this holds, each with its namespace.
fn pods(contents: &Contents, sources: &[String], which: impl Fn(&Makers<'_>, &str) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for source in sources {
        let makers = Makers::of(contents, source);
        let kinds = contents.kinds.iter();
        let pods = kinds.filter(|(kind, _)| kind.group.is_empty() && kind.kind == "Pod");
        let names = pods.filter_map(|(_, by_namespace)| by_namespace.get(source)).flatten();
        let names: BTreeSet<&String> = names.filter(|name| which(&makers, name)).collect();
        found.extend(names.into_iter().map(|name| (source.clone(), name.clone())));
    }
    found
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

fn is_safe(text: &str) -> bool {
    text.chars().all(|c| SAFE.contains(c))
}

fn is_random(text: &str) -> bool {
    text.len() == RANDOM && is_safe(text)
}

/// Is `part` in `name`, as a whole?
pub(super) fn holds(name: &str, part: &str) -> bool {
    let ends = |text: &str| text.is_empty() || text.ends_with('-');
    let begins = |text: &str| text.is_empty() || text.starts_with('-');
    let mut places = name.match_indices(part);
    !part.is_empty() && places.any(|(at, _)| ends(&name[..at]) && begins(&name[at + part.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::contents;

    fn shop() -> Contents {
        let long = format!("shop/{}", "l".repeat(70));
        contents(&[
            ("apps/v1/Deployment", &["shop/web", "shop/gone"]),
            ("apps/v1/ReplicaSet", &["shop/web-5d8f7c9b4d", "shop/alone", &long]),
            ("apps/v1/StatefulSet", &["shop/db"]),
            ("apps/v1/DaemonSet", &["shop/agent"]),
            ("v1/ReplicationController", &["shop/old"]),
            ("batch/v1/Job", &["shop/seed"]),
            ("postgresql.cnpg.io/v1/Cluster", &["shop/pg"]),
            ("monitoring.coreos.com/v1/ServiceMonitor", &["shop/metrics"]),
            // Makes Jobs, not pods.
            ("batch/v1/CronJob", &["shop/nightly"]),
        ])
    }

    #[test]
    fn pods_of_workloads_are_told_by_the_form_of_their_names() {
        let contents = shop();
        let makers = Makers::of(&contents, "shop");
        let cut = format!("{}x7k2p", "l".repeat(58));
        for name in [
            "web-5d8f7c9b4d-x7k2p",
            "alone-x7k2p",
            // Its ReplicaSet is not in the backup.
            "gone-6b4f8d5c7-zzzzz",
            "db-0",
            "db-12",
            "agent-bcdfg",
            "old-22222",
            "seed-x7k2p",
            "seed-3-x7k2p",
            &cut,
            // A custom resource may have made them.
            "pg",
            "pg-1",
            "virt-launcher-pg-x7k2p",
        ] {
            assert!(makers.made_pod(name), "{name}");
        }
    }

    #[test]
    fn pods_that_are_named_otherwise_stand_by_themselves() {
        let contents = shop();
        let makers = Makers::of(&contents, "shop");
        let almost = format!("{}x7k2p", "l".repeat(57));
        for name in [
            "web",
            "debug",
            // Vowels and 0, 1 and 3 are in no random part; nor is it ever of another length.
            "web-5d8f7c9b4d-debug",
            "agent-x7k2",
            "agent-x7k2pp",
            "web-x7k2p",
            "gone-5d8f7c9b4dd-x7k2p",
            "db",
            "db-00",
            "db-0-client",
            "db-x7k2p",
            "nightly-x7k2p",
            "seed-x-x7k2p",
            &almost,
            "pgadmin",
            "mypg-1",
            // Custom, but nothing that makes pods.
            "metrics",
        ] {
            assert!(!makers.made_pod(name), "{name}");
        }
    }

    #[test]
    fn replica_sets_of_deployments_are_told_as_well() {
        let contents = shop();
        let makers = Makers::of(&contents, "shop");
        assert!(makers.made_replica_set("web-5d8f7c9b4d"));
        assert!(makers.made_replica_set("gone-x"));
        assert!(makers.made_replica_set("pg-canary"));
        for name in ["alone", "web", "web-5d8f7c9b4dd", "web-canary", "other-5d8f7c9b4d"] {
            assert!(!makers.made_replica_set(name), "{name}");
        }
    }

    #[test]
    fn pods_of_jobs_are_known() {
        let contents = contents(&[
            (
                "v1/Pod",
                &[
                    "shop/seed-x7k2p",
                    "shop/seed-0-x7k2p",
                    "shop/seed",
                    "shop/seed-extra",
                    "infra/seed-x7k2p",
                ],
            ),
            ("batch/v1/Job", &["shop/seed"]),
        ]);
        let found = job_pods(&contents, &["shop", "infra"].map(str::to_owned));
        let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["seed-0-x7k2p", "seed-x7k2p"]);
    }

    #[test]
    fn each_namespace_has_its_own_makers() {
        let contents = contents(&[
            (
                "v1/Pod",
                &["shop/db-0", "shop/task", "infra/db-0", "infra/db-1", "other/x"],
            ),
            ("apps/v1/StatefulSet", &["shop/db", "other/x"]),
        ]);
        let sources = ["shop", "infra", "empty"].map(str::to_owned);
        let bare = bare_pods(&contents, &sources);
        let bare: Vec<(&str, &str)> = bare
            .iter()
            .map(|(source, name)| (source.as_str(), name.as_str()))
            .collect();
        assert_eq!(bare, [("shop", "task"), ("infra", "db-0"), ("infra", "db-1")]);
    }
}
