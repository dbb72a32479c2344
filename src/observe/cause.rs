//! Why a pod is not ready, as a person with `kubectl describe` would find it.
//!
//! A cause is *certain* when waiting longer cannot help. The wait for the pods then ends early, so a cause is only called
//! certain when nothing that still happens in a sandbox can remove it: the provider has finished, so a missing object stays
//! missing, and images, specs and commands do not change by themselves.
//!
//! | cause | certain | because |
//! |---|---|---|
//! | image not found, image name invalid, image never pulled | yes | a registry does not grow images |
//! | image: registry not reached, rate limit | no | networks and registries recover; it is the cluster's fault, not the backup's |
//! | image: access denied | no | credentials may be refreshed |
//! | Secret, `ConfigMap`, a key of them, or claim not found | yes, unless an operator was let in that may make it | the provider has finished |
//! | image runs as root although the pod forbids it | yes | both are fixed |
//! | program not in the image, or of another architecture | yes | same image, same command |
//! | crash loop, out of memory, failed or running init container | no | what it waits for may still come |
//! | probe fails, readiness gate not met | no | it may be warming up |
//! | unschedulable, claim not bound | no | room may come back, a volume may still be made |
//! | claim whose storage class does not exist | yes | nobody makes classes |
//! | volume cannot be attached, node cannot set up the pod | no | nodes retry |
//! | pod ended as `Failed` | yes | a pod never leaves that phase |
//! | pod without a controller vanished, or never came | yes | nothing makes it anew |

use super::incidents::{Incidents, Trouble};
use super::refusal;
use super::seen::{ContainerSeen, Doing, Ended, PodSeen, Role};
use super::text;
use crate::facts::Fault;

/// The init container in which Velero fills a pod's volumes from a file-system backup.
pub(super) const RESTORE_WAIT: &str = "restore-wait";

/// What a node calls waiting between two starts of a container that ends again and again.
const BACK_OFF: &str = "CrashLoopBackOff";

/// Why something is not ready.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cause {
    /// For a person; does not name the pod.
    pub(crate) text: String,
    /// Waiting longer cannot help.
    pub(crate) certain: bool,
    /// Unless an operator that was let in makes what is missing.
    pub(super) may_be_made: bool,
    /// Whose fault it is.
    pub(super) fault: Fault,
}

impl Cause {
    fn passing(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            certain: false,
            may_be_made: false,
            fault: Fault::Backup,
        }
    }

    fn certain(text: impl Into<String>) -> Self {
        Self {
            certain: true,
            ..Self::passing(text)
        }
    }

    /// What somebody else found out, in whose words it is told.
    pub(super) fn told(text: &str, fault: Fault) -> Self {
        Self::certain(text).by(fault)
    }

    fn by(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }
}

/// Why this pod is not ready.
pub(crate) fn of_pod(pod: &PodSeen, incidents: &Incidents) -> Cause {
    if pod.is_finished() {
        return ended(pod);
    }
    if let Some((reason, message)) = &pod.unscheduled {
        return unscheduled(pod, reason, message, incidents);
    }
    if let Some(container) = pod.containers.iter().find(|container| blocks(container)) {
        return of_container(pod, container, incidents);
    }
    // The first cause that is certain says most; after it, in the order of the spec, the first that is there.
    let causes: Vec<Cause> = pod
        .containers
        .iter()
        .filter(|container| container.role != Role::Init && !container.ready)
        .map(|container| of_container(pod, container, incidents))
        .collect();
    if let Some(cause) = causes.iter().find(|cause| cause.certain).or(causes.first()) {
        return cause.clone();
    }
    if !pod.gates.is_empty() {
        return Cause::passing(format!(
            "Running but not ready — readiness gate {} not met",
            pod.gates.join(", ")
        ));
    }
    match &pod.reason {
        Some((reason, message)) => Cause::passing(join(reason, message)),
        None => Cause::passing("Running but not ready yet"),
    }
}

/// Why a workload has no pod, or too few: the API server's words.
pub(super) fn of_refusal(message: &str, made: u32, desired: u32) -> Cause {
    let refusal = refusal::read(message);
    let text = if made == 0 {
        format!("no pod could be made — {}", refusal.text)
    } else {
        format!("only {made} of {desired} pods could be made — {}", refusal.text)
    };
    Cause {
        certain: refusal.certain,
        fault: refusal.fault,
        ..Cause::passing(text)
    }
}

