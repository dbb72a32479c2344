//! The sandboxes and their volumes.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::volumes::{Claims, DELETE, Fate, RETAIN, Volumes, claimant, claims, fate};
use super::{Reasons, RunRef, named};
use crate::cluster::{Cluster, Error, Objects, Query, Waited};

/// Left of the time for what comes after the sandboxes, if there is that much.
const REST: Duration = Duration::from_secs(10);

/// Admission learns within this that a namespace is being deleted.
const LEARNS_WITHIN: Duration = Duration::from_secs(2);
/// Seconds that a sandbox's pods are given to end.
const GRACE: u32 = 1;

/// Removes the run's sandboxes and waits until they are gone. Returns the volumes that should go with them.
pub(super) async fn remove(
    cluster: &Cluster,
    run: &RunRef,
    deadline: Instant,
    reasons: &mut Reasons,
) -> Vec<PersistentVolume> {
    let limit = deadline
        .checked_sub(REST)
        .filter(|limit| *limit > Instant::now())
        .unwrap_or(deadline);
    let prepared = match prepare_volumes(cluster, run, reasons).await {
        Ok(prepared) => prepared,
        Err(error) => {
            // Not knowing the volumes, nobody can say whose storage would go with the claims.
            for (name, _) in &run.sandboxes {
                reasons.insert(
                    format!("Namespace {name}"),
                    format!("stays, because its volumes are not known ({error})"),
                );
            }
            return Vec::new();
        }
    };
    let removals = run
        .sandboxes
        .iter()
        .filter(|(name, _)| !prepared.unsafe_sandboxes.contains(name))
        .map(|(name, uid)| async move {
            let why = remove_one(cluster, run, name, uid.as_deref(), limit).await;
            why.map(|why| (format!("Namespace {name}"), why))
        });
    reasons.extend(join_all(removals).await.into_iter().flatten());
    prepared.going
}

/// What was made ready before the claims go.
#[derive(Default)]
struct Prepared {
    /// Volumes that go with their claims.
    going: Vec<PersistentVolume>,
    /// Sandboxes that must stay, because storage that is not theirs would go with them.
    unsafe_sandboxes: BTreeSet<String>,
}

/// Sets the reclaim policy of each volume of the sandboxes to what should become of it.
async fn prepare_volumes(cluster: &Cluster, run: &RunRef, reasons: &mut Reasons) -> Result<Prepared, Error> {
    let sandboxes = run.sandbox_names();
    let objects: Objects<PersistentVolume> = cluster.all();
    let mut volumes = Volumes::default();
    objects
        .list_with(&Query::all(), |volume| volumes.see(volume, &sandboxes))
        .await?;
    let mut prepared = Prepared::default();
    if volumes.own.is_empty() {
        return Ok(prepared);
    }
    let claims = live_claims(cluster, &volumes).await;
    for volume in volumes.own {
        let (title, name) = (named(&volume), volume.name_any());
        let sandbox = claimant(&volume).unwrap_or_default().to_owned();
        match fate(&volume, &claims, &volumes.foreign) {
            Fate::GoesWithClaim => prepared.going.push(volume),
            Fate::MakeDeletable => match objects.merge(&name, &reclaim(DELETE)).await {
                Ok(_) => prepared.going.push(volume),
                Err(error) => {
                    reasons.insert(title, error.to_string());
                }
            },
            Fate::Stays(why) => {
                reasons.insert(title, why.to_owned());
            }
            Fate::Protect(why) => {
                reasons.insert(title, why.to_owned());
                if let Err(error) = objects.merge(&name, &reclaim(RETAIN)).await {
                    let why =
                        format!("stays, because the storage of its volume {name} could not be protected ({error})");
                    reasons.insert(format!("Namespace {sandbox}"), why);
                    prepared.unsafe_sandboxes.insert(sandbox);
                }
            }
        }
    }
    Ok(prepared)
}

fn reclaim(policy: &str) -> serde_json::Value {
    json!({"spec": {"persistentVolumeReclaimPolicy": policy}})
}

/// The claims in the sandboxes that have volumes. Where they may not be listed (the sandbox is half made, or half gone) a
/// volume's own word has to do.
async fn live_claims(cluster: &Cluster, volumes: &Volumes) -> Claims {
    let namespaces: BTreeSet<&str> = volumes.own.iter().filter_map(claimant).collect();
    let lists = namespaces.into_iter().map(|namespace| async move {
        cluster
            .namespaced::<PersistentVolumeClaim>(namespace)
            .list(&Query::all())
            .await
    });
    let mut all = Claims::new();
    for list in join_all(lists).await {
        match list {
            Ok(list) => all.extend(claims(&list)),
            Err(error) => tracing::debug!(%error, "claims of a sandbox are not known"),
        }
    }
    all
}

