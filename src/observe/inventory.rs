//! Looks for the expected objects in the sandboxes: one list of names per kind, and for Secrets, which are never read, the
//! provider's word against a quota's count.
//!
//! The number of requests grows with kinds and pages. Only for Secrets, and only where the two witnesses disagree or there
//! are but a few, is each name asked for: by a create that is a dry run, which fails when the name is taken.

use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::presence::{self, Secrets};
use crate::build::sandbox::COUNTED_SECRETS;
use crate::cluster::{Cluster, Discovery, Error, Query};
use crate::facts::{ChangedFact, KindFacts, SandboxFacts};
use crate::names::{self, annotation, label};
use crate::velero::{Kind, Outcomes};

/// Requests under way at once: enough to hide their round trips, few enough to leave the API server alone.
const AT_ONCE: usize = 6;

/// What `changed` says of `RoleBindings`; they are listed anyway, and admission wrote the number on them.
const SUBJECTS_REMOVED: &str = "subjects outside the sandbox removed";

/// What was found of one kind in one sandbox.
enum Look {
    /// These of the names that were looked for, and how many subjects were taken off them.
    Found(Vec<String>, u32),
    /// Nothing could be found out, and why.
    Unlisted(String),
}

/// The way to look.
struct Looker<'l> {
    cluster: &'l Cluster,
    discovery: &'l Discovery,
    sandboxes: &'l [SandboxFacts],
    outcomes: Option<&'l Outcomes>,
}

/// Looks for every expected object. Call it when the restore has ended.
///
/// `outcomes` is the provider's own list of what it did, if it could be read; `partial` says that only a part of the backup
/// was to be restored; `counted`, that admission changed what was restored and wrote down how much, where otherwise the
/// backup's own words would stand. Returns the number of objects that the provider made in the sandboxes, if it said so.
pub async fn inventory(
    cluster: &Cluster,
    discovery: &Discovery,
    sandboxes: &[SandboxFacts],
    kinds: &mut [KindFacts],
    outcomes: Option<&Outcomes>,
    partial: bool,
    counted: bool,
) -> Result<Option<usize>, Error> {
    if let Some(outcomes) = outcomes {
        presence::take_outcomes(kinds, sandboxes, outcomes, partial);
    }
    let looker = Looker {
        cluster,
        discovery,
        sandboxes,
        outcomes,
    };
    let wanted = kinds.iter().map(|kind| kind.expected.as_slice());
    let looks = looker.all(kinds, wanted).await?;
    for (kind, look) in kinds.iter_mut().zip(looks) {
        match look {
            Some(Look::Found(names, removed)) => {
                kind.present = Some(names);
                if counted && removed > 0 {
                    kind.changed.push(ChangedFact {
                        count: removed,
                        rule: SUBJECTS_REMOVED.to_owned(),
                    });
                }
            }
            Some(Look::Unlisted(why)) => kind.unlisted = Some(why),
            None => {}
        }
    }
    Ok(outcomes.map(|outcomes| presence::created_items(outcomes, sandboxes)))
}

/// Looks again for what was there, at the end of the checks. What is gone by then has vanished.
pub async fn recheck(
    cluster: &Cluster,
    discovery: &Discovery,
    sandboxes: &[SandboxFacts],
    kinds: &mut [KindFacts],
    outcomes: Option<&Outcomes>,
) -> Result<(), Error> {
    let looker = Looker {
        cluster,
        discovery,
        sandboxes,
        outcomes,
    };
    let wanted = kinds.iter().map(|kind| kind.present.as_deref().unwrap_or_default());
    let looks = looker.all(kinds, wanted).await?;
    for (kind, look) in kinds.iter_mut().zip(looks) {
        // A kind that could be listed before and cannot be now says nothing of its objects.
        if let (Some(present), Some(Look::Found(still, _))) = (&kind.present, look) {
            let still: std::collections::BTreeSet<String> = still.into_iter().collect();
            kind.vanished = presence::vanished(present, |name| still.contains(name));
        }
    }
    Ok(())
}

/// How many subjects admission took off a restored `RoleBinding`.
fn removed_subjects(metadata: &ObjectMeta) -> u32 {
    let restored = metadata
        .labels
        .as_ref()
        .is_some_and(|labels| labels.contains_key(label::VELERO_RESTORE));
    let written = metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(annotation::REMOVED_SUBJECTS));
    written
        .filter(|_| restored)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