/// Why a workload has too few pods, when nobody refused any.
pub(super) fn of_missing(made: u32, desired: u32) -> Cause {
    Cause::passing(if made == 0 {
        "no pod was made".to_owned()
    } else {
        format!("only {made} of {desired} pods were made")
    })
}

/// A pod that nothing makes anew was there and is not any more.
pub(super) fn of_vanished() -> Cause {
    Cause::certain("restored, then vanished during the run, and no controller makes it anew")
}

/// A pod that nothing makes anew never came: the provider's words.
pub(super) fn of_refused(message: &str, fault: Fault) -> Cause {
    Cause::certain(format!("was not restored — {}", text::clip(message))).by(fault)
}

/// Why a workload is not settled although all its pods are ready.
pub(super) fn of_unsettled() -> Cause {
    Cause::passing("its pods are still being replaced, or its controller has not looked at it")
}

/// What came over a pod that was ready before.
pub(super) fn of_relapse(pod: &PodSeen, incidents: &Incidents) -> Cause {
    if !pod.ready || pod.is_finished() {
        let cause = of_pod(pod, incidents);
        return Cause {
            text: format!("was ready and fell back: {}", cause.text),
            ..cause
        };
    }
    let last = pod.containers.iter().find_map(|container| container.last.as_ref());
    Cause::passing(match last {
        Some(last) => format!("restarted after all pods were ready — {}", killed(pod, last, incidents)),
        None => "restarted after all pods were ready".to_owned(),
    })
}

/// An init container that keeps the others from starting.
fn blocks(container: &ContainerSeen) -> bool {
    match (container.role, &container.state) {
        (Role::Main, _) => false,
        (Role::Init, Some(Doing::Ended(ended))) => ended.code != 0,
        (Role::Sidecar, Some(Doing::Running)) => !container.started,
        // One whose turn has not come waits for the one before, which is then the one that blocks.
        (Role::Init | Role::Sidecar, _) => true,
    }
}

fn ended(pod: &PodSeen) -> Cause {
    let (reason, message) = pod.reason.clone().unwrap_or_default();
    // Turned away or thrown out by its node for want of room.
    if reason == "Evicted" || reason == "Preempting" || reason.starts_with("OutOf") {
        return Cause::certain(join(&reason, &message)).by(Fault::Sandbox);
    }
    let failed = pod.containers.iter().find_map(|container| match &container.state {
        Some(Doing::Ended(ended)) if ended.code != 0 => Some((container, ended)),
        _ => None,
    });
    match failed {
        Some((container, ended)) => Cause::certain(format!("{}Failed — {}", place(pod, container), end(ended))),
        None if reason.is_empty() => Cause::certain(format!("ended as {}, but should run", pod.phase)),
        None => Cause::certain(join(&reason, &message)),
    }
}

fn unscheduled(pod: &PodSeen, reason: &str, message: &str, incidents: &Incidents) -> Cause {
    // What the scheduler would gain by preemption says nothing here: a drill never preempts.
    let message = [" no new claims to deallocate", " preemption: "]
        .iter()
        .fold(message, |message, mark| message.split(mark).next().unwrap_or_default())
        .trim();
    let about_volumes = message.to_ascii_lowercase().contains("volume");
    for claim in &pod.claims {
        if message.contains(&format!("persistentvolumeclaim \"{claim}\" not found")) {
            return Cause::certain(format!("{reason} — claim {claim} is not in the sandbox"));
        }
        // An older trouble with a claim explains nothing when the scheduler now speaks of something else.
        if let Some(trouble) = incidents.of_claim(claim).filter(|_| about_volumes) {
            let text = format!("{reason} — claim {claim}: {}", text::clip(trouble));
            return if trouble.contains("storageclass") && trouble.contains("not found") {
                Cause::certain(text)
            } else {
                Cause::passing(text)
            };
        }
    }
    if message.contains("unbound immediate PersistentVolumeClaims") {
        return Cause::passing(format!("{reason} — claim {} is not bound", pod.claims.join(" or ")));
    }
    let no_room = [
        "Insufficient ",
        "Too many pods",
        "exceed max volume count",
        "did not have enough free storage",
    ];
    let cause = Cause::passing(join(reason, message));
    if no_room.iter().any(|words| message.contains(words)) {
        cause.by(Fault::Sandbox)
    } else {
        cause
    }
}

