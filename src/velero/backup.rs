//! `Backup`: only what decides whether it can be restored from and what it may hold.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

use super::open::open_enum;
use super::{time, velero_kind};

velero_kind! {
    /// One backup. It keeps no size and no identity of the cluster it came from.
    Backup("backups", "v1") { spec: BackupSpec, status: BackupStatus }
}

/// What was asked to be backed up. The server changes it: it fills in `*`, appends excluded namespaces, and adds its own
/// exclusions of volume snapshots.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupSpec {
    /// Namespaces or patterns; empty means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included_namespaces: Option<Vec<String>>,
    /// Namespaces or patterns; wins over the included ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded_namespaces: Option<Vec<String>>,
    /// Old-style filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included_resources: Option<Vec<String>>,
    /// Old-style filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded_resources: Option<Vec<String>>,
    /// New-style filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included_namespace_scoped_resources: Option<Vec<String>>,
    /// New-style filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded_namespace_scoped_resources: Option<Vec<String>>,
    /// Only objects that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Only objects that match one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub or_label_selectors: Option<Vec<LabelSelector>>,
    /// `ConfigMap` with volume policies, which may skip volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_policy: Option<serde_json::Value>,
    /// Name of the storage location.
    pub storage_location: String,
}

/// How far the backup came.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// Its phase.
    pub phase: BackupPhase,
    /// When it will be deleted.
    #[serde(deserialize_with = "time::lenient")]
    pub expiration: Option<DateTime<Utc>>,
    /// When it began; data written later may be missing in it.
    #[serde(deserialize_with = "time::lenient")]
    pub start_timestamp: Option<DateTime<Utc>>,
    /// When all of it, volumes included, was stored.
    #[serde(deserialize_with = "time::lenient")]
    pub completion_timestamp: Option<DateTime<Utc>>,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// What was wrong with its spec.
    pub validation_errors: Option<Vec<String>>,
    /// Number of errors; absent means none.
    pub errors: u64,
    /// Number of warnings; absent means none.
    pub warnings: u64,
}

open_enum! {
    /// Phase of a backup.
    BackupPhase {
        /// Waits behind other backups.
        Queued,
        /// Next in turn.
        ReadyToStart,
        /// Being taken.
        InProgress,
        /// Objects are stored, data is still moving: not usable yet.
        WaitingForPluginOperations,
        /// The same, with errors.
        WaitingForPluginOperationsPartiallyFailed,
        /// Being finished: not usable yet.
        Finalizing,
        /// The same, with errors.
        FinalizingPartiallyFailed,
        /// Usable.
        Completed,
        /// Usable with gaps.
        PartiallyFailed,
        /// Unusable.
        Failed,
        /// Its spec was refused.
        FailedValidation,
        /// Its data is being removed, or was tried to be: it can stay so for ever.
        Deleting,
    }
}

impl BackupPhase {
    /// Nothing more will come of it. `Deleting` counts: the data may be half gone.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Completed | Self::PartiallyFailed | Self::Failed | Self::FailedValidation | Self::Deleting
        )
    }

    /// It is still being taken, or an unknown phase says we cannot tell.
    pub fn is_unfinished(&self) -> bool {
        !self.is_terminal()
    }
}

/// What the server itself excludes from every backup; no sign of a partial one.
const SERVER_EXCLUSIONS: [&str; 2] = [
    "volumesnapshots.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
];

impl BackupSpec {
    /// The filters that make the backup hold less than its namespaces held, each in words; empty if there are none.
    pub fn filters(&self) -> Vec<String> {
        let mut filters = Vec::new();
        if is_narrowing(self.label_selector.as_ref()) {
            filters.push("labelSelector".to_owned());
        }
        if self
            .or_label_selectors
            .as_ref()
            .is_some_and(|selectors| !selectors.is_empty())
        {
            filters.push("orLabelSelectors".to_owned());
        }
        let lists = [
            ("includedResources", &self.included_resources, false),
            ("excludedResources", &self.excluded_resources, true),
            (
                "includedNamespaceScopedResources",
                &self.included_namespace_scoped_resources,
                false,
            ),
            (
                "excludedNamespaceScopedResources",
                &self.excluded_namespace_scoped_resources,
                true,
            ),
        ];
        for (field, list, excludes) in lists {
            let named: Vec<&str> = list
                .iter()
                .flatten()
                .map(String::as_str)
                .filter(|name| {
                    if excludes {
                        !SERVER_EXCLUSIONS.contains(name)
                    } else {
                        *name != "*"
                    }
                })
                .collect();
            if !named.is_empty() {
                filters.push(format!("{field}: {}", named.join(", ")));
            }
        }
        if self.resource_policy.is_some() {
            filters.push("resourcePolicy".to_owned());
        }
        filters
    }

    /// Can this backup hold that namespace? `false` is certain. `true` is a guess, for patterns are expanded against the
    /// cluster of the day and the result is not kept: only the resource list knows.
    pub fn may_hold(&self, namespace: &str) -> bool {
        let matches = |list: &Option<Vec<String>>, guess: bool| {
            list.iter()
                .flatten()
                .any(|entry| entry == "*" || entry == namespace || (guess && entry.contains(['*', '?', '['])))
        };
        let all = self.included_namespaces.as_ref().is_none_or(Vec::is_empty);
        !matches(&self.excluded_namespaces, false) && (all || matches(&self.included_namespaces, true))
    }
}

fn is_narrowing(selector: Option<&LabelSelector>) -> bool {
    selector.is_some_and(|selector| {
        selector.match_labels.as_ref().is_some_and(|labels| !labels.is_empty())
            || selector
                .match_expressions
                .as_ref()
                .is_some_and(|rules| !rules.is_empty())
    })
}
