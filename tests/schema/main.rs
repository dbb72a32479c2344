//! The three kinds against a real API server: what it accepts, what it refuses and in which words, and what `kubectl`
//! shows.
//!
//! Nothing here runs unless asked for (`cargo test --test schema -- --ignored`), and never against a cluster that
//! happens to be configured: only `KYMAROS_TEST_KUBECONFIG` names it. The definitions in `manifests/crds` are installed
//! there; everything else is in namespaces of the tests' own. `KYMAROS_KUBECTL` names a kubectl that is not in `PATH`.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "a test says what is wrong by panicking, and a table is as long as it is"
)]
mod cluster;
mod health_check_policy;
mod restore_report;
mod restore_test;
