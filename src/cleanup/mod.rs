//! Removing what a run has made: after its report, for a run that died, and from the sweep.
//!
//! The order matters. While the provider still writes nothing is touched: a sandbox that is deleted under a running restore
//! can block the provider for minutes per object. Then volumes are told to go with their claims, the sandboxes go, and what
//! was made in the provider's namespace. Everything is best effort, for the next run or the sweep comes back to it; the
//! audit at the end says what is really left.

mod provider;
mod run_ref;
mod sandboxes;
mod snapshot;
mod volumes;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolume};
use kube::core::{NamespaceResourceScope, ObjectMeta, PartialObjectMeta};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::build::sandbox::{expires_at, kept_until};
use crate::clock;
use crate::cluster::{Cluster, Error, Objects, Query, none_if_unknown};
use crate::lease;
use crate::names::{MANAGED_BY, annotation, label};
use crate::velero::{DownloadRequest, Restore, ServerStatusRequest};

pub(crate) use provider::at_work;
pub use run_ref::RunRef;
pub(crate) use run_ref::{annotation_of, expiry, is_kept, label_of};
use snapshot::VolumeSnapshotContent;

/// What came of cleaning up after a run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CleanUp {
    /// What is left, each with the reason where it is known: `Namespace x: …`. Empty when everything is gone.
    pub left: Vec<String>,
    /// The provider has not stopped writing, so nothing was removed yet.
    pub provider_writes: bool,
}

impl CleanUp {
    /// Nothing is left.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty()
    }
}

impl fmt::Display for CleanUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_complete() {
            f.write_str("everything is gone")
        } else {
            f.write_str(&self.left.join("; "))
        }
    }
}

/// Why things are left, by what the audit calls them.
type Reasons = BTreeMap<String, String>;

/// Removes everything that `run` has made, as far as that can be done until `deadline`, and says what is left.
pub async fn clean_up(cluster: &Cluster, run: &RunRef, deadline: Instant) -> CleanUp {
    tracing::info!(run = run.run_id, sandboxes = run.sandboxes.len(), "cleaning up");
    // Boxed, here and below: a step's state is large, and is needed only while it runs.
    if let Err(why) = Box::pin(provider::wait_for_rest(cluster, run, deadline)).await {
        tracing::warn!(
            run = run.run_id,
            why,
            "the provider has not stopped writing, nothing was removed"
        );
        let kept = run
            .sandboxes
            .iter()
            .map(|(name, _)| format!("Namespace {name}: stays until the provider stops writing"));
        return CleanUp {
            left: std::iter::once(why).chain(kept).collect(),
            provider_writes: true,
        };
    }
    let mut reasons = Reasons::new();
    let own_volumes = Box::pin(sandboxes::remove(cluster, run, deadline, &mut reasons)).await;
    Box::pin(sandboxes::wait_for_volumes(
        cluster,
        &own_volumes,
        deadline,
        &mut reasons,
    ))
    .await;
    Box::pin(provider::remove(cluster, run, deadline, &mut reasons)).await;
    Box::pin(snapshot::remove(cluster, run, deadline, &mut reasons)).await;
    let left = Box::pin(audit(cluster, run)).await;
    for (object, why) in &reasons {
        tracing::debug!(object, why, "clean-up");
    }
    let left: Vec<String> = left
        .into_iter()
        .map(|object| match reasons.get(&object) {
            Some(why) => format!("{object}: {why}"),
            None => object,
        })
        .collect();
    if left.is_empty() {
        tracing::info!(run = run.run_id, "cleaned up");
    } else {
        tracing::warn!(run = run.run_id, left = left.join("; "), "clean-up is incomplete");
    }
    CleanUp {
        left,
        provider_writes: false,
    }
}

/// Everything in the cluster that still belongs to `run`, as `Kind name`: what carries its labels, has a name that it gives, and is
/// where it makes such things. A kind that could not be listed is named too, for then nobody knows.
pub async fn audit(cluster: &Cluster, run: &RunRef) -> Vec<String> {
    let provider = run.provider_namespace.as_str();
    let (namespaces, restores, configs, downloads, requests, volumes, contents) = tokio::join!(
        labelled::<Namespace>(cluster.all(), run),
        labelled::<Restore>(cluster.namespaced(provider), run),
        labelled::<ConfigMap>(cluster.namespaced(provider), run),
        labelled::<DownloadRequest>(cluster.namespaced(provider), run),
        labelled::<ServerStatusRequest>(cluster.namespaced(provider), run),
        claimed(cluster, run),
        snapshot::of_run(cluster, run),
    );
    let contents = contents.map(|contents| contents.iter().map(named::<VolumeSnapshotContent>).collect());
    let mut left = Vec::new();
    for (kind, found) in [
        ("Namespaces", namespaces),
        ("Restores", restores),
        ("ConfigMaps", configs),
        ("DownloadRequests", downloads),
        ("ServerStatusRequests", requests),
        ("PersistentVolumes", volumes),
        ("VolumeSnapshotContents", contents),
    ] {
        match found {
            Ok(names) => left.extend::<Vec<String>>(names),
            Err(error) => left.push(format!("perhaps {kind}, which could not be listed ({error})")),
        }
    }
    left
}

/// Objects that the run has made. A kind that is not served has none.
async fn labelled<K>(objects: Objects<K>, run: &RunRef) -> Result<Vec<String>, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let found = none_if_unknown(
        objects
            .list_metadata_with(&Query::labels(run.selector()), |object| {
                run.made(&object.metadata).then(|| title::<K>(&object.metadata))
            })
            .await,
    )?;
    Ok(found.into_iter().flatten().collect())
}

