//! What the probes' answers mean. Pure.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{ContainerState, Pod};

use crate::build::probe::Outcome;

/// What a pod of the sandbox must not reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Outside {
    /// The listener that the runner opens for this.
    pub listener: SocketAddr,
    /// The API server.
    pub api_server: SocketAddr,
}

/// What a pod of the sandbox must reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Inside {
    /// Another pod of the sandbox.
    pub peer: SocketAddr,
    /// A name that the cluster's DNS has to know.
    pub name: String,
}

/// A reason why isolation was not proved.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Flaw {
    /// Something outside was reached in spite of the policies.
    Breach(String),
    /// The sandbox is not usable: its own traffic is stopped, or its pods do not run.
    Unusable(String),
    /// Nothing was shown either way.
    Untested(String),
}

impl Outside {
    /// Both addresses.
    pub(super) fn targets(&self) -> Vec<SocketAddr> {
        vec![self.listener, self.api_server]
    }

    fn name(&self, target: SocketAddr) -> &'static str {
        if target == self.listener {
            "the runner"
        } else {
            "the API server"
        }
    }

    /// Of the pod that is let out: unless it reached everything, not reaching it shows nothing.
    pub(super) fn judge_open(&self, sandbox: &str, outcome: &Outcome) -> Result<(), Flaw> {
        for target in self.targets() {
            if let Some(error) = missed(outcome, &target.to_string()) {
                return Err(Flaw::Untested(format!(
                    "even a pod in {sandbox} that its network policies let out could not reach {} at {target} ({error})",
                    self.name(target)
                )));
            }
        }
        Ok(())
    }

    /// Of a pod like those that are restored: nothing outside, everything inside.
    pub(super) fn judge_shut(&self, sandbox: &str, inside: &Inside, outcome: &Outcome) -> Result<(), Flaw> {
        self.judge_silence(sandbox, outcome)?;
        if let Some(error) = missed(outcome, &inside.name) {
            return Err(Flaw::Unusable(format!(
                "no DNS in the sandbox: {} was not resolved in {sandbox} ({error}); set sandbox.dns",
                inside.name
            )));
        }
        if let Some(error) = missed(outcome, &inside.peer.to_string()) {
            return Err(Flaw::Unusable(format!(
                "pods of the sandbox {sandbox} cannot reach each other ({error})"
            )));
        }
        Ok(())
    }

    /// The same, for as long as it was watched: nothing outside.
    pub(super) fn judge_silence(&self, sandbox: &str, outcome: &Outcome) -> Result<(), Flaw> {
        let targets = self.targets();
        let Some(target) = outcome.reached_of(&targets).into_iter().next() else {
            return Ok(());
        };
        let after = outcome.reached.get(&target.to_string()).copied().unwrap_or_default();
        let name = self.name(*target);
        Err(Flaw::Breach(format!(
            "the cluster does not enforce network policies: a pod in {sandbox} reached {name} at {target}, {after} ms after its start"
        )))
    }
}

/// Why `target` was not reached; `None` if it was. A target of which the answer says nothing was not.
fn missed<'a>(outcome: &'a Outcome, target: &str) -> Option<&'a str> {
    if outcome.reached.contains_key(target) {
        return None;
    }
    Some(outcome.failed.get(target).map_or("not tried", String::as_str))
}

/// How far a probe pod came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// Not there yet; with what it waits for, if it says so.
    Waiting(Option<String>),
    /// It runs.
    Running,
    /// It ended well, with this message.
    Ended(String),
    /// It will never answer.
    Lost(String),
}

impl Progress {
    /// Why the pod has not done its work, as the end of a sentence about it.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Waiting(Some(why)) => format!("was not started in time ({why})"),
            Self::Waiting(None) => "was not started in time".to_owned(),
            Self::Running | Self::Ended(_) => "did not answer in time".to_owned(),
            Self::Lost(why) => format!("could not be run ({why})"),
        }
    }
}

/// Reasons for waiting that time does not cure.
const HOPELESS: [&str; 5] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "InvalidImageName",
    "RunContainerError",
];

