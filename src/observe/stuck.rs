//! Why the provider has not begun to fill a pod's volume. Volumes are written into running pods, so a pod that does not run holds up
//! the whole restore, and with it every restore that comes after. Pure.

use std::time::Duration;

use super::cause::{self, RESTORE_WAIT};
use super::scene::Scene;
use super::seen::{Doing, PodSeen};
use super::state::GRACE;
use crate::facts::Fault;

/// A controller that takes a pod away makes the next one at once; what is gone for so long does not come back.
const GONE: Duration = Duration::from_secs(10);
/// How long a claim may wait for somebody to make its volume before somebody looks whether anything can.
const UNBOUND: Duration = Duration::from_secs(20);
/// How long no node may fit. An autoscaler that adds one has decided so by then.
const UNSCHEDULABLE: Duration = Duration::from_secs(90);
/// How long a node agent may leave a volume alone whose pod is ready for it; a live one takes it at once.
const NOT_TAKEN: Duration = Duration::from_secs(100);

/// A volume that the provider has not begun to fill.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'v> {
    /// The sandbox.
    pub sandbox: &'v str,
    /// The pod that it is written into.
    pub pod: &'v str,
    /// UID of that pod.
    pub uid: &'v str,
}

/// What keeps a volume from being filled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stuck {
    /// The source namespace.
    pub source: String,
    /// What kind of obstacle.
    pub obstacle: Obstacle,
    /// For a person; does not name the pod.
    pub text: String,
    /// Whose fault it is.
    pub fault: Fault,
}

/// Kinds of obstacles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Obstacle {
    /// The pod is gone.
    Gone,
    /// The pod certainly cannot start.
    Certain,
    /// These claims have no volume.
    Unbound(Vec<String>),
    /// No node fits, and not for want of room.
    Unschedulable,
    /// The pod waits for the volume, and the agent of its node does nothing.
    NotTaken(String),
    /// The pod does not start, but may.
    Blocked,
}

impl Obstacle {
    /// How long it has to stand before the volume is given up; `startup` is `podStartup.timeout`, and longer than that nothing is
    /// waited for.
    pub fn patience(&self, startup: Duration) -> Duration {
        match self {
            Self::Gone => GONE,
            Self::Certain => GRACE,
            Self::Unbound(_) => UNBOUND,
            Self::Unschedulable => UNSCHEDULABLE.min(startup),
            Self::NotTaken(_) => NOT_TAKEN,
            Self::Blocked => startup,
        }
    }
}

impl Scene {
    /// What keeps this volume from being filled. `None` if it is of another sandbox, or if nothing can be said now. `operators`:
    /// somebody may still make what a pod misses.
    pub(super) fn stuck(&self, volume: &Waiting<'_>, operators: bool) -> Option<Stuck> {
        if !self.is_for(volume.sandbox) || !self.is_complete() {
            return None;
        }
        let pod = self
            .pod(volume.pod)
            .filter(|pod| pod.identity.uid == volume.uid && !pod.identity.deleting);
        let (obstacle, text, fault) = match pod {
            None => {
                let text = "its controller took the pod away before its volumes were filled".to_owned();
                (Obstacle::Gone, text, Fault::Backup)
            }
            Some(pod) => {
                let cause = cause::of_pod(pod, self.incidents());
                let obstacle = obstacle(pod, &cause, operators);
                let text = match &obstacle {
                    Obstacle::NotTaken(node) => format!(
                        "it waits for its volumes, and no node agent of Velero takes them up on node {node}: is the DaemonSet node-agent \
                         running there?"
                    ),
                    _ => self.told(&cause.text),
                };
                (obstacle, text, cause.fault)
            }
        };
        Some(Stuck {
            source: self.source().to_owned(),
            obstacle,
            text,
            fault,
        })
    }
}

