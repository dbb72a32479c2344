//! `kymaros-runner dns …`: the name server of a sandbox. Restored configuration calls Services by full names, and those mean
//! production; here they mean the sandbox's copies. Whatever else is asked for is refused and kept, for the report.
//!
//! It runs in a pod of each sandbox, takes arguments only, has no token and keeps nothing but what was asked.

mod answer;
mod client;
mod outside;
mod serve;
mod upstream;
mod zones;

use std::process::ExitCode;
use std::sync::Arc;

use answer::Server;
pub use client::outside_names;
use upstream::Upstream;
use zones::Zones;

use crate::build::names::{PORT, Rewrites};
use crate::probe;

/// `EX_USAGE`.
const USAGE: u8 = 64;
/// What the runner asks, by TCP, to learn which outside names were asked for. The domain is one that can never exist
/// (RFC 6761), so no application asks for it.
const OUTSIDE_NAMES: &str = "outside-names.kymaros.invalid.";

/// Serves names as `args` (without the subcommand's name) say, until the pod is deleted.
pub async fn run(args: &[String]) -> ExitCode {
    let zones = match Rewrites::from_args(args).and_then(|rewrites| Zones::new(&rewrites)) {
        Ok(zones) => zones,
        Err(error) => {
            tracing::error!(error, "wrong arguments");
            return USAGE.into();
        }
    };
    let upstream = Upstream::new(probe::nameservers());
    tracing::info!(?zones, ?upstream, "serving names");
    match serve::serve(PORT, Arc::new(Server::new(zones, upstream))).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, port = PORT, "cannot listen");
            ExitCode::FAILURE
        }
    }
}
