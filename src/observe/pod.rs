//! One pod as it stands and why, for those who look at pods outside the wait for all of them.

use k8s_openapi::api::core::v1::{Event, Pod};

use super::cause;
use super::incidents::{Incident, Incidents};
use super::seen::PodSeen;

/// A pod as it stands.
#[derive(Clone, Debug)]
pub(crate) struct PodState(PodSeen);

impl From<Pod> for PodState {
    fn from(pod: Pod) -> Self {
        Self(pod.into())
    }
}

impl PodState {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.0.identity.name
    }

    /// It is part of the application, and neither ended nor on its way out.
    pub(crate) fn is_live(&self) -> bool {
        self.0.is_live()
    }

    /// It ended badly.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.phase == "Failed"
    }

    /// Its `Ready` condition is true.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready
    }

    /// Restarts of all its containers.
    pub(crate) fn restarts(&self) -> u32 {
        self.0.restarts
    }

    /// Why it is not ready, and whether waiting longer certainly cannot help.
    pub(crate) fn cause(&self, warnings: &Warnings) -> (String, bool) {
        let cause = cause::of_pod(&self.0, &warnings.0);
        (cause.text, cause.certain)
    }
}

/// What Warning Events tell about pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(Incidents);

/// What is kept of one Event.
#[derive(Clone, Debug)]
pub(crate) struct Warning(Incident);

impl Warning {
    /// What an Event tells; `None` if it explains nothing about pods.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        Incident::of(event).map(Self)
    }
}

impl FromIterator<Warning> for Warnings {
    fn from_iter<I: IntoIterator<Item = Warning>>(all: I) -> Self {
        let mut warnings = Self::default();
        for warning in all {
            warnings.0.add(warning.0);
        }
        warnings
    }
}
