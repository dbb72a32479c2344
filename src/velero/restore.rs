//! `Restore`: what a run asks for, and what comes of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

use super::open::{nullable, open_enum};
use super::{time, velero_kind};
use crate::redact;

velero_kind! {
    /// One restore. Velero works on one at a time, and deletes one only when no other is running.
    Restore("restores", "v1") { spec: RestoreSpec, status: RestoreStatus }
}

/// What to restore. Fields that a run never sets (`scheduleName`, `existingResourcePolicy`, `includeClusterResources`,
/// `restoreStatus`, hooks) have no place here, so they cannot be set by mistake. The server adds to the spec while it
/// works; never compare it afterwards.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreSpec {
    /// The backup. Foreign restores may name a schedule instead.
    #[serde(deserialize_with = "nullable")]
    pub backup_name: String,
    /// Namespaces of the backup; an empty list would mean all of them.
    #[serde(deserialize_with = "nullable")]
    pub included_namespaces: Vec<String>,
    /// From namespaces of the backup to sandboxes.
    #[serde(deserialize_with = "nullable")]
    pub namespace_mapping: BTreeMap<String, String>,
    /// `plural.group` of what stays out.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub excluded_resources: Vec<String>,
    /// Only objects that match. Never together with `or_label_selectors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Only objects that match one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub or_label_selectors: Option<Vec<LabelSelector>>,
    /// Always `true` in ours: without it new claims are bound to the source's own disks.
    #[serde(rename = "restorePVs", skip_serializing_if = "Option::is_none")]
    pub restore_pvs: Option<bool>,
    /// Limit for data movement, as a Go duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<String>,
    /// The `ConfigMap` with changes to make on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_modifier: Option<ModifierRef>,
}

/// Refers to a `ConfigMap` of modifiers. Any other kind is ignored by Velero without a word.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ModifierRef {
    /// `ConfigMap`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl ModifierRef {
    /// Refers to the `ConfigMap` of this name in Velero's namespace.
    pub fn config_map(name: &str) -> Self {
        Self {
            kind: "ConfigMap".to_owned(),
            name: name.to_owned(),
        }
    }
}

/// How far the restore came.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatus {
    /// Its phase.
    pub phase: RestorePhase,
    /// What was wrong with its spec; only with `FailedValidation`.
    pub validation_errors: Option<Vec<String>>,
    /// Number of warnings; absent means none.
    pub warnings: u64,
    /// Number of errors; may exceed the number of texts in the results.
    pub errors: u64,
    /// Only with `Failed`.
    pub failure_reason: Option<String>,
    /// Absent with `FailedValidation`.
    #[serde(deserialize_with = "time::lenient")]
    pub start_timestamp: Option<DateTime<Utc>>,
    /// Absent with `FailedValidation`.
    #[serde(deserialize_with = "time::lenient")]
    pub completion_timestamp: Option<DateTime<Utc>>,
    /// Best effort; says nothing about the end.
    pub progress: Option<Progress>,
}

/// Items done so far. `total_items` goes down as well as up.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Items to restore, as far as known.
    pub total_items: u64,
    /// Items restored.
    pub items_restored: u64,
}

open_enum! {
    /// Phase of a restore.
    RestorePhase {
        /// Its spec was refused. Also waits for its turn in the queue.
        FailedValidation,
        /// Objects and file-system volumes are being restored.
        InProgress,
        /// Data is being moved.
        WaitingForPluginOperations,
        /// The same, with errors.
        WaitingForPluginOperationsPartiallyFailed,
        /// Passed by every restore, and can still turn into `PartiallyFailed`.
        Finalizing,
        /// The same, with errors.
        FinalizingPartiallyFailed,
        /// All done without an error.
        Completed,
        /// Done with errors.
        PartiallyFailed,
        /// Broken off.
        Failed,
    }
}

impl RestorePhase {
    /// One of the four phases that Velero never leaves. Volume restores may outlive them.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::FailedValidation | Self::Completed | Self::PartiallyFailed | Self::Failed
        )
    }
}

impl Restore {
    /// It ended in whatever way.
    pub fn is_terminal(&self) -> bool {
        self.status.phase.is_terminal()
    }

    /// It waits for its turn, or nobody is there to take it.
    pub fn is_waiting(&self) -> bool {
        self.status.phase == RestorePhase::New
    }

    /// Why it failed, in the server's words.
    pub fn failure(&self) -> Option<String> {
        let reasons: Vec<&str> = self
            .status
            .failure_reason
            .iter()
            .chain(self.status.validation_errors.iter().flatten())
            .map(String::as_str)
            .filter(|text| !text.is_empty())
            .collect();
        (!reasons.is_empty()).then(|| redact::values(&reasons.join("; ")))
    }
}
