//! Pure planning: from a `RestoreTest`, its policy and the backups that exist to what a run will do, or to everything that is
//! wrong with the request.
//!
//! ```text
//! validate ─► rank ─► (the caller reads what a candidate holds) ─► holds ─► excluded_resources, expectation
//! ```
//!
//! Nothing here talks to the cluster, reads a clock or draws a number; what is needed of those is an argument.

mod classes;
mod cron;
mod egress;
mod expectation;
mod glob;
mod ignore;
pub mod living;
mod makers;
mod membership;
pub mod naming;
mod network;
mod owners;
mod problems;
pub mod rules;
mod select_backup;
mod served;
mod stored;
mod syntax;
mod valid;
mod validate;
mod validate_policy;

pub use classes::may_share_storage;
pub use egress::{leads_inside, not_permitted};
pub use expectation::{excluded_resources, expectation, restored_kinds};
pub use ignore::IgnoredPods;
pub use makers::{bare_pods, job_pods};
pub use membership::{holds, newer_lacking, none_holds};
pub use owners::{Orphan, orphans};
pub use problems::{PlanError, invalid_spec};
pub use select_backup::{Inventory, Passed, Point, Refused, Selection, rank};
pub use served::Served;
pub use stored::{stored_policy, stored_test, unreadable};
pub use valid::{ParsedSchedule, ValidTest, brief, brief_of_invalid};
pub use validate::{schedule, validate};

#[cfg(test)]
mod expectation_tests;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod living_tests;
#[cfg(test)]
mod select_backup_tests;
#[cfg(test)]
mod validate_tests;
