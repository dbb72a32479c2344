//! `BackupVolumeInfos`: which claims have data in the backup.
//!
//! A claim without data comes back as an empty volume, Bound, under a `Completed` Restore and with running pods. Nothing
//! but this file tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::clip::parser;

/// Ways of keeping a volume's data that can be restored from.
const METHODS: [&str; 3] = [POD_VOLUME_BACKUP, CSI_SNAPSHOT, "NativeSnapshot"];
/// File by file, through a pod that mounts the volume.
pub const POD_VOLUME_BACKUP: &str = "PodVolumeBackup";
/// By a snapshot of the storage, moved into the store or not.
pub const CSI_SNAPSHOT: &str = "CSISnapshot";

/// The volumes of a backup, of the wanted namespaces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Volumes {
    /// What the backup has of each claim, by namespace and name.
    pub claims: BTreeMap<(String, String), ClaimData>,
    /// Bytes of all of them, pods' own volumes included; `None` if no volume has data.
    pub total_bytes: Option<u64>,
    /// Why the backup's list of volumes cannot be read, if it cannot: then only the restore itself shows what there was.
    pub unlisted: Option<String>,
}

/// What a backup has of one claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimData {
    /// Its data.
    Stored {
        /// How, e.g. `PodVolumeBackup`.
        method: String,
        /// How much. 0 is a volume that was empty, which is no loss.
        bytes: u64,
        /// What becomes of the source's volume with its claim, e.g. `Retain`.
        reclaim_policy: Option<String>,
        /// The pod through which it was taken, and into which alone it is restored; `None` for snapshots.
        pod: Option<String>,
    },
    /// Nothing: the restored volume will be empty.
    Nothing {
        /// Why, for a person.
        reason: String,
    },
}

impl ClaimData {
    /// The backup has its data.
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Stored { .. })
    }
}

impl Volumes {
    /// What the backup has of this claim. One that is not listed at all has no data either.
    pub fn claim(&self, namespace: &str, name: &str) -> ClaimData {
        self.claims
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
            .unwrap_or_else(|| ClaimData::Nothing {
                reason: self
                    .unlisted
                    .clone()
                    .unwrap_or_else(|| "the backup has no entry for its volume".to_owned()),
            })
    }
}

/// One entry. Mixed case is real: `Phase` has no tag in Velero's own types.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    pvc_name: Option<String>,
    pvc_namespace: Option<String>,
    backup_method: Option<String>,
    skipped: bool,
    skipped_reason: Option<String>,
    result: Option<String>,
    pvb_info: Option<Transfer>,
    snapshot_data_movement_info: Option<Transfer>,
    csi_snapshot_info: Option<Transfer>,
    pv_info: Option<SourceVolume>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Transfer {
    size: Option<u64>,
    #[serde(rename = "Phase")]
    phase: Option<String>,
    pod_namespace: Option<String>,
    pod_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SourceVolume {
    reclaim_policy: Option<String>,
}

impl Entry {
    fn data(&self) -> ClaimData {
        let nothing = |reason: String| ClaimData::Nothing { reason };
        if self.skipped {
            let reason = self
                .skipped_reason
                .as_deref()
                .map(tidy)
                .filter(|reason| !reason.is_empty());
            return nothing(reason.unwrap_or_else(|| "the backup skipped it".to_owned()));
        }
        let transfers = || {
            [&self.pvb_info, &self.snapshot_data_movement_info]
                .into_iter()
                .flatten()
        };
        match self.result.as_deref() {
            Some("succeeded") => {}
            Some(result) => return nothing(format!("the backup of its volume ended {result}")),
            // Velero before 1.15 writes none; what it transferred says whether it is complete.
            None if transfers().any(|transfer| transfer.phase.as_deref() == Some("Completed")) => {}
            None => return nothing("the backup of its volume has no result".to_owned()),
        }
        let Some(method) = self.backup_method.as_deref().filter(|method| METHODS.contains(method)) else {
            return nothing(match &self.backup_method {
                Some(method) => format!("the backup kept it by {method}, which is not known here"),
                None => "the backup does not say how it kept it".to_owned(),
            });
        };
        // Moved snapshots have both a transfer and a snapshot; what counts is what reached the store.
        for transfer in transfers() {
            let phase = transfer.phase.as_deref().unwrap_or_default();
            if !matches!(phase, "" | "Completed") {
                return nothing(format!("the transfer of its volume ended {phase}"));
            }
        }
        ClaimData::Stored {
            method: method.to_owned(),
            bytes: transfers()
                .chain(&self.csi_snapshot_info)
                .find_map(|transfer| transfer.size)
                .unwrap_or(0),
            pod: self.pvb_info.as_ref().and_then(|transfer| transfer.pod_name.clone()),
            reclaim_policy: self.pv_info.as_ref().and_then(|volume| volume.reclaim_policy.clone()),
        }
    }

    fn namespace(&self) -> Option<&str> {
        self.pvc_namespace
            .as_deref()
            .or_else(|| self.pvb_info.as_ref()?.pod_namespace.as_deref())
    }
}

/// Velero joins its reasons by semicolons and ends them with one.
fn tidy(reason: &str) -> String {
    let parts: Vec<&str> = reason
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("; ")
}

/// Reads `BackupVolumeInfos` and keeps the claims of the wanted namespaces.
pub fn read_volume_infos<R: Read>(reader: R, wanted: &BTreeSet<String>) -> serde_json::Result<Volumes> {
    let mut parser = parser(reader);
    let volumes = parser.deserialize_any(Entries(wanted))?;
    parser.end()?;
    Ok(volumes)
}

struct Entries<'a>(&'a BTreeSet<String>);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Volumes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of volumes")
    }

    fn visit_unit<E>(self) -> Result<Volumes, E> {
        Ok(Volumes::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Volumes, A::Error> {
        let mut volumes = Volumes::default();
        while let Some(entry) = list.next_element::<Entry>()? {
            let Some(namespace) = entry.namespace().filter(|namespace| self.0.contains(*namespace)) else {
                continue;
            };
            let data = entry.data();
            if let ClaimData::Stored { bytes, .. } = &data {
                let total = volumes.total_bytes.get_or_insert(0);
                *total = total.saturating_add(*bytes);
            }
            // An entry without a claim is a pod's own volume.
            let Some(claim) = &entry.pvc_name else { continue };
            let key = (namespace.to_owned(), claim.clone());
            match volumes.claims.get(&key) {
                Some(known) if known.is_stored() => {}
                _ => _ = volumes.claims.insert(key, data),
            }
        }
        Ok(volumes)
    }
}
