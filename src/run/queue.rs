//! Waiting for the provider: a drill is never in the way of a real restore, and what another drill has left is not its recovery time.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::choose::{api, api_ref};
use crate::cluster::{Query, Velero, Watch};
use crate::facts::{Reason, Stop};
use crate::names::{MANAGED_BY, label};
use crate::velero::Restore;

/// Between two looks at volume restores that outlive their Restore.
const LOOK: Duration = Duration::from_secs(2);

/// Is this a restore that kymaros did not create, and not over yet?
pub(super) fn is_external(restore: &Restore) -> bool {
    !is_drill(restore) && !restore.is_terminal()
}

fn is_drill(restore: &Restore) -> bool {
    let labels = restore.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(label::MANAGED_BY))
        .is_some_and(|value| value == MANAGED_BY)
}

/// Names of external restores that are not over.
pub(super) async fn external(velero: &Velero) -> Result<Vec<String>, Stop> {
    let all = velero
        .restores()
        .list_with(&Query::all(), |restore| {
            is_external(&restore).then(|| restore.name().to_owned())
        })
        .await;
    Ok(all.map_err(api)?.into_iter().flatten().collect())
}

/// A drill that waits for its provider.
pub(super) struct Queue<'a> {
    velero: &'a Velero,
    /// Name of the Restore of this run.
    own: String,
    /// What is left of `restore.queueTimeout`, and all of it.
    left: Duration,
    limit: Duration,
    /// Where it says what it waits for, for a report that is written while it does.
    waiting_for: &'a RefCell<String>,
}

/// What keeps the provider busy.
#[derive(Debug, Default, Eq, PartialEq)]
struct Busy {
    /// Names of it.
    what: Vec<String>,
    /// Waiting for it counts against `restore.queueTimeout`: an external Restore, or a volume restore that has outlived its Restore and may
    /// never end. Restores of other drills do not count.
    counts: bool,
}

impl<'a> Queue<'a> {
    pub(super) fn new(velero: &'a Velero, own: String, limit: Duration, waiting_for: &'a RefCell<String>) -> Self {
        Self {
            velero,
            own,
            left: limit,
            limit,
            waiting_for,
        }
    }

    /// Waits until no external restore is under way.
    pub(super) async fn until_no_external(&mut self) -> Result<(), Stop> {
        self.until(false).await
    }

    /// Waits until no Restore and no volume restore is under way but this run's own: Velero works on one Restore at a time, and a
    /// node agent on one volume, whosever they are and whether or not anybody waits for them.
    pub(super) async fn until_idle(&mut self) -> Result<(), Stop> {
        self.until(true).await
    }

    async fn until(&mut self, drills: bool) -> Result<(), Stop> {
        let mut watch = self.velero.watch_restores();
        let mut busy = Busy {
            // Nobody knows yet, and a provider that cannot be looked at is not waited for without end.
            counts: true,
            ..Busy::default()
        };
        loop {
            let begun = Instant::now();
            let limit = if busy.counts { self.left } else { Duration::MAX };
            let changed = timeout(limit, Self::changed(&mut watch, &busy)).await;
            if busy.counts {
                self.left = self.left.saturating_sub(begun.elapsed());
            }
            match changed {
                Ok(changed) => changed?,
                Err(_) => return Err(self.too_long(&watch, &busy)),
            }
            busy = self.look(&watch, drills).await?;
            let what = busy.what.join(", ");
            if what.is_empty() {
                self.waiting_for.take();
                return Ok(());
            }
            if *self.waiting_for.borrow() != what {
                tracing::info!(restores = what, "waiting for the provider");
            }
            self.waiting_for.replace(what);
        }
    }

    /// Returns when it is worth while to look again. Volume restores are of kinds that need not be served, so they are not watched.
    async fn changed(watch: &mut Watch<Restore>, busy: &Busy) -> Result<(), Stop> {
        let volumes = !busy.what.is_empty() && watch.objects().all(Restore::is_terminal);
        tokio::select! {
            changed = watch.changed() => changed.map_err(api),
            () = sleep(LOOK), if volumes => Ok(()),
        }
    }

    async fn look(&self, watch: &Watch<Restore>, drills: bool) -> Result<Busy, Stop> {
        let unfinished: Vec<&Restore> = watch
            .objects()
            .filter(|restore| !restore.is_terminal() && restore.name() != self.own)
            .filter(|restore| drills || !is_drill(restore))
            .collect();
        let mut busy = Busy {
            what: unfinished
                .iter()
                .map(|restore| format!("Restore {} ({})", restore.name(), restore.status.phase))
                .collect(),
            counts: unfinished.iter().any(|restore| !is_drill(restore)),
        };
        if drills && busy.what.is_empty() {
            busy.what = self.velero.busy_volumes(&self.own).await.map_err(api)?;
            busy.counts = !busy.what.is_empty();
        }
        Ok(busy)
    }

    fn too_long(&self, watch: &Watch<Restore>, busy: &Busy) -> Stop {
        // Nobody knows whether anything is still in the way.
        if let Some(trouble) = watch.trouble() {
            return api_ref(trouble);
        }
        let limit = crate::api::Duration::from(self.limit);
        let message = format!(
            "the provider was busy for all of restore.queueTimeout ({limit}): {}",
            busy.what.join(", ")
        );
        Stop::new(Reason::QueueTimeout, message)
    }
}