/// Volumes claimed from the run's sandboxes.
async fn claimed(cluster: &Cluster, run: &RunRef) -> Result<Vec<String>, Error> {
    let volumes: Objects<PersistentVolume> = cluster.all();
    let names = run.sandbox_names();
    let found = volumes
        .list_with(&Query::all(), |volume| {
            let own = volumes::claimant(&volume).is_some_and(|namespace| names.contains(namespace));
            own.then(|| named(&volume))
        })
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// The runs of `test` that have left something, other than `own_run`. Sandboxes that were left on purpose and have not
/// expired are not counted, nor those of a run that lives: whoever has lost its Lease stops, and what it leaves is the sweep's.
pub async fn find_leftovers(
    cluster: &Cluster,
    own_namespace: &str,
    test: &str,
    provider_namespace: &str,
    own_run: &str,
    now: DateTime<Utc>,
) -> Result<Vec<RunRef>, Error> {
    let query = Query::labels(format!("{}={MANAGED_BY},{}={test}", label::MANAGED_BY, label::TEST));
    let namespaces: Vec<Namespace> = cluster.all::<Namespace>().list(&query).await?;
    let others = in_provider(cluster, provider_namespace, &query).await?;
    let mut spared = vec![own_run];
    for meta in namespaces.iter().map(|namespace| &namespace.metadata) {
        let kept = is_kept(meta) && expiry(meta).is_some_and(|end| end > now);
        if kept || maker_is_gone(cluster, own_namespace, meta).await? == Some(false) {
            spared.extend(label_of(meta, label::RUN));
        }
    }
    let mut runs = run_ref::group(Some(test), provider_namespace, &namespaces, &others);
    runs.retain(|run| !spared.contains(&run.run_id.as_str()));
    Ok(runs)
}

/// Is the pod that made this sandbox gone, or has it ended? `None` if the sandbox does not say which it was.
pub(crate) async fn maker_is_gone(
    cluster: &Cluster,
    own_namespace: &str,
    sandbox: &ObjectMeta,
) -> Result<Option<bool>, Error> {
    match annotation_of(sandbox, annotation::HOLDER) {
        Some(holder) => lease::is_gone(cluster, own_namespace, holder).await,
        None => Ok(None),
    }
}

/// What runs have made in a provider's namespace and is still there.
async fn in_provider(cluster: &Cluster, namespace: &str, query: &Query) -> Result<Vec<ObjectMeta>, Error> {
    let mut found = metadata_of(&cluster.namespaced::<Restore>(namespace), query).await?;
    found.extend(metadata_of(&cluster.namespaced::<ConfigMap>(namespace), query).await?);
    found.extend(metadata_of(&cluster.namespaced::<DownloadRequest>(namespace), query).await?);
    found.extend(metadata_of(&cluster.namespaced::<ServerStatusRequest>(namespace), query).await?);
    Ok(found)
}

/// The runs that have left something in a provider's namespace.
pub(crate) async fn runs_in(cluster: &Cluster, provider_namespace: &str) -> Result<Vec<RunRef>, Error> {
    let query = Query::labels(format!("{}={MANAGED_BY},{}", label::MANAGED_BY, label::RUN));
    let found = in_provider(cluster, provider_namespace, &query).await?;
    Ok(run_ref::group(None, provider_namespace, &[], &found))
}

/// The runs that these sandboxes are of. Without knowing where its Restore is, nobody can say whether one is at rest, so
/// those that do not say it are left out; this program always writes it.
pub(crate) fn runs_of(sandboxes: &[Namespace]) -> Vec<RunRef> {
    let mut runs = run_ref::group(None, "", sandboxes, []);
    runs.retain(|run| !run.provider_namespace.is_empty());
    runs
}

async fn metadata_of<K>(objects: &Objects<K>, query: &Query) -> Result<Vec<ObjectMeta>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + fmt::Debug
        + Send
        + 'static,
{
    none_if_unknown(
        objects
            .list_metadata_with(query, |object: PartialObjectMeta<K>| object.metadata)
            .await,
    )
}

/// Leaves the sandboxes of a run that has ended, for debugging, for `time`; then the sweep removes them. One that could not
/// be marked goes earlier, with the next run of the test. Waits until `deadline` for the provider to stop writing, as drills that
/// take turns rely on it, and says what still is at work.
pub async fn keep(cluster: &Cluster, run: &RunRef, time: Duration, deadline: Instant) -> Option<String> {
    let busy = Box::pin(provider::wait_for_rest(cluster, run, deadline)).await.err();
    annotate(cluster, run, &kept_until(clock::now() + time)).await;
    busy
}

/// Lets the sweep remove the sandboxes of a run that has ended and could not, at `at`.
pub async fn expire(cluster: &Cluster, run: &RunRef, at: DateTime<Utc>) {
    annotate(cluster, run, &expires_at(at)).await;
}

/// Best effort: the sweep removes a sandbox that was not marked when it expires.
async fn annotate(cluster: &Cluster, run: &RunRef, patch: &serde_json::Value) {
    let namespaces: Objects<Namespace> = cluster.all();
    for (name, _) in &run.sandboxes {
        match namespaces.merge(name, patch).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::warn!(%error, "a sandbox could not be marked"),
        }
    }
}

/// What the provider made while it worked on the run's Restore. By the Restore's name and not by its UID, for the Restore
/// itself may be gone.
fn made_by_restore(run: &RunRef) -> Query {
    Query::labels(format!("velero.io/restore-name={}", run.provider_name()))
}

/// `Kind name`, as the audit says it.
fn title<K: Resource<DynamicType = ()>>(meta: &ObjectMeta) -> String {
    format!("{} {}", K::kind(&()), meta.name.as_deref().unwrap_or_default())
}

fn named<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.name_any())
}

#[cfg(test)]
mod tests;