/// How far `pod` came; `None` is a pod that is gone.
pub(super) fn progress(pod: Option<&Pod>) -> Progress {
    let Some(pod) = pod else {
        return Progress::Lost("it was deleted".to_owned());
    };
    let Some(status) = &pod.status else {
        return Progress::Waiting(None);
    };
    let state = status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|container| container.state.as_ref());
    if let Some(ContainerState {
        terminated: Some(end), ..
    }) = state
    {
        let message = end.message.clone().unwrap_or_default();
        return if end.exit_code == 0 {
            Progress::Ended(message)
        } else {
            Progress::Lost(format!("it ended with code {}: {message}", end.exit_code))
        };
    }
    if status.phase.as_deref() == Some("Failed") {
        let words = [&status.reason, &status.message].into_iter().flatten().cloned();
        return Progress::Lost(words.collect::<Vec<_>>().join(": "));
    }
    if let Some(ContainerState {
        waiting: Some(waiting), ..
    }) = state
    {
        let reason = waiting.reason.clone().unwrap_or_default();
        let text = match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.clone(),
        };
        return if HOPELESS.contains(&reason.as_str()) {
            Progress::Lost(text)
        } else {
            Progress::Waiting(Some(text))
        };
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return Progress::Running;
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    Progress::Waiting(unscheduled.and_then(|condition| condition.message.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outside() -> Outside {
        Outside {
            listener: "10.244.0.5:40000".parse().unwrap(),
            api_server: "10.96.0.1:443".parse().unwrap(),
        }
    }

    fn inside() -> Inside {
        Inside {
            peer: "10.244.0.9:18080".parse().unwrap(),
            name: "kubernetes.default.svc.cluster.local".to_owned(),
        }
    }

    fn outcome(reached: &[&str]) -> Outcome {
        let mut all: Vec<String> = outside().targets().iter().map(ToString::to_string).collect();
        all.extend([inside().peer.to_string(), inside().name]);
        let (reached, failed): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|target| reached.contains(&target.as_str()));
        Outcome {
            reached: reached.into_iter().map(|target| (target, 12)).collect(),
            failed: failed
                .into_iter()
                .map(|target| (target, "no answer".to_owned()))
                .collect(),
            elapsed_ms: 1_000,
        }
    }

    const LISTENER: &str = "10.244.0.5:40000";
    const API: &str = "10.96.0.1:443";
    const PEER: &str = "10.244.0.9:18080";
    const NAME: &str = "kubernetes.default.svc.cluster.local";

    #[test]
    fn both_must_be_reached_before_silence_means_anything() {
        assert_eq!(outside().judge_open("sb", &outcome(&[LISTENER, API])), Ok(()));
        for (reached, named) in [
            (vec![API], "the runner"),
            (vec![LISTENER], "the API server"),
            (vec![], "the runner"),
        ] {
            match outside().judge_open("sb", &outcome(&reached)) {
                Err(Flaw::Untested(text)) => assert!(text.contains(named), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_breach_weighs_more_than_anything_missing() {
        let judged = |reached: &[&str]| outside().judge_shut("sb", &inside(), &outcome(reached));
        assert_eq!(judged(&[PEER, NAME]), Ok(()));
        for (reached, flaw, named) in [
            (vec![PEER, NAME, API], "breach", "the API server"),
            (vec![LISTENER], "breach", "the runner"),
            (vec![PEER], "unusable", "set sandbox.dns"),
            (vec![NAME], "unusable", "reach each other"),
            (vec![], "unusable", "no DNS"),
        ] {
            let (kind, text) = match judged(&reached) {
                Err(Flaw::Breach(text)) => ("breach", text),
                Err(Flaw::Unusable(text)) => ("unusable", text),
                other => panic!("{other:?}"),
            };
            assert_eq!(kind, flaw, "{text}");
            assert!(text.contains(named), "{text}");
        }
    }

    #[test]
    fn a_pods_progress_is_read_from_its_status() {
        let pod = |status: serde_json::Value| serde_json::from_value::<Pod>(json!({ "status": status })).unwrap();
        let state = |state: serde_json::Value| {
            pod(json!({"phase": "Running", "containerStatuses": [{
                "name": "probe", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
            }]}))
        };
        let found = |pod: &Pod| progress(Some(pod));
        assert!(matches!(progress(None), Progress::Lost(_)));
        assert_eq!(found(&Pod::default()), Progress::Waiting(None));
        assert_eq!(found(&state(json!({"running": {}}))), Progress::Running);
        assert_eq!(
            found(&state(json!({"terminated": {"exitCode": 0, "message": "{}"}}))),
            Progress::Ended("{}".to_owned())
        );
        assert!(
            matches!(found(&state(json!({"terminated": {"exitCode": 64}}))), Progress::Lost(text) if text.contains("64"))
        );
        assert!(matches!(
            found(&state(
                json!({"waiting": {"reason": "ErrImageNeverPull", "message": "not there"}})
            )),
            Progress::Lost(_)
        ));
        assert_eq!(
            found(&state(json!({"waiting": {"reason": "ImagePullBackOff"}}))),
            Progress::Waiting(Some("ImagePullBackOff".to_owned()))
        );
        assert_eq!(
            found(&pod(
                json!({"phase": "Failed", "reason": "Evicted", "message": "no memory"})
            )),
            Progress::Lost("Evicted: no memory".to_owned())
        );
        assert_eq!(
            found(&pod(json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"},
            ]}))),
            Progress::Waiting(Some("0/1 nodes are available".to_owned()))
        );
    }
}
