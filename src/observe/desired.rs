//! What should run in a sandbox, what does, and why the rest does not.
//!
//! * A Deployment, `StatefulSet`, bare `ReplicaSet` or `ReplicationController` should run the replicas it was restored with;
//!   a `DaemonSet` what its controller says, once it has looked.
//! * A pod without a controller should run. One that ended well may have, unless its containers are to be started for ever.
//!   One that the provider made or tried to, and that is not there or on its way out, should run and does not: nothing will
//!   make it anew.
//! * Every other pod that shows up and has not ended counts too: of an operator, of a workload that never came, or one more
//!   than its workload wants while it is replaced. A workload wants at least the pods it has.
//! * Pods that the fence refuses are held: nobody expects them. Nor are those waited for that [`exclude`](super::exclude) names.
//! * A pod that is being deleted counts for nothing, nor does anything this program made.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use super::bare::BarePod;
use super::cause::{self, Cause};
use super::exclude::{Exclusions, LeftOut, Why};
use super::incidents::{Incidents, Trouble};
use super::refusal;
use super::seen::{ControllerKind, ControllerSeen, PodSeen};
use crate::facts::{ExcludedFact, Fault, PodFailure, WorkloadFacts};

/// The pods of a sandbox by name.
pub(super) type Pods = BTreeMap<String, PodSeen>;
/// What makes pods in a sandbox, by kind and name.
pub(super) type Controllers = BTreeMap<(ControllerKind, String), ControllerSeen>;

/// One workload and its pods.
struct Workload<'s> {
    kind: &'static str,
    name: &'s str,
    desired: u32,
    settled: bool,
    ordered: bool,
    refusal: Option<&'s str>,
    /// The labels of its pods.
    labels: &'s BTreeMap<String, String>,
    /// Those that count.
    pods: Vec<&'s PodSeen>,
}

/// How a sandbox stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Assessment {
    /// What should run, with its counts.
    pub(super) workloads: Vec<WorkloadFacts>,
    /// What is not as it should be.
    pub(super) failures: Vec<PodFailure>,
    /// Names of workloads whose pods the fence refuses, with what it says.
    pub(super) held: BTreeMap<String, String>,
    /// What is not waited for.
    pub(super) excluded: BTreeSet<ExcludedFact>,
    /// UIDs of pods that are not waited for.
    pub(super) unwatched: BTreeSet<String>,
    /// What checks may look for in vain.
    pub(super) left_out: Vec<LeftOut>,
}

/// What is known of pods that are not waited for.
#[derive(Clone, Copy)]
pub(super) struct Outside<'s> {
    pub(super) exclusions: &'s Exclusions,
    /// Pods that were there and are not waited for, by name.
    pub(super) remembered: &'s BTreeMap<String, Why>,
}

impl Assessment {
    /// Everything that should run is ready.
    pub(super) fn all_ready(&self) -> bool {
        self.failures.is_empty() && self.workloads.iter().all(|workload| workload.ready >= workload.desired)
    }

    /// Something certainly cannot start.
    pub(super) fn certain(&self) -> bool {
        self.failures.iter().any(|failure| failure.certain)
    }

    /// Something is not ready but may still become so.
    pub(super) fn undecided(&self) -> bool {
        self.failures.iter().any(|failure| !failure.certain)
    }
}