fn of_container(pod: &PodSeen, container: &ContainerSeen, incidents: &Incidents) -> Cause {
    let cause = match &container.state {
        Some(Doing::Waiting(reason, message)) => waiting(pod, container, reason, message, incidents),
        // From the second time on its node backs off, whether or not it says so at this moment.
        Some(Doing::Ended(ended)) if pod.restarts > 0 => crash(pod, BACK_OFF, ended, incidents),
        Some(Doing::Ended(ended)) => crash(pod, "Restarting", ended, incidents),
        Some(Doing::Running) => running(pod, container, incidents),
        None => not_begun(pod, "its node has not started it yet", incidents),
    };
    Cause {
        text: format!("{}{}", place(pod, container), cause.text),
        ..cause
    }
}

/// The container's name, where the pod's alone does not say which it is.
fn place(pod: &PodSeen, container: &ContainerSeen) -> String {
    let alone = pod.containers.iter().filter(|other| other.role == Role::Main).count() < 2;
    if container.role != Role::Main {
        format!("init container {}: ", container.name)
    } else if alone {
        String::new()
    } else {
        format!("container {}: ", container.name)
    }
}

fn waiting(pod: &PodSeen, container: &ContainerSeen, reason: &str, message: &str, incidents: &Incidents) -> Cause {
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => {
            // While it backs off, older nodes say only that they do.
            let event = incidents.of(&pod.identity.uid, Trouble::Pull).unwrap_or_default();
            let tells = !message.starts_with("Back-off") || message.contains("rpc error");
            image(pod, reason, &container.image, if tells { message } else { event })
        }
        "InvalidImageName" => Cause::certain(format!("InvalidImageName — {}", text::clip(&container.image))),
        "ErrImageNeverPull" => Cause::certain(format!(
            "ErrImageNeverPull — image {} is not on the node and may not be pulled",
            text::clip(&container.image)
        )),
        "CreateContainerConfigError" => configuration(reason, message),
        BACK_OFF => match &container.last {
            Some(last) => crash(pod, reason, last, incidents),
            None => Cause::passing(reason),
        },
        "RunContainerError" | "CreateContainerError" => start_error(reason, message),
        "" | "ContainerCreating" | "PodInitializing" => not_begun(pod, reason, incidents),
        _ => Cause::passing(join(reason, message)),
    }
}

/// A pod whose containers do not start although it has a node.
fn not_begun(pod: &PodSeen, otherwise: &str, incidents: &Incidents) -> Cause {
    if let Some(trouble) = incidents.of(&pod.identity.uid, Trouble::Mount) {
        return configuration("FailedMount", trouble);
    }
    if let Some(trouble) = incidents.of(&pod.identity.uid, Trouble::Setup) {
        return Cause::passing(join("FailedCreatePodSandBox", text::behind(trouble, &["desc = "])));
    }
    Cause::passing(if otherwise.is_empty() {
        "not started yet"
    } else {
        otherwise
    })
}

/// Something that the pod refers to is missing or unfit.
fn configuration(reason: &str, message: &str) -> Cause {
    let message = text::behind(message, &["MountVolume.SetUp failed for "]);
    let lower = message.to_ascii_lowercase();
    let missing = (lower.contains("secret") || lower.contains("configmap"))
        && [" not found", "couldn't find key", "non-existent", "no such key"]
            .iter()
            .any(|words| lower.contains(words));
    let text = join(reason, message.split(" (pod: ").next().unwrap_or_default());
    if missing {
        Cause {
            may_be_made: true,
            ..Cause::certain(text)
        }
    } else if lower.contains("runasnonroot") || lower.contains("non-root policy") {
        Cause::certain(text)
    } else {
        Cause::passing(text)
    }
}

fn image(pod: &PodSeen, reason: &str, image: &str, message: &str) -> Cause {
    let image = text::clip(image);
    // An image may be called "denied" or "eof"; its name is no part of the answer.
    let lower = message.to_ascii_lowercase().replace(&image.to_ascii_lowercase(), "");
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let tail = || text::clip(text::behind(message, &["failed to do request: ", "desc = "]));
    // The order matters: a registry that wants a login says "does not exist or may require authorization".
    if says(&NOT_REACHED) {
        Cause::passing(format!("{reason} — registry of {image} not reached: {}", tail())).by(Fault::Cluster)
    } else if says(&["toomanyrequests", "429 too many requests"]) {
        Cause::passing(format!("{reason} — registry of {image} limits its rate")).by(Fault::Cluster)
    } else if says(&DENIED) {
        let secrets = match pod.pull_secrets.as_slice() {
            [] => String::new(),
            secrets => format!(
                "; the pull secret {} is as old as the backup, so after a restore it has to be renewed if its token has expired",
                secrets.join(" or ")
            ),
        };
        Cause::passing(format!("{reason} — access to {image} denied by its registry{secrets}"))
    } else if says(&["not found", "manifest unknown", "name unknown", "code = notfound"]) {
        Cause::certain(format!("{reason} — image {image} not found"))
    } else if message.is_empty() {
        Cause::passing(format!("{reason} — {image}"))
    } else {
        Cause::passing(format!("{reason} — {image}: {}", tail()))
    }
}

