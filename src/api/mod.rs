//! The three kinds of this program: `RestoreTest`, `HealthCheckPolicy` and `RestoreReport`.
//!
//! Plain data with its schema and nothing else. The doc comment of a field is what `kubectl explain` shows, so it is
//! written for the person who runs the tests, not for the reader of this code. `manifests/crds` is generated from here
//! by `tests/crds.rs`.

pub mod conditions;
mod duration;
mod enums;
mod health_check_policy;
pub mod limits;
mod quantity;
mod restore_report;
mod restore_test;
mod sandbox;
mod schema;
mod target;
pub mod time;

pub use duration::{Duration, ParseDurationError};
pub use enums::*;
pub use health_check_policy::*;
pub use quantity::Quantity;
pub use restore_report::*;
pub use restore_test::*;
pub use sandbox::*;
pub use target::Target;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
