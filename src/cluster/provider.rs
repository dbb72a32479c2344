//! Velero as a provider: is it alive, what does it have, and one restore from its creation to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::json;
use tokio::time::Instant;

use super::download::{DownloadError, Downloads, StoreTrust};
use super::error::{Error, none_if_unknown};
use super::objects::{Objects, Query};
use super::wait::{Waited, Watch};
use super::{Cluster, cancel};
use crate::names::{INSTALLATION, MANAGED_BY, PROVIDER_PREFIX, UNLISTED_PREFIX, label};
use crate::velero::{
    self, Backup, BackupStorageLocation, DataDownload, DeleteBackupRequest, DownloadRequest, KeyRef, PodVolumeRestore,
    RequestPhase, Restore, ServerStatusRequest, ServerStatusRequestSpec, VolumeRestore, VolumeRestorePhase,
};

/// A live server answers within 50 ms.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Why the provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its kinds are unknown to the cluster, or its namespace does not exist.
    #[error("Velero is not installed in namespace {0}")]
    NotInstalled(String),
    /// Nobody answers.
    #[error("Velero in namespace {namespace} gave no sign of life within {limit:?}; is its server running?")]
    Silent {
        /// Its namespace.
        namespace: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Somebody answers whom the installation does not know.
    #[error(
        "a Velero server answers in namespace {0}, but the fence does not let it process drills, because its service account is not in \
         veleroServiceAccounts of ConfigMap {INSTALLATION}: whoever runs this installation can add it (docs/install.md, What the \
         installation allows)"
    )]
    Unlisted(String),
    /// The API server.
    #[error(transparent)]
    Api(#[from] Error),
}

/// Velero in one namespace, as one run uses it.
#[derive(Clone, Debug)]
pub struct Velero {
    cluster: Cluster,
    namespace: String,
    run: String,
    labels: BTreeMap<String, String>,
    /// Makes the names of requests unique: an old answer that could not be deleted must not pass for a new one.
    asked: Arc<AtomicU32>,
}

