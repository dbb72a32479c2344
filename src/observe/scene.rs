//! What the watches of one sandbox have shown so far.
//!
//! A watch begins with a list and may begin again after a gap. The objects of the new list replace the old ones all at
//! once when it is complete, so that in between nothing seems to be gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bare::BarePod;
use super::cause::Cause;
use super::desired::{self, Assessment, Controllers, Outside, Pods};
use super::exclude::{Exclusions, Why};
use super::incidents::{Incident, Incidents};
use super::seen::{ControllerKind, ControllerSeen, PodSeen};
use crate::facts::PodFailure;

/// What is watched.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Watched {
    /// Pods.
    Pods,
    /// What makes pods.
    Controllers(ControllerKind),
    /// Events.
    Events,
}

/// One object, as far as it matters.
#[derive(Clone, Debug)]
pub(super) enum Object {
    /// A pod.
    Pod(Box<PodSeen>),
    /// What makes pods.
    Controller(Box<ControllerSeen>),
    /// A Warning.
    Incident(Incident),
}

/// What a watch tells.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A list begins.
    Begin(Watched),
    /// An object of a list that is not complete yet.
    Listed(Object),
    /// The list is complete.
    Complete(Watched),
    /// An object was added or changed.
    Seen(Object),
    /// The object of this name is gone.
    Gone(Watched, String),
    /// The watch broke; until its next list is complete, its objects may be out of date.
    Lost(Watched),
}

/// Everything seen in one sandbox.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    source: String,
    sandbox: String,
    pods: Pods,
    controllers: Controllers,
    incidents: Incidents,
    exclusions: Arc<Exclusions>,
    /// Pods that were there and are not waited for: once they are gone, their names alone do not tell.
    remembered: BTreeMap<String, Why>,
    /// Objects of lists that are not complete yet.
    coming_pods: Option<Pods>,
    coming: BTreeMap<ControllerKind, Controllers>,
    /// Watches that have had no complete list yet, or broke.
    blind: Vec<Watched>,
}

impl Scene {
    /// Nothing seen yet, of the watches that are to come.
    pub(super) fn new(source: &str, sandbox: &str, watches: &[Watched]) -> Self {
        Self {
            source: source.to_owned(),
            sandbox: sandbox.to_owned(),
            pods: Pods::new(),
            controllers: Controllers::new(),
            incidents: Incidents::default(),
            exclusions: Arc::default(),
            remembered: BTreeMap::new(),
            coming_pods: None,
            coming: BTreeMap::new(),
            blind: watches.to_vec(),
        }
    }

    /// Does not wait for these. Before the first watch is begun.
    pub(super) fn exclude(&mut self, exclusions: Arc<Exclusions>) {
        self.exclusions = exclusions;
    }

    /// Takes in what a watch tells.
    pub(super) fn apply(&mut self, change: Change) {
        if let Change::Listed(Object::Pod(pod)) | Change::Seen(Object::Pod(pod)) = &change {
            let why = self.exclusions.of_pod(&self.source, pod);
            self.remembered.extend(why.map(|why| (pod.identity.name.clone(), why)));
        }
        match change {
            Change::Begin(Watched::Pods) => self.coming_pods = Some(Pods::new()),
            Change::Begin(Watched::Controllers(kind)) => _ = self.coming.insert(kind, Controllers::new()),
            // Events only explain; an old explanation is better than none.
            Change::Begin(Watched::Events) | Change::Gone(Watched::Events, _) | Change::Lost(Watched::Events) => {}
            Change::Lost(watched) => {
                if !self.blind.contains(&watched) {
                    self.blind.push(watched);
                }
            }
            Change::Listed(Object::Pod(pod)) => {
                let coming = self.coming_pods.get_or_insert_default();
                coming.insert(pod.identity.name.clone(), *pod);
            }
            Change::Listed(Object::Controller(controller)) => {
                let coming = self.coming.entry(controller.kind).or_default();
                coming.insert((controller.kind, controller.identity.name.clone()), *controller);
            }
            Change::Listed(Object::Incident(incident)) | Change::Seen(Object::Incident(incident)) => {
                self.incidents.add(incident);
            }
            Change::Complete(watched) => {
                match watched {
                    Watched::Pods => self.pods = self.coming_pods.take().unwrap_or_default(),
                    Watched::Controllers(kind) => {
                        self.controllers.retain(|(other, _), _| *other != kind);
                        self.controllers.extend(self.coming.remove(&kind).unwrap_or_default());
                    }
                    Watched::Events => {}
                }
                self.blind.retain(|blind| *blind != watched);
            }
            Change::Seen(Object::Pod(pod)) => _ = self.pods.insert(pod.identity.name.clone(), *pod),
            Change::Seen(Object::Controller(controller)) => {
                let key = (controller.kind, controller.identity.name.clone());
                self.controllers.insert(key, *controller);
            }
            Change::Gone(Watched::Pods, name) => _ = self.pods.remove(&name),
            Change::Gone(Watched::Controllers(kind), name) => _ = self.controllers.remove(&(kind, name)),
        }
    }

    /// Is it this sandbox?
    pub(super) fn is_for(&self, sandbox: &str) -> bool {
        self.sandbox == sandbox
    }

    /// The namespace this sandbox stands for.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Every watch has had its first complete list and has not broken since; before that, nothing there means nothing.
    pub(super) fn is_complete(&self) -> bool {
        self.blind.is_empty()
    }

    /// How the sandbox stands; `bare` are the pods that should be there by themselves.
    pub(super) fn assess(&self, bare: &[BarePod]) -> Assessment {
        desired::assess(
            &self.source,
            &self.sandbox,
            &self.pods,
            &self.controllers,
            &self.incidents,
            bare,
            self.outside(),
        )
    }

    fn outside(&self) -> Outside<'_> {
        Outside {
            exclusions: &self.exclusions,
            remembered: &self.remembered,
        }
    }

    /// Those of the pods that the provider made here by themselves and that are not there.
    pub(super) fn vanished<'b>(&self, bare: &'b [BarePod]) -> impl Iterator<Item = &'b BarePod> {
        bare.iter().filter(|pod| {
            pod.source == self.source
                && pod.refused.is_none()
                && !desired::is_there(&self.pods, &pod.name)
                && self.outside().of_absent(&self.source, &pod.name).is_none()
        })
    }

    /// The pods.
    pub(super) fn pods(&self) -> impl Iterator<Item = &PodSeen> {
        self.pods.values()
    }

    /// The pod of this name.
    pub(super) fn pod(&self, name: &str) -> Option<&PodSeen> {
        self.pods.get(name)
    }

    /// A text of the cluster in the source's terms.
    pub(super) fn told(&self, text: &str) -> String {
        text.replace(&self.sandbox, &self.source)
    }

    /// What went wrong.
    pub(super) fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// A failure in this sandbox, as it is reported.
    pub(super) fn failure(&self, kind: &str, name: &str, cause: &Cause) -> PodFailure {
        desired::failure(&self.source, &self.sandbox, kind, name, cause)
    }
}