fn obstacle(pod: &PodSeen, cause: &cause::Cause, operators: bool) -> Obstacle {
    if cause.certain && !(operators && cause.may_be_made) {
        return Obstacle::Certain;
    }
    if let Some((_, message)) = &pod.unscheduled {
        return if message.contains("unbound immediate PersistentVolumeClaims") {
            Obstacle::Unbound(pod.claims.clone())
        } else if cause.fault == Fault::Backup && message.contains("nodes are available") {
            Obstacle::Unschedulable
        } else {
            Obstacle::Blocked
        };
    }
    let mut containers = pod.containers.iter();
    let waits = containers.any(|c| c.name == RESTORE_WAIT && matches!(c.state, Some(Doing::Running)));
    match &pod.node {
        Some(node) if waits => Obstacle::NotTaken(node.clone()),
        _ => Obstacle::Blocked,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::scene::{Change, Watched};
    use super::super::test_objects::pod_of;
    use super::*;

    const STARTUP: Duration = Duration::from_mins(10);

    fn scene(pods: &[(Value, Value)]) -> Scene {
        let mut scene = Scene::new("shop", "sandbox", &[Watched::Pods]);
        scene.apply(Change::Begin(Watched::Pods));
        for (spec, status) in pods {
            scene.apply(Change::Listed(pod_of("db-0", None, spec.clone(), status.clone())));
        }
        scene.apply(Change::Complete(Watched::Pods));
        scene
    }

    fn unscheduled(message: &str) -> Value {
        json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        ]})
    }

    #[test]
    fn what_holds_a_volume_up_and_how_long_that_may_last() {
        let spec = json!({
            "nodeName": "n1", "initContainers": [{"name": "restore-wait"}], "containers": [{"name": "db"}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
        });
        let init = |state: Value| {
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "restore-wait", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state},
            ]})
        };
        let misses =
            init(json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"tls\" not found"}}));
        for (status, operators, obstacle, seconds) in [
            (misses.clone(), false, Obstacle::Certain, 20),
            (misses, true, Obstacle::Blocked, 600),
            (
                init(json!({"running": {}})),
                false,
                Obstacle::NotTaken("n1".to_owned()),
                100,
            ),
            (
                init(json!({"waiting": {"reason": "PodInitializing"}})),
                false,
                Obstacle::Blocked,
                600,
            ),
            (
                unscheduled("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
                false,
                Obstacle::Unschedulable,
                90,
            ),
            // Room may come back.
            (
                unscheduled("0/1 nodes are available: 1 Insufficient memory."),
                false,
                Obstacle::Blocked,
                600,
            ),
            (
                unscheduled("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
                false,
                Obstacle::Unbound(vec!["data".to_owned()]),
                20,
            ),
        ] {
            let scene = scene(&[(spec.clone(), status.clone())]);
            let waiting = Waiting {
                sandbox: "sandbox",
                pod: "db-0",
                uid: "uid-db-0",
            };
            let stuck = scene.stuck(&waiting, operators).unwrap();
            assert_eq!(stuck.obstacle, obstacle, "{status}");
            assert_eq!(stuck.obstacle.patience(STARTUP).as_secs(), seconds, "{status}");
        }
    }

    #[test]
    fn a_pod_that_is_gone_or_another_one_takes_no_volume() {
        let scene = scene(&[(json!({"containers": []}), json!({"phase": "Running"}))]);
        let of = |pod, uid| {
            let waiting = Waiting {
                sandbox: "sandbox",
                pod,
                uid,
            };
            scene.stuck(&waiting, false).map(|stuck| stuck.obstacle)
        };
        assert_eq!(of("db-1", "uid-db-1"), Some(Obstacle::Gone));
        assert_eq!(of("db-0", "of the one before"), Some(Obstacle::Gone));
        assert_eq!(of("db-0", "uid-db-0"), Some(Obstacle::Blocked));
        let elsewhere = Waiting {
            sandbox: "another",
            pod: "db-0",
            uid: "uid-db-0",
        };
        assert_eq!(scene.stuck(&elsewhere, false), None);
        // Before everything was listed, what is not there means nothing.
        let blind = Scene::new("shop", "sandbox", &[Watched::Pods]);
        let waiting = Waiting {
            sandbox: "sandbox",
            pod: "db-0",
            uid: "uid-db-0",
        };
        assert_eq!(blind.stuck(&waiting, false), None);
    }
}
