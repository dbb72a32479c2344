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

    /// What it found, if it has ended.
    pub(super) async fn now(mut self) -> Vec<LivingFacts> {
        let found = timeout(Duration::ZERO, &mut self.task).await;
        found.ok().and_then(Result::ok).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn comparing(task: impl Future<Output = Vec<LivingFacts>> + Send + 'static) -> Comparing {
        Comparing {
            sources: vec!["shop".to_owned()],
            task: tokio::spawn(task),
        }
    }

    fn found() -> Vec<LivingFacts> {
        vec![LivingFacts {
            source: "shop".to_owned(),
            ..LivingFacts::default()
        }]
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_run_waits_a_moment_and_that_of_one_that_was_stopped_does_not() {
        let later = |seconds| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            found()
        };
        assert_eq!(comparing(later(4)).end(Duration::from_secs(5)).await, found());
        let late = comparing(later(6)).end(Duration::from_secs(5)).await;
        assert!(matches!(late[0].gap, Some(Gap::Failed(_))), "{late:?}");
        assert_eq!(comparing(later(4)).now().await, []);
        let done = comparing(async { found() });
        tokio::task::yield_now().await;
        assert_eq!(done.now().await, found());
    }
}