impl Looker<'_> {
    /// One look per kind, in their order; `None` where there is nothing to look for.
    async fn all<'k>(
        &self,
        kinds: &[KindFacts],
        wanted: impl Iterator<Item = &'k [String]>,
    ) -> Result<Vec<Option<Look>>, Error> {
        let looks: Vec<Result<Option<Look>, Error>> = stream::iter(kinds.iter().zip(wanted))
            .map(|(kind, wanted)| self.one(kind, wanted))
            .buffered(AT_ONCE)
            .collect()
            .await;
        looks.into_iter().collect()
    }

    async fn one(&self, kind: &KindFacts, wanted: &[String]) -> Result<Option<Look>, Error> {
        let sandbox = self.sandboxes.iter().find(|sandbox| sandbox.source == kind.source);
        let (Some(sandbox), false) = (sandbox, wanted.is_empty()) else {
            return Ok(None);
        };
        if kind.group.is_empty() && kind.kind == "Secret" {
            return self.secrets(&sandbox.name, kind, wanted).await.map(Some);
        }
        let Some(served) = self.discovery.find(&Kind::new(&kind.group, "", &kind.kind)) else {
            return Ok(None);
        };
        let objects = self.cluster.dynamic(served, &sandbox.name);
        let bindings = kind.group == "rbac.authorization.k8s.io" && kind.kind == "RoleBinding";
        let listed = objects
            .list_metadata_with(&Query::all(), |object| {
                let removed = if bindings {
                    removed_subjects(&object.metadata)
                } else {
                    0
                };
                (object.metadata.name.unwrap_or_default(), removed)
            })
            .await;
        let look = match listed {
            Ok(listed) => {
                let removed = listed
                    .iter()
                    .fold(0_u32, |sum, (_, removed)| sum.saturating_add(*removed));
                let names: std::collections::BTreeSet<String> = listed.into_iter().map(|(name, _)| name).collect();
                Look::Found(presence::found(wanted, |name| names.contains(name)), removed)
            }
            Err(error) if error.is_forbidden() => Look::Unlisted(presence::may_not_list(&served.resource_name())),
            Err(error) if error.is_not_found() => Look::Unlisted(format!(
                "this cluster does not serve {} any more",
                served.resource_name()
            )),
            Err(error) => return Err(error),
        };
        Ok(Some(look))
    }

    async fn secrets(&self, sandbox: &str, kind: &KindFacts, wanted: &[String]) -> Result<Look, Error> {
        let claimed = self.outcomes.map(|outcomes| presence::claimed(outcomes, kind, sandbox));
        let counted = if wanted.len() > presence::FEW {
            self.counted_secrets(sandbox).await?
        } else {
            None
        };
        if let Secrets::Known(names) = presence::secrets(wanted, claimed.as_ref(), counted) {
            return Ok(Look::Found(names, 0));
        }
        let answers: Vec<Result<bool, Error>> = stream::iter(wanted)
            .map(|name| self.has_secret(sandbox, name))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut there = Vec::new();
        for (name, answer) in wanted.iter().zip(answers) {
            match answer {
                Ok(true) => there.push(name.clone()),
                Ok(false) => {}
                Err(error) if error.is_transient() => return Err(error),
                // Not permitted, or a webhook that cannot take dry runs.
                Err(error) => return Ok(Look::Unlisted(format!("could not be asked for: {error}"))),
            }
        }
        Ok(Look::Found(there, 0))
    }

    /// How many Secrets the sandbox's quota counts.
    async fn counted_secrets(&self, sandbox: &str) -> Result<Option<usize>, Error> {
        let quota = self
            .cluster
            .namespaced::<ResourceQuota>(sandbox)
            .get_opt(names::QUOTA)
            .await?;
        let used = quota
            .and_then(|quota| quota.status?.used)
            .and_then(|mut used| used.remove(COUNTED_SECRETS));
        Ok(used.and_then(|count| count.0.parse().ok()))
    }

    async fn has_secret(&self, sandbox: &str, name: &str) -> Result<bool, Error> {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(sandbox.to_owned()),
                ..ObjectMeta::default()
            },
            ..Secret::default()
        };
        match self.cluster.namespaced::<Secret>(sandbox).dry_run_create(&secret).await {
            Ok(_) => Ok(false),
            Err(error) if error.is_already_exists() => Ok(true),
            Err(error) => Err(error),
        }
    }
}
