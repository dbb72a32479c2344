//! `podStatus`: enough pods of the sandbox are ready, or become so in time.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{Event, Pod};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Context, Verdict, locate, pods};
use crate::api::{Check, PodStatusCheck};
use crate::clock;
use crate::cluster::Query;
use crate::observe::{PodState, Warning, Warnings};

/// How long a pod that was restarted must stay ready to count: one that crashes over and over is ready in between.
const STEADY: Duration = Duration::from_secs(10);
/// How long events may take that only make a failure's cause clearer.
const EVENTS: Duration = Duration::from_secs(5);

/// Runs the check.
pub(super) async fn run(context: &Context<'_>, check: &Check, spec: &PodStatusCheck) -> Verdict {
    let deadline = Instant::now() + spec.timeout.0;
    let sandbox = locate::by_pods(context, check.namespace.as_deref(), &spec.label_selector).await?;
    let query = Query::labels(pods::selector(&spec.label_selector));
    let mut watch = context.cluster.namespaced::<Pod>(&sandbox.name).watch(&query);
    let needed = usize::try_from(spec.min_ready).unwrap_or(usize::MAX);
    let mut tally = Tally::default();
    // Since when enough pods are ready, and how often they had been restarted by then.
    let mut held: Option<(Instant, u32)> = None;
    loop {
        let until = held.map_or(deadline, |(since, _)| deadline.min(since + STEADY));
        match timeout_at(until, watch.changed()).await {
            Ok(Ok(())) => tally = Tally::of(watch.objects().cloned(), needed, clock::now()),
            Ok(Err(error)) => return Err(context.told(&error)),
            Err(_) if tally.is_enough() => return Ok(tally.to_string()),
            Err(_) => match watch.trouble() {
                Some(trouble) => return Err(context.told(trouble)),
                None if watch.is_known() => {
                    // A watch that says nothing may have died.
                    let now = pods::list(context, &sandbox.name, &spec.label_selector).await;
                    let now = now.map_err(|error| context.told(&error))?;
                    tally = Tally::of(now.into_iter(), needed, clock::now());
                    if tally.is_enough() {
                        return Ok(tally.to_string());
                    }
                    break;
                }
                None => {
                    let message = format!("pods could not be listed within {}", spec.timeout);
                    context.not_answered(&message);
                    return Err(message);
                }
            },
        }
        if tally.steady >= needed {
            return Ok(tally.to_string());
        }
        let restarts = tally.restarts();
        held = held
            .filter(|(_, before)| *before == restarts)
            .or(Some((Instant::now(), restarts)))
            .filter(|_| tally.is_enough());
        context.note(Some(tally.to_string()));
        if tally.is_hopeless() {
            break;
        }
    }
    let warnings = timeout(EVENTS, warnings(context, &sandbox.name))
        .await
        .unwrap_or_default();
    Err(tally.explain(&warnings, &spec.label_selector, spec.timeout))
}

/// What the Warnings of a sandbox tell about its pods. Without them a cause is less clear, and that is all.
async fn warnings(context: &Context<'_>, sandbox: &str) -> Warnings {
    let events = context.cluster.namespaced::<Event>(sandbox);
    let listed = events
        .list_with(&Query::all().fields("type=Warning"), |event| Warning::of(&event))
        .await;
    listed.unwrap_or_default().into_iter().flatten().collect()
}

/// The pods that were asked for, as they stand.
#[derive(Default)]
struct Tally {
    needed: usize,
    ready: usize,
    /// Ready, and either never restarted or ready for some time.
    steady: usize,
    /// Neither ended nor on their way out, by name.
    live: Vec<PodState>,
    /// Ended badly.
    failed: Vec<PodState>,
}

impl Tally {
    fn of(pods: impl Iterator<Item = Pod>, needed: usize, now: DateTime<Utc>) -> Self {
        let mut tally = Self {
            needed,
            ..Self::default()
        };
        for pod in pods {
            let since = pods::ready_since(&pod);
            let pod = PodState::from(pod);
            if pod.is_live() {
                let long =
                    since.is_some_and(|since| now.signed_duration_since(since).to_std().is_ok_and(|age| age >= STEADY));
                tally.ready += usize::from(pod.is_ready());
                tally.steady += usize::from(pod.is_ready() && (pod.restarts() == 0 || long));
                tally.live.push(pod);
            } else if pod.has_failed() {
                tally.failed.push(pod);
            }
        }
        tally
    }

    fn is_enough(&self) -> bool {
        self.ready >= self.needed
    }

    fn restarts(&self) -> u32 {
        self.live.iter().map(PodState::restarts).sum()
    }

    /// As many pods as needed are there, and too many of them certainly cannot start.
    fn is_hopeless(&self) -> bool {
        let none = Warnings::default();
        let lost = self
            .live
            .iter()
            .filter(|pod| !pod.is_ready() && pod.cause(&none).1)
            .count();
        self.live.len() >= self.needed && self.live.len() - lost < self.needed
    }

