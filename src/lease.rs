//! Leases: one run of a test at a time, and one drill at a time on one provider.
//!
//! A Lease lasts five minutes and is renewed every twenty seconds; its holder stops acting half a minute before it would
//! expire, so a run outlives any outage of the API server shorter than that, and two runs never act at once. It is taken over
//! when the holder's pod is gone, replaced or finished, or when it has expired. Its annotations say what the run has made, for
//! whoever has to clean up after a dead one.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::clock;
use crate::cluster::{Cluster, Error, Objects};
use crate::names::{MANAGED_BY, annotation, label};

/// How long a Lease lasts after its last renewal.
pub const DURATION: Duration = Duration::from_mins(5);
/// Between renewals.
const RENEWAL: Duration = Duration::from_secs(20);
/// The holder stops acting so long before the Lease would expire.
const MARGIN: Duration = Duration::from_secs(30);

/// Annotations of a Lease.
pub type Annotations = BTreeMap<String, String>;

/// Who holds a Lease: a run, in a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// The run's id.
    pub run_id: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub pod_uid: String,
}

impl Holder {
    /// As `holderIdentity`.
    pub fn identity(&self) -> String {
        format!("{}/{}/{}", self.run_id, self.pod, self.pod_uid)
    }

    /// From `holderIdentity`; `None` if it is not of this program's making.
    pub fn parse(identity: &str) -> Option<Self> {
        let mut parts = identity.split('/');
        let holder = Self {
            run_id: parts.next()?.to_owned(),
            pod: parts.next()?.to_owned(),
            pod_uid: parts.next()?.to_owned(),
        };
        parts.next().is_none().then_some(holder)
    }
}

/// What came of asking for a Lease.
#[derive(Debug)]
pub enum Asked {
    /// It is ours; with what runs have left in it that did not give it back.
    Held(Box<Held>, Vec<Abandoned>),
    /// Somebody else held it all the time; who.
    Busy(String),
}

/// What a run has left in a Lease that it did not give back. It stays in the Lease until somebody has made up for the report
/// that the run may owe: whoever takes the Lease over may die as well.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Abandoned {
    /// What the holder wrote about its run.
    pub annotations: Annotations,
    /// When the holder renewed it last: its last sign of life.
    pub renewed_at: Option<DateTime<Utc>>,
}

/// Runs that a Lease remembers. More than a few die in a row only where none will ever do better.
const REMEMBERED: usize = 8;

/// What the holder of `lease` and those before it have left in it, the oldest first.
fn abandoned(lease: &Lease) -> Vec<Abandoned> {
    let mut dead = dead_before(lease);
    let mut annotations = lease.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(annotation::DEAD_RUNS);
    dead.push(Abandoned {
        annotations,
        renewed_at: lease
            .spec
            .as_ref()
            .and_then(|spec| spec.renew_time.as_ref())
            .map(from_micro),
    });
    dead.split_off(dead.len().saturating_sub(REMEMBERED))
}

/// What those before its holder have left in it.
fn dead_before(lease: &Lease) -> Vec<Abandoned> {
    let annotations = lease.metadata.annotations.as_ref();
    let noted = annotations.and_then(|all| all.get(annotation::DEAD_RUNS));
    noted
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// As an annotation of a Lease; an empty one is none.
pub fn remembered(dead: &[Abandoned]) -> Annotations {
    let text = match dead {
        [] => String::new(),
        dead => serde_json::to_string(dead).unwrap_or_default(),
    };
    Annotations::from([(annotation::DEAD_RUNS.to_owned(), text)])
}

/// How long writes that may or may not have been done are sent again.
struct Patience {
    limit: Duration,
    end: Option<Instant>,
}

impl Patience {
    fn of(cluster: &Cluster) -> Self {
        Self {
            limit: cluster.timeout(),
            end: None,
        }
    }

    /// Pauses after an error that may pass; the error when it has lasted too long, or does not pass.
    async fn bear(&mut self, error: Error) -> Result<(), Error> {
        let now = Instant::now();
        if !error.is_transient() || now >= *self.end.get_or_insert(now + self.limit) {
            return Err(error);
        }
        tracing::warn!(%error, "asking for the Lease again");
        sleep(Duration::from_secs(1)).await;
        Ok(())
    }
}

/// Where a Lease is, and for whom.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The Lease's namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The namespace of the holders' pods.
    pub pod_namespace: &'a str,
    /// Who asks.
    pub holder: &'a Holder,
    /// Annotations to begin with.
    pub annotations: Annotations,
    /// How long to wait for a Lease that is held.
    pub wait: Duration,
}

