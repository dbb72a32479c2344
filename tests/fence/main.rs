//! The fence, tried on a real API server: what the runner, the provider and everybody else are refused, what they are not,
//! and what becomes of restored objects in a sandbox.
//!
//! `KYMAROS_TEST_KUBECONFIG` names the cluster. It must be one that may be thrown away: the tests install the shipped base
//! into it, and make and delete namespaces. Most requests are dry runs. Controllers must run (those of
//! kube-controller-manager); nodes need not.

#![expect(clippy::too_many_lines, reason = "a table is long, and reads best in one piece")]

#[path = "../support/mod.rs"]
mod support;

mod ask;
mod assessed;
mod built;
mod closed;
mod drill_writes;
mod everybody;
mod leases;
mod modifiers;
mod names;
mod neutralised;
mod neutralised_pods;
mod pod_changed;
mod pod_fields;
mod pod_table;
mod pods;
mod provider_side;
mod rbac_objects;
mod refused;
mod restore_fields;
mod rights;
mod runner;
mod second_wall;
mod snapshots;
mod storage;
mod walk;
mod walk_granted;
mod walk_props;
mod walk_rows;
mod ways_out;
