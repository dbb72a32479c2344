//! The way out: verdict, report, the test's status, clean-up, pruning. In this order, so that a crash in clean-up loses no
//! verdict, and each step happens whatever became of the one before.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tokio::time::{Instant, sleep, timeout};

use super::{Run, until};
use crate::api::{Condition, RestoreReportStatus, RunnerInfo, conditions};
use crate::cleanup::{self, RunRef};
use crate::clock;
use crate::cluster::{Cluster, Error};
use crate::facts::{Isolation, Reason, SandboxFacts};
use crate::judge::record::{self, Record};
use crate::judge::{self, Verdict};
use crate::lease::Held;
use crate::names::condition;
use crate::plan;
use crate::report::{self, Ended};
use crate::run::admit::warn;
use crate::run::stop::Stopper;

/// How long a report is tried to be written through an outage of the API server; no longer than the Lease can last.
pub(super) const WRITING: Duration = Duration::from_mins(5);
/// Kubernetes kills a pod 120 s after it has told it to stop. So long after that the clean-up ends, and leaves the rest to the
/// sweep; its outcome has to be written yet.
const GRACE: Duration = Duration::from_secs(100);
/// A clean-up that ends by its deadline takes no longer than this to say what is left; it gives the provider five seconds of its own.
const LATEST: Duration = Duration::from_secs(10);
/// So long after the signal the report is given up, so that there is time to clean up.
const WRITING_IN_GRACE: Duration = Duration::from_secs(45);
/// Where the kubelet looks for a pod's last word.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// How a run ends, as an exit code. The first that applies counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// The environment is wrong, or there is no such test.
    Usage,
    /// Busy, or the API server was not reached before a report could be written.
    Unavailable,
    /// Nothing was found out about the backup.
    NotJudged,
    /// The verdict is one that `FAIL_JOB_ON` refuses.
    Refused,
    /// Something is left in the cluster.
    Left,
    /// All is well.
    Accepted,
}

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::Unavailable => 75,
            Self::NotJudged => 3,
            Self::Refused => 2,
            Self::Left => 4,
            Self::Accepted => 0,
        }
    }
}

/// Which runner wrote a report.
pub(super) fn runner_info(image: Option<String>) -> RunnerInfo {
    RunnerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        image,
    }
}

/// Ends a run.
pub(super) async fn finish(mut run: Run<'_>, stopper: &Stopper) -> Exit {
    let (verdict, mut status) = judged(&run);
    if verdict.stop.as_ref().is_some_and(|s| s.reason == Reason::LeaseLost) || run.admitted.lease.is_lost() {
        last_resort(&status);
        last_word(&verdict.message);
        return Exit::NotJudged;
    }

    let report = write(&run, &status, stopper).await;
    let ended_by = Instant::now();
    // Another run may have begun by now: what this one has left is that one's to remove.
    if run.admitted.lease.is_lost() {
        last_word(&verdict.message);
        return exit(&run, &verdict, report.is_err(), true);
    }
    if let Ok(report) = &report {
        tracing::info!(report, score = verdict.score, result = ?verdict.outcome, conclusive = verdict.conclusive, "report written");
        if let Err(error) = test_status(&run, report, &status, &verdict).await {
            tracing::warn!(%error, "the test's status could not be written");
        }
    } else if stopper.told_at().is_none()
        // There is no time for more than a try of the report then.
        && let Err(error) = report::test_has_no_report(run.cluster, &run.test_ref).await
    {
        tracing::warn!(%error, "the test's status could not be written");
    }

    let cleaned = clean_up(&run, &verdict, stopper).await;
    give_lock_back(&mut run).await;
    let left = cleaned.status != "True" && cleaned.reason != "Kept";
    if run.admitted.lease.is_lost() {
        last_word(&verdict.message);
        return exit(&run, &verdict, report.is_err(), left);
    }
    if let Ok(report) = &report {
        conditions::set(&mut status.conditions, cleaned);
        let namespace = &run.test_ref.namespace;
        if let Err(error) = report::set_conditions(run.cluster, namespace, report, &status.conditions).await {
            tracing::warn!(%error, "the outcome of the clean-up could not be written into the report");
        }
    }
    if let Ok(report) = &report {
        prune(&run, report).await;
    }
    tracing::info!(seconds = ended_by.elapsed().as_secs_f32(), "cleaned up");
    last_word(&verdict.message);
    // The last line of the log is what a person needs who sees nothing else.
    tracing::info!(score = verdict.score, reason = verdict.reason, "{}", verdict.message);
    exit(&run, &verdict, report.is_err(), left)
}

