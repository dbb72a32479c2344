//! The ways out that a test asks for (`sandbox.egress`): are they permitted, and where do they lead?
//!
//! They are opened after the proof of isolation and not before. So that proof shows the same whatever they are, and what is
//! reached afterwards that was out of reach before is reached by them.

use std::net::SocketAddr;

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::isolation::{Failure, QUIET, answer, remove, start};
use super::verdict::Flaw;
use super::{Fence, create_when_granted, is_refused_by, stop, when_granted};
use crate::api::Egress;
use crate::build::network;
use crate::build::probe::{Dial, Probe};
use crate::cluster::Objects;
use crate::facts::{Isolation, Reason, SandboxFacts, Stop};
use crate::names::{INSTALLATION, self_test};
use crate::plan::{self, PlanError};

/// The pod that looks where they lead.
const LOOK: &str = "kymaros-probe-egress";

impl Fence<'_> {
    /// Finds every way out that may not be: it leads into the cluster, or the installation does not name its network. Each is
    /// asked for in a sandbox without being stored; the fence itself answers, so nothing else has to know its list.
    pub(super) async fn ways_out_permitted(&self, sandbox: &str) -> Result<(), Stop> {
        let ways = self.settings.egress.iter().enumerate();
        let judged = try_join_all(ways.map(|(index, way)| self.ask(sandbox, index, way))).await?;
        let problems: Vec<PlanError> = judged.into_iter().flatten().collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(plan::invalid_spec(&problems))
    }

    async fn ask(&self, sandbox: &str, index: usize, way: &Egress) -> Result<Option<PlanError>, Stop> {
        // Whether the installation permits it or not; to permit it would be the wrong advice.
        let inside = plan::leads_inside(index, way, self.runner.api_server.ip(), self.runner.ip);
        if inside.is_some() {
            return Ok(inside);
        }
        let policies: Objects<NetworkPolicy> = self.cluster.namespaced(sandbox);
        let policy = network::ways_out(sandbox, self.owner, std::slice::from_ref(way));
        match when_granted(|| policies.dry_run_create(&policy)).await {
            Ok(_) => Ok(None),
            // Its rules have peers and ports, so its network is all that the fence can object to.
            Err(error) if is_refused_by(&error, self_test::EGRESS) => {
                Ok(Some(plan::not_permitted(index, way, INSTALLATION)))
            }
            Err(error) => Err(stop(&error)),
        }
    }

    /// Opens the ways out in all sandboxes, and returns what is open. Where isolation was proved, a new pod must not reach the
    /// API server now: its Service may be another name for a node that a way out leads to.
    pub async fn open_ways_out(&self, sandboxes: &[SandboxFacts], isolation: &Isolation) -> Result<Vec<String>, Stop> {
        let ways = &self.settings.egress;
        if ways.is_empty() {
            return Ok(Vec::new());
        }
        let opened = sandboxes.iter().map(async |sandbox| {
            let policy = network::ways_out(&sandbox.name, self.owner, ways);
            create_when_granted::<NetworkPolicy>(&self.cluster.namespaced(&sandbox.name), &policy).await
        });
        try_join_all(opened).await.map_err(|error| stop(&error))?;
        if *isolation == Isolation::Proved {
            let looks = sandboxes.iter().map(|sandbox| self.look(&sandbox.name));
            join_all(looks).await.into_iter().collect::<Result<(), Stop>>()?;
        }
        tracing::info!(ways = ways.len(), "ways out opened");
        Ok(ways.iter().map(Egress::to_string).collect())
    }

    async fn look(&self, sandbox: &str) -> Result<(), Stop> {
        let api_server: SocketAddr = self.runner.api_server;
        let dial = Probe::Dial(Dial {
            forbidden: vec![api_server],
            at_least: QUIET,
            at_most: QUIET,
            ..Dial::default()
        });
        let looked = async {
            start(self, sandbox, LOOK, &dial).await?;
            answer(self.cluster, sandbox, LOOK, QUIET).await
        };
        let outcome = looked.await.map_err(unlooked)?;
        remove(self.cluster, sandbox, LOOK).await;
        if outcome.reached_of(&[api_server]).is_empty() {
            return Ok(());
        }
        let message = format!(
            "spec.sandbox.egress: with it a pod in {sandbox} reached the API server at {api_server}, and without it not: one of its \
             networks holds an address of the API server's; take out that network or that port"
        );
        Err(Stop::new(Reason::InvalidSpec, message))
    }
}

/// Where they lead was not seen, and what nobody has seen is not opened to what is restored.
fn unlooked(failure: Failure) -> Stop {
    match failure {
        Failure::Api(error) => stop(&error),
        Failure::Names(stop) => stop,
        Failure::Flaw(Flaw::Breach(text) | Flaw::Unusable(text) | Flaw::Untested(text)) => Stop::new(
            Reason::SandboxDenied,
            format!("where sandbox.egress leads could not be looked at: {text}"),
        ),
    }
}

#[cfg(test)]
mod tests;
