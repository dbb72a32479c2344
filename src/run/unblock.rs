//! Beside the restore: looks at what keeps volumes from being filled, and gives up those that certainly will not be, so that neither
//! this drill nor a real restore behind it waits for them. Their pods and claims are judged all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ephemeral;
use crate::cluster::{Cluster, Velero};
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
    /// The pods.
    pub(super) startup: &'a mut Startup,
    /// `podStartup.timeout`.
    pub(super) patience: Duration,
    /// The volumes that were given up.
    pub(super) given_up: &'a mut Vec<GivenUp>,
}

impl Unblock<'_> {
    /// Looks on until dropped; returns only with what ends the run.
    pub(super) async fn watch(mut self) -> Stop {
        let mut volumes = self.velero.watch_pod_volumes(self.uid);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut since: BTreeMap<String, (Obstacle, Instant)> = BTreeMap::new();
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
                    since.remove(name);
                    continue;
                };
                let now = Instant::now();
                let seen = since
                    .entry(name.to_owned())
                    .or_insert_with(|| (stuck.obstacle.clone(), now));
                if seen.0 != stuck.obstacle {
                    *seen = (stuck.obstacle.clone(), now);
                }
                if seen.1.elapsed() < stuck.obstacle.patience(self.patience) {
                    continue;
                }
                match self.give_up(volume, stuck).await {
                    Ok(true) => _ = told.insert(name.to_owned(), now),
                    Ok(false) => _ = since.remove(name),
                    Err(stop) => return stop,
                }
            }
        }
    }

    /// Gives the volume up; `false` if it is not to be given up yet.
    async fn give_up(&mut self, volume: &PodVolumeRestore, stuck: Stuck) -> Result<bool, Stop> {
        let pod = &volume.spec.pod;
        let (why, fault) = match &stuck.obstacle {
            Obstacle::Unbound(claims) => match self.unbindable(&pod.namespace, claims).await {
                Some(why) => (why, Fault::Cluster),
                // Its class may still make one.
                None if self.patience > HEARD => return Ok(false),
                None => (stuck.text, stuck.fault),
            },
            _ => (stuck.text, stuck.fault),
        };
        tracing::warn!(
            pod = pod.name,
            volume = volume.spec.volume,
            why,
            "the volume is given up"
        );
        let told = self.velero.cancel_volume(volume.name()).await;
        if let Err(error) = &told {
            tracing::warn!(%error, "the volume restore could not be cancelled");
        }
        if let Obstacle::NotTaken(_) = stuck.obstacle {
            let message = format!("pod {}: {why}", pod.name);
            return Err(Stop::new(Reason::ProviderUnavailable, message));
        }
        if stuck.obstacle != Obstacle::Gone {
            self.startup.give_up(&stuck.source, &pod.name, &why, fault);
        }
        self.given_up.push(GivenUp {
            source: stuck.source,
            volume_restore: volume.name().to_owned(),
            why: format!("pod {}: {why}", pod.name),
        });
        Ok(told.is_ok())
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
