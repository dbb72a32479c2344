//! A Lease that is ours: renewed, annotated, made again when somebody deletes it, and given back.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::core::ObjectMeta;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Annotations, DURATION, Holder, MARGIN, RENEWAL, Request, identity, is_dead, micro};
use crate::clock;
use crate::cluster::{Cluster, Error, Objects};

/// How long the last renewal may take when the Lease is given back.
const STOPPING: Duration = Duration::from_secs(10);

/// A Lease that is ours, renewed in the background until it is given back or lost.
#[derive(Debug)]
pub struct Held {
    notes: mpsc::Sender<Note>,
    lost: watch::Receiver<bool>,
    keeper: JoinHandle<Option<Lease>>,
    leases: Objects<Lease>,
}

/// Annotations to add, and where to say that they are.
type Note = (Annotations, oneshot::Sender<bool>);

impl Held {
    pub(super) fn new(cluster: &Cluster, request: &Request<'_>, lease: Lease, renewed_at: Instant) -> Self {
        let leases: Objects<Lease> = cluster.namespaced(request.namespace);
        let (notes, inbox) = mpsc::channel(4);
        let (lost_sender, lost) = watch::channel(false);
        let keeper = Keeper {
            leases: leases.clone(),
            pods: cluster.namespaced(request.pod_namespace),
            holder: request.holder.clone(),
            lease,
            renewed_at,
        };
        Self {
            notes,
            lost,
            keeper: tokio::spawn(keeper.keep(inbox, lost_sender)),
            leases,
        }
    }

