//! Decides from what the watches show whether the pods came up, and whether they stay up. Pure: instants are handed in, as
//! time since the creation of the Restore.
//!
//! * *All ready*: every watch has been complete once and everything that should run is ready.
//! * *Failed*: something certainly cannot start, and everything else has become ready or has had [`GRACE`] to.
//! * *Timed out*: neither happened in time.
//! * *Blind*: a watch is refused, or was out of order for [`PATIENCE`].
//!
//! While a watch is out of order nothing is decided, for what it last showed may be long over.
//!
//! After *all ready* the stability window runs. A pod that was ready and restarts, or is not ready any more, ends it: not
//! stable. A pod that shows up only then is none that fell back; the window begins again when it is ready. It also begins
//! again when a liveness probe fails: the pod is ready, and a moment before it is killed.
//!
//! When the window has passed, pods may still fall back while the checks run. They are watched for that alone: what shows up
//! only then is judged no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::bare::BarePod;
use super::cause::{self, Cause};
use super::desired::{Assessment, is_ready};
use super::exclude::{Exclusions, LeftOut};
use super::scene::{Change, Object, Scene, Watched};
use super::seen::PodSeen;
use super::stuck::{Stuck, Waiting};
use crate::facts::{PodFacts, PodFailure, SandboxFacts};

/// How long the rest may still take once something certainly cannot start. Ending at once would count pods as not ready
/// that were about to be; and a refusal may be over when a moment later what it missed is there.
pub(super) const GRACE: Duration = Duration::from_secs(20);

/// How long a watch may be out of order. A run that cannot reach the API server for this long has lost its Lease as well.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

/// How the wait for the pods ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settled {
    /// All that should run are ready, or nothing should run.
    AllReady,
    /// Something certainly cannot start.
    Failed,
    /// Not all were ready in time.
    TimedOut,
    /// The API server could not be watched, so nothing can be said of the pods.
    Blind,
}

/// Why the API server could not be watched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blindness {
    /// It refuses; otherwise it could not be reached.
    pub refused: bool,
    /// Its words.
    pub message: String,
}

/// What to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next<T> {
    /// It is decided.
    Done(T),
    /// Wait for a change, or until this instant.
    Wait(Duration),
}

/// The bounds of the wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bounds {
    /// When the Restore was created, by the API server's clock.
    pub(super) created: Timestamp,
    /// When the wait began: the end of the restore. `None` while it lasts.
    pub(super) from: Option<Duration>,
    /// How long it may last.
    pub(super) timeout: Duration,
    /// How long all must stay ready.
    pub(super) stable_for: Duration,
    /// Operators act on what was restored, and may still make what a pod misses.
    pub(super) operators: bool,
}

/// All sandboxes of a run while their pods start.
#[derive(Clone, Debug)]
pub(super) struct StartupState {
    scenes: Vec<Scene>,
    /// Pods that should be there by themselves.
    bare: Vec<BarePod>,
    bounds: Bounds,
    /// When what the watches tell now was told.
    now: Duration,
    /// When each pod was first seen ready, by sandbox and UID.
    ready_since: BTreeMap<(usize, String), Duration>,
    /// Pods that certainly cannot start, by source namespace and name, for a cause that they do not tell themselves.
    hopeless: BTreeMap<(String, String), Cause>,
    settled: Option<(Settled, Duration)>,
    ready_at: Option<Duration>,
    certain_since: Option<Duration>,
    window: Window,
    stable: Option<bool>,
    /// How all stood when the window had passed.
    stood: Option<Assessment>,
    relapse: Option<PodFailure>,
    /// Since when a watch is out of order.
    unseen_since: Option<Duration>,
    blindness: Option<Blindness>,
}

/// The stability window: since when all are ready and watched, and name and restarts of each pod when it was first seen
/// ready, by sandbox and UID.
#[derive(Clone, Debug, Default)]
struct Window {
    since: Option<Duration>,
    begun: bool,
    pods: BTreeMap<(usize, String), (String, u32)>,
    /// When the liveness probes of these pods last failed.
    failing: BTreeMap<(usize, String), Timestamp>,
}

