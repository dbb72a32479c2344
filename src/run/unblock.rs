//! Beside the restore: looks at what keeps volumes from being filled, and gives up those that certainly will not be, so that neither
//! this drill nor a real restore behind it waits for them. Their pods and claims are judged all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ephemeral;
use crate::cluster::{Canceller, Cluster, Velero};
use crate::facts::{Fault, GivenUp, Reason, SandboxFacts, Stop};
use crate::observe::{Obstacle, Startup, Stuck, Waiting};
use crate::velero::{PodVolumeRestore, VolumeRestorePhase};

/// Between two looks when nothing happens.
const LOOK: Duration = Duration::from_secs(2);
/// How long a node agent may take to hear of a cancel.
const HEARD: Duration = Duration::from_secs(40);

/// What is needed to look.
pub(super) struct Unblock<'a> {
    /// The way to the API server.
    pub(super) cluster: &'a Cluster,
    /// The provider.
    pub(super) velero: &'a Velero,
    /// The sandboxes.
    pub(super) sandboxes: &'a [SandboxFacts],
    /// UID of the Restore.
    pub(super) uid: &'a str,
    /// Whoever cancels volume restores later has to know since when each is under way.
    pub(super) transfers: &'a Canceller,
    /// The pods.
    pub(super) startup: &'a mut Startup,
    /// `podStartup.timeout`.
    pub(super) patience: Duration,
    /// The volumes that were given up.
    pub(super) given_up: &'a mut Vec<GivenUp>,
}

/// A volume that is held up.
struct Held {
    /// Since when, by whatever.
    since: Instant,
    /// By what now.
    obstacle: Obstacle,
    /// Since when by this.
    changed: Instant,
    /// A claim has no volume, but a class that may still make one.
    may_bind: bool,
}

impl Held {
    fn new(obstacle: Obstacle) -> Self {
        let now = Instant::now();
        Self {
            since: now,
            obstacle,
            changed: now,
            may_bind: false,
        }
    }

    /// Has it been held up for long enough? `startup` is `podStartup.timeout`; whatever a pod waits for, it has no longer than that.
    fn is_over(&self, startup: Duration) -> bool {
        let at_last = self.since.elapsed() >= startup && !matches!(self.obstacle, Obstacle::NotTaken(_));
        let may_bind = self.may_bind && matches!(self.obstacle, Obstacle::Unbound(_));
        at_last || (!may_bind && self.changed.elapsed() >= self.obstacle.patience(startup))
    }
}

