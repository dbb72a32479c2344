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