fn exit(run: &Run<'_>, verdict: &Verdict, unwritten: bool, left: bool) -> Exit {
    if unwritten {
        Exit::Unavailable
    } else if !verdict.conclusive {
        Exit::NotJudged
    } else if run.refuses(verdict.outcome) {
        Exit::Refused
    } else if left {
        Exit::Left
    } else {
        Exit::Accepted
    }
}

/// The provider lock goes back once nothing of this run is under way at the provider. Otherwise it stays with this pod's name on it:
/// whoever takes it over when the pod has ended waits until the provider is idle.
async fn give_lock_back(run: &mut Run<'_>) {
    let Some(lock) = run.lock.take() else { return };
    match cleanup::at_work(run.cluster, &own(run)).await {
        Ok(None) => lock.release().await,
        Ok(Some(busy)) => {
            tracing::warn!(busy, "the provider lock is left where it is: the provider still writes");
            lock.leave().await;
        }
        Err(error) => {
            tracing::warn!(%error, "the provider lock is left where it is: whether the provider still writes is not known");
            lock.leave().await;
        }
    }
}

/// What this run has made.
fn own(run: &Run<'_>) -> RunRef {
    RunRef {
        run_id: run.facts.run_id.clone(),
        test: run.test_ref.name.clone(),
        provider_namespace: run.admitted.test.spec.backup_source.provider_namespace.clone(),
        sandboxes: to_remove(&run.facts.sandboxes, &run.announced),
    }
}

/// Writes the report, through an outage of the API server if need be.
async fn write(run: &Run<'_>, status: &RestoreReportStatus, stopper: &Stopper) -> Result<String, Error> {
    let begun = Instant::now();
    // A signal may come while it is tried.
    let end = || {
        stopper
            .told_at()
            .map_or(begun + WRITING, |told| told + WRITING_IN_GRACE)
    };
    let started_at = judge::status::started_at(&run.facts);
    let written = patiently(end, &run.admitted.lease, async || {
        report::write(run.cluster, &run.test_ref, &run.facts.run_id, started_at, status).await
    });
    written.await.inspect_err(|error| {
        tracing::error!(%error, "the report could not be written; it stands in the next line");
        last_resort(status);
    })
}

/// Tries until `end` through an outage of the API server what must not be given up after one call's limit, for as long as the
/// Lease is ours.
pub(super) async fn patiently<T>(
    end: impl Fn() -> Instant,
    lease: &Held,
    attempt: impl AsyncFn() -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        match attempt().await {
            Err(error) if error.is_transient() && Instant::now() < end() && !lease.is_lost() => {
                tracing::warn!(%error, "no success yet, trying again");
                sleep(Duration::from_secs(2)).await;
            }
            other => return other,
        }
    }
}

fn judged(run: &Run<'_>) -> (Verdict, RestoreReportStatus) {
    let record = Record {
        brief: Cow::Borrowed(&run.brief),
        facts: Cow::Borrowed(&run.facts),
        runner: runner_info(run.image.clone()),
        judged_at: clock::now(),
    };
    log(&record);
    record.judge()
}

/// For replaying the verdict. It can be large, so it is made only if somebody wants it.
fn log(record: &Record<'_>) {
    if !tracing::enabled!(target: record::TARGET, tracing::Level::DEBUG) {
        return;
    }
    match serde_json::to_string(record) {
        Ok(json) => tracing::debug!(target: record::TARGET, record = json, "facts"),
        Err(error) => tracing::warn!(%error, "the facts cannot be printed"),
    }
}

/// A report that cannot be written is not lost: it goes to the log as one line.
pub(super) fn last_resort(status: &RestoreReportStatus) {
    match serde_json::to_string(status) {
        Ok(json) => tracing::error!(target: "kymaros_runner::report", report = json, "report"),
        Err(error) => tracing::error!(%error, "the report cannot be printed either"),
    }
}

/// What `kubectl describe pod` shows of a finished run. Outside a pod there is no such file.
pub(super) fn last_word(message: &str) {
    let word = crate::api::limits::cut(message, 1000);
    if let Err(error) = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(TERMINATION_LOG)
        .and_then(|mut file| {
            use std::io::Write as _;
            file.write_all(word.as_bytes())
        })
    {
        tracing::debug!(%error, "no termination message");
    }
}

