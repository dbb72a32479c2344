//! Why a run ended before it had looked at everything.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a run ended early.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Stop {
    /// The reason, as it stands in the report's `Conclusive` condition.
    pub reason: Reason,
    /// What happened and what to do next, for a person; starts with a small letter unless it starts with a name.
    pub message: String,
}

impl Stop {
    /// A stop for `reason`, told by `message`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// Reasons for an early end. The conclusive ones are findings about the backup; the others say nothing about it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Reason {
    /// The named backup does not exist, or there is none for these namespaces. Conclusive.
    BackupNotFound,
    /// The backup exists but cannot be restored from. Conclusive.
    BackupUnusable,
    /// A listed namespace is not in the backup. Conclusive.
    NamespaceNotInBackup,
    /// A deadline was reached after `sla.maxRTO` had already passed. Conclusive.
    DeadlineAfterRto,
    /// The spec or its policy is wrong.
    InvalidSpec,
    /// The backup provider or its storage does not answer.
    ProviderUnavailable,
    /// The provider restarted, or somebody deleted the Restore, in mid-restore.
    ProviderInterrupted,
    /// External restores kept the provider busy for longer than `restore.queueTimeout`.
    QueueTimeout,
    /// An external Restore appeared, and the drill yielded to it.
    Deferred,
    /// The cluster does not enforce `NetworkPolicies`, or stopped to.
    IsolationNotEnforced,
    /// The cluster refused the sandbox or what belongs into it.
    SandboxDenied,
    /// The Kubernetes API could not be reached for too long.
    ApiUnavailable,
    /// `spec.timeout` or a deadline inside it was reached.
    DeadlineExceeded,
    /// The Lease was lost to another run.
    LeaseLost,
    /// The run was interrupted by a signal, lost the provider lock, or died.
    Interrupted,
    /// The runner panicked: a defect of this program.
    InternalError,
}

impl Reason {
    /// Does a run that stopped for this reason say something about the backup?
    pub fn is_conclusive(self) -> bool {
        matches!(
            self,
            Self::BackupNotFound | Self::BackupUnusable | Self::NamespaceNotInBackup | Self::DeadlineAfterRto
        )
    }

    /// The reason as it stands in conditions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackupNotFound => "BackupNotFound",
            Self::BackupUnusable => "BackupUnusable",
            Self::NamespaceNotInBackup => "NamespaceNotInBackup",
            // For a reader both are the same: a deadline passed. That it counts is said by the condition's status.
            Self::DeadlineAfterRto | Self::DeadlineExceeded => "DeadlineExceeded",
            Self::InvalidSpec => "InvalidSpec",
            Self::ProviderUnavailable => "ProviderUnavailable",
            Self::ProviderInterrupted => "ProviderInterrupted",
            Self::QueueTimeout => "QueueTimeout",
            Self::Deferred => "Deferred",
            Self::IsolationNotEnforced => "IsolationNotEnforced",
            Self::SandboxDenied => "SandboxDenied",
            Self::ApiUnavailable => "ApiUnavailable",
            Self::LeaseLost => "LeaseLost",
            Self::Interrupted => "Interrupted",
            Self::InternalError => "InternalError",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
