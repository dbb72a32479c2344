//! Following objects through watches, patiently.
//!
//! A run waits for tens of minutes; in that time API servers restart, connections die and watches expire. None of that ends
//! a wait. What ends it is the caller's deadline, or a refusal that stands: no right to look, or no such kind.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::error::{Call, Error};
use super::objects::{Objects, Query};

/// First and longest pause between tries. The longest is short: after an outage the run must be back before its Lease is
/// gone, and one client asking every five seconds hurts nobody.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a refusal must stand. An API server that has just started, and a right that was just granted, refuse for some
/// moments what they permit afterwards.
const GRACE: Duration = Duration::from_secs(5);

/// A watch's life on the server, in seconds. A connection that died without a word is noticed five seconds after this.
const WATCH_SECONDS: u32 = 60;

/// How a wait ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Waited<K> {
    /// The condition was met by this state; `None` is "there is no such object".
    Met(Option<K>),
    /// The deadline passed. This was the last state; `None` is "there is no such object".
    Late(Option<K>),
}

impl<K> Objects<K>
where
    K: Resource<DynamicType: Default> + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    /// Waits until `condition` holds of the object of this name (`None`: there is none) or the deadline passes. If the API
    /// server could not be reached by then, that is an error. A watch that fell silent may have died, so nothing is called
    /// late before it was looked at once more.
    pub async fn wait_for(
        &self,
        name: &str,
        deadline: Instant,
        mut condition: impl FnMut(Option<&K>) -> bool,
    ) -> Result<Waited<K>, Error> {
        let mut watch = self.watch_one(name);
        loop {
            match timeout_at(deadline, watch.changed()).await {
                Ok(Ok(())) if condition(watch.first()) => return Ok(Waited::Met(watch.into_first())),
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
        }
        match watch.trouble.take() {
            Some(trouble) => return Err(trouble.last),
            None if !watch.known => return Err(watch.call.interrupted("no answer by the deadline")),
            None => {}
        }
        let last = self.list(&one(name)).await?.into_iter().next();
        Ok(if condition(last.as_ref()) {
            Waited::Met(last)
        } else {
            Waited::Late(last)
        })
    }

    /// The same for a limit that is somebody else's: while the API server cannot be asked they are given more time, as much as
    /// one call has.
    pub async fn wait_at_most(
        &self,
        name: &str,
        limit: Duration,
        mut condition: impl FnMut(Option<&K>) -> bool,
    ) -> Result<Waited<K>, Error> {
        let patience = Instant::now() + limit + self.timeout();
        loop {
            match self.wait_for(name, Instant::now() + limit, &mut condition).await {
                Err(error) if error.is_transient() && Instant::now() < patience => {
                    tracing::debug!(%error, "waiting on");
                }
                other => return other,
            }
        }
    }

    /// Follows the object of this name.
    pub fn watch_one(&self, name: &str) -> Watch<K> {
        Watch::new(self, &one(name), self.named("watch", name))
    }

    /// Follows the objects that match.
    pub fn watch(&self, query: &Query) -> Watch<K> {
        Watch::new(self, query, self.many("watch"))
    }

    /// Every event of a watch as it comes, for those who keep less than the objects. The stream never ends; after an error
    /// it tries again at once, so pauses are the reader's.
    pub fn events(&self, query: &Query) -> BoxStream<'static, Result<Event<K>, Error>> {
        let call = self.many("watch");
        let events = self.raw(query);
        events
            .map(move |event| event.map_err(|error| call.watch_failed(error)))
            .boxed()
    }

    fn raw(&self, query: &Query) -> BoxStream<'static, watcher::Result<Event<K>>> {
        watcher(self.api().clone(), query.watch().timeout(WATCH_SECONDS))
            .modify(|object| object.meta_mut().managed_fields = None)
            .boxed()
    }
}

/// Objects followed through a watch: always the whole state, whatever happened in between.
pub struct Watch<K> {
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    objects_of: Objects<K>,
    query: Query,
    call: Call,
    objects: BTreeMap<String, K>,
    /// The state of a list that is under way.
    listed: BTreeMap<String, K>,
    trouble: Option<Trouble>,
    known: bool,
}

/// The errors since the last success.
#[derive(Debug)]
struct Trouble {
    /// When the server first refused, if it does.
    refused: Option<Instant>,
    last: Error,
    pause: Duration,
    /// When to try again. Kept here and not in a future, which may be dropped and made anew at any time.
    again: Instant,
}

impl<K: fmt::Debug> fmt::Debug for Watch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("call", &self.call)
            .field("objects", &self.objects.len())
            .finish_non_exhaustive()
    }
}

impl<K> Watch<K>
where
    K: Resource<DynamicType: Default> + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    fn new(objects: &Objects<K>, query: &Query, call: Call) -> Self {
        Self {
            events: objects.raw(query),
            objects_of: objects.clone(),
            query: query.clone(),
            call,
            objects: BTreeMap::new(),
            listed: BTreeMap::new(),
            trouble: None,
            known: false,
        }
    }

    /// Returns when the state is known for the first time, and then after every change. Errors that may pass are waited
    /// out; one that is returned stands. Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Result<(), Error> {
        loop {
            if let Some(trouble) = &self.trouble {
                sleep_until(trouble.again).await;
            }
            match self.events.next().await {
                // Said before the server was even asked.
                Some(Ok(Event::Init)) => self.listed.clear(),
                Some(Ok(event)) => {
                    self.trouble = None;
                    if self.apply(event) {
                        return Ok(());
                    }
                }
                Some(Err(error)) => {
                    self.bear(self.call.watch_failed(error))?;
                    // A watch that goes on after an error says nothing until something changes; only a new list tells that
                    // the server is back.
                    self.events = self.objects_of.raw(&self.query);
                }
                None => return Err(self.call.interrupted("the watch ended")),
            }
        }
    }

    /// Takes an event over; `true` if the state is a new one.
    fn apply(&mut self, event: Event<K>) -> bool {
        match event {
            Event::Init => {
                self.listed.clear();
                false
            }
            Event::InitApply(object) => {
                self.listed.insert(key(&object), object);
                false
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.listed);
                self.known = true;
                true
            }
            Event::Apply(object) => {
                self.objects.insert(key(&object), object);
                true
            }
            Event::Delete(object) => self.objects.remove(&key(&object)).is_some(),
        }
    }

    fn bear(&mut self, error: Error) -> Result<(), Error> {
        let now = Instant::now();
        let before = self.trouble.take();
        let refused =
            (!error.is_transient()).then(|| before.as_ref().and_then(|trouble| trouble.refused).unwrap_or(now));
        if refused.is_some_and(|since| now - since >= GRACE) {
            return Err(error);
        }
        tracing::debug!(%error, "watching on");
        let pause = before.map_or(FIRST_PAUSE, |trouble| (trouble.pause * 2).min(LONGEST_PAUSE));
        self.trouble = Some(Trouble {
            refused,
            last: error,
            pause,
            again: now + pause,
        });
        Ok(())
    }

    /// The objects as last seen, by namespace and name.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = &K> {
        self.objects.values()
    }

    /// The first of them: the one, where one is followed.
    pub fn first(&self) -> Option<&K> {
        self.objects.values().next()
    }

    fn into_first(self) -> Option<K> {
        self.objects.into_values().next()
    }

    /// The state was seen at least once.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// The error that keeps the state from being up to date, if any.
    pub fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref().map(|trouble| &trouble.last)
    }
}

/// The object of this name.
fn one(name: &str) -> Query {
    Query::all().fields(format!("metadata.name={name}"))
}

fn key<K: Resource>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
