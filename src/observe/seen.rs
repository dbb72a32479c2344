//! What is kept of the objects in a sandbox while its pods start: enough to count and to explain, and no more, for a run
//! has 20 MB and a pod's manifest can be 10 kB.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStatus, Pod, PodTemplateSpec, ReplicationController,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::text;
use crate::names;

/// The object that controls another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Owner {
    /// Its kind.
    pub(super) kind: String,
    /// Its UID.
    pub(super) uid: String,
}

/// Name, owner and the like, of any object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Identity {
    /// Its name.
    pub(super) name: String,
    /// Its UID.
    pub(super) uid: String,
    /// What controls it.
    pub(super) owner: Option<Owner>,
    /// When it was created.
    pub(super) created: Option<Timestamp>,
    /// It is being deleted.
    pub(super) deleting: bool,
    /// This program made it: a probe or the sandbox's DNS server, and no part of the application.
    pub(super) ours: bool,
}

impl From<&ObjectMeta> for Identity {
    fn from(metadata: &ObjectMeta) -> Self {
        Self {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            owner: metadata
                .owner_references
                .iter()
                .flatten()
                .find(|owner| owner.controller == Some(true))
                .map(|owner| Owner {
                    kind: owner.kind.clone(),
                    uid: owner.uid.clone(),
                }),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
            ours: metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(names::label::MANAGED_BY))
                .is_some_and(|value| value == names::MANAGED_BY),
        }
    }
}

/// A pod.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct PodSeen {
    /// Name, owner and the like.
    pub(super) identity: Identity,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub(super) phase: String,
    /// Its labels.
    pub(super) labels: BTreeMap<String, String>,
    /// `Always`, `OnFailure` or `Never`.
    pub(super) restart_policy: String,
    /// Its containers are started again whatever they end with.
    pub(super) restarts_always: bool,
    /// Its `Ready` condition is true.
    pub(super) ready: bool,
    /// Since when, as its node says it, in whole seconds.
    pub(super) ready_since: Option<Timestamp>,
    /// Its node, if it has one.
    pub(super) node: Option<String>,
    /// Restarts of all its containers.
    pub(super) restarts: u32,
    /// Why it is in its phase, and the words for it.
    pub(super) reason: Option<(String, String)>,
    /// Why it has no node, if it has none: reason and words.
    pub(super) unscheduled: Option<(String, String)>,
    /// Readiness gates that are not met.
    pub(super) gates: Vec<String>,
    /// Init containers first, in the order of the spec.
    pub(super) containers: Vec<ContainerSeen>,
    /// Claims it mounts.
    pub(super) claims: Vec<String>,
    /// Those of them that are made with the pod and belong to it.
    pub(super) ephemeral: Vec<String>,
    /// Secrets by which its images are pulled.
    pub(super) pull_secrets: Vec<String>,
}

/// How pods are restarted that say nothing else.
const ALWAYS: &str = "Always";

/// A container of a pod.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct ContainerSeen {
    /// Its name.
    pub(super) name: String,
    /// Its image as the spec names it.
    pub(super) image: String,
    /// When it runs.
    pub(super) role: Role,
    /// Its readiness is given.
    pub(super) ready: bool,
    /// Its startup probe has passed.
    pub(super) started: bool,
    /// What it does now; `None` if its node has not said.
    pub(super) state: Option<Doing>,
    /// How it ended the last time.
    pub(super) last: Option<Ended>,
}

/// When a container runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Role {
    /// Before the others.
    Init,
    /// From before the others on.
    Sidecar,
    /// As the pod's purpose.
    #[default]
    Main,
}

/// What a container does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Doing {
    /// It waits: reason and words.
    Waiting(String, String),
    /// It runs.
    Running,
    /// It ended.
    Ended(Ended),
}

/// How a container ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ended {
    /// Its exit code.
    pub(super) code: i32,
    /// The node's word for it, e.g. `OOMKilled`.
    pub(super) reason: String,
    /// Its termination message.
    pub(super) message: String,
}

