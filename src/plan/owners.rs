//! Pods that a custom resource may have made which is held. Without it they come back as pods by themselves, of which nobody
//! knows what they would need; a backup's list says nothing of owners, so names have to tell (see [`makers`](super::makers)).

use std::collections::BTreeSet;

use super::makers::{Makers, holds};
use super::rules::{self, Rule};
use super::{Served, ValidTest};
use crate::velero::Contents;

/// A pod of the backup whose owner is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Orphan {
    /// The source namespace.
    pub source: String,
    /// The pod's name.
    pub name: String,
    /// Why it is not waited for, for a person.
    pub reason: String,
}

/// Pods whose names hold the name of a held custom resource of their namespace that may make pods, and that nothing else made or
/// may have made. One that is let in and whose name fits as well casts a doubt, and then the pod is judged.
pub fn orphans(test: &ValidTest, served: &Served, contents: &Contents) -> Vec<Orphan> {
    let mut found = Vec::new();
    for source in test.sources() {
        let makers = Makers::of(contents, &source);
        let owners = owners(test, served, contents, &source);
        let pods = contents
            .kinds
            .iter()
            .filter(|(kind, _)| kind.group.is_empty() && kind.kind == "Pod");
        let names: BTreeSet<&String> = pods
            .filter_map(|(_, by_namespace)| by_namespace.get(&source))
            .flatten()
            .collect();
        for name in names.into_iter().filter(|name| !makers.made_by_form(name)) {
            let mut fitting: Vec<&Owner<'_>> = owners.iter().filter(|owner| holds(name, owner.name)).collect();
            if fitting.iter().any(|owner| owner.held.is_none()) {
                continue;
            }
            // `pg-main-1` is rather of `pg-main` than of `pg`.
            fitting.sort_by_key(|owner| (std::cmp::Reverse(owner.name.len()), owner.kind));
            if let Some(reason) = fitting.first().and_then(|owner| owner.reason()) {
                found.push(Orphan {
                    source: source.clone(),
                    name: name.clone(),
                    reason,
                });
            }
        }
    }
    found
}

/// A custom resource that may make pods.
struct Owner<'c> {
    group: &'c str,
    kind: &'c str,
    name: &'c str,
    /// The rule that holds it.
    held: Option<&'static str>,
}

impl Owner<'_> {
    fn reason(&self) -> Option<String> {
        let owner = format!("its owner {}/{} is held", self.kind, self.name);
        Some(match self.held? {
            rules::CUSTOM_RESOURCE => format!(
                "{owner}; let it in with restore.customResources: [{}.{}]",
                self.kind, self.group
            ),
            rules::EXCLUDED => format!("{owner} ({})", rules::EXCLUDED),
            rule => format!("{owner}, as every {rule} is"),
        })
    }
}

fn owners<'c>(test: &ValidTest, served: &Served, contents: &'c Contents, source: &str) -> Vec<Owner<'c>> {
    let excluded: BTreeSet<String> = test
        .spec
        .restore
        .excluded_resources
        .iter()
        .flat_map(|name| served.resolve(name))
        .collect();
    let mut owners = Vec::new();
    for (kind, by_namespace) in &contents.kinds {
        if !rules::may_make_pods(&kind.group, &kind.kind) {
            continue;
        }
        let is_excluded = served
            .resource(&kind.group, &kind.kind)
            .is_some_and(|resource| excluded.contains(resource));
        let held = match rules::of_kind(&kind.group, &kind.kind, &test.spec.restore.custom_resources) {
            _ if is_excluded => Some(rules::EXCLUDED),
            Rule::Held(rule) => Some(rule),
            _ => None,
        };
        owners.extend(by_namespace.get(source).into_iter().flatten().map(|name| Owner {
            group: &kind.group,
            kind: &kind.kind,
            name,
            held,
        }));
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{contents, plain_test};

    fn found(let_in: &[&str], excluded: &[&str], lists: &[(&str, &[&str])]) -> Vec<(String, String)> {
        let test = plain_test(|test| {
            test.spec.restore.custom_resources = let_in.iter().map(|entry| (*entry).to_owned()).collect();
            test.spec.restore.excluded_resources = excluded.iter().map(|entry| (*entry).to_owned()).collect();
        });
        let mut served = Served::default();
        served.add("postgresql.cnpg.io", "Cluster", "clusters");
        let orphans = orphans(&test, &served, &contents(lists));
        orphans.into_iter().map(|orphan| (orphan.name, orphan.reason)).collect()
    }

    #[test]
    fn the_pods_of_held_resources_are_told_by_their_names_alone() {
        let lists: [(&str, &[&str]); 6] = [
            (
                "v1/Pod",
                &[
                    "shop/pg-1",
                    "shop/pg-main-1",
                    "shop/pgadmin",
                    "shop/debug",
                    "shop/web-0",
                    "shop/build-step",
                    "shop/tls-0",
                    "infra/pg-1",
                ],
            ),
            ("postgresql.cnpg.io/v1/Cluster", &["shop/pg", "shop/pg-main"]),
            ("apps/v1/StatefulSet", &["shop/web"]),
            // A StatefulSet of its name makes the pods, whoever made it.
            ("example.com/v1/Site", &["shop/web"]),
            ("tekton.dev/v1/TaskRun", &["shop/build"]),
            // They run nothing.
            ("cert-manager.io/v1/Certificate", &["shop/tls"]),
        ];
        let line = "let it in with restore.customResources: [Cluster.postgresql.cnpg.io]";
        let expected = [
            (
                "build-step",
                "its owner TaskRun/build is held, as every job is".to_owned(),
            ),
            ("pg-1", format!("its owner Cluster/pg is held; {line}")),
            ("pg-main-1", format!("its owner Cluster/pg-main is held; {line}")),
        ];
        assert_eq!(
            found(&[], &[], &lists),
            expected.map(|(name, why)| (name.to_owned(), why))
        );
    }

    #[test]
    fn what_is_let_in_is_judged() {
        let lists: [(&str, &[&str]); 3] = [
            ("v1/Pod", &["shop/pg-1"]),
            ("postgresql.cnpg.io/v1/Cluster", &["shop/pg"]),
            ("example.com/v1/Site", &["shop/pg"]),
        ];
        assert_eq!(
            found(&["postgresql.cnpg.io"], &[], &lists),
            [],
            "it may be the Cluster's"
        );
        let both = found(&["postgresql.cnpg.io"], &["clusters.postgresql.cnpg.io"], &lists);
        let expected = "its owner Cluster/pg is held (spec.restore.excludedResources)";
        assert_eq!(both, [("pg-1".to_owned(), expected.to_owned())]);
    }
}