impl Velero {
    /// Velero in `namespace`, for the run of this id.
    pub fn new(cluster: &Cluster, namespace: &str, run: &str) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            run: run.to_owned(),
            labels: [(label::MANAGED_BY, MANAGED_BY), (label::RUN, run)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            asked: Arc::default(),
        }
    }

    /// What it makes says which test it is for, so that a later run of the test finds what this one has left.
    #[must_use]
    pub fn of_test(mut self, test: &str) -> Self {
        self.labels.insert(label::TEST.to_owned(), test.to_owned());
        self
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Asks for a sign of life, and returns the server's version if it says one. Nothing else tells a dead server from a
    /// busy one: a storage location stays `Available`, a Restore in the queue shows nothing either way.
    ///
    /// Only a server that the installation names can answer, for the fence refuses what any other writes. Where none answers, anybody
    /// may answer a second request, and whoever does is not named.
    pub async fn alive(&self) -> Result<Option<String>, ProviderError> {
        if let Some(answered) = self.sign_of(PROVIDER_PREFIX).await? {
            return Ok(answered.status.server_version.filter(|version| !version.is_empty()));
        }
        if self.sign_of(UNLISTED_PREFIX).await?.is_some() {
            return Err(ProviderError::Unlisted(self.namespace.clone()));
        }
        Err(ProviderError::Silent {
            namespace: self.namespace.clone(),
            limit: SIGN_OF_LIFE,
        })
    }

    /// The answer to a request whose name begins so; `None` without an answer in time.
    async fn sign_of(&self, prefix: &str) -> Result<Option<ServerStatusRequest>, ProviderError> {
        let requests: Objects<ServerStatusRequest> = self.cluster.namespaced(&self.namespace);
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}{}-alive-{number}", self.run);
        let mut request = ServerStatusRequest::new(&self.namespace, &name, ServerStatusRequestSpec {});
        request.metadata.labels = Some(self.labels.clone());
        let request = requests
            .create_or_same(&request)
            .await
            .map_err(|error| self.installed(error))?;
        let answered = |request: Option<&ServerStatusRequest>| {
            request.is_some_and(|request| request.status.phase == RequestPhase::Processed)
        };
        let waited = requests.wait_at_most(&name, SIGN_OF_LIFE, answered).await;
        let uid = request.metadata.uid.as_deref().unwrap_or_default();
        if let Err(error) = requests.delete(&name, uid).await {
            tracing::debug!(%error, "server status request left behind");
        }
        Ok(match waited? {
            Waited::Met(request) => request,
            Waited::Late(_) => None,
        })
    }

    fn installed(&self, error: Error) -> ProviderError {
        if error.is_not_found() {
            ProviderError::NotInstalled(self.namespace.clone())
        } else {
            ProviderError::Api(error)
        }
    }

    /// All backups.
    pub async fn backups(&self) -> Result<Vec<Backup>, Error> {
        self.cluster.namespaced(&self.namespace).list(&Query::all()).await
    }

    /// One backup; `None` if it is gone.
    pub async fn backup(&self, name: &str) -> Result<Option<Backup>, Error> {
        self.cluster.namespaced(&self.namespace).get_opt(name).await
    }

    /// All storage locations.
    pub async fn locations(&self) -> Result<Vec<BackupStorageLocation>, Error> {
        self.cluster.namespaced(&self.namespace).list(&Query::all()).await
    }

    /// One storage location; `None` if it is gone.
    pub async fn location(&self, name: &str) -> Result<Option<BackupStorageLocation>, Error> {
        self.cluster.namespaced(&self.namespace).get_opt(name).await
    }

    /// A storage location as soon as it is as fits, or as it is at the deadline; `None` if it is gone.
    pub async fn location_when(
        &self,
        name: &str,
        deadline: Instant,
        fits: impl Fn(&BackupStorageLocation) -> bool,
    ) -> Result<Option<BackupStorageLocation>, Error> {
        let locations: Objects<BackupStorageLocation> = self.cluster.namespaced(&self.namespace);
        let waited = locations
            .wait_for(name, deadline, |found| found.is_none_or(&fits))
            .await?;
        Ok(match waited {
            Waited::Met(location) | Waited::Late(location) => location,
        })
    }

    /// All requests to delete a backup.
    pub async fn deletions(&self) -> Result<Vec<DeleteBackupRequest>, Error> {
        self.cluster.namespaced(&self.namespace).list(&Query::all()).await
    }

    /// The authorities that the storage locations name for their stores. One that cannot be had is logged and left out: the
    /// store may be known to the bundled ones, and if not, the download says so.
    pub async fn trust(&self, locations: &[BackupStorageLocation]) -> StoreTrust {
        let mut trust = StoreTrust::default();
        for location in locations {
            let store = &location.spec.object_storage;
            if let Some(text) = store.ca_cert.as_deref().filter(|text| !text.is_empty()) {
                let added = match serde_json::from_value::<ByteString>(json!(text)) {
                    Ok(pem) => trust.add(&pem.0).map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                if let Err(reason) = added {
                    tracing::warn!(
                        location = location.name(),
                        reason,
                        "objectStorage.caCert cannot be used"
                    );
                }
            }
            if let Some(key) = &store.ca_cert_ref
                && let Err(reason) = self.add_from_secret(&mut trust, key).await
            {
                tracing::warn!(
                    location = location.name(),
                    reason,
                    "objectStorage.caCertRef cannot be used"
                );
            }
        }
        trust
    }

    async fn add_from_secret(&self, trust: &mut StoreTrust, key: &KeyRef) -> Result<(), String> {
        let secrets: Objects<Secret> = self.cluster.namespaced(&self.namespace);
        let secret = secrets.get(&key.name).await.map_err(|error| error.to_string())?;
        let pem = secret.data.unwrap_or_default().remove(&key.key);
        let pem = pem.ok_or_else(|| format!("Secret {} has no key {}", key.name, key.key))?;
        trust.add(&pem.0).map_err(|error| error.to_string())
    }

    /// Reads files of backups and restores. The store's certificate may come from the bundled authorities or from `trust`.
    pub fn downloads(&self, trust: &StoreTrust) -> Result<Downloads, DownloadError> {
        Downloads::new(
            self.cluster.namespaced::<DownloadRequest>(&self.namespace),
            &self.namespace,
            &self.run,
            &self.labels,
            trust,
        )
    }

    /// The Restores, ours and others'.
    pub fn restores(&self) -> Objects<Restore> {
        self.cluster.namespaced(&self.namespace)
    }

    /// Follows all Restores.
    pub fn watch_restores(&self) -> Watch<Restore> {
        self.restores().watch(&Query::all())
    }

    /// Asks for a restore.
    pub async fn create_restore(&self, restore: &Restore) -> Result<Restore, Error> {
        self.restores().create_or_same(restore).await
    }

    /// Follows the file-system volumes of a restore.
    pub fn watch_pod_volumes(&self, restore_uid: &str) -> Watch<PodVolumeRestore> {
        self.cluster.namespaced(&self.namespace).watch(&of_restore(restore_uid))
    }

    /// Follows the moved snapshots of a restore.
    pub fn watch_data_downloads(&self, restore_uid: &str) -> Watch<DataDownload> {
        self.cluster.namespaced(&self.namespace).watch(&of_restore(restore_uid))
    }

    /// The file-system volumes of a restore.
    pub async fn pod_volumes(&self, restore_uid: &str) -> Result<Vec<PodVolumeRestore>, Error> {
        self.cluster
            .namespaced(&self.namespace)
            .list(&of_restore(restore_uid))
            .await
    }

    /// The moved snapshots of a restore.
    pub async fn data_downloads(&self, restore_uid: &str) -> Result<Vec<DataDownload>, Error> {
        none_if_unknown(
            self.cluster
                .namespaced(&self.namespace)
                .list(&of_restore(restore_uid))
                .await,
        )
    }

    /// Tells one file-system volume to stop; `false` if it is gone, or not as it was seen. One that no node agent has begun with ends at
    /// once, without harm.
    pub async fn cancel_volume(&self, volume: &PodVolumeRestore) -> Result<bool, Error> {
        cancel::cancel(&self.cluster.namespaced(&self.namespace), volume).await
    }

    /// Volume restores that hold a slot of a node agent, of whichever Restore but `own`, as `Kind name (phase)`.
    pub async fn busy_volumes(&self, own: &str) -> Result<Vec<String>, Error> {
        let query = Query::all();
        let pod_volumes: Objects<PodVolumeRestore> = self.cluster.namespaced(&self.namespace);
        let downloads: Objects<DataDownload> = self.cluster.namespaced(&self.namespace);
        let mut found = pod_volumes.list_with(&query, |volume| busy(&volume, own)).await?;
        found.extend(none_if_unknown(
            downloads.list_with(&query, |volume| busy(&volume, own)).await,
        )?);
        Ok(found.into_iter().flatten().collect())
    }
}

/// What a volume restore is called if it holds a slot. A `New` one does not; and once its Restore is over and its pod gone, it stays
/// `New` for ever.
fn busy<V: VolumeRestore>(volume: &V, own: &str) -> Option<String> {
    let restore = volume
        .labels()
        .get(label::VELERO_RESTORE)
        .map(String::as_str)
        .unwrap_or_default();
    if restore == own || volume.is_over() || volume.status().phase == VolumeRestorePhase::New {
        return None;
    }
    Some(format!(
        "{} {} ({})",
        V::kind(&()),
        volume.name_any(),
        volume.status().phase
    ))
}

fn of_restore(uid: &str) -> Query {
    Query::labels(format!("{}={uid}", velero::label::RESTORE_UID))
}