/// Asks for a Lease and waits for it. A write that failed without a refusal may have been done all the same, and shows by whose
/// name is on the Lease; so it is sent again for as long as one call may last.
pub async fn ask(cluster: &Cluster, request: &Request<'_>) -> Result<Asked, Error> {
    let leases: Objects<Lease> = cluster.namespaced(request.namespace);
    let deadline = Instant::now() + request.wait;
    let mut trouble = Patience::of(cluster);
    let mut asked_at = Instant::now();
    loop {
        let mut unanswered = None;
        let now = Instant::now();
        match leases.create(&fresh(request, clock::now())).await {
            Ok(lease) => return Ok(Asked::Held(Box::new(Held::new(leases, lease, now)), Vec::new())),
            Err(error) if error.is_already_exists() => {}
            Err(error) if error.is_transient() => {
                unanswered = Some(error);
                asked_at = now;
            }
            Err(error) => return Err(error),
        }
        let Some(current) = leases.get_opt(request.name).await? else {
            if let Some(error) = unanswered {
                trouble.bear(error).await?;
            }
            continue;
        };
        if identity(&current) == Some(request.holder.identity().as_str()) {
            // The answer to an earlier request of ours was lost.
            let dead = dead_before(&current);
            return Ok(Asked::Held(Box::new(Held::new(leases, current, asked_at)), dead));
        }
        if is_abandoned(cluster, request.pod_namespace, &current).await? {
            let dead = abandoned(&current);
            let mut taken = fresh(request, clock::now());
            taken
                .metadata
                .annotations
                .get_or_insert_default()
                .extend(remembered(&dead));
            taken
                .metadata
                .resource_version
                .clone_from(&current.metadata.resource_version);
            let transitions = current.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0);
            if let Some(spec) = &mut taken.spec {
                spec.lease_transitions = Some(transitions.saturating_add(1));
            }
            asked_at = Instant::now();
            match leases.replace(&taken).await {
                Ok(lease) => return Ok(Asked::Held(Box::new(Held::new(leases, lease, asked_at)), dead)),
                Err(error) if error.is_conflict() || error.is_not_found() => continue,
                Err(error) => {
                    trouble.bear(error).await?;
                    continue;
                }
            }
        }
        if !freed(cluster, request, &leases, &current, deadline).await? {
            return Ok(Asked::Busy(identity(&current).unwrap_or("somebody").to_owned()));
        }
        trouble.end = None;
    }
}

/// Waits until the Lease changes hands, its holder's pod ends, or it expires. `false` if nothing did by the deadline.
async fn freed(
    cluster: &Cluster,
    request: &Request<'_>,
    leases: &Objects<Lease>,
    current: &Lease,
    deadline: Instant,
) -> Result<bool, Error> {
    let holder = identity(current).map(str::to_owned);
    let pods: Objects<Pod> = cluster.namespaced(request.pod_namespace);
    let pod = holder.as_deref().and_then(Holder::parse);
    let mut lease_watch = leases.watch_one(request.name);
    let mut pod_watch = pod.as_ref().map(|holder| pods.watch_one(&holder.pod));
    loop {
        let expiry = Instant::now() + time_left(lease_watch.first().unwrap_or(current), clock::now());
        tokio::select! {
            changed = lease_watch.changed() => {
                changed?;
                if lease_watch.first().and_then(identity) != holder.as_deref() {
                    return Ok(true);
                }
            }
            changed = async { match &mut pod_watch { Some(watch) => watch.changed().await, None => std::future::pending().await } } => {
                changed?;
                let seen = pod_watch.as_ref().and_then(|watch| watch.first());
                if pod.as_ref().is_some_and(|holder| is_dead(holder, seen)) {
                    return Ok(true);
                }
            }
            () = sleep_until(expiry) => return Ok(true),
            () = sleep_until(deadline) => return Ok(false),
        }
    }
}

