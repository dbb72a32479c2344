//! The way in: the test, its Lease, and the reports that dead runs of it owe.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::{ApiResource, DynamicObject};

use crate::api::{HealthCheckPolicy, RestoreTest};
use crate::cleanup;
use crate::clock;
use crate::cluster::{Cluster, Error, Objects, Query};
use crate::digest;
use crate::facts::{Digests, Facts, PreviousReport, Reason, Stop};
use crate::judge::record::Record;
use crate::lease::{self, Abandoned, Annotations, Asked, Held, Holder};
use crate::names::{annotation, label};
use crate::plan::{self, PlanError};
use crate::report::{self, TestRef};
use crate::run::Exit;
use crate::run::finish::{WRITING, last_resort, last_word, patiently, runner_info};
use crate::run::owed;
use crate::run::stop::Stopper;
use crate::settings::Settings;

/// The provider lock is waited for as long as the run may last; the run's own deadline ends the wait.
const LOCK_WAIT: Duration = Duration::from_hours(24);
/// What earlier runs have left delays this one by no more than this, all of it together; the rest is the sweep's.
const TIDY: Duration = Duration::from_secs(30);
/// Run ids to draw before giving up. One that is taken is one in two thousand million.
const DRAWS: usize = 5;

/// A run that may begin.
pub(super) struct Admitted {
    /// The test, read once.
    pub(super) test: RestoreTest,
    /// What of it could not be read; with any of that it is not run.
    pub(super) unreadable: Vec<PlanError>,
    /// Digests of the test and of the report before.
    pub(super) digests: Digests,
    /// Who we are.
    pub(super) holder: Holder,
    /// The Lease of the test.
    pub(super) lease: Held,
    /// The namespace of our pod.
    pod_namespace: String,
    /// The last conclusive report.
    pub(super) previous: Option<PreviousReport>,
    /// Dead runs whose reports could not be completed yet.
    pub(super) owed: Vec<Abandoned>,
}

impl Admitted {
    /// Writes notes into the Lease.
    pub(super) async fn note(&self, notes: Annotations) -> Result<(), Stop> {
        if self.lease.annotate(notes).await {
            Ok(())
        } else {
            Err(Stop::new(Reason::LeaseLost, "the Lease of this test was lost"))
        }
    }

    /// Takes the lock of a provider.
    pub(super) async fn lock(&self, cluster: &Cluster, namespace: &str, name: &str) -> Result<Held, Stop> {
        let request = lease::Request {
            namespace,
            name,
            pod_namespace: &self.pod_namespace,
            holder: &self.holder,
            annotations: Annotations::new(),
            wait: LOCK_WAIT,
        };
        match lease::ask(cluster, &request).await.map_err(super::api)? {
            Asked::Held(held, _) => Ok(*held),
            Asked::Busy(holder) => Err(Stop::new(
                Reason::QueueTimeout,
                format!("another drill ({holder}) held the provider lock"),
            )),
        }
    }
}

/// Randomness for names and choices.
pub(super) fn random() -> Result<u64, Stop> {
    getrandom::u64().map_err(|error| Stop::new(Reason::SandboxDenied, format!("no randomness: {error}")))
}

/// Reads the test and takes its Lease. The error is the exit code of a run that may not begin. A signal ends every wait: before the
/// Lease is had nothing was done, and afterwards the run begins, only to say so in its report.
pub(super) async fn admit(settings: &Settings, cluster: &Cluster, signals: &Stopper) -> Result<Admitted, Exit> {
    match signals.unless(lease_of(settings, cluster)).await {
        Ok(leased) => Ok(Box::pin(with_lease(settings, cluster, signals, leased?)).await),
        Err(stop) => {
            tracing::warn!("{} before the run began; it tested nothing", stop.message);
            last_word(&format!("{} before the run began; it tested nothing", stop.message));
            Err(Exit::Unavailable)
        }
    }
}

/// A run that has its Lease.
struct Leased {
    stored: DynamicObject,
    test: RestoreTest,
    unreadable: Vec<PlanError>,
    holder: Holder,
    lease: Held,
    owed: Vec<Abandoned>,
}