impl StartupState {
    /// Nothing seen yet.
    pub(super) fn new(sandboxes: &[SandboxFacts], watches: &[Watched], bounds: Bounds) -> Self {
        Self {
            scenes: sandboxes
                .iter()
                .map(|sandbox| Scene::new(&sandbox.source, &sandbox.name, watches))
                .collect(),
            bare: Vec::new(),
            bounds,
            now: Duration::ZERO,
            ready_since: BTreeMap::new(),
            hopeless: BTreeMap::new(),
            settled: None,
            ready_at: None,
            certain_since: None,
            window: Window::default(),
            stable: None,
            stood: None,
            relapse: None,
            unseen_since: None,
            blindness: None,
        }
    }

    /// The restore ended `after` so long, and the wait for its pods begins; `bare` are those that should be there by themselves.
    pub(super) fn begin(&mut self, after: Duration, bare: Vec<BarePod>) {
        self.bounds.from = Some(after);
        self.bare = bare;
    }

    /// Has the wait begun? Before, what is not there may still come.
    pub(super) fn has_begun(&self) -> bool {
        self.bounds.from.is_some()
    }

    /// Nothing helps this pod any more.
    pub(super) fn give_up(&mut self, source: &str, pod: &str, cause: Cause) {
        self.hopeless.insert((source.to_owned(), pod.to_owned()), cause);
    }

