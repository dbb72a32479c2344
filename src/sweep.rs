//! `kymaros-runner sweep`: removes what dead runs have left, once its time is up. Nothing else.
//!
//! A run is dead when no live Lease names it. A sandbox that was left on purpose goes when it expires, that of a dead run
//! `ttl` after its Lease was last renewed, or at once if no Lease says when that was and the pod that made it is gone, and any other
//! when it expires; what a dead run has left in the provider's namespace goes with its sandboxes, or at once if there are none.
//! Where the provider still writes all is left alone until the next sweep. The Lease of a dead run goes once nothing else of it is
//! left, if its test is gone as well: otherwise the test's next run has to see that a report is owed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::{Instant, sleep};

use crate::api::{self, RestoreTest};
use crate::cleanup::{self, RunRef, annotation_of, expiry, is_kept};
use crate::clock;
use crate::cluster::{Cluster, Error, Objects, Query};
use crate::lease;
use crate::names::{MANAGED_BY, PROVIDER_LOCK, annotation, label};
use crate::plan;
use crate::report::{self, TestRef};
use crate::settings::SweepSettings;

/// Something is left that should be gone.
const LEFT: u8 = 4;
/// `EX_TEMPFAIL`: the API server was not reached.
const UNAVAILABLE: u8 = 75;

/// One sweep.
pub async fn run(settings: &SweepSettings) -> ExitCode {
    let swept = async {
        let cluster = Cluster::find(settings.common.api_server.is_some(), settings.common.api_timeout).await?;
        sweep(
            &cluster,
            &settings.namespace,
            clock::now(),
            Instant::now() + settings.cleanup_timeout,
        )
        .await
    };
    match swept.await {
        Ok(swept) => {
            tracing::info!(
                removed = swept.removed,
                waiting = swept.waiting,
                left = swept.left.len(),
                "swept"
            );
            if swept.left.is_empty() {
                ExitCode::SUCCESS
            } else {
                LEFT.into()
            }
        }
        Err(error) => {
            tracing::error!(%error, "the sweep could not be made");
            UNAVAILABLE.into()
        }
    }
}

/// What a sweep did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Runs of which nothing is left.
    pub removed: usize,
    /// Runs whose time is up, but into whose sandboxes the provider still writes.
    pub waiting: usize,
    /// What could not be removed.
    pub left: Vec<String>,
}

/// Removes what is due at `now`. `own_namespace` is where the tests and their Leases are.
pub async fn sweep(
    cluster: &Cluster,
    own_namespace: &str,
    now: DateTime<Utc>,
    deadline: Instant,
) -> Result<Swept, Error> {
    let query = Query::labels(format!("{}={MANAGED_BY},{}", label::MANAGED_BY, label::RUN));
    let namespaces: Vec<Namespace> = cluster.all::<Namespace>().list(&query).await?;
    let mut swept = Swept::default();
    let mut runs = cleanup::runs_of(&namespaces);
    let providers = providers(cluster, own_namespace, &runs).await?;
    for provider in &providers {
        match cleanup::runs_in(cluster, provider).await {
            Ok(found) => {
                let new = |run: &RunRef| !namespaces.iter().any(|namespace| run.made(&namespace.metadata));
                runs.extend(found.into_iter().filter(new));
            }
            // One provider that may not be asked must not keep what is left at others.
            Err(error) => tracing::warn!(provider, %error, "what was left there is not known"),
        }
    }
    // Not before: the Lease of a run is there before anything else of it is.
    let mut leases = leases_by_run(cluster, own_namespace).await?;
    let unknown = |run: &RunRef| run.sandboxes.is_empty() && !leases.contains_key(&run.run_id);
    if runs.iter().any(unknown) {
        // Nothing says whose these are. One that lives makes its Lease again when it next renews it, if somebody has deleted it.
        sleep(lease::RENEWAL * 2).await;
        leases.extend(leases_by_run(cluster, own_namespace).await?);
    }
    for run in runs {
        let lease = leases.get(&run.run_id);
        let sandboxes = namespaces.iter().map(|namespace| &namespace.metadata);
        let sandboxes: Vec<&ObjectMeta> = sandboxes.filter(|meta| run.made(meta)).collect();
        match may_go(cluster, own_namespace, &run, &sandboxes, lease, now).await {
            Ok(May::Go) => sweep_run(cluster, &run, deadline, &mut swept).await,
            Ok(May::NotYet) => {}
            Ok(May::Wait(busy)) => {
                tracing::warn!(
                    run = run.run_id,
                    busy,
                    "left for the next sweep: the provider still writes"
                );
                swept.waiting += 1;
            }
            Err(error) => {
                tracing::warn!(run = run.run_id, %error, "left for the next sweep");
                swept.left.push(format!("run {}: {error}", run.run_id));
            }
        }
    }
    for provider in &providers {
        if let Err(error) = lease::remove_abandoned(cluster, provider, PROVIDER_LOCK, own_namespace).await {
            tracing::warn!(provider, %error, "whether a dead drill has kept its turn is not known");
        }
    }
    for lease in leases.values() {
        if let Err(error) = remove_lease(cluster, own_namespace, lease).await {
            tracing::warn!(lease = lease.metadata.name, %error, "whether it is needed any more is not known");
        }
    }
    Ok(swept)
}