async fn lease_of(settings: &Settings, cluster: &Cluster) -> Result<Leased, Exit> {
    let namespace = &settings.pod.namespace;
    let name = &settings.test;
    let unknown = TestRef {
        name: name.clone(),
        namespace: namespace.clone(),
        uid: String::new(),
        labels: std::collections::BTreeMap::new(),
    };
    let stored = match cluster.stored::<RestoreTest>(namespace).get_opt(name).await {
        Ok(Some(stored)) => stored,
        Ok(None) => {
            let note = format!(
                "there is no RestoreTest {name:?} in namespace {namespace}; RESTORE_TEST_NAME names one in the runner's own namespace"
            );
            tracing::error!("{note}");
            warn(cluster, &unknown, "UnknownRestoreTest", &note).await;
            return Err(Exit::Usage);
        }
        Err(error) => {
            tracing::error!(%error, "the test cannot be read");
            let mut unread = DynamicObject::new(name, &ApiResource::erase::<RestoreTest>(&()));
            unread.metadata.namespace = Some(namespace.clone());
            return Err(unheard(&plan::stored_test(&unread).0, String::new(), &error));
        }
    };
    let (test, unreadable) = plan::stored_test(&stored);
    let test_ref = TestRef::of(&test);
    let run_id = free_run_id(cluster, random).await.map_err(|stop| {
        tracing::error!("{}", stop.message);
        Exit::Unavailable
    })?;
    let holder = Holder {
        run_id,
        pod: settings.pod.name.clone(),
        pod_uid: settings.pod.uid.clone(),
    };
    let notes = [
        (annotation::RUN, holder.run_id.clone()),
        (annotation::RUN_STARTED, clock::now().to_rfc3339()),
        (
            annotation::PROVIDER_NAMESPACE,
            test.spec.backup_source.provider_namespace.clone(),
        ),
    ];
    let request = lease::Request {
        namespace,
        name,
        pod_namespace: namespace,
        holder: &holder,
        annotations: notes.map(|(k, v)| (k.to_owned(), v)).into(),
        wait: settings.lease_wait,
    };
    let (lease, owed) = match lease::ask(cluster, &request).await {
        Ok(Asked::Held(lease, dead)) => (*lease, dead),
        Ok(Asked::Busy(other)) => {
            let note = format!(
                "another run of this test ({other}) was still going on after LEASE_WAIT; this one tested nothing"
            );
            tracing::warn!("{note}");
            warn(cluster, &test_ref, "Busy", &note).await;
            return Err(Exit::Unavailable);
        }
        Err(error) => {
            tracing::error!(%error, "the Lease cannot be taken");
            return Err(unheard(&test, holder.run_id, &error));
        }
    };
    Ok(Leased {
        stored,
        test,
        unreadable,
        holder,
        lease,
        owed,
    })
}

/// From here on the run has a Lease, and whatever goes wrong it has a report.
async fn with_lease(settings: &Settings, cluster: &Cluster, signals: &Stopper, leased: Leased) -> Admitted {
    let Leased {
        stored,
        test,
        unreadable,
        holder,
        lease,
        mut owed,
    } = leased;
    let test_ref = TestRef::of(&test);
    // Those who ended before it do not keep this run from its own end.
    let earlier = signals
        .unless(Box::pin(history(cluster, &lease, &test, &mut owed)))
        .await;
    let (reports, last) = earlier.unwrap_or_default();
    let noted = async {
        if !lease.annotate(lease::remembered(&owed)).await {
            tracing::warn!("the Lease was lost immediately after acquisition");
        }
        if let Err(error) = report::test_is_running(cluster, &test_ref).await {
            tracing::warn!(%error, "the test's status cannot be written");
        }
    };
    // The run's own end writes both.
    let _interrupted = signals.unless(noted).await;
    Admitted {
        previous: report::last_conclusive(&reports),
        digests: Digests {
            test: stored.data.get("spec").map(digest::of),
            policy: None,
            previous_report: last,
        },
        test,
        unreadable,
        holder,
        lease,
        pod_namespace: settings.pod.namespace.clone(),
        owed,
    }
}

/// The test's reports, once those that earlier runs owe are written, and the digest of the newest.
async fn history(
    cluster: &Cluster,
    lease: &Held,
    test: &RestoreTest,
    owed: &mut Vec<Abandoned>,
) -> (Vec<report::Brief>, Option<String>) {
    let test_ref = TestRef::of(test);
    let (namespace, name) = (&test_ref.namespace, &test_ref.name);
    let begun = tokio::time::Instant::now();
    let listed = patiently(
        || begun + WRITING,
        lease,
        async || report::list(cluster, namespace, name).await,
    );
    match listed.await {
        Ok(reports) => {
            let mut last = digest_of(cluster, namespace, report::last_finished(&reports)).await;
            owed::complete(cluster, lease, test, owed, &reports, &mut last).await;
            (reports, last)
        }
        // Not knowing which reports there are, nobody can say which are owed; the end of the run tries again.
        Err(error) => {
            tracing::warn!(%error, "earlier reports cannot be read");
            (Vec::new(), None)
        }
    }
}

