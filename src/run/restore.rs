//! The provider's part of a run: follows the restore to its end and beyond, for a Restore that has ended may still be writing volumes.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::clock;
use crate::cluster::{Canceller, Cluster, Error, ProviderError, Query, Velero};
use crate::facts::{Isolation, Reason, RestoreFacts, SandboxFacts, Stop};
use crate::names::label;
use crate::run::choose::{api, api_ref};
use crate::run::queue::is_external;
use crate::velero::{self, BackupStorageLocation, Restore, RestorePhase};

/// Velero is asked for a sign of life this often while it restores.
const BETWEEN_SIGNS: Duration = Duration::from_secs(15);
/// So many signs missed in a row are no restart any more; a restart shows by a `Failed` Restore.
const MOST_MISSED: u32 = 3;

/// Velero looks at its storage locations once a minute unless told otherwise.
const NEXT_LOOK: Duration = Duration::from_secs(90);

/// What following a restore needs.
#[derive(Debug)]
pub(super) struct Follow<'a> {
    /// The way to the API server.
    pub(super) cluster: &'a Cluster,
    /// The provider.
    pub(super) velero: &'a Velero,
    /// UID of the Restore.
    pub(super) uid: &'a str,
    /// What cancels its volume restores.
    pub(super) transfers: &'a Canceller,
    /// The storage location of the backup.
    pub(super) location: &'a str,
    /// The run's id.
    pub(super) run_id: &'a str,
    /// The sandboxes, which must stay the ones that were fenced.
    pub(super) sandboxes: &'a [SandboxFacts],
    /// `restore.timeout`.
    pub(super) limit: Duration,
    /// When the Restore was created.
    pub(super) since: Instant,
}

