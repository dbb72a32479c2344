//! Waits for the pods of the sandboxes, by watches alone, and keeps what it saw.
//!
//! Six watches per sandbox: pods, what makes them, and the Warnings about both. Every decision is [`StartupState`]'s; this
//! file only feeds it. Futures may be dropped at any time: what was seen stays.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, SelectAll};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod, ReplicationController};
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, sleep_until};

use super::bare::BarePod;
use super::cause::Cause;
use super::exclude::{Exclusions, LeftOut};
use super::incidents::Incident;
use super::scene::{Change, Object, Scene, Watched};
use super::seen::{ControllerKind, ControllerSeen, PodSeen};
use super::state::{Blindness, Bounds, Next, Settled, StartupState};
use super::stuck::{Stuck, Waiting};
use crate::cluster::{Cluster, Error, Query};
use crate::facts::{Fault, PodFacts, SandboxFacts};

/// Objects in one answer. Pods are large, and all of a page are in memory at once.
const PAGE: u32 = 100;

/// First and longest pause between two tries of a watch that breaks.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a refusal must stand. A right that was just granted takes a moment to be known to every API server.
const REFUSAL_STANDS: Duration = Duration::from_secs(5);

/// How long to wait, and for what.
#[derive(Clone, Copy, Debug)]
pub struct StartupOptions {
    /// When the Restore was created; what is reported counts from here.
    pub since: Instant,
    /// The same by the API server's clock.
    pub created: DateTime<Utc>,
    /// `podStartup.timeout`.
    pub timeout: Duration,
    /// `podStartup.stableFor`.
    pub stable_for: Duration,
    /// The backup holds `ReplicationControllers`. Few clusters have any, and a watch saved is a connection saved.
    pub replication_controllers: bool,
    /// Custom resources were let in, so their operators may still make what a pod misses.
    pub operators: bool,
}

/// The claim of a generic ephemeral volume.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EphemeralClaim {
    /// The source namespace.
    pub source: String,
    /// Its name.
    pub claim: String,
    /// UID of the pod that must own it.
    pub pod_uid: String,
}

/// The pods of all sandboxes of a run.
pub struct Startup {
    state: StartupState,
    messages: SelectAll<BoxStream<'static, (usize, Watched, Message)>>,
    since: Instant,
    /// Since when a watch is refused, and when it was last.
    refused: BTreeMap<(usize, Watched), (Instant, Instant)>,
}

/// What a watch says.
enum Message {
    Change(Change),
    /// An event that matters to nobody.
    Nothing,
    Trouble(Error),
}