/// Where runs may have left something: the namespaces of the providers that sandboxes, Leases and tests name.
async fn providers(cluster: &Cluster, own_namespace: &str, runs: &[RunRef]) -> Result<BTreeSet<String>, Error> {
    let mut found: BTreeSet<String> = runs.iter().map(|run| run.provider_namespace.clone()).collect();
    let leases: Objects<Lease> = cluster.namespaced(own_namespace);
    let noted = leases
        .list_with(&Query::all(), |lease| {
            annotation_of(&lease.metadata, annotation::PROVIDER_NAMESPACE).map(str::to_owned)
        })
        .await?;
    found.extend(noted.into_iter().flatten());
    let named = cluster
        .stored::<RestoreTest>(own_namespace)
        .list_with(&Query::all(), |test| {
            plan::stored_test(&test).0.spec.backup_source.provider_namespace
        })
        .await;
    match named {
        Ok(named) => found.extend(named),
        Err(error) => tracing::warn!(%error, "which providers the tests name is not known"),
    }
    found.retain(|namespace| !namespace.is_empty());
    Ok(found)
}

/// What becomes of what a run has left.
enum May {
    /// They are due.
    Go,
    /// Their run lives, or their time is not up.
    NotYet,
    /// The provider still writes into them; what it does.
    Wait(String),
}

async fn may_go(
    cluster: &Cluster,
    own_namespace: &str,
    run: &RunRef,
    sandboxes: &[&ObjectMeta],
    lease: Option<&Lease>,
    now: DateTime<Utc>,
) -> Result<May, Error> {
    if let Some(lease) = lease
        && !lease::is_abandoned(cluster, own_namespace, lease).await?
    {
        return Ok(May::NotYet);
    }
    let last_sign = lease.and_then(lease::last_renewal);
    for sandbox in sandboxes {
        let due = is_due(sandbox, last_sign, now)
            || last_sign.is_none()
                && is_orphan(sandbox)
                && cleanup::maker_is_gone(cluster, own_namespace, sandbox).await? == Some(true);
        if !due {
            return Ok(May::NotYet);
        }
    }
    Ok(cleanup::at_work(cluster, run).await?.map_or(May::Go, May::Wait))
}

async fn sweep_run(cluster: &Cluster, run: &RunRef, deadline: Instant, swept: &mut Swept) {
    tracing::info!(run = run.run_id, test = run.test, "sweeping");
    let outcome = cleanup::clean_up(cluster, run, deadline).await;
    if outcome.provider_writes {
        swept.waiting += 1;
    } else if outcome.is_complete() {
        swept.removed += 1;
    } else {
        swept.left.extend(outcome.left);
    }
}