async fn test_status(
    run: &Run<'_>,
    report: &str,
    status: &RestoreReportStatus,
    verdict: &Verdict,
) -> Result<(), Error> {
    let now = clock::now();
    let invalid = verdict.stop.as_ref().filter(|s| s.reason == Reason::InvalidSpec);
    let ready = match invalid {
        Some(stop) => Some(conditions::build(
            condition::READY,
            false,
            "InvalidSpec",
            &stop.message,
            now,
        )),
        None if run.test.is_some() => {
            let message = "the last run found nothing wrong with the spec";
            Some(conditions::build(condition::READY, true, "Valid", message, now))
        }
        // The run ended before it looked, so what an earlier one found still stands.
        None => None,
    };
    let scheduled = scheduled(run.cluster, run).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the CronJob of this run cannot be read");
        None
    });
    let schedule = run.admitted.test.spec.schedule.as_ref().and_then(plan::schedule);
    let ended = Ended {
        report,
        status,
        generation: run.admitted.test.metadata.generation,
        next_run: schedule.and_then(|schedule| schedule.next_after(now)),
        conditions: ready.into_iter().chain(scheduled).collect(),
    };
    report::test_has_ended(run.cluster, &run.test_ref, &ended).await
}

/// Does the `CronJob` behind this run say what the test says? `None` for a test without a schedule, or a run that no `CronJob`
/// made.
async fn scheduled(cluster: &Cluster, run: &Run<'_>) -> Result<Option<Condition>, Error> {
    let Some(schedule) = &run.admitted.test.spec.schedule else {
        return Ok(None);
    };
    let namespace = &run.settings.pod.namespace;
    let owner = |owners: Option<Vec<OwnerReference>>, kind: &str| {
        owners.into_iter().flatten().find(|o| o.kind == kind).map(|o| o.name)
    };
    let pod: Option<Pod> = cluster.namespaced(namespace).get_opt(&run.settings.pod.name).await?;
    let Some(job) = pod.and_then(|p| owner(p.metadata.owner_references, "Job")) else {
        return Ok(None);
    };
    let job: Option<Job> = cluster.namespaced(namespace).get_opt(&job).await?;
    let Some(name) = job.and_then(|j| owner(j.metadata.owner_references, "CronJob")) else {
        return Ok(None);
    };
    let cron_job: Option<CronJob> = cluster.namespaced(namespace).get_opt(&name).await?;
    let Some(spec) = cron_job.and_then(|c| c.spec) else {
        return Ok(None);
    };
    let zone = spec.time_zone.as_deref().unwrap_or_default();
    let now = clock::now();
    if spec.suspend == Some(true) {
        let message = format!("CronJob {name} is suspended");
        return Ok(Some(conditions::build(
            condition::SCHEDULED,
            false,
            "Suspended",
            &message,
            now,
        )));
    }
    let same = spec.schedule == schedule.cron && zone == schedule.timezone;
    let message = if same {
        format!("CronJob {name} runs it")
    } else {
        format!(
            "CronJob {name} says {:?} in {zone:?}, the test says {:?} in {:?}; apply the kustomization again",
            spec.schedule, schedule.cron, schedule.timezone
        )
    };
    let reason = if same { "CronJobAgrees" } else { "CronJobDiffers" };
    Ok(Some(conditions::build(
        condition::SCHEDULED,
        same,
        reason,
        &message,
        now,
    )))
}

