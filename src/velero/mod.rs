//! Velero as seen from outside: its objects, partial and lenient, and readers for the files it writes beside a backup or a
//! restore.
//!
//! Everything here is optional where Velero's own schema says otherwise: a newer or older server must be reported on, not
//! tripped over. Unknown phases are kept as text. Files are read as streams and what is kept of them is bounded, for they
//! are as large as a cluster and come from a store that others write to.

mod backup;
mod clip;
mod kind;
mod open;
mod requests;
mod resource_list;
mod restore;
mod results;
mod time;
mod version;
mod volume_info;
mod volume_restores;

pub use backup::{Backup, BackupPhase, BackupSpec, BackupStatus};
pub use clip::{Clipped, MAX_STRING};
pub use kind::Kind;
pub use requests::{
    BackupStorageLocation, BackupStorageLocationSpec, BackupStorageLocationStatus, DeleteBackupRequest,
    DeleteBackupRequestSpec, DeleteBackupRequestStatus, DeletionPhase, DownloadPhase, DownloadRequest,
    DownloadRequestSpec, DownloadRequestStatus, DownloadTarget, FileKind, KeyRef, LocationPhase, ObjectStorage,
    RequestPhase, ServerStatusRequest, ServerStatusRequestSpec, ServerStatusRequestStatus,
};
pub use resource_list::{
    Action, Contents, MAX_OBJECTS, Outcomes, RestoredItem, read_backup_contents, read_restore_outcomes,
};
pub use restore::{ModifierRef, Progress, Restore, RestorePhase, RestoreSpec, RestoreStatus};
pub use results::{
    Cause, Errors, Furnished, Item, MAX_TEXTS, Problem, Results, Warnings, made_by_the_cluster, noise, read_results,
    says_no_such_file,
};
pub use version::{OLDEST, is_too_old};
pub use volume_info::{CSI_SNAPSHOT, ClaimData, POD_VOLUME_BACKUP, Volumes, read_volume_infos};
pub use volume_restores::{
    DataDownload, DataDownloadSpec, PodReference, PodVolumeRestore, PodVolumeRestoreSpec, TargetVolume,
    TransferProgress, VolumeRestore, VolumeRestorePhase, VolumeRestoreStatus,
};

/// The API group of Velero's objects.
pub const GROUP: &str = "velero.io";

/// Labels and annotations of Velero's.
pub mod label {
    /// On a backup: the Schedule it comes from. Never shortened.
    pub const SCHEDULE: &str = "velero.io/schedule-name";
    /// On volume restores: the Restore's UID. Unlike its name it never needs shortening.
    pub const RESTORE_UID: &str = "velero.io/restore-uid";
    /// On a `PodVolumeRestore`: the UID of the new claim.
    pub const CLAIM_UID: &str = "velero.io/pvc-uid";
    /// On a backup whose deletion was tried and failed.
    pub const GC_FAILURE: &str = "velero.io/gc-failure";
}

/// Why Velero leaves an object with these labels out of every backup: the label; `None` if it does not.
pub fn kept_out(labels: Option<&std::collections::BTreeMap<String, String>>) -> Option<&'static str> {
    let value = labels?.get(crate::names::label::VELERO_EXCLUDE)?;
    (value == "true").then_some(crate::names::label::VELERO_EXCLUDE)
}

/// Declares one of Velero's kinds: metadata, a spec and a status that may both be missing, and the names by which the API
/// server knows it. None of them has a status subresource, and a status that says nothing is not written: Velero never
/// looks at an object that was created with one.
macro_rules! velero_kind {
    ($(#[$doc:meta])* $kind:ident($plural:literal, $version:literal) { spec: $spec:ty, status: $status:ty }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, serde::Deserialize)]
        pub struct $kind {
            /// Name, labels and the like.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is asked for.
            #[serde(default, deserialize_with = "crate::velero::open::nullable")]
            pub spec: $spec,
            /// What the server says.
            #[serde(default, deserialize_with = "crate::velero::open::nullable")]
            pub status: $status,
        }

        impl $kind {
            /// A new object of this name, with no status.
            pub fn new(namespace: &str, name: &str, spec: $spec) -> Self {
                Self {
                    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                        name: Some(name.to_owned()),
                        namespace: Some(namespace.to_owned()),
                        ..Default::default()
                    },
                    spec,
                    status: Default::default(),
                }
            }

            /// Its name; empty for an object that was never stored.
            pub fn name(&self) -> &str {
                self.metadata.name.as_deref().unwrap_or_default()
            }
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let mut object = serializer.serialize_struct(stringify!($kind), 5)?;
                object.serialize_field("apiVersion", concat!("velero.io/", $version))?;
                object.serialize_field("kind", stringify!($kind))?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                if self.status != <$status>::default() {
                    object.serialize_field("status", &self.status)?;
                }
                object.end()
            }
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = kube::core::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                crate::velero::GROUP.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
use velero_kind;

#[cfg(test)]
mod tests;
