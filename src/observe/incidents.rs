//! What went wrong, as the cluster's Events tell it: the latest of each kind of trouble with each object.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;

use super::text;

/// Kinds of trouble that only an Event tells.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Trouble {
    /// A pod could not be made.
    Create,
    /// A volume could not be mounted.
    Mount,
    /// A probe fails.
    Probe,
    /// An image could not be pulled. The pod's own status forgets why while the node backs off.
    Pull,
    /// The node could not set up the pod.
    Setup,
    /// No volume could be made for a claim.
    Provision,
}

/// A Warning about an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Incident {
    /// UID of the object; for a claim `claim/<name>`, for pods know their claims by name.
    pub(super) about: String,
    /// What kind of trouble.
    pub(super) trouble: Trouble,
    /// When it was last seen.
    pub(super) at: Timestamp,
    /// The words.
    pub(super) message: String,
}

impl Incident {
    /// What an Event tells; `None` if it explains nothing about pods.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let message = event.message.as_deref().unwrap_or_default();
        let object = &event.involved_object;
        let trouble = match event.reason.as_deref()? {
            "FailedCreate" | "ReplicaSetCreateError" => Trouble::Create,
            "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => Trouble::Mount,
            "Unhealthy" | "ProbeWarning" => Trouble::Probe,
            "Failed" if message.contains("pull image") => Trouble::Pull,
            "FailedCreatePodSandBox" => Trouble::Setup,
            "ProvisioningFailed" => Trouble::Provision,
            _ => return None,
        };
        let about = if object.kind.as_deref() == Some("PersistentVolumeClaim") {
            format!("claim/{}", object.name.as_deref()?)
        } else {
            object.uid.clone()?
        };
        let series = event
            .series
            .as_ref()
            .and_then(|series| series.last_observed_time.as_ref());
        Some(Self {
            about,
            trouble,
            at: series
                .map(|time| time.0)
                .or(event.last_timestamp.as_ref().map(|time| time.0))
                .or(event.event_time.as_ref().map(|time| time.0))
                .or(event.first_timestamp.as_ref().map(|time| time.0))
                .or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))
                .unwrap_or(Timestamp::UNIX_EPOCH),
            message: text::ends(message),
        })
    }
}

/// The latest trouble of each kind with each object.
#[derive(Clone, Debug, Default)]
pub(super) struct Incidents {
    latest: BTreeMap<(String, Trouble), (Timestamp, String)>,
}

/// Objects whose trouble is kept. An application that makes failing pods without end must not fill our memory.
const MAX_INCIDENTS: usize = 2_000;

impl Incidents {
    /// Keeps it if it is the latest of its kind. A list has no order, so the times decide.
    pub(super) fn add(&mut self, incident: Incident) {
        let full = self.latest.len() >= MAX_INCIDENTS;
        let key = (incident.about, incident.trouble);
        match self.latest.get_mut(&key) {
            Some(known) if known.0 <= incident.at => *known = (incident.at, incident.message),
            Some(_) => {}
            None if full => {}
            None => _ = self.latest.insert(key, (incident.at, incident.message)),
        }
    }

    /// The latest trouble of this kind with this object.
    pub(super) fn of(&self, about: &str, trouble: Trouble) -> Option<&str> {
        self.latest
            .get(&(about.to_owned(), trouble))
            .map(|(_, message)| message.as_str())
    }

    /// The same, if it was not over before this instant. Events tell whole seconds, and so do creations.
    pub(super) fn of_since(&self, about: &str, trouble: Trouble, since: Option<Timestamp>) -> Option<&str> {
        let (at, message) = self.latest.get(&(about.to_owned(), trouble))?;
        since.is_none_or(|since| *at >= since).then_some(message.as_str())
    }

    /// When a probe that restarts containers last failed with this pod.
    pub(super) fn liveness_failed(&self, pod: &str) -> Option<Timestamp> {
        let (at, message) = self.latest.get(&(pod.to_owned(), Trouble::Probe))?;
        message.starts_with("Liveness").then_some(*at)
    }

    /// Why no volume could be made for this claim.
    pub(super) fn of_claim(&self, claim: &str) -> Option<&str> {
        self.of(&format!("claim/{claim}"), Trouble::Provision)
    }
}