impl fmt::Debug for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Startup")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Startup {
    /// Begins to watch when first asked to.
    pub fn new(cluster: &Cluster, sandboxes: &[SandboxFacts], options: &StartupOptions) -> Self {
        let mut watches = vec![
            Watched::Pods,
            Watched::Controllers(ControllerKind::Deployment),
            Watched::Controllers(ControllerKind::StatefulSet),
            Watched::Controllers(ControllerKind::DaemonSet),
            Watched::Controllers(ControllerKind::ReplicaSet),
            Watched::Events,
        ];
        if options.replication_controllers {
            watches.push(Watched::Controllers(ControllerKind::ReplicationController));
        }
        let bounds = Bounds {
            created: crate::api::time::to_time(options.created).0,
            from: None,
            timeout: options.timeout,
            operators: options.operators,
            stable_for: options.stable_for,
        };
        let messages = sandboxes.iter().enumerate().flat_map(|(index, sandbox)| {
            watches.iter().map(move |watched| {
                let what = *watched;
                follow(cluster, &sandbox.name, what)
                    .map(move |message| (index, what, message))
                    .boxed()
            })
        });
        Self {
            messages: messages.collect(),
            state: StartupState::new(sandboxes, &watches, bounds),
            since: options.since,
            refused: BTreeMap::new(),
        }
    }

    /// The restore ended `after` so long. From here the timeout counts, and what is not there is missed; `bare` are the pods that
    /// should be there by themselves.
    pub fn begin(&mut self, after: Duration, bare: Vec<BarePod>) {
        self.state.begin(after, bare);
    }

    /// Has the restore ended?
    pub fn has_begun(&self) -> bool {
        self.state.has_begun()
    }

    /// Does not wait for these.
    pub fn exclude(&mut self, exclusions: Exclusions) {
        self.state.exclude(exclusions);
    }

    /// Pods that checks may look for in vain, as things stand: kept out by the drill, or without what they need.
    pub fn left_out(&self) -> Vec<LeftOut> {
        self.state.left_out()
    }

    /// Returns when all that should run are ready, when that has become impossible, or when the time is up. Safe to drop.
    pub async fn settled(&mut self) -> Settled {
        self.until(StartupState::settle).await
    }

    /// Watches on through the stability window; what it saw is in [`Self::facts`]. Safe to drop. Returns at once unless
    /// [`Self::settled`] said that all are ready.
    pub async fn stable(&mut self) {
        let _stable = self.until(StartupState::stabilise).await;
    }

    /// Watches through the stability window, and on for as long as `work` takes. Only after [`Self::settled`] said that all
    /// are ready. Safe to drop.
    pub async fn stable_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let done = tokio::select! {
            done = &mut work => Some(done),
            () = self.stable() => None,
        };
        if let Some(done) = done {
            self.stable().await;
            return done;
        }
        tokio::select! {
            done = &mut work => done,
            never = self.watch_on() => match never {},
        }
    }

    /// Takes in what the watches say, for ever. Safe to drop.
    pub async fn watch_on(&mut self) -> Infallible {
        loop {
            match self.messages.next().await {
                Some(message) => self.take(message),
                None => std::future::pending().await,
            }
            self.state.look_again();
        }
    }

    async fn until<T>(&mut self, decide: impl Fn(&mut StartupState, Duration) -> Next<T>) -> T {
        loop {
            // What has arrived is taken in before anything is decided, and many changes cost one look.
            while let Some(Some(message)) = self.messages.next().now_or_never() {
                self.take(message);
            }
            match decide(&mut self.state, self.since.elapsed()) {
                Next::Done(decision) => return decision,
                Next::Wait(until) => {
                    tokio::select! {
                        Some(message) = self.messages.next() => self.take(message),
                        () = sleep_until(self.since + until) => {}
                    }
                }
            }
        }
    }

    fn take(&mut self, (index, watched, message): (usize, Watched, Message)) {
        let error = match message {
            Message::Change(change) => {
                // Every try begins, and a list that is complete says nothing of the right to watch.
                if matches!(change, Change::Seen(_) | Change::Gone(..)) {
                    self.refused.remove(&(index, watched));
                }
                self.state.tick(self.since.elapsed());
                return self.state.apply(index, change);
            }
            Message::Nothing => return,
            Message::Trouble(error) => error,
        };
        if error.is_transient() {
            tracing::debug!(%error, "watching on");
            return;
        }
        let now = Instant::now();
        let (since, last) = self.refused.entry((index, watched)).or_insert((now, now));
        if now.saturating_duration_since(*last) > LONGEST_PAUSE * 2 {
            // It went well in between.
            *since = now;
        }
        *last = now;
        if now.saturating_duration_since(*since) >= REFUSAL_STANDS {
            self.state.refuse(index, &error.to_string());
        }
    }

    /// What is known by now.
    pub fn facts(&self) -> PodFacts {
        self.state.facts(self.since.elapsed())
    }

    /// Why nothing can be said of the pods, after [`Settled::Blind`] or a window that could not be watched to its end.
    pub fn blindness(&self) -> Option<&Blindness> {
        self.state.blindness()
    }

    /// Why pods are not up, as things stand: one line each.
    pub fn not_up(&self) -> Vec<String> {
        self.facts().failures.into_iter().map(|pod| pod.cause).collect()
    }

    /// What keeps the pods of these volumes from being filled, and whatever else is known of the pods.
    pub fn stuck(&self, volume: &Waiting<'_>) -> Option<Stuck> {
        self.state.stuck(volume)
    }

    /// Claims that belong to pods and are made with them, by sandbox, with the UID of the pod; `waiting` are only those whose pods
    /// have no node yet.
    pub fn ephemeral_claims(&self, waiting: bool) -> Vec<EphemeralClaim> {
        let of_scene = |scene: &Scene| {
            let pods = scene
                .pods()
                .filter(|pod| !waiting || (pod.node.is_none() && pod.is_live()));
            let claims = pods.flat_map(|pod| {
                pod.ephemeral
                    .iter()
                    .map(|claim| (claim.clone(), pod.identity.uid.clone()))
            });
            let of = |(claim, pod_uid)| EphemeralClaim {
                source: scene.source().to_owned(),
                claim,
                pod_uid,
            };
            claims.map(of).collect::<Vec<_>>()
        };
        self.state.scenes().iter().flat_map(of_scene).collect()
    }

    /// Nothing helps this pod any more: what it says of itself is replaced.
    pub fn give_up(&mut self, source: &str, pod: &str, why: &str, fault: Fault) {
        self.state.give_up(source, pod, Cause::told(why, fault));
    }

    /// Source namespaces and claims of all pods that run or are to run.
    pub fn mounts(&self) -> BTreeSet<(String, String)> {
        self.state.mounts()
    }
}