impl Unblock<'_> {
    /// Looks on until dropped; returns only with what ends the run.
    pub(super) async fn watch(mut self) -> Stop {
        let mut volumes = self.velero.watch_pod_volumes(self.uid);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut held: BTreeMap<String, Held> = BTreeMap::new();
        let mut told: BTreeMap<String, Instant> = BTreeMap::new();
        let mut freed = BTreeSet::new();
        loop {
            tokio::select! {
                changed = volumes.changed() => if let Err(error) = changed {
                    // Who follows the restore itself says so.
                    tracing::debug!(%error, "volume restores are not watched");
                    match self.startup.watch_on().await {}
                },
                never = self.startup.watch_on() => match never {},
                _ = look.tick() => {}
            }
            for volume in volumes.objects() {
                self.transfers.see(volume);
            }
            ephemeral::free(self.cluster, self.sandboxes, self.startup, &mut freed).await;
            for volume in volumes.objects().filter(|volume| is_waiting(volume)) {
                let name = volume.name();
                if let Some(at) = told.get(name) {
                    if at.elapsed() >= HEARD {
                        return self.unheard(name);
                    }
                    continue;
                }
                let pod = &volume.spec.pod;
                let Some(stuck) = self.startup.stuck(&Waiting {
                    sandbox: &pod.namespace,
                    pod: &pod.name,
                    uid: &pod.uid,
                }) else {
                    held.remove(name);
                    continue;
                };
                let held = held
                    .entry(name.to_owned())
                    .or_insert_with(|| Held::new(stuck.obstacle.clone()));
                if held.obstacle != stuck.obstacle {
                    held.obstacle = stuck.obstacle.clone();
                    held.changed = Instant::now();
                }
                if !held.is_over(self.patience) {
                    continue;
                }
                match self.give_up(volume, stuck, held).await {
                    Ok(true) => _ = told.insert(name.to_owned(), Instant::now()),
                    Ok(false) => {}
                    Err(stop) => return stop,
                }
            }
        }
    }

    /// Gives the volume up; `false` if its claim may still be bound, or if nobody could be told, which is tried again.
    async fn give_up(&mut self, volume: &PodVolumeRestore, stuck: Stuck, held: &mut Held) -> Result<bool, Stop> {
        let pod = &volume.spec.pod;
        let unbindable = match &stuck.obstacle {
            Obstacle::Unbound(claims) => self.unbindable(&pod.namespace, claims).await,
            _ => None,
        };
        held.may_bind = matches!(stuck.obstacle, Obstacle::Unbound(_)) && unbindable.is_none();
        if held.may_bind && !held.is_over(self.patience) {
            return Ok(false);
        }
        let (why, fault) = match unbindable {
            Some(why) => (why, Fault::Cluster),
            None => (stuck.text, stuck.fault),
        };
        tracing::warn!(
            pod = pod.name,
            volume = volume.spec.volume,
            why,
            "the volume is given up"
        );
        let told = self.velero.cancel_volume(volume).await;
        if let Obstacle::NotTaken(_) = stuck.obstacle {
            let message = format!("pod {}: {why}", pod.name);
            return Err(Stop::new(Reason::ProviderUnavailable, message));
        }
        // What the API server did not take is no node agent's silence.
        match told {
            Ok(true) => {}
            // Changed since it was seen, or gone: the next look tells.
            Ok(false) => return Ok(false),
            Err(error) => {
                tracing::warn!(%error, "the volume restore could not be cancelled");
                return Ok(false);
            }
        }
        if stuck.obstacle != Obstacle::Gone {
            self.startup.give_up(&stuck.source, &pod.name, &why, fault);
        }
        self.given_up.push(GivenUp {
            source: stuck.source,
            volume_restore: volume.name().to_owned(),
            why: format!("pod {}: {why}", pod.name),
        });
        Ok(true)
    }

    /// Why no volume can be made for one of these claims; `None` if one can, or if that cannot be known.
    async fn unbindable(&self, sandbox: &str, claims: &[String]) -> Option<String> {
        let objects = self.cluster.namespaced::<PersistentVolumeClaim>(sandbox);
        for name in claims {
            let Ok(Some(claim)) = objects.get_opt(name).await else {
                continue;
            };
            let bound = claim.status.and_then(|status| status.phase).as_deref() == Some("Bound");
            let class = claim.spec.and_then(|spec| spec.storage_class_name).unwrap_or_default();
            if !bound && class.is_empty() {
                return Some(format!(
                    "claim {name} has no storage class, so nothing makes a volume for it in a sandbox: name one with \
                     restore.storageClassMapping: {{\"\": <class>}}"
                ));
            }
        }
        None
    }

    fn unheard(&self, name: &str) -> Stop {
        let why = self
            .given_up
            .iter()
            .find(|one| one.volume_restore == name)
            .map(|one| one.why.as_str());
        Stop::new(
            Reason::ProviderUnavailable,
            format!(
                "no node agent of Velero ends a volume restore that cannot begin ({}): is the DaemonSet node-agent in namespace {} running?",
                why.unwrap_or_default(),
                self.velero.namespace()
            ),
        )
    }
}

/// Has no node agent begun with it?
fn is_waiting(volume: &PodVolumeRestore) -> bool {
    volume.status.phase == VolumeRestorePhase::New
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_longer_than_for_pods_and_a_node_agent_not_shorter_than_it_needs() {
        let startup = Duration::from_mins(1);
        let after = |seconds| advance(Duration::from_secs(seconds));
        let mut held = Held::new(Obstacle::Unbound(vec!["data".to_owned()]));
        after(19).await;
        assert!(!held.is_over(startup));
        after(2).await;
        assert!(held.is_over(startup));
        held.may_bind = true;
        assert!(!held.is_over(startup), "its class may still make a volume");
        after(40).await;
        assert!(held.is_over(startup));
        let mut held = Held::new(Obstacle::Blocked);
        after(59).await;
        held.obstacle = Obstacle::Certain;
        held.changed = Instant::now();
        assert!(!held.is_over(startup));
        after(1).await;
        assert!(
            held.is_over(startup),
            "what holds it up may change, and the time is over all the same"
        );
        let held = Held::new(Obstacle::NotTaken("n1".to_owned()));
        after(99).await;
        assert!(!held.is_over(startup));
        after(1).await;
        assert!(held.is_over(startup));
    }
}
