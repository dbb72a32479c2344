//! From what was planned to the objects that are created. Pure and infallible: what could go wrong was found while planning.

use std::collections::BTreeMap;

use crate::names::{MANAGED_BY, PROVIDER_PREFIX, SANDBOX_INFIX, label};

pub mod names;
pub mod network;
pub mod probe;
pub mod restore;
pub mod sandbox;

/// Whose an object is: the run that makes it, and the test that the run is of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Owner {
    /// Name of the `RestoreTest`.
    pub test: String,
    /// Its UID.
    pub test_uid: String,
    /// The run id, six of `a-z0-9`.
    pub run_id: String,
}

impl Owner {
    /// The labels that every object of the run carries, and by which clean-up knows it.
    pub fn labels(&self) -> BTreeMap<String, String> {
        [
            (label::MANAGED_BY, MANAGED_BY),
            (label::TEST, &self.test),
            (label::TEST_UID, &self.test_uid),
            (label::RUN, &self.run_id),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
    }

    /// Name of the run's Restore and of its other objects in the provider's namespace.
    pub fn provider_name(&self) -> String {
        format!("{PROVIDER_PREFIX}{}", self.run_id)
    }

    /// What the name of each of the run's sandboxes ends in.
    pub fn sandbox_suffix(&self) -> String {
        format!("{SANDBOX_INFIX}{}", self.run_id)
    }
}