impl PodSeen {
    /// It ended and will not start again.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// It is on its way to a good end: of containers that are not started again some have ended well, and the others are
    /// ready. Kubernetes calls such a pod not ready.
    pub(super) fn is_ending_well(&self) -> bool {
        let ended_well =
            |container: &ContainerSeen| matches!(&container.state, Some(Doing::Ended(end)) if end.code == 0);
        let mut main = self.containers.iter().filter(|container| container.role == Role::Main);
        !self.restarts_always
            && main.clone().any(ended_well)
            && main.all(|container| container.ready || ended_well(container))
    }

    /// It counts: it is neither ended nor on its way out, and part of the application.
    pub(super) fn is_live(&self) -> bool {
        !self.identity.ours && !self.identity.deleting && !self.is_finished()
    }
}

impl From<Pod> for PodSeen {
    fn from(pod: Pod) -> Self {
        let spec = pod.spec.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let is_true = |kind: &str| {
            conditions
                .iter()
                .any(|condition| condition.type_ == kind && condition.status == "True")
        };
        let statuses: BTreeMap<&str, &ContainerStatus> = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .flatten()
            .map(|status| (status.name.as_str(), status))
            .collect();
        let init = spec.init_containers.iter().flatten().map(|container| {
            let stays = container.restart_policy.as_deref() == Some("Always");
            (container, if stays { Role::Sidecar } else { Role::Init })
        });
        let containers = init.chain(spec.containers.iter().map(|container| (container, Role::Main)));
        let identity = Identity::from(&pod.metadata);
        let restart_policy = spec.restart_policy.unwrap_or_else(|| ALWAYS.to_owned());
        Self {
            phase: status.phase.unwrap_or_default(),
            labels: pod.metadata.labels.unwrap_or_default(),
            restarts_always: restart_policy == ALWAYS,
            restart_policy,
            ready: is_true("Ready"),
            ready_since: conditions
                .iter()
                .find(|condition| condition.type_ == "Ready" && condition.status == "True")
                .and_then(|condition| condition.last_transition_time.as_ref())
                .map(|time| time.0),
            node: spec.node_name,
            restarts: statuses
                .values()
                .map(|status| u32::try_from(status.restart_count).unwrap_or(0))
                .sum(),
            reason: status
                .reason
                .map(|reason| (reason, text::clip(status.message.as_deref().unwrap_or_default()))),
            unscheduled: conditions
                .iter()
                .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
                .map(|condition| {
                    (
                        condition.reason.clone().unwrap_or_default(),
                        text::ends(condition.message.as_deref().unwrap_or_default()),
                    )
                }),
            gates: spec
                .readiness_gates
                .iter()
                .flatten()
                .map(|gate| gate.condition_type.clone())
                .filter(|gate| !is_true(gate))
                .collect(),
            containers: containers
                .map(|(container, role)| {
                    container_seen(container, role, statuses.get(container.name.as_str()).copied())
                })
                .collect(),
            ephemeral: spec
                .volumes
                .iter()
                .flatten()
                .filter(|volume| volume.ephemeral.is_some())
                .map(|volume| format!("{}-{}", identity.name, volume.name))
                .collect(),
            pull_secrets: spec
                .image_pull_secrets
                .iter()
                .flatten()
                .map(|secret| secret.name.clone())
                .collect(),
            claims: spec
                .volumes
                .iter()
                .flatten()
                .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
                    (Some(claim), _) => Some(claim.claim_name.clone()),
                    // The claim of a generic ephemeral volume has a name that follows from the pod's.
                    (None, Some(_)) => Some(format!("{}-{}", identity.name, volume.name)),
                    (None, None) => None,
                })
                .collect(),
            identity,
        }
    }
}

