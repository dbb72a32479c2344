//! The comparison with the living namespaces, beside the restore: nothing waits for it, no deadline falls on it, and whatever
//! becomes of it, the run goes on.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::cluster::{Cluster, Discovery};
use crate::facts::{Gap, LivingFacts};
use crate::observe;
use crate::plan::living::Comparison;

/// A comparison that is under way, or done.
#[derive(Debug)]
pub(super) struct Comparing {
    sources: Vec<String>,
    task: JoinHandle<Vec<LivingFacts>>,
}

impl Drop for Comparing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Comparing {
    /// Begins.
    pub(super) fn start(cluster: &Cluster, discovery: &Discovery, comparison: Comparison) -> Self {
        let (cluster, discovery) = (cluster.clone(), discovery.clone());
        let sources = comparison.sources();
        let task = async move { observe::living(&cluster, &discovery, &comparison).await };
        Self {
            sources,
            task: tokio::spawn(task.in_current_span()),
        }
    }

    /// What it found; it is waited for so long and no longer.
    pub(super) async fn end(mut self, patience: Duration) -> Vec<LivingFacts> {
        if let Ok(Ok(found)) = timeout(patience, &mut self.task).await {
            return found;
        }
        let failed = |source: &String| LivingFacts {
            source: source.clone(),
            gap: Some(Gap::Failed("it had not ended when the run did".to_owned())),
            ..LivingFacts::default()
        };
        self.sources.iter().map(failed).collect()
    }
}