impl Follow<'_> {
    /// Follows the Restore until it has ended. `isolation` is the rest of the proof, which runs beside it.
    pub(super) async fn to_the_end(
        &self,
        facts: &mut RestoreFacts,
        isolation: impl Future<Output = Isolation>,
    ) -> Result<(), Stop> {
        let storage_lost = OnceLock::new();
        let outcome = self.follow(facts, isolation, &storage_lost).await;
        facts.storage_lost = storage_lost.into_inner();
        outcome
    }

    async fn follow(
        &self,
        facts: &mut RestoreFacts,
        isolation: impl Future<Output = Isolation>,
        storage_lost: &OnceLock<String>,
    ) -> Result<(), Stop> {
        let deadline = self.since + self.limit;
        let mut restores = self.velero.watch_restores();
        let mut namespaces =
            self.cluster
                .all::<Namespace>()
                .watch(&Query::labels(format!("{}={}", label::RUN, self.run_id)));
        let mut isolation = std::pin::pin!(isolation);
        let mut lost = std::pin::pin!(self.lost(storage_lost));
        let mut proving = true;
        loop {
            tokio::select! {
                changed = restores.changed() => {
                    changed.map_err(api)?;
                    let own = restores.objects().find(|r| r.metadata.uid.as_deref() == Some(self.uid));
                    let Some(own) = own else {
                        return Err(deleted(&facts.name));
                    };
                    record(facts, own);
                    // It goes on to its end all the same, but its results go with it.
                    if own.metadata.deletion_timestamp.is_some() {
                        return Err(deleted(&facts.name));
                    }
                    let other = restores.objects().find(|restore| is_external(restore));
                    if facts.terminal && !proving {
                        return Ok(());
                    }
                    if let Some(other) = other.filter(|_| !facts.terminal) {
                        return Err(self.make_way(other.name()).await);
                    }
                }
                changed = namespaces.changed() => {
                    changed.map_err(api)?;
                    self.still_there(namespaces.objects())?;
                }
                outcome = &mut isolation, if proving => {
                    proving = false;
                    if let Isolation::Breached(what) = outcome {
                        return Err(Stop::new(Reason::IsolationNotEnforced, what));
                    }
                    if facts.terminal {
                        return Ok(());
                    }
                }
                stop = &mut lost, if !facts.terminal => return Err(stop),
                () = sleep_until(deadline) => return Err(match restores.trouble() {
                    Some(trouble) => api_ref(trouble),
                    None => self.too_late(&facts.phase),
                }),
            }
        }
    }

    /// Returns when Velero or the backup's storage has been away for a while. A Restore whose server is gone stays
    /// `InProgress` for ever, one whose storage is gone `Finalizing`, and the timeout may be an hour away.
    async fn lost(&self, storage_lost: &OnceLock<String>) -> Stop {
        let (mut silent, mut away) = (0, 0);
        loop {
            sleep(BETWEEN_SIGNS).await;
            match self.velero.alive().await {
                Err(error @ ProviderError::Silent { .. }) => {
                    silent += 1;
                    tracing::warn!(%error, missed = silent, "Velero does not answer");
                }
                // An API server that does not answer says nothing about Velero.
                Err(ProviderError::Api(_)) => {}
                Ok(_) | Err(ProviderError::NotInstalled(_) | ProviderError::Unlisted(_)) => silent = 0,
            }
            if silent >= MOST_MISSED {
                return Stop::new(
                    Reason::ProviderUnavailable,
                    format!(
                        "Velero in namespace {} stopped answering in mid-restore; is its server running?",
                        self.velero.namespace()
                    ),
                );
            }
            match self.velero.location(self.location).await {
                Ok(location) => match away_since(location.as_ref(), self.location) {
                    Some(why) => {
                        away += 1;
                        tracing::warn!(why, missed = away, "the backup's storage is away");
                        let why = storage_lost.get_or_init(|| why);
                        if away >= MOST_MISSED {
                            return Stop::new(
                                Reason::ProviderUnavailable,
                                format!("the backup's storage went away in mid-restore: {why}"),
                            );
                        }
                    }
                    None => away = 0,
                },
                Err(error) => tracing::debug!(%error, "the storage location cannot be read"),
            }
        }
    }

    /// Waits until no volume of the restore is being written any more.
    pub(super) async fn volumes(&self) -> Result<(), Stop> {
        let deadline = self.since + self.limit;
        let mut pod_volumes = self.velero.watch_pod_volumes(self.uid);
        loop {
            match timeout_at(deadline, pod_volumes.changed()).await {
                Ok(changed) => changed.map_err(api)?,
                Err(_) => return Err(self.too_late("writing volumes")),
            }
            if pod_volumes.objects().all(|v| v.status.phase.is_terminal()) {
                break;
            }
        }
        // Without data movement there are none, and its kind need not be served: a look decides whether to watch.
        if self.velero.data_downloads(self.uid).await.map_err(api)?.is_empty() {
            return Ok(());
        }
        let mut downloads = self.velero.watch_data_downloads(self.uid);
        loop {
            match timeout_at(deadline, downloads.changed()).await {
                Ok(changed) => changed.map_err(api)?,
                Err(_) => return Err(self.too_late("moving data")),
            }
            if downloads.objects().all(|v| v.status.phase.is_terminal()) {
                return Ok(());
            }
        }
    }

    /// A real restore wants the provider: stops what can be stopped and leaves. Clean-up goes on with it until the Restore has ended.
    async fn make_way(&self, other: &str) -> Stop {
        let pass = self.transfers.pass().await;
        let cancelled = pass.cancelled.len();
        tracing::info!(restore = other, cancelled, "making way for another restore");
        for error in pass.errors {
            tracing::warn!(%error, "a volume restore could not be cancelled, trying again");
        }
        Stop::new(
            Reason::Deferred,
            format!(
                "yielded to restore {other}, which kymaros did not create; the drill is tried again at the next scheduled run"
            ),
        )
    }

    /// Deleting a sandbox under a restore takes its fence away.
    fn still_there<'n>(&self, seen: impl Iterator<Item = &'n Namespace>) -> Result<(), Stop> {
        let seen: BTreeMap<&str, &Namespace> = seen.filter_map(|n| Some((n.metadata.name.as_deref()?, n))).collect();
        for sandbox in self.sandboxes {
            let same = seen
                .get(sandbox.name.as_str())
                .filter(|n| n.metadata.uid.as_deref() == Some(&sandbox.uid));
            if same.is_none_or(|n| n.metadata.deletion_timestamp.is_some()) {
                return Err(Stop::new(
                    Reason::Interrupted,
                    format!("sandbox {} was deleted by somebody in mid-restore", sandbox.name),
                ));
            }
        }
        Ok(())
    }

    fn too_late(&self, phase: &str) -> Stop {
        let limit = crate::api::Duration::from(self.limit);
        let phase = if phase.is_empty() { "New" } else { phase };
        Stop::new(
            Reason::DeadlineExceeded,
            format!(
                "the restore was still {phase} after restore.timeout of {limit}; if that is how long it takes, raise it"
            ),
        )
    }
}

/// What is said of a storage location that is not available; `None` if it is.
fn away_since(location: Option<&BackupStorageLocation>, name: &str) -> Option<String> {
    let Some(location) = location else {
        return Some(format!("storage location {name} is gone"));
    };
    if location.is_available() {
        return None;
    }
    let message = location.status.message.as_deref().unwrap_or("no reason given");
    Some(format!(
        "storage location {name} is {}: {message}",
        location.status.phase
    ))
}

/// Is the backup's storage away? Velero looks once a minute only, so what it says is waited for until it has looked again.
pub(super) async fn storage_lost(velero: &Velero, name: &str) -> Result<Option<String>, Error> {
    let now = clock::now();
    let location = velero
        .location_when(name, Instant::now() + NEXT_LOOK, |location| {
            !location.is_available() || location.status.last_validation_time.is_some_and(|looked| looked >= now)
        })
        .await?;
    Ok(away_since(location.as_ref(), name))
}

