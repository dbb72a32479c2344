//! Which backup: asks the provider what it has, and downloads lists of objects until one backup holds all namespaces.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock;
use crate::cluster::{DownloadError, Downloads, ProviderError, Velero};
use crate::facts::{BackupFacts, ProviderFacts, Reason, Stop};
use crate::plan::{self, Inventory, Point, ValidTest};
use crate::velero::{self, Contents, FileKind, Volumes};

/// Backups whose lists are looked at before giving up. Each costs a request and a download.
const MOST_LISTS: usize = 50;

/// The backup that is restored, and what it holds.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The backup.
    pub(super) point: Point,
    /// As the report shows it.
    pub(super) facts: BackupFacts,
    /// Its objects, of the wanted namespaces.
    pub(super) contents: Arc<Contents>,
    /// Its volumes.
    pub(super) volumes: Volumes,
    /// The way to its files and those of its restores.
    pub(super) downloads: Downloads,
    /// Newer backups that should hold the namespaces and do not: one sentence for the report.
    pub(super) lacking: Option<String>,
}

/// Chooses the backup. The error says why there is none, or why that cannot be known.
pub(super) async fn choose(velero: &Velero, test: &ValidTest, random: u64) -> Result<Chosen, Stop> {
    let (backups, locations, deletions) =
        tokio::try_join!(velero.backups(), velero.locations(), velero.deletions()).map_err(api)?;
    let inventory = Inventory {
        backups: &backups,
        locations: &locations,
        deletions: &deletions,
    };
    let selection = plan::rank(test, &inventory, clock::now(), random)?;
    let sources: BTreeSet<String> = test.sources().into_iter().collect();
    let trust = velero.trust(&locations).await;
    let downloads = velero.downloads(&trust).map_err(|error| lists(&error))?;
    let mut gone = Vec::new();
    let mut missed = Vec::new();
    for point in selection.candidates.iter().take(MOST_LISTS) {
        let wanted = sources.clone();
        let parse = move |reader: &mut dyn std::io::Read| velero::read_backup_contents(reader, &wanted);
        let contents = match downloads.fetch(FileKind::BackupResourceList, &point.name, parse).await {
            Ok(contents) => contents,
            // Its files are gone from the store although the store answers: that is a finding about the backup.
            Err(DownloadError::NotAvailable(_)) => {
                let reason = "its list of objects is not in the object store".to_owned();
                gone.push(plan::Passed::new(point, reason));
                continue;
            }
            Err(error) => return Err(lists(&error)),
        };
        match plan::holds(&contents, &test.sources()) {
            Ok(()) => {
                let volumes = volumes(&downloads, point, &sources).await?;
                let mut facts = point.facts(selection.newer_unusable(point, &gone));
                facts.bytes = volumes.total_bytes;
                return Ok(Chosen {
                    lacking: plan::newer_lacking(point, &missed),
                    point: point.clone(),
                    facts,
                    contents: Arc::new(contents),
                    volumes,
                    downloads,
                });
            }
            Err(missing) => missed.push((point.clone(), missing)),
        }
    }
    let unread = selection.candidates.len().saturating_sub(MOST_LISTS);
    Err(plan::none_holds(test, &missed, &gone, unread))
}

/// Asks the provider for a sign of life and its version.
pub(super) async fn provider(velero: &Velero) -> Result<ProviderFacts, Stop> {
    let version = velero.alive().await.map_err(unavailable)?;
    Ok(ProviderFacts {
        name: "velero".to_owned(),
        version,
    })
}

/// A server that is too old would restore, but not say what became of the volumes.
pub(super) fn supported(provider: &ProviderFacts, namespace: &str) -> Result<(), Stop> {
    let Some(version) = provider.version.as_ref().filter(|version| velero::is_too_old(version)) else {
        return Ok(());
    };
    let (major, minor) = velero::OLDEST;
    Err(Stop::new(
        Reason::ProviderUnavailable,
        format!("Velero in namespace {namespace} is {version}, and drills need {major}.{minor} or later: upgrade it"),
    ))
}

async fn volumes(downloads: &Downloads, point: &Point, sources: &BTreeSet<String>) -> Result<Volumes, Stop> {
    let wanted = sources.clone();
    let parse = move |reader: &mut dyn std::io::Read| velero::read_volume_infos(reader, &wanted);
    match downloads.fetch(FileKind::BackupVolumeInfos, &point.name, parse).await {
        Ok(volumes) => Ok(volumes),
        // Velero before 1.13 wrote none. Then a claim has the data that the restore is seen to bring back, and no other.
        Err(DownloadError::NotAvailable(_)) => Ok(Volumes {
            unlisted: Some("the backup's list of volumes is not in the object store".to_owned()),
            ..Volumes::default()
        }),
        Err(error) => Err(lists(&error)),
    }
}

fn unavailable(error: ProviderError) -> Stop {
    match error {
        ProviderError::Api(error) => api(error),
        other => Stop::new(Reason::ProviderUnavailable, other.to_string()),
    }
}

/// A file of the backup cannot be read: neither what to expect nor what to hold back would be known.
pub(super) fn lists(error: &DownloadError) -> Stop {
    match error {
        DownloadError::Api(error) => api_ref(error),
        other => Stop::new(Reason::ProviderUnavailable, other.to_string()),
    }
}

/// The API server failed or refused.
#[expect(clippy::needless_pass_by_value, reason = "it is made for map_err")]
pub(super) fn api(error: crate::cluster::Error) -> Stop {
    api_ref(&error)
}

pub(super) fn api_ref(error: &crate::cluster::Error) -> Stop {
    if error.is_forbidden() {
        return Stop::new(
            Reason::SandboxDenied,
            format!(
                "{error}; is the installation complete? (kubectl apply -k kustomize/base, and kustomize/components/provider-namespace for another provider namespace)"
            ),
        );
    }
    Stop::new(Reason::ApiUnavailable, error.to_string())
}
