//! Asking again. After the restore everything has been paid for: a store or an API server that fails then is waited for, and what it
//! could not be asked says nothing about the backup.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::{DownloadError, Error};

/// How long something that may pass is waited for. Shorter than a run outlives its API server (its Lease), so that the report says
/// what could not be asked and not that the run died of it.
const PATIENCE: Duration = Duration::from_mins(3);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(3);

/// A failure that may be over a moment later.
pub(super) trait MayPass {
    /// May the same question be answered later?
    fn may_pass(&self) -> bool;
}

impl MayPass for Error {
    fn may_pass(&self) -> bool {
        self.is_transient()
    }
}

impl MayPass for DownloadError {
    fn may_pass(&self) -> bool {
        Self::may_pass(self)
    }
}

/// Asks until there is an answer, a failure that stays, or patience is at its end.
pub(super) async fn patiently<T, E: MayPass + Display>(mut ask: impl AsyncFnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if error.may_pass() && Instant::now() < deadline => {
                tracing::warn!(%error, "asking again");
                sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failure(bool);

    impl MayPass for Failure {
        fn may_pass(&self) -> bool {
            self.0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_asked_again_for_minutes_and_what_stays_is_not() {
        let mut asked = 0;
        let answer = patiently(async || {
            asked += 1;
            if asked < 50 { Err(Failure(true)) } else { Ok(asked) }
        })
        .await;
        assert_eq!(answer.unwrap(), 50);
        let began = Instant::now();
        assert!(patiently(async || Err::<(), _>(Failure(true))).await.is_err());
        assert_eq!(began.elapsed(), PATIENCE);
        let began = Instant::now();
        assert!(patiently(async || Err::<(), _>(Failure(false))).await.is_err());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
