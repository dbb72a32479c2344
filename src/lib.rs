//! Restores a Kubernetes backup into a throw-away sandbox, validates what came back, and writes one `RestoreReport`.
//!
//! The flow of one run, left to right:
//!
//! ```text
//! admit ─► plan ─► fence ─► restore ─► observe ─► check ─► judge ─► report ─► clean up ─► prune
//! ```

pub mod api;
pub mod build;
pub mod checks;
pub mod cleanup;
pub mod clock;
pub mod cluster;
pub mod digest;
pub mod dns;
pub mod facts;
pub mod fence;
pub mod judge;
pub mod lease;
pub mod logging;
pub mod names;
pub mod observe;
pub mod pattern;
pub mod plan;
pub mod probe;
pub mod redact;
pub mod report;
pub mod retention;
pub mod run;
pub mod settings;
pub mod sweep;
pub mod velero;