    /// Adds annotations (one that is empty is removed), so that whoever comes after this run knows of what it is about to make. `false` if the Lease is lost.
    pub async fn annotate(&self, annotations: Annotations) -> bool {
        let (done, answer) = oneshot::channel();
        self.notes.send((annotations, done)).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Returns when the Lease is lost, and never otherwise.
    pub fn lost(&self) -> impl Future<Output = ()> + use<> {
        let mut lost = self.lost.clone();
        async move {
            if lost.wait_for(|lost| *lost).await.is_err() {
                // Given back: it cannot be lost any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Is it lost?
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Stops renewing it and leaves it where it is, for whoever comes next to find.
    pub async fn leave(self) {
        self.stop().await;
    }

    /// Stops renewing it. A renewal that is under way through an outage is not waited for: it may take minutes.
    async fn stop(self) -> Option<(Objects<Lease>, Lease)> {
        drop(self.notes);
        let mut keeper = self.keeper;
        match timeout(STOPPING, &mut keeper).await {
            Ok(Ok(lease)) => Some((self.leases, lease?)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the Lease's keeper did not end well");
                None
            }
            Err(_) => {
                keeper.abort();
                tracing::warn!("the Lease is not given back: its last renewal has no answer");
                None
            }
        }
    }

    /// Gives it back. Best effort: if this fails, it expires.
    pub async fn release(self) {
        let Some((leases, lease)) = self.stop().await else {
            return;
        };
        if let Err(error) = delete(&leases, lease).await {
            tracing::warn!(%error, "the Lease could not be given back and will expire");
        }
    }
}

/// Deletes a Lease as we know it. One that was taken over is the same object with another version, and somebody else's.
async fn delete(leases: &Objects<Lease>, mut lease: Lease) -> Result<(), Error> {
    let name = lease.metadata.name.clone().unwrap_or_default();
    let holder = identity(&lease).map(str::to_owned);
    while !leases.delete_version(&lease.metadata).await? {
        match leases.get_opt(&name).await? {
            // An answer to a write of ours was lost.
            Some(current) if identity(&current) == holder.as_deref() => lease = current,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// Renews one Lease.
struct Keeper {
    leases: Objects<Lease>,
    pods: Objects<Pod>,
    holder: Holder,
    lease: Lease,
    renewed_at: Instant,
}

impl Keeper {
    /// Renews until the inbox is closed (the Lease comes back) or the Lease is lost.
    async fn keep(mut self, mut inbox: mpsc::Receiver<Note>, lost: watch::Sender<bool>) -> Option<Lease> {
        loop {
            let next = self.renewed_at + RENEWAL;
            let note = match timeout_at(next, inbox.recv()).await {
                Ok(None) => return Some(self.lease),
                Ok(Some(note)) => Some(note),
                Err(_) => None,
            };
            let mut wanted = self.lease.clone();
            if let Some((annotations, _)) = &note {
                let all = wanted.metadata.annotations.get_or_insert_default();
                all.extend(annotations.clone());
                all.retain(|_, value| !value.is_empty());
            }
            let kept = self.write(wanted).await;
            if let Some((_, done)) = note {
                // Whoever asked may have gone on.
                let _gone = done.send(kept);
            }
            if !kept {
                lost.send_replace(true);
                return None;
            }
        }
    }

    /// Writes the Lease with a new renewal time, as often as it takes; `false` once it is lost.
    async fn write(&mut self, wanted: Lease) -> bool {
        let give_up = self.renewed_at + DURATION.saturating_sub(MARGIN);
        let mut deleted = false;
        loop {
            let mut next = wanted.clone();
            // Of another object, once it was made again.
            let (known, meta) = (&self.lease.metadata, &mut next.metadata);
            meta.uid.clone_from(&known.uid);
            meta.resource_version.clone_from(&known.resource_version);
            let at = Instant::now();
            if let Some(spec) = &mut next.spec {
                spec.renew_time = micro(clock::now());
            }
            let left = give_up.saturating_duration_since(at);
            let written = async {
                if deleted {
                    self.leases.create(&again(&next)).await
                } else {
                    self.leases.replace(&next).await
                }
            };
            match timeout(left, written).await {
                Ok(Ok(lease)) => {
                    self.lease = lease;
                    self.renewed_at = at;
                    return true;
                }
                // A write of ours may have gone through although its answer was lost. One that was deleted is another conflict, for
                // its UID is not there any more.
                Ok(Err(error)) if error.is_conflict() || error.is_already_exists() || error.is_not_found() => {
                    match self.reread().await {
                        Found::Ours => deleted = false,
                        Found::Nothing if !deleted => {
                            tracing::warn!("the Lease was deleted, and is made again");
                            deleted = true;
                            continue;
                        }
                        Found::Nothing | Found::NotKnown => {}
                        Found::Others => {
                            tracing::error!("the Lease was taken by another run");
                            return false;
                        }
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be renewed, trying again"),
                Err(_) => {
                    tracing::error!("the Lease could not be renewed for too long");
                    return false;
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// What is there in place of the Lease that we knew. Deleted is not taken over; but to whom our pod is gone, they may have taken
    /// it over and given it back since.
    async fn reread(&mut self) -> Found {
        let name = self.lease.metadata.name.as_deref().unwrap_or_default();
        match self.leases.get_opt(name).await {
            Ok(Some(current)) if identity(&current) == identity(&self.lease) => {
                self.lease.metadata = current.metadata;
                Found::Ours
            }
            Ok(Some(_)) => Found::Others,
            Ok(None) => match self.pods.get_opt(&self.holder.pod).await {
                Ok(pod) if is_dead(&self.holder, pod.as_ref()) => Found::Others,
                Ok(_) => Found::Nothing,
                Err(_) => Found::NotKnown,
            },
            // The next write tells.
            Err(_) => Found::NotKnown,
        }
    }
}

/// What is there under the name of a Lease.
enum Found {
    Ours,
    /// Another run's, or what others take for nobody's.
    Others,
    Nothing,
    /// The API server could not be asked.
    NotKnown,
}

/// The same Lease as a new object.
fn again(lease: &Lease) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: lease.metadata.name.clone(),
            namespace: lease.metadata.namespace.clone(),
            labels: lease.metadata.labels.clone(),
            annotations: lease.metadata.annotations.clone(),
            ..ObjectMeta::default()
        },
        spec: lease.spec.clone(),
    }
}