/// Removes what the run has made; the condition says what is left.
async fn clean_up(run: &Run<'_>, verdict: &Verdict, stopper: &Stopper) -> Condition {
    if run.test.is_none() {
        // Not even the provider was asked; where its namespace is wrong there would be nothing to ask.
        let message = "nothing was made";
        return conditions::build(condition::SANDBOX_CLEANED_UP, true, "CleanedUp", message, clock::now());
    }
    let made = &run.facts.sandboxes;
    let own = own(run);
    let limit = Instant::now() + run.settings.cleanup_timeout;
    let deadline = stopper.told_at().map_or(limit, |told| limit.min(told + GRACE));
    let keep = run.admitted.test.spec.sandbox.keep_failed_for;
    let work = async {
        if keeps(run, verdict) {
            return Cleaned::Kept(cleanup::keep(run.cluster, &own, keep.0, deadline).await);
        }
        Cleaned::Removed(cleanup::clean_up(run.cluster, &own, deadline).await)
    };
    let cleaned = tokio::select! {
        cleaned = timeout(until(deadline, Duration::ZERO) + LATEST, work) => cleaned.ok(),
        // Told to stop only now: the kubelet's patience ends before ours.
        () = async { stopper.signal().await; sleep(GRACE).await } => None,
        () = run.admitted.lease.lost() => None,
    };
    let left = match cleaned {
        Some(Cleaned::Kept(writes)) => {
            let names: Vec<&str> = made.iter().map(|s| s.name.as_str()).collect();
            let mut message = format!("kept for {keep} by sandbox.keepFailedFor: {}", names.join(", "));
            if let Some(writes) = writes {
                message = format!("{message}; {writes}");
            }
            return conditions::build(condition::SANDBOX_CLEANED_UP, false, "Kept", &message, clock::now());
        }
        Some(Cleaned::Removed(outcome)) if outcome.left.is_empty() => {
            let message = "nothing is left";
            return conditions::build(condition::SANDBOX_CLEANED_UP, true, "CleanedUp", message, clock::now());
        }
        Some(Cleaned::Removed(outcome)) => outcome.left.join("; "),
        None => "clean-up did not end in time".to_owned(),
    };
    // The run is over, and with it goes the Lease that would say when it ended; unless another has it by now.
    if !run.admitted.lease.is_lost() {
        cleanup::expire(run.cluster, &own, clock::now() + run.admitted.test.spec.sandbox.ttl.0).await;
    }
    let message = format!("left for the next run or the sweep: {left}");
    tracing::warn!("{message}");
    conditions::build(condition::SANDBOX_CLEANED_UP, false, "Left", &message, clock::now())
}

/// Are the sandboxes left for debugging? Never where isolation does not hold: they are copies of production.
fn keeps(run: &Run<'_>, verdict: &Verdict) -> bool {
    let open = matches!(run.facts.isolation, Isolation::Breached(_))
        || verdict
            .stop
            .as_ref()
            .is_some_and(|stop| stop.reason == Reason::IsolationNotEnforced);
    let wanted = run.admitted.test.spec.sandbox.keep_failed_for.0 > Duration::ZERO;
    wanted && !open && run.facts.restore.is_some() && !judge::status::is_pass(verdict)
}

/// What became of what the run had made.
enum Cleaned {
    /// The sandboxes stay for a while; and what the provider still writes into them, if anything.
    Kept(Option<String>),
    Removed(cleanup::CleanUp),
}

/// The sandboxes of a run, by name and UID. One that was stopped while it made them does not know of all, but it has announced
/// them; those are known by their labels.
fn to_remove(made: &[SandboxFacts], announced: &[(String, String)]) -> Vec<(String, Option<String>)> {
    let unknown = announced
        .iter()
        .map(|(_, name)| name)
        .filter(|name| !made.iter().any(|sandbox| sandbox.name == **name));
    made.iter()
        .map(|sandbox| (sandbox.name.clone(), Some(sandbox.uid.clone())))
        .chain(unknown.map(|name| (name.clone(), None)))
        .collect()
}

async fn prune(run: &Run<'_>, report: &str) {
    if !run.admitted.unreadable.is_empty() {
        tracing::warn!("the test cannot be read, so nobody knows how many reports it wants kept: none is deleted");
        return;
    }
    match report::prune(run.cluster, &run.test_ref, run.admitted.test.spec.history_limit, report).await {
        Ok(0) => {}
        Ok(gone) => tracing::info!(reports = gone, "pruned"),
        Err(error) => {
            let note = format!("old reports could not be pruned: {error}");
            tracing::warn!("{note}");
            warn(run.cluster, &run.test_ref, "PruneFailed", &note).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, SandboxFacts, to_remove};

    #[test]
    fn a_sandbox_that_was_announced_is_removed_though_nobody_saw_it_made() {
        let announced = [("shop", "a"), ("db", "b")].map(|(source, name)| (source.to_owned(), name.to_owned()));
        let made = [SandboxFacts {
            source: "db".to_owned(),
            name: "b".to_owned(),
            uid: "u-1".to_owned(),
        }];
        let expected = [("b", Some("u-1")), ("a", None)].map(|(name, uid)| (name.to_owned(), uid.map(str::to_owned)));
        assert_eq!(to_remove(&made, &announced), expected);
        assert!(to_remove(&[], &[]).is_empty());
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let codes = [
            Exit::Accepted,
            Exit::Refused,
            Exit::NotJudged,
            Exit::Left,
            Exit::Usage,
            Exit::Unavailable,
        ]
        .map(Exit::code);
        assert_eq!(codes, [0, 2, 3, 4, 64, 75]);
    }
}