/// The Leases of tests, by the run that holds them or last did.
async fn leases_by_run(cluster: &Cluster, own_namespace: &str) -> Result<BTreeMap<String, Lease>, Error> {
    let leases: Objects<Lease> = cluster.namespaced(own_namespace);
    let query = Query::labels(format!("{}={MANAGED_BY}", label::MANAGED_BY));
    let found = leases
        .list_with(&query, |lease| {
            let run = annotation_of(&lease.metadata, annotation::RUN)?.to_owned();
            Some((run, lease))
        })
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// Deletes the Lease of a dead run whose test is gone, once nothing else of that run is left. A test that is still there says no more
/// that it runs: its next run may be a long way off.
async fn remove_lease(cluster: &Cluster, own_namespace: &str, lease: &Lease) -> Result<(), Error> {
    let meta = &lease.metadata;
    let test = meta.name.as_deref().unwrap_or_default();
    if !lease::is_abandoned(cluster, own_namespace, lease).await? {
        return Ok(());
    }
    let stored = cluster.stored::<RestoreTest>(own_namespace).get_opt(test).await?;
    if let Some(stored) = stored {
        if stored.data["status"]["phase"] == "Running" {
            report::test_has_no_report(cluster, &TestRef::of(&plan::stored_test(&stored).0)).await?;
            tracing::info!(test, "its last run died, so it is not running");
        }
        return Ok(());
    }
    for run in lease::runs_of(lease) {
        // Boxed: its state is large, and is needed for a moment.
        let left = Box::pin(cleanup::audit(cluster, &RunRef::noted(test, &run))).await;
        if !left.is_empty() {
            tracing::info!(
                lease = test,
                left = left.join("; "),
                "stays while something of its run is left"
            );
            return Ok(());
        }
    }
    // As it was seen: a run of a new test of that name may have taken it.
    if cluster.namespaced::<Lease>(own_namespace).delete_version(meta).await? {
        tracing::info!(lease = test, "removed the Lease of a dead run, whose test is gone");
    }
    Ok(())
}

/// A sandbox of this program's making that nobody left on purpose.
fn is_orphan(sandbox: &ObjectMeta) -> bool {
    expiry(sandbox).is_some() && !is_kept(sandbox)
}

/// The time of a sandbox is up, whose run is dead and renewed its Lease last at `last_sign`. One that does not say when it
/// expires was not made by this program and is never due.
fn is_due(sandbox: &ObjectMeta, last_sign: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    let Some(expires_at) = expiry(sandbox) else {
        return false;
    };
    let ttl = annotation_of(sandbox, annotation::TTL).and_then(|text| text.parse::<api::Duration>().ok());
    let of_dead = match (last_sign, ttl) {
        (Some(last_sign), Some(ttl)) if !is_kept(sandbox) => TimeDelta::from_std(ttl.0)
            .ok()
            .and_then(|ttl| last_sign.checked_add_signed(ttl)),
        _ => None,
    };
    now >= of_dead.map_or(expires_at, |of_dead| of_dead.min(expires_at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-01-01T{text}:00Z").parse().unwrap()
    }

    fn sandbox(expires_at: &str, ttl: Option<&str>, kept: bool) -> ObjectMeta {
        let mut annotations = json!({"kymaros.io/expires-at": expires_at});
        if let Some(ttl) = ttl {
            annotations["kymaros.io/ttl"] = json!(ttl);
        }
        if kept {
            annotations["kymaros.io/kept"] = json!("true");
        }
        serde_json::from_value(json!({ "annotations": annotations })).unwrap()
    }

    #[test]
    fn a_sandbox_is_due_when_it_expires_or_its_dead_run_has_been_silent_for_its_ttl() {
        const NOON: &str = "2026-01-01T12:00:00Z";
        for (sandbox, last_sign, now, due) in [
            (sandbox(NOON, Some("30m"), false), None, "11:59", false),
            (sandbox(NOON, Some("30m"), false), None, "12:00", true),
            // Died at eight: due at half past.
            (sandbox(NOON, Some("30m"), false), Some("08:00"), "08:29", false),
            (sandbox(NOON, Some("30m"), false), Some("08:00"), "08:30", true),
            // The expiry is the last resort either way.
            (sandbox(NOON, Some("24h"), false), Some("11:00"), "12:00", true),
            // Left on purpose: the Lease has nothing to say any more.
            (sandbox(NOON, Some("30m"), true), Some("08:00"), "11:59", false),
            (sandbox(NOON, Some("30m"), true), Some("08:00"), "12:00", true),
            (sandbox(NOON, Some("a while"), false), Some("08:00"), "09:00", false),
            (sandbox(NOON, None, false), Some("08:00"), "09:00", false),
            // Not ours, or tampered with.
            (sandbox("soon", Some("30m"), false), Some("08:00"), "23:00", false),
        ] {
            assert_eq!(
                is_due(&sandbox, last_sign.map(at), at(now)),
                due,
                "{sandbox:?} {last_sign:?} {now}"
            );
        }
        assert!(!is_due(&ObjectMeta::default(), None, at("23:00")));
    }
}
