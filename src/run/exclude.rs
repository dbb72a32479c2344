//! What a run does not wait for.

use super::Restored;
use crate::observe::Exclusions;
use crate::plan::{self, IgnoredPods, Served, ValidTest};

/// The pods of this restore that are not waited for.
pub(super) fn exclusions(test: &ValidTest, restored: &Restored) -> Exclusions {
    let mut served = Served::default();
    for kind in restored.discovery.kinds.iter().filter(|kind| kind.namespaced) {
        served.add(&kind.resource.group, &kind.resource.kind, &kind.resource.plural);
    }
    Exclusions::new(
        IgnoredPods::new(&test.spec.pod_startup.ignore),
        plan::orphans(test, &served, &restored.chosen.contents),
        test.is_partial(),
    )
}