fn container_seen(container: &Container, role: Role, status: Option<&ContainerStatus>) -> ContainerSeen {
    let says_its_log = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    let last = status.and_then(|status| doing(status.last_state.as_ref()?, says_its_log));
    ContainerSeen {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        role,
        ready: status.is_some_and(|status| status.ready),
        started: status.is_some_and(|status| status.started == Some(true)),
        state: status.and_then(|status| doing(status.state.as_ref()?, says_its_log)),
        last: last.and_then(|last| match last {
            Doing::Ended(ended) => Some(ended),
            Doing::Waiting(..) | Doing::Running => None,
        }),
    }
}

/// Said in place of a termination message that is the end of a log. Logs hold secrets, and a report is no place for them.
const LOG_NOT_QUOTED: &str = "its log is not quoted (sandbox.keepFailedFor keeps the pod to read it)";

/// `says_its_log`: where a container that failed left no termination message, the node fills in the end of its log.
fn doing(state: &ContainerState, says_its_log: bool) -> Option<Doing> {
    if let Some(waiting) = &state.waiting {
        return Some(Doing::Waiting(
            waiting.reason.clone().unwrap_or_default(),
            text::ends(waiting.message.as_deref().unwrap_or_default()),
        ));
    }
    if let Some(ended) = &state.terminated {
        // What never began has no log; the words are the runtime's.
        let ran = !matches!(ended.reason.as_deref(), Some("StartError" | "ContainerCannotRun"));
        return Some(Doing::Ended(Ended {
            code: ended.exit_code,
            reason: ended.reason.clone().unwrap_or_default(),
            message: if says_its_log && ran && ended.exit_code != 0 {
                LOG_NOT_QUOTED.to_owned()
            } else {
                text::last_line(ended.message.as_deref().unwrap_or_default())
            },
        }));
    }
    state.running.as_ref().map(|_| Doing::Running)
}

/// Kinds that make pods.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum ControllerKind {
    /// `Deployment`
    Deployment,
    /// `StatefulSet`
    StatefulSet,
    /// `DaemonSet`
    DaemonSet,
    /// `ReplicaSet`
    ReplicaSet,
    /// `ReplicationController`
    ReplicationController,
}

impl ControllerKind {
    /// As it is written.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
        }
    }
}

/// An object that makes pods.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ControllerSeen {
    /// Name, owner and the like.
    pub(super) identity: Identity,
    /// Its kind.
    pub(super) kind: ControllerKind,
    /// The labels of its pods.
    pub(super) labels: BTreeMap<String, String>,
    /// Pods it should run.
    pub(super) desired: u32,
    /// The controller manager has seen it as it is now and is not in the middle of replacing its pods. Until then its pods
    /// say nothing: none may be there because none was made yet.
    pub(super) settled: bool,
    /// It makes its pods one after the other, each when the one before is ready.
    pub(super) ordered: bool,
    /// Why a pod could not be made, in the API server's words.
    pub(super) refusal: Option<String>,
}

/// The labels of the pods that are made after this template.
fn labels_of(template: Option<&PodTemplateSpec>) -> BTreeMap<String, String> {
    template
        .and_then(|template| template.metadata.as_ref()?.labels.clone())
        .unwrap_or_default()
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn observed(metadata: &ObjectMeta, generation: Option<i64>) -> bool {
    // 0 right after the creation, when the status is still empty.
    generation.unwrap_or(0) >= metadata.generation.unwrap_or(1).max(1)
}

/// The words of a `ReplicaFailure` condition.
fn refusal<'c>(mut conditions: impl Iterator<Item = (&'c String, &'c String, &'c Option<String>)>) -> Option<String> {
    conditions
        .find(|(kind, status, _)| *kind == "ReplicaFailure" && *status == "True")
        .map(|(_, _, message)| message.clone().unwrap_or_default())
}

