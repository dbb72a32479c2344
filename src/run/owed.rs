//! Reports that dead runs of a test owe: a run that died left none, or an empty one. The next run, which holds the Lease and so
//! knows that nobody else is at work, writes them.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::admit::digest_of;
use super::finish::{WRITING, patiently, runner_info};
use crate::api::{RestoreReportStatus, RestoreTest};
use crate::clock;
use crate::cluster::{Cluster, Error};
use crate::facts::{BackupFacts, Facts, Isolation, Reason, RestoreFacts, SandboxFacts, Stop};
use crate::judge;
use crate::judge::record::Record;
use crate::lease::{Abandoned, Annotations, Held};
use crate::names::{PROVIDER_PREFIX, annotation};
use crate::plan;
use crate::report::{self, Brief, TestRef};
use crate::velero::Restore;

/// What a report says of a run that did not come to write it.
const DIED: &str = "the runner died in mid-run, or could not write its report, which then stands in its log; this report was completed by the next run";

/// Writes the reports that the dead runs in `owed` did not come to write, and takes those out of it that owe none any more.
/// Empty reports of runs that nobody remembers are completed as well. `last` is the digest of the newest report, before and
/// after. Dropping the future loses none: what it has not come to stays in `owed`.
pub(super) async fn complete(
    cluster: &Cluster,
    lease: &Held,
    test: &RestoreTest,
    owed: &mut Vec<Abandoned>,
    reports: &[Brief],
    last: &mut Option<String>,
) {
    let namespace = test.metadata.namespace.as_deref().unwrap_or_default();
    let mut seen: Vec<String> = Vec::new();
    let mut next = 0;
    while let Some(dead) = owed.get(next) {
        let facts = facts_of(cluster, dead).await.filter(|facts| {
            !reports
                .iter()
                .any(|r| r.run_id.as_ref() == Some(&facts.run_id) && r.reference.finished)
        });
        let Some(mut facts) = facts else {
            owed.remove(next);
            continue;
        };
        facts.digests.previous_report.clone_from(last);
        match write(cluster, lease, test, &facts, reports).await {
            Ok(name) => {
                tracing::info!(report = name, run = facts.run_id, "completed the report of a dead run");
                owed.remove(next);
                *last = digest_of(cluster, namespace, Some(&name)).await;
            }
            Err(error) => {
                tracing::warn!(%error, run = facts.run_id, "the report of a dead run cannot be written");
                next += 1;
            }
        }
        seen.push(facts.run_id);
    }
    for empty in reports.iter().filter(|r| !r.reference.finished) {
        let Some(run_id) = empty.run_id.clone().filter(|id| !seen.contains(id)) else {
            continue;
        };
        let mut facts = interrupted(&run_id, &Annotations::new(), None, empty.reference.started_at, None);
        facts.digests.previous_report.clone_from(last);
        match write(cluster, lease, test, &facts, reports).await {
            Ok(name) => {
                tracing::info!(report = name, run = run_id, "completed an empty report");
                *last = digest_of(cluster, namespace, Some(&name)).await;
            }
            Err(error) => tracing::warn!(%error, run = run_id, "an empty report cannot be completed"),
        }
    }
}

/// Into the empty report of the run, if there is one.
async fn write(
    cluster: &Cluster,
    lease: &Held,
    test: &RestoreTest,
    facts: &Facts,
    reports: &[Brief],
) -> Result<String, Error> {
    let test_ref = TestRef::of(test);
    let status = judged(test, facts);
    let empty = reports
        .iter()
        .find(|r| r.run_id.as_ref() == Some(&facts.run_id) && !r.reference.finished);
    let started_at = judge::status::started_at(facts);
    let begun = Instant::now();
    patiently(
        || begun + WRITING,
        lease,
        async || match empty {
            Some(empty) => {
                let name = &empty.reference.name;
                report::fill(cluster, &test_ref.namespace, name, &status).await?;
                Ok(name.clone())
            }
            None => report::write(cluster, &test_ref, &facts.run_id, started_at, &status).await,
        },
    )
    .await
}

fn judged(test: &RestoreTest, facts: &Facts) -> RestoreReportStatus {
    let record = Record {
        brief: Cow::Owned(plan::brief_of_invalid(test, None)),
        facts: Cow::Borrowed(facts),
        runner: runner_info(None),
        judged_at: clock::now(),
    };
    record.judge().1
}