    /// Why there are too few.
    fn explain(&self, warnings: &Warnings, labels: &BTreeMap<String, String>, limit: crate::api::Duration) -> String {
        let waiting = self.live.iter().filter(|pod| !pod.is_ready());
        // A pod that ended is news only where no other has taken its place.
        let ended = self.failed.iter().filter(|_| self.live.len() < self.needed);
        let causes: Vec<(&str, (String, bool))> = waiting
            .chain(ended)
            .map(|pod| (pod.name(), pod.cause(warnings)))
            .collect();
        let Some((name, (cause, _))) = causes.iter().find(|(_, (_, certain))| *certain).or(causes.first()) else {
            let what = pods::describe(labels);
            return match self.live.len() {
                0 => format!("no {what} appeared within {limit}"),
                _ => format!("{self} within {limit}, {} needed: {what}", self.needed),
            };
        };
        let told = if self.is_hopeless() {
            format!("Pod {name} cannot reach Ready state: {cause}")
        } else {
            format!("Pod {name} did not reach Ready state within timeout: {cause}")
        };
        if self.live.len() > 1 {
            format!("{told} ({self}, {} needed)", self.needed)
        } else {
            told
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} pods ready", self.ready, self.live.len())
    }
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and a table of them reads better so"
)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn pod(name: &str, phase: &str, ready: bool, container: Value) -> Pod {
        let ready = if ready { "True" } else { "False" };
        from_value(json!({
            "metadata": { "name": name, "uid": name },
            "spec": { "containers": [{ "name": "db", "image": "db:1" }] },
            "status": {
                "phase": phase, "conditions": [{ "type": "Ready", "status": ready }],
                "containerStatuses": [{
                    "name": "db", "image": "db:1", "imageID": "", "ready": ready == "True", "restartCount": 3,
                    "state": container, "lastState": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } },
                }],
            },
        }))
        .unwrap()
    }

    fn up(name: &str) -> Pod {
        pod(name, "Running", true, json!({ "running": {} }))
    }

    fn crashing(name: &str) -> Pod {
        pod(
            name,
            "Running",
            false,
            json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
        )
    }

    fn without_image(name: &str) -> Pod {
        let message = "failed to pull and unpack image \"db:1\": not found";
        pod(
            name,
            "Pending",
            false,
            json!({ "waiting": { "reason": "ErrImagePull", "message": message } }),
        )
    }

    fn explained(pods: Vec<Pod>, needed: usize) -> String {
        let labels = BTreeMap::from([("app".to_owned(), "db".to_owned())]);
        let limit = crate::api::Duration::from_mins(5);
        Tally::of(pods.into_iter(), needed, DateTime::UNIX_EPOCH).explain(&Warnings::default(), &labels, limit)
    }

    #[test]
    fn ready_pods_are_counted_among_the_living() {
        let mut going = up("db-3");
        going.metadata.deletion_timestamp = Some(from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let done = pod("db-4", "Succeeded", false, json!({ "running": {} }));
        let tally = Tally::of(
            [up("db-0"), up("db-1"), crashing("db-2"), going, done].into_iter(),
            2,
            DateTime::UNIX_EPOCH,
        );
        assert_eq!(tally.to_string(), "2/3 pods ready");
        assert!(tally.is_enough());
        assert!(!Tally { needed: 3, ..tally }.is_enough());
    }

    #[test]
    fn a_restarted_pod_is_steady_after_some_time() {
        let mut pod = up("db-0");
        let condition = &mut pod.status.as_mut().unwrap().conditions.as_mut().unwrap()[0];
        condition.last_transition_time = Some(from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let steady = |pod: &Pod, at: &str| Tally::of([pod.clone()].into_iter(), 1, at.parse().unwrap()).steady;
        assert_eq!(steady(&pod, "2026-01-01T00:00:09Z"), 0);
        assert_eq!(steady(&pod, "2026-01-01T00:00:10Z"), 1);
        assert_eq!(steady(&pod, "2025-12-31T23:59:00Z"), 0, "a clock that is off");
        pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].restart_count = 0;
        assert_eq!(steady(&pod, "2026-01-01T00:00:00Z"), 1);
    }

    #[test]
    fn a_pod_that_is_not_ready_is_named_with_its_cause() {
        let told = explained(vec![crashing("orders-postgres-0")], 1);
        let start = "Pod orders-postgres-0 did not reach Ready state within timeout: CrashLoopBackOff";
        assert!(told.starts_with(start) && told.contains("OOMKilled"), "{told}");
        let told = explained(vec![up("db-0"), crashing("db-1")], 2);
        assert!(told.ends_with(" (1/2 pods ready, 2 needed)"), "{told}");
    }

    #[test]
    fn too_few_pods_are_told_apart_from_bad_ones() {
        assert_eq!(explained(vec![], 1), "no pods with app=db appeared within 5m0s");
        assert_eq!(
            explained(vec![up("db-0")], 2),
            "1/1 pods ready within 5m0s, 2 needed: pods with app=db"
        );
        let ended = pod(
            "job-0",
            "Failed",
            false,
            json!({ "terminated": { "exitCode": 1, "reason": "Error" } }),
        );
        assert!(
            explained(vec![ended.clone()], 1).starts_with("Pod job-0 "),
            "{}",
            explained(vec![ended], 1)
        );
    }

    #[test]
    fn waiting_ends_when_it_cannot_help() {
        let tally = |pods: Vec<Pod>, needed| Tally::of(pods.into_iter(), needed, DateTime::UNIX_EPOCH);
        assert!(tally(vec![without_image("db-0")], 1).is_hopeless());
        assert!(!tally(vec![without_image("db-0"), crashing("db-1")], 1).is_hopeless());
        assert!(tally(vec![without_image("db-0"), up("db-1")], 2).is_hopeless());
        assert!(
            !tally(vec![without_image("db-0")], 2).is_hopeless(),
            "more pods may come"
        );
        assert!(!tally(vec![crashing("db-0")], 1).is_hopeless());
        let told = explained(vec![without_image("db-0")], 1);
        assert!(told.starts_with("Pod db-0 cannot reach Ready state: "), "{told}");
    }
}