/// Somebody deleted the Restore.
fn deleted(name: &str) -> Stop {
    Stop::new(
        Reason::ProviderInterrupted,
        format!("Restore {name} was deleted by somebody while it ran; the provider goes on writing for a while"),
    )
}

fn record(facts: &mut RestoreFacts, restore: &Restore) {
    let phase = restore.status.phase.to_string();
    if facts.phase != phase {
        let items = restore.status.progress.map(|p| p.items_restored);
        tracing::info!(restore = facts.name, phase, items, "restore");
    }
    facts.phase = phase;
    facts.terminal = restore.status.phase.is_terminal();
    facts.failure = restore.failure();
    facts.error_count = usize::try_from(restore.status.errors).unwrap_or(usize::MAX);
}

/// What Velero says of restores that it found under way when it started.
const RESTARTED: &str = "during the server starting";
/// Of one whose backup it could not get out of the store.
const NOT_READ: &str = "error downloading backup";
/// Of one whose storage location it knows to be away.
const AWAY: &str = "is unavailable, cannot retrieve the backup";

/// Ends of a restore that say nothing about the backup, or say something that no restore can change. `backup_gone`: there is no Backup
/// of this name any more.
pub(super) fn end(restore: &RestoreFacts, phase: &RestorePhase, backup_gone: bool) -> Option<Stop> {
    let why = restore.failure.clone().unwrap_or_default();
    let stop = |reason, what: &str| Some(Stop::new(reason, format!("{what}: {why}")));
    match phase {
        RestorePhase::Failed if why.contains(RESTARTED) => {
            stop(Reason::ProviderInterrupted, "Velero restarted in mid-restore")
        }
        // A store that says that it has no such file has lost it; one that says anything else may have it still.
        RestorePhase::Failed if why.contains(NOT_READ) && velero::says_no_such_file(&why) => stop(
            Reason::BackupUnusable,
            "the backup's files are gone from the object store",
        ),
        RestorePhase::Failed if why.contains(NOT_READ) => stop(
            Reason::ProviderUnavailable,
            "Velero could not read the backup from the object store",
        ),
        RestorePhase::FailedValidation if backup_gone => stop(
            Reason::BackupUnusable,
            "the backup vanished before it could be restored",
        ),
        RestorePhase::FailedValidation if why.contains(AWAY) || restore.storage_lost.is_some() => {
            stop(Reason::ProviderUnavailable, "the storage location became unavailable")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(failure: &str) -> RestoreFacts {
        RestoreFacts {
            failure: Some(failure.to_owned()),
            terminal: true,
            ..RestoreFacts::default()
        }
    }

    #[test]
    fn only_some_failures_say_something_about_the_backup() {
        use RestorePhase::{Completed, Failed, FailedValidation, PartiallyFailed};
        let reason = |phase: RestorePhase, failure, gone| end(&ended(failure), &phase, gone).map(|stop| stop.reason);
        let download = |why: &str| {
            format!("restore execution failed: error downloading backup: error copying Backup to temp file: {why}")
        };
        for (phase, failure, backup_gone, expected) in [
            (
                Failed,
                &*download("connect: connection refused"),
                false,
                Some(Reason::ProviderUnavailable),
            ),
            (
                Failed,
                &download("rpc error: code = Unknown desc = api error NoSuchKey: no such key"),
                false,
                Some(Reason::BackupUnusable),
            ),
            (
                Failed,
                &download("ERROR CODE: BlobNotFound"),
                false,
                Some(Reason::BackupUnusable),
            ),
            // The words alone are anybody's: a bucket, a proxy, a name server.
            (
                Failed,
                &download("api error NoSuchBucket: StatusCode: 404, not found"),
                false,
                Some(Reason::ProviderUnavailable),
            ),
            (
                Failed,
                &download("lookup store: host not found"),
                false,
                Some(Reason::ProviderUnavailable),
            ),
            (
                Failed,
                "found a restore with status \"InProgress\" during the server starting, mark it as \"Failed\"",
                false,
                Some(Reason::ProviderInterrupted),
            ),
            (
                FailedValidation,
                "The BSL default is unavailable, cannot retrieve the backup",
                false,
                Some(Reason::ProviderUnavailable),
            ),
            (
                FailedValidation,
                "Error retrieving backup: not found",
                true,
                Some(Reason::BackupUnusable),
            ),
            (FailedValidation, "resource policy not found", false, None),
            (Failed, "panic", false, None),
            (PartiallyFailed, "", false, None),
            (Completed, "", false, None),
        ] {
            assert_eq!(reason(phase, failure, backup_gone), expected, "{failure}");
        }
    }
}
