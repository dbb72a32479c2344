//! What ends a run from outside: signals, and the loss of its Lease.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::facts::{Reason, Stop};

/// Listens for signals from the start of the process on: a handler made later would leave a moment in which the default action
/// kills the run without a report.
#[derive(Debug)]
pub(super) struct Stopper {
    told: watch::Receiver<Option<Told>>,
}

/// A signal that has come.
#[derive(Clone, Copy, Debug)]
struct Told {
    signal: &'static str,
    /// When the first one came: the kubelet's patience begins with it.
    at: Instant,
}

impl Stopper {
    /// Begins to listen.
    pub(super) fn new() -> Self {
        let (sender, told) = watch::channel(None);
        let handlers = [
            (SignalKind::terminate(), "SIGTERM"),
            (SignalKind::interrupt(), "SIGINT"),
        ];
        for (kind, name) in handlers {
            match signal(kind) {
                Ok(handler) => drop(tokio::spawn(listen(handler, name, sender.clone()))),
                Err(error) => tracing::error!(%error, signal = name, "cannot be listened for"),
            }
        }
        Self { told }
    }

    /// As if SIGTERM came after so long.
    #[cfg(test)]
    pub(super) fn after(pause: std::time::Duration) -> Self {
        let (sender, told) = watch::channel(None);
        drop(tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            sender.send_replace(Some(Told {
                signal: "SIGTERM",
                at: Instant::now(),
            }));
            std::future::pending::<()>().await;
        }));
        Self { told }
    }

    /// Returns when the run has to end, with the reason.
    pub(super) async fn told(&self, lost: impl Future<Output = ()>) -> Stop {
        tokio::select! {
            signal = self.signal() => interrupted(signal),
            () = lost => Stop::new(Reason::LeaseLost, "the Lease of this test was lost; another run may have begun, so this one touches nothing more"),
        }
    }

    /// Whether a signal has come before `work` was done; otherwise what came of it.
    pub(super) async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            signal = self.signal() => Err(interrupted(signal)),
            done = work => Ok(done),
        }
    }

    /// Returns when a signal has come.
    pub(super) async fn signal(&self) -> &'static str {
        let mut told = self.told.clone();
        let told = told.wait_for(Option::is_some).await.ok().and_then(|told| *told);
        match told {
            Some(told) => told.signal,
            // Nobody listens any more, so none will come.
            None => std::future::pending().await,
        }
    }

    /// When the first signal came, if one has.
    pub(super) fn told_at(&self) -> Option<Instant> {
        self.told.borrow().map(|told| told.at)
    }
}

fn interrupted(signal: &str) -> Stop {
    Stop::new(Reason::Interrupted, format!("interrupted by {signal}"))
}

async fn listen(mut handler: Signal, name: &'static str, sender: watch::Sender<Option<Told>>) {
    while handler.recv().await.is_some() {
        tracing::warn!(signal = name, "received");
        let at = Instant::now();
        sender.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(Told { signal: name, at });
            first
        });
    }
}