    /// It is so late.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
    }

    /// Does not wait for these.
    pub(super) fn exclude(&mut self, exclusions: Exclusions) {
        let exclusions = Arc::new(exclusions);
        for scene in &mut self.scenes {
            scene.exclude(exclusions.clone());
        }
    }

    /// Takes in what a watch of this sandbox tells.
    pub(super) fn apply(&mut self, sandbox: usize, change: Change) {
        let Some(scene) = self.scenes.get_mut(sandbox) else {
            return;
        };
        let told = match &change {
            Change::Seen(Object::Pod(pod)) => Some(pod.identity.name.clone()),
            Change::Complete(Watched::Pods) => None,
            _ => return scene.apply(change),
        };
        scene.apply(change);
        let created = self.bounds.created;
        for pod in scene
            .pods()
            .filter(|pod| told.as_ref().is_none_or(|name| pod.identity.name == *name))
        {
            let key = (sandbox, pod.identity.uid.clone());
            if !is_ready(pod) {
                self.ready_since.remove(&key);
            } else if !self.ready_since.contains_key(&key) {
                // What a list shows may have been so for long; its node tells since when, to the second.
                let since = pod
                    .ready_since
                    .and_then(|at| Duration::try_from(at.duration_since(created)).ok());
                let since = since.map_or(self.now, |since| self.now.min(since + Duration::from_secs(1)));
                self.ready_since.insert(key, since);
            }
        }
    }

    /// When the last of the pods that are ready became so; the end of the restore where there are none.
    fn last_ready(&self, stand: &Assessment) -> Option<Duration> {
        let pods = self
            .ready_pods(stand)
            .filter_map(|(key, _)| self.ready_since.get(&key).copied());
        pods.chain(self.bounds.from).max()
    }

    fn deadline(&self) -> Duration {
        self.bounds
            .from
            .unwrap_or(Duration::MAX)
            .saturating_add(self.bounds.timeout)
    }

    /// The sandboxes in their order.
    pub(super) fn scenes(&self) -> &[Scene] {
        &self.scenes
    }

    /// A watch of this sandbox is refused for good.
    pub(super) fn refuse(&mut self, sandbox: usize, why: &str) {
        if let Some(scene) = self.scenes.get(sandbox) {
            self.blindness = Some(Blindness {
                refused: true,
                message: scene.told(why),
            });
        }
    }

    /// Why nothing can be said of the pods, if that is so.
    pub(super) fn blindness(&self) -> Option<&Blindness> {
        self.blindness.as_ref()
    }

    /// Can anything be decided now? If not: until when to wait for it, or `Done` if that was long enough.
    fn sight(&mut self, now: Duration) -> Option<Next<()>> {
        if self.blindness.is_some() {
            return Some(Next::Done(()));
        }
        if self.scenes.iter().all(Scene::is_complete) {
            self.unseen_since = None;
            return None;
        }
        let until = self.unseen_since.get_or_insert(now).saturating_add(PATIENCE);
        if now < until {
            return Some(Next::Wait(until));
        }
        self.blindness = Some(Blindness {
            refused: false,
            message: format!("the sandbox could not be watched for {} s", PATIENCE.as_secs()),
        });
        Some(Next::Done(()))
    }

    /// Has the wait ended?
    pub(super) fn settle(&mut self, now: Duration) -> Next<Settled> {
        if let Some((settled, _)) = self.settled {
            return Next::Done(settled);
        }
        match self.sight(now) {
            Some(Next::Wait(until)) => return Next::Wait(until),
            Some(Next::Done(())) => return self.end(Settled::Blind, now),
            None => {}
        }
        let stand = self.assess();
        if stand.all_ready() {
            self.ready_at = self.last_ready(&stand);
            self.window.pods = self.ready_pods(&stand).collect();
            return self.end(Settled::AllReady, now);
        }
        let deadline = self.deadline();
        let mut until = deadline;
        if stand.certain() {
            let over = self.certain_since.get_or_insert(now).saturating_add(GRACE);
            if now >= over || !stand.undecided() {
                return self.end(Settled::Failed, now);
            }
            until = until.min(over);
        } else {
            self.certain_since = None;
        }
        if now >= deadline {
            return self.end(Settled::TimedOut, now);
        }
        Next::Wait(until)
    }

    fn end(&mut self, settled: Settled, now: Duration) -> Next<Settled> {
        self.settled = Some((settled, now));
        Next::Done(settled)
    }

    /// Have all stayed ready for long enough? Only after [`Self::settle`] said that all are ready.
    pub(super) fn stabilise(&mut self, now: Duration) -> Next<bool> {
        if let Some(stable) = self.stable {
            return Next::Done(stable);
        }
        if !matches!(self.settled, Some((Settled::AllReady, _))) {
            return self.decide(false);
        }
        match self.sight(now) {
            Some(Next::Wait(until)) => return Next::Wait(until),
            Some(Next::Done(())) => return self.decide(false),
            None => {}
        }
        if let Some(relapse) = self.relapsed() {
            self.relapse = Some(relapse);
            return self.decide(false);
        }
        let stand = self.assess();
        let deadline = self.deadline();
        if stand.all_ready() {
            // A pod that came late is watched from the moment it was ready.
            for (key, pod) in self.ready_pods(&stand).collect::<Vec<_>>() {
                self.window.pods.entry(key).or_insert(pod);
            }
            if self.window.begun && self.window.since.is_none() {
                self.ready_at = self.last_ready(&stand);
            }
            let failing = self.failing_probes();
            if self.window.begun && failing != self.window.failing && now < deadline {
                self.window.since = Some(now);
            }
            self.window.failing = failing;
            self.window.begun = true;
            let since = *self.window.since.get_or_insert(now);
            let over = since.saturating_add(self.bounds.stable_for);
            return if now >= over {
                self.stood = Some(stand);
                self.decide(true)
            } else {
                Next::Wait(over)
            };
        }
        self.window.begun = true;
        self.window.since = None;
        if now >= deadline || (stand.certain() && !stand.undecided()) {
            return self.decide(false);
        }
        Next::Wait(deadline)
    }

    fn decide(&mut self, stable: bool) -> Next<bool> {
        self.stable = Some(stable);
        Next::Done(stable)
    }

    /// Has one that had been stable fallen back since?
    pub(super) fn look_again(&mut self) {
        if self.stable != Some(true) || !self.scenes.iter().all(Scene::is_complete) {
            return;
        }
        if let Some(relapse) = self.relapsed() {
            self.relapse = Some(relapse);
            self.stable = Some(false);
            self.stood = None;
        }
    }

    /// When the liveness probes of the window's pods last failed.
    fn failing_probes(&self) -> BTreeMap<(usize, String), Timestamp> {
        let failed = |(index, uid): &(usize, String)| {
            let at = self.scenes.get(*index)?.incidents().liveness_failed(uid)?;
            Some(((*index, uid.clone()), at))
        };
        self.window.pods.keys().filter_map(failed).collect()
    }

    fn ready_pods(&self, stand: &Assessment) -> impl Iterator<Item = ((usize, String), (String, u32))> {
        self.scenes.iter().enumerate().flat_map(|(index, scene)| {
            let counts = |pod: &&PodSeen| is_ready(pod) && !stand.unwatched.contains(&pod.identity.uid);
            scene.pods().filter(counts).map(move |pod| {
                (
                    (index, pod.identity.uid.clone()),
                    (pod.identity.name.clone(), pod.restarts),
                )
            })
        })
    }

    /// The first pod of the window that is not what it was.
    fn relapsed(&self) -> Option<PodFailure> {
        for ((index, uid), (name, restarts)) in &self.window.pods {
            let scene = self.scenes.get(*index)?;
            // A pod that is gone or going fell back only if it is missed; the counts tell.
            let Some(pod) = scene.pod(name).filter(|pod| pod.identity.uid == *uid) else {
                continue;
            };
            let well = (pod.ready || pod.is_ending_well()) && pod.restarts <= *restarts;
            let ended_well = pod.phase == "Succeeded" && !pod.restarts_always;
            if well || ended_well || pod.identity.deleting {
                continue;
            }
            return Some(scene.failure("Pod", name, &cause::of_relapse(pod, scene.incidents())));
        }
        let vanished = |scene: &Scene| {
            let pod = scene.vanished(&self.bare).next()?;
            Some(scene.failure("Pod", &pod.name, &cause::of_vanished()))
        };
        self.scenes.iter().find_map(vanished)
    }

    fn assess(&self) -> Assessment {
        let mut all = Assessment::default();
        let several = self.scenes.len() > 1;
        for scene in &self.scenes {
            let one = scene.assess(&self.bare);
            all.workloads.extend(one.workloads);
            all.failures.extend(one.failures);
            all.excluded.extend(one.excluded);
            all.unwatched.extend(one.unwatched);
            all.left_out.extend(one.left_out);
            all.held.extend(one.held.into_iter().map(|(name, words)| {
                let name = if several {
                    format!("{}/{name}", scene.source())
                } else {
                    name
                };
                (name, words)
            }));
        }
        for failure in &mut all.failures {
            failure.certain &= !self.may_be_helped(failure);
            let Some(cause) = self.hopeless.get(&(failure.source.clone(), failure.name.clone())) else {
                continue;
            };
            failure.cause = format!("Pod {}: {}", failure.name, cause.text);
            failure.certain = true;
            failure.fault = cause.fault;
        }
        all
    }

    /// What keeps this volume from being filled.
    pub(super) fn stuck(&self, volume: &Waiting<'_>) -> Option<Stuck> {
        self.scenes
            .iter()
            .find_map(|scene| scene.stuck(volume, self.bounds.operators))
    }

    /// Does this pod miss something that an operator may still make?
    fn may_be_helped(&self, failure: &PodFailure) -> bool {
        let scene = self.scenes.iter().find(|scene| scene.source() == failure.source);
        let pod = scene.and_then(|scene| Some((scene, scene.pod(&failure.name)?)));
        self.bounds.operators && pod.is_some_and(|(scene, pod)| cause::of_pod(pod, scene.incidents()).may_be_made)
    }

    /// What is known by now.
    pub(super) fn facts(&self, now: Duration) -> PodFacts {
        let stand = self.stood.clone().unwrap_or_else(|| self.assess());
        let mut failures = stand.failures;
        if let Some(relapse) = &self.relapse {
            failures.retain(|failure| (&failure.source, &failure.name) != (&relapse.source, &relapse.name));
            failures.insert(0, relapse.clone());
        }
        let ended = self.settled.map_or(now, |(_, at)| at);
        PodFacts {
            workloads: stand.workloads,
            failures,
            ready_after: self.ready_at,
            waited: self
                .bounds
                .from
                .map(|from| ended.saturating_sub(from))
                .unwrap_or_default(),
            stable: self.stable == Some(true),
            certain: matches!(self.settled, Some((Settled::Failed, _))),
            held: stand.held.keys().cloned().collect(),
            refusals: stand.held,
            excluded: stand.excluded.into_iter().collect(),
        }
    }

    /// What checks may look for in vain.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        self.assess().left_out
    }

    /// Source namespaces and claims of all pods that count.
    pub(super) fn mounts(&self) -> BTreeSet<(String, String)> {
        self.scenes
            .iter()
            .flat_map(|scene| {
                scene
                    .pods()
                    .filter(|pod| pod.is_live())
                    .flat_map(|pod| &pod.claims)
                    .map(|claim| (scene.source().to_owned(), claim.clone()))
            })
            .collect()
    }
}