/// Removes one sandbox; `None` when it is gone, else why it is not.
async fn remove_one(cluster: &Cluster, run: &RunRef, name: &str, uid: Option<&str>, limit: Instant) -> Option<String> {
    let namespaces: Objects<Namespace> = cluster.all();
    let namespace = match namespaces.get_opt(name).await {
        Ok(None) => return None,
        Ok(Some(namespace)) => namespace,
        Err(error) => return Some(error.to_string()),
    };
    if let Some(why) = run.refuses(&namespace, uid) {
        return Some(format!("not deleted, because {why}"));
    }
    let Some(uid) = namespace.metadata.uid.clone() else {
        return Some("not deleted, because it has no UID".to_owned());
    };
    if namespace.metadata.deletion_timestamp.is_none()
        && let Err(error) = namespaces.delete(name, &uid).await
    {
        return Some(error.to_string());
    }
    // No pod can be made any more. Left to the namespace controller, each would be given its own grace period, half a minute by
    // default, before anybody looks again; what ran in a sandbox has nothing left to put in order.
    if let Err(error) = delete_pods(&cluster.namespaced(name)).await {
        tracing::debug!(%error, sandbox = name, "its pods go at their own pace");
    }
    let gone = |seen: Option<&Namespace>| seen.and_then(ResourceExt::uid).as_deref() != Some(&uid);
    match namespaces.wait_for(name, limit, gone).await {
        Ok(Waited::Met(_)) => None,
        Ok(Waited::Late(last)) => Some(
            last.as_ref()
                .and_then(obstacle)
                .unwrap_or_else(|| "still being deleted".to_owned()),
        ),
        Err(error) => Some(error.to_string()),
    }
}

/// Deletes all pods of a namespace that is being deleted. The fence lets nobody delete the name server before that, and learns of it a
/// moment after we did.
async fn delete_pods(pods: &Objects<Pod>) -> Result<(), Error> {
    let deadline = Instant::now() + LEARNS_WITHIN;
    loop {
        match pods.delete_all(GRACE).await {
            Err(error) if error.is_forbidden() && Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            other => return other,
        }
    }
}

/// What keeps a namespace from going, in the namespace controller's words.
fn obstacle(namespace: &Namespace) -> Option<String> {
    let conditions = namespace.status.as_ref()?.conditions.as_ref()?;
    let said: Vec<&str> = conditions
        .iter()
        .filter(|condition| condition.status == "True" && condition.type_.starts_with("Namespace"))
        .filter_map(|condition| condition.message.as_deref())
        .collect();
    (!said.is_empty()).then(|| said.join(" "))
}

/// Waits until the volumes are gone whose claims went with the sandboxes.
pub(super) async fn wait_for_volumes(
    cluster: &Cluster,
    volumes: &[PersistentVolume],
    deadline: Instant,
    reasons: &mut Reasons,
) {
    let objects: Objects<PersistentVolume> = cluster.all();
    let waits = volumes.iter().map(|volume| {
        let objects = objects.clone();
        async move {
            let uid = volume.uid();
            let gone = |seen: Option<&PersistentVolume>| seen.and_then(ResourceExt::uid) != uid;
            let why = match objects.wait_for(&volume.name_any(), deadline, gone).await {
                Ok(Waited::Met(_)) => return None,
                Ok(Waited::Late(last)) => {
                    let status = last.and_then(|volume| volume.status).unwrap_or_default();
                    let phase = status.phase.unwrap_or_else(|| "Pending".to_owned());
                    format!(
                        "{phase}: {}",
                        status
                            .message
                            .as_deref()
                            .unwrap_or("its storage is still being deleted")
                    )
                }
                Err(error) => error.to_string(),
            };
            Some((named(volume), why))
        }
    });
    reasons.extend(join_all(waits).await.into_iter().flatten());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_controller_says_what_hangs() {
        let namespace: Namespace = serde_json::from_value(json!({"status": {"phase": "Terminating", "conditions": [
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all fine"},
            {"type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: widgets.x has 1 resource instances"},
            {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "Some content in the namespace has finalizers remaining: x/block in 1 resource instances"},
        ]}}))
        .unwrap();
        let said = obstacle(&namespace).unwrap();
        assert!(
            said.contains("widgets.x") && said.contains("x/block") && !said.contains("all fine"),
            "{said}"
        );
        assert_eq!(obstacle(&Namespace::default()), None);
    }
}