/// What is known of a dead run; `None` if its Lease does not even say which run it was.
async fn facts_of(cluster: &Cluster, dead: &Abandoned) -> Option<Facts> {
    let note = |key: &str| dead.annotations.get(key);
    let run_id = note(annotation::RUN)?;
    let time = |key: &str| {
        note(key)
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .map(|time| time.to_utc())
    };
    // One that died right after it had asked for the restore did not come to note it.
    let created = match (time(annotation::STARTED_AT), note(annotation::PROVIDER_NAMESPACE)) {
        (None, Some(provider)) => restore_created(cluster, provider, run_id).await,
        (noted, _) => noted,
    };
    let began = time(annotation::RUN_STARTED)
        .or(dead.renewed_at)
        .unwrap_or_else(clock::now);
    Some(interrupted(run_id, &dead.annotations, dead.renewed_at, began, created))
}

/// When the Restore of a run was made, if it is there.
async fn restore_created(cluster: &Cluster, provider: &str, run_id: &str) -> Option<DateTime<Utc>> {
    let name = format!("{PROVIDER_PREFIX}{run_id}");
    match cluster.namespaced::<Restore>(provider).get_opt(&name).await {
        Ok(found) => found?
            .metadata
            .creation_timestamp
            .as_ref()
            .map(crate::api::time::from_time),
        Err(error) => {
            tracing::debug!(%error, "whether a dead run had come to its restore is not known");
            None
        }
    }
}

fn interrupted(
    run_id: &str,
    notes: &Annotations,
    last_sign: Option<DateTime<Utc>>,
    run_started: DateTime<Utc>,
    restore_created: Option<DateTime<Utc>>,
) -> Facts {
    let sandboxes = notes.get(annotation::SANDBOXES).map(String::as_str).unwrap_or_default();
    let pairs = sandboxes.split(',').filter_map(|pair| pair.split_once('='));
    Facts {
        run_id: run_id.to_owned(),
        run_started,
        stop: Some(Stop::new(Reason::Interrupted, DIED)),
        backup: notes.get(annotation::BACKUP).map(|name| BackupFacts {
            name: name.clone(),
            ..BackupFacts::default()
        }),
        sandboxes: pairs
            .map(|(source, name)| SandboxFacts {
                source: source.to_owned(),
                name: name.to_owned(),
                uid: String::new(),
            })
            .collect(),
        isolation: match restore_created {
            // It was proved, or the test could do without; nobody knows any more.
            Some(_) => Isolation::NotTested("what its proof showed died with the run".to_owned()),
            None => Isolation::NotReached,
        },
        died_at: last_sign,
        elapsed: restore_created
            .zip(last_sign)
            .and_then(|(created, last)| (last - created).to_std().ok()),
        restore: restore_created.map(|created_at| RestoreFacts {
            name: format!("{PROVIDER_PREFIX}{run_id}"),
            created_at,
            phase: "not known".to_owned(),
            ..RestoreFacts::default()
        }),
        ..Facts::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_report_of_a_dead_run_says_what_its_lease_said() {
        let notes = Annotations::from([
            (annotation::BACKUP.to_owned(), "shop-1".to_owned()),
            (
                annotation::SANDBOXES.to_owned(),
                "shop=a-kymaros-abc123,infra=b-kymaros-abc123".to_owned(),
            ),
        ]);
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let last = at + Duration::from_secs(90);
        let facts = interrupted("abc123", &notes, Some(last), at, Some(at));
        let verdict = judge::judge(&judge_brief(), &facts);
        assert_eq!(
            (verdict.score, verdict.conclusive, verdict.reason.as_str()),
            (0, false, "Interrupted")
        );
        let tomorrow = at + Duration::from_hours(24);
        let status = judge::status::status(&judge_brief(), &facts, &verdict, runner_info(None), tomorrow);
        assert_eq!(status.backup.unwrap().name, "shop-1");
        assert_eq!(status.sandboxes, ["a-kymaros-abc123", "b-kymaros-abc123"]);
        assert_eq!(status.started_at, Some(crate::api::time::to_time(at)));
        // It ended when it was last heard of, not when somebody found out.
        let last_sign = last;
        let last = crate::api::time::to_time(last);
        assert_eq!(status.completed_at, Some(last.clone()));
        assert_eq!(status.rto.unwrap().measured.to_string(), "1m30s");
        let isolated = crate::api::conditions::find(&status.conditions, crate::names::condition::SANDBOX_ISOLATED);
        assert_eq!(isolated.unwrap().status, "Unknown");

        let early = interrupted("abc123", &notes, Some(last_sign), at, None);
        let verdict = judge::judge(&judge_brief(), &early);
        let status = judge::status::status(&judge_brief(), &early, &verdict, runner_info(None), tomorrow);
        assert_eq!((status.completed_at, status.rto), (Some(last), None));
    }

    fn judge_brief() -> crate::facts::Brief {
        crate::facts::Brief::default()
    }
}