/// Everything one watch says, for ever.
fn follow(cluster: &Cluster, sandbox: &str, watched: Watched) -> BoxStream<'static, Message> {
    let all = Query::all().page(PAGE);
    match watched {
        Watched::Pods => events(cluster, sandbox, watched, all, |pod: Pod| {
            Some(Object::Pod(Box::new(PodSeen::from(pod))))
        }),
        // Normal events explain nothing, and there are many.
        Watched::Events => events(cluster, sandbox, watched, all.fields("type=Warning"), |event: Event| {
            Incident::of(&event).map(Object::Incident)
        }),
        Watched::Controllers(ControllerKind::Deployment) => {
            events(cluster, sandbox, watched, all, |object: Deployment| {
                Some(controller(&object))
            })
        }
        Watched::Controllers(ControllerKind::StatefulSet) => {
            events(cluster, sandbox, watched, all, |object: StatefulSet| {
                Some(controller(&object))
            })
        }
        Watched::Controllers(ControllerKind::DaemonSet) => {
            events(cluster, sandbox, watched, all, |object: DaemonSet| {
                Some(controller(&object))
            })
        }
        Watched::Controllers(ControllerKind::ReplicaSet) => {
            events(cluster, sandbox, watched, all, |object: ReplicaSet| {
                Some(controller(&object))
            })
        }
        Watched::Controllers(ControllerKind::ReplicationController) => {
            events(cluster, sandbox, watched, all, |object: ReplicationController| {
                Some(controller(&object))
            })
        }
    }
}

fn controller<K>(object: &K) -> Object
where
    ControllerSeen: for<'k> From<&'k K>,
{
    Object::Controller(Box::new(ControllerSeen::from(object)))
}

/// One watch that is begun anew, with a fresh list, whenever it breaks: what a broken watch missed shows in no event.
fn events<K>(
    cluster: &Cluster,
    sandbox: &str,
    watched: Watched,
    query: Query,
    keep: fn(K) -> Option<Object>,
) -> BoxStream<'static, Message>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + fmt::Debug
        + Send
        + 'static,
{
    let objects = cluster.namespaced::<K>(sandbox);
    let begin = move || objects.events(&query);
    let followed = Followed {
        events: begin(),
        complete: None,
        pause: PAUSE,
        trouble: None,
    };
    stream::unfold((followed, begin), move |(mut followed, begin)| async move {
        let message = followed.next(watched, keep, &begin).await;
        Some((message, (followed, begin)))
    })
    .boxed()
}

/// A watch, and what came of it so far.
struct Followed<K> {
    events: BoxStream<'static, Result<watcher::Event<K>, Error>>,
    /// When its list was complete.
    complete: Option<Instant>,
    /// Before it is begun anew.
    pause: Duration,
    /// Why it broke; said after that it did.
    trouble: Option<Error>,
}

impl<K> Followed<K>
where
    K: Resource<DynamicType = ()>,
{
    async fn next(
        &mut self,
        watched: Watched,
        keep: fn(K) -> Option<Object>,
        begin: &impl Fn() -> BoxStream<'static, Result<watcher::Event<K>, Error>>,
    ) -> Message {
        if let Some(error) = self.trouble.take() {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return Message::Trouble(error);
        }
        let error = match self.events.next().await {
            Some(Ok(event)) => {
                match event {
                    watcher::Event::InitDone => self.complete = Some(Instant::now()),
                    watcher::Event::Apply(_) | watcher::Event::Delete(_) => self.pause = PAUSE,
                    watcher::Event::Init | watcher::Event::InitApply(_) => {}
                }
                return read(event, watched, keep);
            }
            Some(Err(error)) => error,
            // It never ends; if it did, there is nothing to follow any more.
            None => std::future::pending().await,
        };
        self.trouble = Some(error);
        let Some(complete) = self.complete.take() else {
            return Message::Nothing;
        };
        // One that only lists well is not begun anew as fast as the API server answers.
        if complete.elapsed() > LONGEST_PAUSE * 2 {
            self.pause = PAUSE;
        }
        tracing::debug!(?watched, "listing again");
        self.events = begin();
        Message::Change(Change::Lost(watched))
    }
}

fn read<K>(event: watcher::Event<K>, watched: Watched, keep: fn(K) -> Option<Object>) -> Message
where
    K: Resource<DynamicType = ()>,
{
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    let change = match event {
        Init => Some(Change::Begin(watched)),
        InitApply(object) => keep(object).map(Change::Listed),
        InitDone => Some(Change::Complete(watched)),
        Apply(object) => keep(object).map(Change::Seen),
        Delete(object) => Some(Change::Gone(watched, object.name_any())),
    };
    change.map_or(Message::Nothing, Message::Change)
}
