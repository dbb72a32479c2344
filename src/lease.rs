//! Leases: one run of a test at a time, and one drill at a time on one provider.
//!
//! A Lease lasts five minutes and is renewed every twenty seconds; its holder stops acting half a minute before it would
//! expire, so a run outlives any outage of the API server shorter than that, and two runs never act at once. It is taken over
//! when the holder's pod is gone, replaced or finished, or when it has expired (see [`expiry`]). One that somebody deletes is made
//! again by its holder. Its annotations say what the run has made, for whoever has to clean up after a dead one.

mod expiry;
mod held;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock;
use crate::cluster::{Cluster, Error, Objects, Waited};
use crate::names::{MANAGED_BY, annotation, label};
pub use expiry::LONGEST;
use expiry::{Says, Watched, lasts, says};
pub use held::Held;

/// How long a Lease lasts after its last renewal.
pub const DURATION: Duration = Duration::from_mins(5);
/// Between renewals.
pub(crate) const RENEWAL: Duration = Duration::from_secs(20);
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
    /// When the holder renewed it last: its last sign of life. `None` where the Lease said a time that cannot be believed.
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
        renewed_at: last_renewal(lease),
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

/// What the holder of `lease` and those before it wrote about their runs.
pub fn runs_of(lease: &Lease) -> Vec<Annotations> {
    let notes = abandoned(lease).into_iter().map(|dead| dead.annotations);
    notes.filter(|notes| notes.contains_key(annotation::RUN)).collect()
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
    let mut watched: Option<Watched> = None;
    loop {
        let mut unanswered = None;
        let now = Instant::now();
        match leases.create(&fresh(request, clock::now())).await {
            Ok(lease) => {
                return Ok(Asked::Held(
                    Box::new(Held::new(cluster, request, lease, now)),
                    Vec::new(),
                ));
            }
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
            return Ok(Asked::Held(
                Box::new(Held::new(cluster, request, current, asked_at)),
                dead,
            ));
        }
        let watched = watched.get_or_insert_with(|| Watched::new(&current));
        watched.look(&current);
        if watched.end(&current) <= Instant::now()
            || holder_is_dead(cluster, request.pod_namespace, &current).await? == Some(true)
        {
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
                Ok(lease) => {
                    return Ok(Asked::Held(
                        Box::new(Held::new(cluster, request, lease, asked_at)),
                        dead,
                    ));
                }
                Err(error) if error.is_conflict() || error.is_not_found() => continue,
                Err(error) => {
                    trouble.bear(error).await?;
                    continue;
                }
            }
        }
        if !freed(cluster, request, &leases, &current, watched, deadline).await? {
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
    watched: &mut Watched,
    deadline: Instant,
) -> Result<bool, Error> {
    let holder = identity(current).map(str::to_owned);
    let pods: Objects<Pod> = cluster.namespaced(request.pod_namespace);
    let pod = holder.as_deref().and_then(Holder::parse);
    let mut lease_watch = leases.watch_one(request.name);
    let mut pod_watch = pod.as_ref().map(|holder| pods.watch_one(&holder.pod));
    loop {
        let seen = lease_watch.first().unwrap_or(current);
        watched.look(seen);
        let end = watched.end(seen);
        let deadline = watched.patience(seen, clock::now(), deadline);
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
            () = sleep_until(end.min(deadline)) => return Ok(end <= deadline),
        }
    }
}

/// Does nobody stand behind this Lease any more? A holder whose pod lives, or that has none, is watched for as long as the Lease lasts
/// before it is called dead: its renewal time may be by a clock that is wrong.
pub async fn is_abandoned(cluster: &Cluster, pod_namespace: &str, lease: &Lease) -> Result<bool, Error> {
    let dead = holder_is_dead(cluster, pod_namespace, lease).await?;
    match (dead, says(lease, clock::now())) {
        (Some(true), _) | (None, Says::Nothing) => Ok(true),
        (_, Says::Over) => is_silent(cluster, lease).await,
        (Some(false), _) | (None, Says::Lasts(_)) => Ok(false),
    }
}

/// Is it not renewed while it is watched for as long as it lasts?
async fn is_silent(cluster: &Cluster, lease: &Lease) -> Result<bool, Error> {
    let namespace = lease.metadata.namespace.as_deref().unwrap_or_default();
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    let leases: Objects<Lease> = cluster.namespaced(namespace);
    let renewed = |seen: Option<&Lease>| seen.is_none_or(|seen| seen.spec != lease.spec);
    Ok(
        match leases.wait_for(name, Instant::now() + lasts(lease), renewed).await? {
            Waited::Met(seen) => seen.is_none(),
            Waited::Late(_) => true,
        },
    )
}

/// Is the holder dead? `None` if it is none of this program's making, whose pod could be looked at. One that was given back has none.
async fn holder_is_dead(cluster: &Cluster, pod_namespace: &str, lease: &Lease) -> Result<Option<bool>, Error> {
    match identity(lease) {
        None | Some("") => Ok(Some(true)),
        Some(identity) => is_gone(cluster, pod_namespace, identity).await,
    }
}

/// Is the pod gone that this identity names, or has it ended? `None` if it names none.
pub async fn is_gone(cluster: &Cluster, pod_namespace: &str, identity: &str) -> Result<Option<bool>, Error> {
    let Some(holder) = Holder::parse(identity) else {
        return Ok(None);
    };
    let pods: Objects<Pod> = cluster.namespaced(pod_namespace);
    Ok(Some(is_dead(&holder, pods.get_opt(&holder.pod).await?.as_ref())))
}

/// When a Lease was last renewed; `None` if that is not known, or a time that cannot be believed.
pub fn last_renewal(lease: &Lease) -> Option<DateTime<Utc>> {
    expiry::last_renewal(lease, clock::now())
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

#[cfg(test)]
mod tests;
