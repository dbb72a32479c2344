//! The provider's side: waiting until it has stopped writing, and removing what the run made in its namespace.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Reasons, RunRef, made_by_restore, named, title};
use crate::cluster::{Canceller, Cluster, Error, Objects, Query, Waited, none_if_unknown};
use crate::velero::{DataDownload, DownloadRequest, PodVolumeRestore, Restore, ServerStatusRequest, VolumeRestore};

/// For deleting a Restore even when the sandboxes have used up the time.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Before anything is cancelled.
const A_MOMENT: Duration = Duration::from_millis(300);

/// Returns when nothing is written into the run's sandboxes any more: its Restore has ended or is gone, and so has every one
/// of its volume restores, which can outlive it. Otherwise says what still is at work, or why that is not known.
pub(super) async fn wait_for_rest(cluster: &Cluster, run: &RunRef, deadline: Instant) -> Result<(), String> {
    let name = run.provider_name();
    let restores: Objects<Restore> = cluster.namespaced(&run.provider_namespace);
    let ended = async {
        if let Some(restore) = restores.get_opt(&name).await? {
            if restore.is_waiting() && run.owns(&restore.metadata) {
                // Not begun yet: it need not begin at all.
                restores.delete(&name, &restore.uid().unwrap_or_default()).await?;
            }
            if !restore.is_terminal() {
                let ended = |seen: Option<&Restore>| seen.is_none_or(Restore::is_terminal);
                if let Waited::Late(last) = restores.wait_for(&name, deadline, ended).await? {
                    return Ok(Some(running(&name, last.as_ref())));
                }
            }
        }
        if let Some(busy) = wait_for_volumes::<PodVolumeRestore>(cluster, run, deadline).await? {
            return Ok(Some(busy));
        }
        wait_for_volumes::<DataDownload>(cluster, run, deadline).await
    };
    // Nobody waits for its volumes any more, and as long as the Restore goes on it begins with others. Mostly all of it has ended, which
    // is seen within this moment.
    let cancelled = async {
        sleep(A_MOMENT).await;
        Canceller::of_restore(cluster, &run.provider_namespace, &name)
            .run()
            .await
    };
    let at_work = tokio::select! {
        ended = ended => ended,
        never = cancelled => match never {},
    };
    match at_work {
        Ok(None) => Ok(()),
        Ok(Some(busy)) => Err(busy),
        Err::<_, Error>(error) => Err(format!(
            "it is not known whether the provider has stopped writing ({error})"
        )),
    }
}

/// What still writes into the run's sandboxes right now, without waiting for it.
pub(crate) async fn at_work(cluster: &Cluster, run: &RunRef) -> Result<Option<String>, Error> {
    let name = run.provider_name();
    let restores: Objects<Restore> = cluster.namespaced(&run.provider_namespace);
    if let Some(restore) = restores.get_opt(&name).await?
        && !restore.is_terminal()
        && !restore.is_waiting()
    {
        return Ok(Some(running(&name, Some(&restore))));
    }
    let query = made_by_restore(run);
    let pod_volumes = unfinished::<PodVolumeRestore>(cluster, run, &query).await?;
    let downloads = unfinished::<DataDownload>(cluster, run, &query).await?;
    Ok(pod_volumes.into_iter().chain(downloads).next())
}

fn running(name: &str, restore: Option<&Restore>) -> String {
    match restore {
        Some(restore) => format!("Restore {name}: still {}", restore.status.phase),
        None => format!("Restore {name}: its state is not known"),
    }
}

fn still<V: VolumeRestore>(volume: &V) -> String {
    format!("{}: still {}", named(volume), volume.status().phase)
}

async fn unfinished<V: VolumeRestore>(cluster: &Cluster, run: &RunRef, query: &Query) -> Result<Vec<String>, Error> {
    let volumes: Objects<V> = cluster.namespaced(&run.provider_namespace);
    let found = none_if_unknown(
        volumes
            .list_with(query, |volume| (!volume.is_over()).then(|| still(&volume)))
            .await,
    )?;
    Ok(found.into_iter().flatten().collect())
}

/// Waits until every volume restore of this kind has ended; says which has not by the deadline.
async fn wait_for_volumes<V: VolumeRestore>(
    cluster: &Cluster,
    run: &RunRef,
    deadline: Instant,
) -> Result<Option<String>, Error> {
    let query = made_by_restore(run);
    // Mostly there is nothing to wait for; and a kind that is not served cannot be watched.
    let Some(mut busy) = unfinished::<V>(cluster, run, &query).await?.into_iter().next() else {
        return Ok(None);
    };
    let volumes: Objects<V> = cluster.namespaced(&run.provider_namespace);
    let mut watch = volumes.watch(&query);
    loop {
        match timeout_at(deadline, watch.changed()).await {
            Err(_) => return Ok(Some(busy)),
            Ok(changed) => changed?,
        }
        match watch.objects().find(|volume| !volume.is_over()) {
            None => return Ok(None),
            Some(volume) => busy = still(volume),
        }
    }
}

/// Removes the run's Restore, its resource modifiers and its requests from the provider's namespace.
pub(super) async fn remove(cluster: &Cluster, run: &RunRef, deadline: Instant, reasons: &mut Reasons) {
    let namespace = run.provider_namespace.as_str();
    remove_labelled(&cluster.namespaced::<ConfigMap>(namespace), run, reasons).await;
    remove_labelled(&cluster.namespaced::<DownloadRequest>(namespace), run, reasons).await;
    remove_labelled(&cluster.namespaced::<ServerStatusRequest>(namespace), run, reasons).await;
    remove_restore(cluster, run, deadline.max(Instant::now() + LAST_MOMENTS), reasons).await;
}

/// The provider holds its object until its files are gone from the store.
async fn remove_restore(cluster: &Cluster, run: &RunRef, deadline: Instant, reasons: &mut Reasons) {
    let name = run.provider_name();
    let restores: Objects<Restore> = cluster.namespaced(&run.provider_namespace);
    let removed = async {
        let Some(restore) = restores.get_opt(&name).await? else {
            return Ok(None);
        };
        if !run.owns(&restore.metadata) {
            return Ok(Some(
                "not deleted, because its labels do not say that it is this run's".to_owned(),
            ));
        }
        let uid = restore.uid().unwrap_or_default();
        restores.delete(&name, &uid).await?;
        let gone = |seen: Option<&Restore>| seen.and_then(ResourceExt::uid).as_deref() != Some(&uid);
        Ok::<_, Error>(match restores.wait_for(&name, deadline, gone).await? {
            Waited::Met(_) => None,
            Waited::Late(_) => Some("the provider has not yet removed its files from the store".to_owned()),
        })
    };
    match removed.await {
        Ok(None) => {}
        Ok(Some(why)) => {
            reasons.insert(format!("Restore {name}"), why);
        }
        Err(error) => {
            reasons.insert(format!("Restore {name}"), error.to_string());
        }
    }
}

async fn remove_labelled<K>(objects: &Objects<K>, run: &RunRef, reasons: &mut Reasons)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + fmt::Debug
        + Send
        + 'static,
{
    // What cannot be listed is said by the audit.
    let found = objects
        .list_metadata_with(&Query::labels(run.selector()), |object| object.metadata)
        .await
        .unwrap_or_default();
    for meta in found {
        // What somebody else has labelled as this run's is not its.
        if !run.made(&meta) {
            continue;
        }
        let name = meta.name.clone().unwrap_or_default();
        if let Err(error) = objects.delete(&name, meta.uid.as_deref().unwrap_or_default()).await {
            reasons.insert(title::<K>(&meta), error.to_string());
        }
    }
}