/// What container runtimes say when a registry gives no answer of its own.
const NOT_REACHED: [&str; 10] = [
    "dial tcp",
    "no such host",
    "i/o timeout",
    "connection refused",
    "connection reset",
    "tls: ",
    "deadline exceeded",
    ": eof",
    "503 service unavailable",
    "502 bad gateway",
];

/// What registries say to whom they do not trust.
const DENIED: [&str; 6] = [
    "unauthorized",
    "authentication required",
    "may require authorization",
    "insufficient_scope",
    "access denied",
    "403 forbidden",
];

/// A container that ended and is, or will be, started again.
fn crash(pod: &PodSeen, reason: &str, last: &Ended, incidents: &Incidents) -> Cause {
    if matches!(last.reason.as_str(), "StartError" | "ContainerCannotRun") {
        return start_error(reason, &last.message);
    }
    Cause::passing(format!("{reason} — {}", killed(pod, last, incidents)))
}

/// A program that could not even be started.
fn start_error(reason: &str, message: &str) -> Cause {
    let text = join(
        reason,
        text::behind(
            message,
            &["error during container init: ", "unable to start container process: "],
        ),
    );
    let hopeless = [
        "executable file not found",
        "exec format error",
        "no such file or directory",
        "permission denied",
    ];
    if message.contains("exec") && hopeless.iter().any(|words| message.contains(words)) {
        Cause::certain(text)
    } else {
        Cause::passing(text)
    }
}

fn running(pod: &PodSeen, container: &ContainerSeen, incidents: &Incidents) -> Cause {
    if container.role == Role::Init {
        return if container.name == RESTORE_WAIT {
            // Whose fault that is, the provider's own errors say.
            Cause::passing("the provider has not restored the pod's volumes")
        } else {
            Cause::passing("still running")
        };
    }
    if let Some(last) = &container.last {
        let times = if pod.restarts == 1 { "once" } else { "again and again" };
        let why = killed(pod, last, incidents);
        return Cause::passing(format!("Running but not ready, restarted {times} — {why}"));
    }
    match probe(pod, incidents, false) {
        Some(probe) => Cause::passing(format!("Running but not ready — {probe}")),
        None if container.started => Cause::passing("Running but not ready — its readiness probe has not passed"),
        None => Cause::passing("Running but not ready — its startup probe has not passed"),
    }
}

/// What the last failing probe said; with `deadly`, only of the probes that restart a container.
fn probe(pod: &PodSeen, incidents: &Incidents, deadly: bool) -> Option<String> {
    let message = incidents.of(&pod.identity.uid, Trouble::Probe)?;
    let counts = !deadly || message.starts_with("Liveness") || message.starts_with("Startup");
    counts.then(|| text::clip(message))
}

/// How a container ended, and the probe that ended it, if one did.
fn killed(pod: &PodSeen, last: &Ended, incidents: &Incidents) -> String {
    // What ran out of memory was not killed by a probe that failed at some time before.
    let probe = probe(pod, incidents, true).filter(|_| last.reason != "OOMKilled");
    match probe {
        Some(probe) => format!("{}; {probe}", end(last)),
        None => end(last),
    }
}

/// `OOMKilled (exit code 137)`, or `exit code 1: could not open the database`.
fn end(ended: &Ended) -> String {
    let mut text = match ended.reason.as_str() {
        "" | "Error" => format!("exit code {}", ended.code),
        reason => format!("{reason} (exit code {})", ended.code),
    };
    if !ended.message.is_empty() {
        text = format!("{text}: {}", ended.message);
    }
    text
}

fn join(reason: &str, message: &str) -> String {
    match (reason, message.trim()) {
        ("", "") => "not ready".to_owned(),
        (reason, "") => reason.to_owned(),
        ("", message) => text::clip(message),
        (reason, message) => format!("{reason} — {}", text::clip(message)),
    }
}