/// A run that cannot even begin still says what became of it, if only in its log: no report may be written without the Lease.
fn unheard(test: &RestoreTest, run_id: String, error: &Error) -> Exit {
    let now = clock::now();
    let facts = Facts {
        run_id,
        run_started: now,
        stop: Some(super::api_ref(error)),
        ..Facts::default()
    };
    let record = Record {
        brief: Cow::Owned(plan::brief_of_invalid(test, None)),
        facts: Cow::Owned(facts),
        runner: runner_info(None),
        judged_at: now,
    };
    let (verdict, status) = record.judge();
    last_resort(&status);
    last_word(&verdict.message);
    Exit::Unavailable
}

/// An id that no sandbox has, whatever test it is of. It is drawn before anything is made, so that it is the same everywhere;
/// and a sandbox that is made all the same in the meantime is not adopted (see [`crate::fence`]).
async fn free_run_id(cluster: &Cluster, mut draw: impl FnMut() -> Result<u64, Stop>) -> Result<String, Stop> {
    let namespaces: Objects<Namespace> = cluster.all();
    for _ in 0..DRAWS {
        let id = plan::naming::run_id(draw()?.to_le_bytes());
        // Sandboxes are labelled with what their names end in, and nobody else may do either.
        let query = Query::labels(format!("{}={id}", label::RUN));
        match namespaces.list_metadata_with(&query, |found| found.metadata.name).await {
            Ok(taken) if taken.is_empty() => return Ok(id),
            Ok(taken) => tracing::warn!(run = id, ?taken, "this run id is taken, another is drawn"),
            Err(error) => {
                tracing::warn!(%error, run = id, "it is not known whether this run id is free");
                return Ok(id);
            }
        }
    }
    let message = format!("{DRAWS} run ids were drawn and all are taken: is the source of randomness sound?");
    Err(Stop::new(Reason::SandboxDenied, message))
}

/// The policy that a test names.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// `None` if the test names none, there is none of that name, or it cannot be read.
    pub(super) found: Option<HealthCheckPolicy>,
    /// What of it cannot be read.
    pub(super) unreadable: Option<PlanError>,
    /// Digest of its spec.
    pub(super) digest: Option<String>,
}

/// Reads the policy that the test names.
pub(super) async fn policy(cluster: &Cluster, test: &RestoreTest) -> Result<Policy, Error> {
    let Some(name) = &test.spec.health_checks.policy_ref else {
        return Ok(Policy::default());
    };
    let namespace = test.metadata.namespace.as_deref().unwrap_or_default();
    let Some(stored) = cluster.stored::<HealthCheckPolicy>(namespace).get_opt(name).await? else {
        return Ok(Policy::default());
    };
    let read = plan::stored_policy(&stored);
    Ok(Policy {
        digest: stored.data.get("spec").map(digest::of),
        unreadable: read.as_ref().err().cloned(),
        found: read.ok(),
    })
}

/// Digest of a report, if there is one. Best effort: a chain with a hole is better than no report.
pub(super) async fn digest_of(cluster: &Cluster, namespace: &str, report: Option<&str>) -> Option<String> {
    match report::digest(cluster, namespace, report?).await {
        Ok(digest) => digest,
        Err(error) => {
            tracing::warn!(%error, "the report before cannot be digested");
            None
        }
    }
}

/// Best effort: an Event is a courtesy.
pub(super) async fn warn(cluster: &Cluster, test: &TestRef, reason: &str, note: &str) {
    if let Err(error) = report::warn(cluster, test, reason, note, clock::now()).await {
        tracing::debug!(%error, "the Event could not be written");
    }
}

/// Removes what dead runs of this test have left. Best effort: what stays is the sweep's.
pub(super) async fn tidy(cluster: &Cluster, settings: &Settings, test: &RestoreTest, run_id: &str) {
    let name = test.metadata.name.as_deref().unwrap_or_default();
    let provider = &test.spec.backup_source.provider_namespace;
    let own = &settings.pod.namespace;
    let left = match cleanup::find_leftovers(cluster, own, name, provider, run_id, clock::now()).await {
        Ok(left) => left,
        Err(error) => {
            tracing::warn!(%error, "what dead runs have left cannot be listed");
            return;
        }
    };
    let deadline = tokio::time::Instant::now() + settings.cleanup_timeout.min(TIDY);
    for dead in &left {
        tracing::info!(run = dead.run_id, "removing what a dead run has left");
        let outcome = cleanup::clean_up(cluster, dead, deadline).await;
        if !outcome.left.is_empty() {
            tracing::warn!(
                run = dead.run_id,
                left = outcome.left.join("; "),
                "not all could be removed"
            );
        }
    }
}