impl From<&Deployment> for ControllerSeen {
    fn from(object: &Deployment) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let spec = object.spec.as_ref();
        let desired = count(spec.and_then(|spec| spec.replicas).or(Some(1)));
        let paused = spec.and_then(|spec| spec.paused) == Some(true);
        Self {
            identity: Identity::from(&object.metadata),
            kind: ControllerKind::Deployment,
            labels: labels_of(spec.map(|spec| &spec.template)),
            desired,
            settled: observed(&object.metadata, status.observed_generation)
                && (paused || count(status.updated_replicas) >= desired),
            ordered: false,
            refusal: refusal(
                status
                    .conditions
                    .iter()
                    .flatten()
                    .map(|condition| (&condition.type_, &condition.status, &condition.message)),
            ),
        }
    }
}

impl From<&StatefulSet> for ControllerSeen {
    fn from(object: &StatefulSet) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let spec = object.spec.as_ref();
        let desired = count(spec.and_then(|spec| spec.replicas).or(Some(1)));
        let strategy = spec.and_then(|spec| spec.update_strategy.as_ref());
        // With a partition, or when replacing is left to a person, pods of an older revision are what is wanted.
        let replaces_all = strategy.is_none_or(|strategy| {
            strategy.type_.as_deref() != Some("OnDelete")
                && strategy
                    .rolling_update
                    .as_ref()
                    .and_then(|rolling| rolling.partition)
                    .unwrap_or(0)
                    == 0
        });
        Self {
            identity: Identity::from(&object.metadata),
            kind: ControllerKind::StatefulSet,
            labels: labels_of(spec.map(|spec| &spec.template)),
            desired,
            settled: observed(&object.metadata, status.observed_generation)
                && (!replaces_all || count(status.updated_replicas) >= desired),
            ordered: spec.and_then(|spec| spec.pod_management_policy.as_deref()) != Some("Parallel"),
            refusal: None,
        }
    }
}

impl From<&DaemonSet> for ControllerSeen {
    fn from(object: &DaemonSet) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let desired = count(Some(status.desired_number_scheduled));
        let on_delete = object
            .spec
            .as_ref()
            .and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref())
            == Some("OnDelete");
        Self {
            identity: Identity::from(&object.metadata),
            kind: ControllerKind::DaemonSet,
            labels: labels_of(object.spec.as_ref().map(|spec| &spec.template)),
            desired,
            settled: observed(&object.metadata, status.observed_generation)
                && (on_delete || count(status.updated_number_scheduled) >= desired),
            ordered: false,
            refusal: None,
        }
    }
}

impl From<&ReplicaSet> for ControllerSeen {
    fn from(object: &ReplicaSet) -> Self {
        let status = object.status.clone().unwrap_or_default();
        Self {
            identity: Identity::from(&object.metadata),
            kind: ControllerKind::ReplicaSet,
            labels: labels_of(object.spec.as_ref().and_then(|spec| spec.template.as_ref())),
            desired: count(object.spec.as_ref().and_then(|spec| spec.replicas).or(Some(1))),
            settled: observed(&object.metadata, status.observed_generation),
            ordered: false,
            refusal: refusal(
                status
                    .conditions
                    .iter()
                    .flatten()
                    .map(|condition| (&condition.type_, &condition.status, &condition.message)),
            ),
        }
    }
}

impl From<&ReplicationController> for ControllerSeen {
    fn from(object: &ReplicationController) -> Self {
        let status = object.status.clone().unwrap_or_default();
        Self {
            identity: Identity::from(&object.metadata),
            kind: ControllerKind::ReplicationController,
            labels: labels_of(object.spec.as_ref().and_then(|spec| spec.template.as_ref())),
            desired: count(object.spec.as_ref().and_then(|spec| spec.replicas).or(Some(1))),
            settled: observed(&object.metadata, status.observed_generation),
            ordered: false,
            refusal: refusal(
                status
                    .conditions
                    .iter()
                    .flatten()
                    .map(|condition| (&condition.type_, &condition.status, &condition.message)),
            ),
        }
    }
}
