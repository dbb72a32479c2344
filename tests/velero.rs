//! The provider against a real Velero with a finished backup and a finished restore in namespace `velero`.
//!
//! Signed URLs name the store's Service, so this runs inside the cluster's network:
//! `cargo test --test velero --no-run`, then `tests/cluster/in <the binary> --ignored`.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "a test says what is wrong by panicking, and a table is as long as it is"
)]
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kymaros_runner::cluster::{Cluster, DownloadError, Downloads, Query, Velero};
use kymaros_runner::names::label;
use kymaros_runner::velero::{
    Action, Backup, BackupPhase, FileKind, Kind, Restore, RestorePhase, read_backup_contents, read_restore_outcomes,
    read_results, read_volume_infos,
};

const NEEDS: &str = "velero";

/// The provider and the way to its files, for a run of this id.
async fn provider(run: &str) -> (Cluster, Velero, Downloads) {
    let cluster = Cluster::find(false, Duration::from_secs(10)).await.unwrap();
    let velero = Velero::new(&cluster, NEEDS, run);
    let trust = velero.trust(&velero.locations().await.unwrap()).await;
    let downloads = velero.downloads(&trust).unwrap();
    (cluster, velero, downloads)
}

/// The newest backup that can be restored from, and a namespace that its spec names.
async fn newest(velero: &Velero) -> (Backup, String) {
    let mut backups = velero.backups().await.unwrap();
    backups.retain(|backup| backup.status.phase == BackupPhase::Completed);
    backups.sort_by_key(|backup| backup.status.start_timestamp);
    let backup = backups.pop().expect("a completed backup");
    let namespace = backup
        .spec
        .included_namespaces
        .iter()
        .flatten()
        .next()
        .cloned()
        .expect("a namespace");
    (backup, namespace)
}

#[tokio::test]
#[ignore = "needs a cluster with Velero (makes and deletes a server status request)"]
async fn a_live_server_answers_at_once() {
    let (_, velero, _) = provider("alive0").await;
    let start = Instant::now();
    velero.alive().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(
        velero
            .locations()
            .await
            .unwrap()
            .iter()
            .any(kymaros_runner::velero::BackupStorageLocation::is_available)
    );
    velero.deletions().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster with Velero and a backup (makes and deletes download requests)"]
async fn the_files_of_a_backup_are_read() {
    let (cluster, velero, downloads) = provider("files0").await;
    let (backup, namespace) = newest(&velero).await;
    let wanted = BTreeSet::from([namespace.clone()]);
    let start = Instant::now();
    let contents = {
        let wanted = wanted.clone();
        let parse = move |reader: &mut dyn std::io::Read| read_backup_contents(reader, &wanted);
        downloads
            .fetch(FileKind::BackupResourceList, backup.name(), parse)
            .await
            .unwrap()
    };
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(contents.holds(&namespace) && !contents.is_empty());
    assert!(
        contents.kinds.contains_key(&Kind::new("", "v1", "ConfigMap")),
        "{:?}",
        contents.kinds.keys()
    );
    let discovery = cluster.discover().await.unwrap();
    let unknown: Vec<&Kind> = contents
        .kinds
        .keys()
        .filter(|kind| discovery.find(kind).is_none())
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");

    let volumes = downloads
        .fetch(FileKind::BackupVolumeInfos, backup.name(), move |reader| {
            read_volume_infos(reader, &wanted)
        })
        .await
        .unwrap();
    assert!(volumes.claims.keys().all(|(of, _)| *of == namespace));
    let results = downloads
        .fetch(FileKind::BackupResults, backup.name(), |reader| read_results(reader))
        .await
        .unwrap();
    assert_eq!(u64::try_from(results.errors.total).unwrap(), backup.status.errors);

    let ours = Query::labels(format!("{}=files0", label::RUN));
    let left = cluster
        .namespaced::<kymaros_runner::velero::DownloadRequest>(NEEDS)
        .list(&ours)
        .await
        .unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
#[ignore = "needs a cluster with Velero and a restore (makes and deletes download requests)"]
async fn the_files_of_a_restore_are_read() {
    let (_, velero, downloads) = provider("files1").await;
    let mut restores: Vec<Restore> = velero.restores().list(&Query::all()).await.unwrap();
    restores.retain(|restore| {
        restore.status.phase == RestorePhase::Completed && !restore.spec.namespace_mapping.is_empty()
    });
    let restore = restores.pop().expect("a completed restore");
    let sandboxes: BTreeSet<String> = restore.spec.namespace_mapping.values().cloned().collect();
    let outcomes = downloads
        .fetch(FileKind::RestoreResourceList, restore.name(), move |reader| {
            read_restore_outcomes(reader, &sandboxes)
        })
        .await
        .unwrap();
    assert!(outcomes.created > 0);
    let created = outcomes
        .kinds
        .values()
        .flat_map(|namespaces| namespaces.values().flatten());
    assert_eq!(
        created.filter(|item| item.action == Action::Created).count(),
        outcomes.created
    );
    let results = downloads
        .fetch(FileKind::RestoreResults, restore.name(), |reader| read_results(reader))
        .await
        .unwrap();
    assert_eq!(results.errors.total, 0);
    let warnings = results.warnings.total + results.warnings.noise;
    assert_eq!(u64::try_from(warnings).unwrap(), restore.status.warnings);
}

#[tokio::test]
#[ignore = "needs a cluster with Velero (makes and deletes download requests)"]
async fn what_does_not_exist_is_found_out_in_seconds() {
    let (_, _, downloads) = provider("files2").await;
    let start = Instant::now();
    let error = downloads
        .fetch(FileKind::BackupResourceList, "no-such-backup", |reader| {
            read_results(reader)
        })
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::NoSuchObject), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