/// Looks at the objects of one sandbox; `source` is the namespace it stands for.
pub(super) fn assess(
    source: &str,
    sandbox: &str,
    pods: &Pods,
    controllers: &Controllers,
    incidents: &Incidents,
    bare: &[BarePod],
    outside: Outside<'_>,
) -> Assessment {
    let mut assessment = Assessment::default();
    let failure = |kind: &str, name: &str, cause: &Cause| failure(source, sandbox, kind, name, cause);
    for mut workload in workloads(pods, controllers, incidents) {
        if let Some(why) = of_workload(source, &workload, outside.exclusions) {
            let uids = workload.pods.iter().map(|pod| pod.identity.uid.clone());
            assessment.unwatched.extend(uids);
            assessment.exclude(source, workload.name, Some(workload.labels), &why);
            continue;
        }
        if workload.kind != "Pod" {
            assessment.exclude_single(source, &mut workload, outside.exclusions);
        }
        let made = u32::try_from(workload.pods.len()).unwrap_or(u32::MAX);
        let before = assessment.failures.len();
        for pod in workload.pods.iter().filter(|pod| !is_ready(pod)) {
            let cause = cause::of_pod(pod, incidents);
            assessment.failures.push(failure("Pod", &pod.identity.name, &cause));
        }
        let broken = u32::try_from(assessment.failures.len() - before).unwrap_or(u32::MAX);
        let mut desired = workload.desired.max(made);
        let of_workload = |cause: &Cause| failure(workload.kind, workload.name, cause);
        if made < desired {
            match workload
                .refusal
                .map(|message| (message, cause::of_refusal(message, made, desired)))
            {
                Some((message, cause)) if cause.fault == Fault::Fence => {
                    let words = refusal::read(message).text;
                    assessment.hold(source, workload.name, Some(workload.labels), words);
                    desired = made;
                }
                Some((_, cause)) => assessment.failures.push(of_workload(&cause)),
                // The next pod is made when this one is ready; its cause is given already.
                None if workload.ordered && broken > 0 => {}
                None => assessment.failures.push(of_workload(&cause::of_missing(made, desired))),
            }
        } else if !workload.settled && broken == 0 {
            assessment.failures.push(of_workload(&cause::of_unsettled()));
        }
        if desired > 0 {
            assessment.workloads.push(WorkloadFacts {
                source: source.to_owned(),
                kind: workload.kind.to_owned(),
                name: workload.name.to_owned(),
                desired,
                ready: made - broken.min(made),
            });
        }
    }
    for pod in bare.iter().filter(|pod| pod.source == source) {
        if is_there(pods, &pod.name) {
            continue;
        }
        if let Some(why) = outside.of_absent(source, &pod.name) {
            assessment.exclude(source, &pod.name, None, &why);
            continue;
        }
        let cause = match &pod.refused {
            Some((message, Fault::Fence)) => {
                assessment.hold(source, &pod.name, None, refusal::read(message).text);
                continue;
            }
            Some((message, fault)) => cause::of_refused(message, *fault),
            None => cause::of_vanished(),
        };
        assessment.failures.push(failure("Pod", &pod.name, &cause));
        assessment.workloads.push(WorkloadFacts {
            source: source.to_owned(),
            kind: "Pod".to_owned(),
            name: pod.name.clone(),
            desired: 1,
            ready: 0,
        });
    }
    // Nobody misses them, but they are named.
    for name in outside.exclusions.orphans(source) {
        if !pods.contains_key(name)
            && let Some(why) = outside.of_absent(source, name)
        {
            assessment.exclude(source, name, None, &why);
        }
    }
    assessment
}

impl Outside<'_> {
    /// Why a pod that is not there is not waited for.
    pub(super) fn of_absent(self, source: &str, name: &str) -> Option<Why> {
        let remembered = self.remembered.get(name).cloned();
        remembered.or_else(|| self.exclusions.of_absent(source, name))
    }
}

impl Assessment {
    fn hold(&mut self, source: &str, name: &str, labels: Option<&BTreeMap<String, String>>, words: String) {
        self.left_out.push(LeftOut {
            source: source.to_owned(),
            name: name.to_owned(),
            labels: labels.cloned(),
            reason: words.clone(),
        });
        self.held.insert(name.to_owned(), words);
    }

    fn exclude(&mut self, source: &str, name: &str, labels: Option<&BTreeMap<String, String>>, why: &Why) {
        let fact = ExcludedFact {
            source: source.to_owned(),
            name: name.to_owned(),
            reason: why.reason.clone(),
        };
        if self.excluded.insert(fact) && why.by_the_drill {
            self.left_out.push(LeftOut {
                source: source.to_owned(),
                name: name.to_owned(),
                labels: labels.cloned(),
                reason: why.reason.clone(),
            });
        }
    }

    /// Takes single pods out of a workload that counts.
    fn exclude_single(&mut self, source: &str, workload: &mut Workload<'_>, exclusions: &Exclusions) {
        let mut left = Vec::new();
        for pod in workload.pods.drain(..) {
            match exclusions.of_workload("Pod", &pod.identity.name, &pod.labels) {
                Some(why) => {
                    self.unwatched.insert(pod.identity.uid.clone());
                    self.exclude(source, &pod.identity.name, None, &why);
                    workload.desired = workload.desired.saturating_sub(1);
                }
                None => left.push(pod),
            }
        }
        workload.pods = left;
    }
}

/// Why a workload, or a pod that stands by itself, is not waited for.
fn of_workload(source: &str, workload: &Workload<'_>, exclusions: &Exclusions) -> Option<Why> {
    match (workload.kind, &workload.pods[..]) {
        ("Pod", [pod]) => exclusions.of_pod(source, pod),
        (kind, _) => exclusions.of_workload(kind, workload.name, workload.labels),
    }
}

