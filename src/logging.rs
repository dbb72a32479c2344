//! The log: JSON for a cluster, text for a person.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{LogFormat, Logging};

/// The client logs every 5xx as an error of its own, retried or not; what matters of it is told by whoever made the call. And it
/// warns of an answer that it cannot read with the whole of it, which may be a Secret.
const QUIET: &str = "kube_client::client=error,kube_client::client::builder=off";

/// Starts logging to standard output. A second call changes nothing.
pub fn start(logging: &Logging) {
    let directives = format!("{},{QUIET}", logging.level);
    let filter = EnvFilter::try_new(&directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match logging.format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false),
            )
            .try_init(),
        LogFormat::Text => {
            // Colours are for terminals; in a pod's log they are noise.
            let colours = std::io::stdout().is_terminal();
            registry
                .with(fmt::layer().with_target(false).with_ansi(colours))
                .try_init()
        }
    };
    // A subscriber that is there already is a test's, and stays.
    drop(started);
}