/// Does nobody stand behind this Lease any more?
pub async fn is_abandoned(cluster: &Cluster, pod_namespace: &str, lease: &Lease) -> Result<bool, Error> {
    if time_left(lease, clock::now()).is_zero() {
        return Ok(true);
    }
    let Some(holder) = identity(lease).and_then(Holder::parse) else {
        // Not of our making, or given back: the former is waited for until it expires.
        return Ok(identity(lease).is_none_or(str::is_empty));
    };
    let pods: Objects<Pod> = cluster.namespaced(pod_namespace);
    Ok(is_dead(&holder, pods.get_opt(&holder.pod).await?.as_ref()))
}

/// Deletes a Lease that nobody stands behind any more.
pub async fn remove_abandoned(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    pod_namespace: &str,
) -> Result<(), Error> {
    let leases: Objects<Lease> = cluster.namespaced(namespace);
    if let Some(lease) = leases.get_opt(name).await?
        && is_abandoned(cluster, pod_namespace, &lease).await?
    {
        // If it is another by now, somebody has taken it over.
        leases.delete_version(&lease.metadata).await?;
    }
    Ok(())
}

/// The holder's pod is gone, another of the same name, or has finished.
fn is_dead(holder: &Holder, pod: Option<&Pod>) -> bool {
    let Some(pod) = pod else { return true };
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    pod.metadata.uid.as_deref() != Some(&holder.pod_uid) || matches!(phase, Some("Succeeded" | "Failed"))
}

fn identity(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

/// Until the Lease expires; zero if it has.
pub fn time_left(lease: &Lease, now: DateTime<Utc>) -> Duration {
    let Some(spec) = &lease.spec else { return Duration::ZERO };
    let Some(renewed) = spec.renew_time.as_ref().map(from_micro) else {
        return Duration::ZERO;
    };
    let lasts = Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0));
    (renewed + lasts - now).to_std().unwrap_or(Duration::ZERO)
}

fn from_micro(time: &MicroTime) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.0.as_microsecond()).unwrap_or_default()
}

fn micro(time: DateTime<Utc>) -> Option<MicroTime> {
    Timestamp::from_microsecond(time.timestamp_micros()).ok().map(MicroTime)
}

fn fresh(request: &Request<'_>, now: DateTime<Utc>) -> Lease {
    let labels = BTreeMap::from([
        (label::MANAGED_BY.to_owned(), MANAGED_BY.to_owned()),
        (label::RUN.to_owned(), request.holder.run_id.clone()),
    ]);
    Lease {
        metadata: ObjectMeta {
            name: Some(request.name.to_owned()),
            namespace: Some(request.namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(request.annotations.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(request.holder.identity()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: micro(now),
            renew_time: micro(now),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

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
    fn new(leases: Objects<Lease>, lease: Lease, renewed_at: Instant) -> Self {
        let (notes, inbox) = mpsc::channel(4);
        let (lost_sender, lost) = watch::channel(false);
        let keeper = Keeper {
            leases: leases.clone(),
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
        drop(self.notes);
        if let Err(error) = self.keeper.await {
            tracing::debug!(%error, "the Lease's keeper did not end well");
        }
    }

    /// Gives it back. Best effort: if this fails, it expires.
    pub async fn release(self) {
        drop(self.notes);
        let Ok(Some(lease)) = self.keeper.await else { return };
        if let Err(error) = delete(&self.leases, lease).await {
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
        loop {
            let mut next = wanted.clone();
            next.metadata
                .resource_version
                .clone_from(&self.lease.metadata.resource_version);
            let at = Instant::now();
            if let Some(spec) = &mut next.spec {
                spec.renew_time = micro(clock::now());
            }
            let left = give_up.saturating_duration_since(at);
            match timeout(left, self.leases.replace(&next)).await {
                Ok(Ok(lease)) => {
                    self.lease = lease;
                    self.renewed_at = at;
                    return true;
                }
                // A write of ours may have gone through although its answer was lost.
                Ok(Err(error)) if error.is_conflict() => {
                    if !self.reread().await {
                        tracing::error!("the Lease was taken by another run");
                        return false;
                    }
                }
                Ok(Err(error)) if error.is_not_found() => {
                    tracing::error!("the Lease was deleted");
                    return false;
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

    /// After a conflict: is it still ours?
    async fn reread(&mut self) -> bool {
        let Some(name) = self.lease.metadata.name.clone() else {
            return false;
        };
        match self.leases.get_opt(&name).await {
            Ok(Some(current)) if identity(&current) == identity(&self.lease) => {
                self.lease.metadata.resource_version = current.metadata.resource_version;
                true
            }
            Ok(_) => false,
            // Not known yet; the next write tells.
            Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests;