/// A failure as it is reported. A report speaks of the source; the sandbox's name means nothing once it is gone.
pub(super) fn failure(source: &str, sandbox: &str, kind: &str, name: &str, cause: &Cause) -> PodFailure {
    PodFailure {
        source: source.to_owned(),
        name: name.to_owned(),
        cause: format!("{kind} {name}: {}", cause.text.replace(sandbox, source)),
        certain: cause.certain,
        fault: cause.fault,
    }
}

/// Runs, and says that it is ready, or that it is done with a part of what it is for.
pub(super) fn is_ready(pod: &PodSeen) -> bool {
    (pod.ready || pod.is_ending_well()) && pod.is_live()
}

/// Is there a pod of this name that nobody is deleting?
pub(super) fn is_there(pods: &Pods, name: &str) -> bool {
    pods.get(name).is_some_and(|pod| !pod.identity.deleting)
}

/// Does this pod count, given whether something makes a new one in its place?
fn counts(pod: &PodSeen, replaced: bool) -> bool {
    if pod.identity.ours || pod.identity.deleting {
        return false;
    }
    match pod.phase.as_str() {
        "Failed" => !replaced,
        "Succeeded" => !replaced && pod.restarts_always,
        _ => true,
    }
}

fn workloads<'s>(pods: &'s Pods, controllers: &'s Controllers, incidents: &'s Incidents) -> Vec<Workload<'s>> {
    let by_uid: BTreeMap<&str, &ControllerSeen> = controllers
        .values()
        .map(|controller| (controller.identity.uid.as_str(), controller))
        .collect();
    let above = |controller: &ControllerSeen| {
        let owner = controller.identity.owner.as_ref()?;
        by_uid.get(owner.uid.as_str()).copied()
    };
    let mut by_top: BTreeMap<&str, Vec<&PodSeen>> = BTreeMap::new();
    let mut workloads = Vec::new();
    for pod in pods.values() {
        let owner = pod.identity.owner.as_ref();
        let controller = owner.and_then(|owner| by_uid.get(owner.uid.as_str()));
        if !counts(pod, owner.is_some()) {
            continue;
        }
        if let Some(controller) = controller {
            let top = above(controller).unwrap_or(controller);
            by_top.entry(top.identity.uid.as_str()).or_default().push(pod);
            continue;
        }
        workloads.push(Workload {
            kind: "Pod",
            name: &pod.identity.name,
            desired: 1,
            settled: true,
            ordered: false,
            refusal: None,
            labels: &pod.labels,
            pods: vec![pod],
        });
    }
    let tops = controllers
        .values()
        .filter(|controller| above(controller).is_none() && !controller.identity.ours);
    let mut of_controllers: Vec<Workload<'_>> = tops
        .map(|top| Workload {
            kind: top.kind.as_str(),
            name: &top.identity.name,
            desired: if top.identity.deleting { 0 } else { top.desired },
            settled: top.settled || top.identity.deleting,
            ordered: top.ordered,
            refusal: refusal(top, controllers, incidents, newest(&by_top, top)),
            labels: &top.labels,
            pods: by_top.remove(top.identity.uid.as_str()).unwrap_or_default(),
        })
        .collect();
    of_controllers.append(&mut workloads);
    of_controllers
}

/// When the newest of a workload's pods was created.
fn newest(pods: &BTreeMap<&str, Vec<&PodSeen>>, top: &ControllerSeen) -> Option<Timestamp> {
    let pods = pods.get(top.identity.uid.as_str())?;
    pods.iter().filter_map(|pod| pod.identity.created).max()
}

/// Why a workload's pods could not be made: in its own condition, in those of the `ReplicaSet`s it made, or in an Event
/// about one of them. An Event of before its newest pod is over: since then one could be made.
fn refusal<'s>(
    top: &'s ControllerSeen,
    controllers: &'s Controllers,
    incidents: &'s Incidents,
    newest: Option<Timestamp>,
) -> Option<&'s str> {
    let below = || {
        controllers.values().filter(|controller| {
            let owner = controller.identity.owner.as_ref();
            controller.desired > 0 && owner.is_some_and(|owner| owner.uid == top.identity.uid)
        })
    };
    let condition = std::iter::once(top)
        .chain(below())
        .find_map(|controller| controller.refusal.as_deref());
    condition.or_else(|| {
        std::iter::once(top)
            .chain(below())
            .find_map(|controller| incidents.of_since(&controller.identity.uid, Trouble::Create, newest))
    })
}
