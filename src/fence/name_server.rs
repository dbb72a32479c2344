//! The name server of each sandbox: its pod and Service are made, and admission is told to point the sandbox's pods at it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use tokio::time::{Instant, sleep};

use super::isolation::START_LIMIT;
use super::verdict::progress;
use super::{Fence, GRANT_LIMIT, GRANT_PAUSE, INSTALL, create_when_granted, stop, when_granted};
use crate::build::names::{self, Rewrites};
use crate::build::probe::{PEER_PORT, Probe};
use crate::cluster::Objects;
use crate::dns;
use crate::facts::{Reason, SandboxFacts, Stop};
use crate::names::NAME_SERVER;

/// Between questions whether it is up.
const PAUSE: Duration = Duration::from_millis(100);

/// The pod by which admission is asked where pods are pointed; it is never stored.
const ASKED: &str = "kymaros-probe-names";

/// The name server of a sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NameServer {
    /// The sandbox.
    pub sandbox: String,
    /// Its Service.
    pub address: SocketAddr,
}

impl Fence<'_> {
    /// Makes a name server in each sandbox and waits until admission points new pods at it. Whether it serves already is
    /// asked by the proof of isolation, which has other pods to wait for meanwhile.
    pub async fn serve_names(&self, sandboxes: &[SandboxFacts]) -> Result<Vec<NameServer>, Stop> {
        let rewrites = Rewrites {
            domain: self.settings.dns.domain.clone(),
            pairs: sandboxes.iter().map(|s| (s.source.clone(), s.name.clone())).collect(),
        };
        try_join_all(sandboxes.iter().map(|sandbox| self.serve_in(&sandbox.name, &rewrites))).await
    }

    async fn serve_in(&self, sandbox: &str, rewrites: &Rewrites) -> Result<NameServer, Stop> {
        let pod = names::pod(&self.runner.host, sandbox, self.owner, rewrites);
        let pods: Objects<Pod> = self.cluster.namespaced(sandbox);
        let services: Objects<Service> = self.cluster.namespaced(sandbox);
        let service = names::service(sandbox, self.owner);
        let (_, service) = tokio::try_join!(
            create_when_granted(&pods, &pod),
            create_when_granted(&services, &service)
        )
        .map_err(|error| stop(&error))?;
        let text = service.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default();
        let address: IpAddr = text.parse().map_err(|_| {
            let message = format!("the Service {NAME_SERVER} in {sandbox} was given no address, but {text:?}");
            Stop::new(Reason::SandboxDenied, message)
        })?;
        let namespaces: Objects<Namespace> = self.cluster.all();
        namespaces
            .merge(sandbox, &names::pointed_at(&text, &rewrites.domain))
            .await
            .map_err(|error| stop(&error))?;
        self.pointed(sandbox, &text).await?;
        tracing::info!(sandbox, %address, "names rewritten");
        Ok(NameServer {
            sandbox: sandbox.to_owned(),
            address: SocketAddr::new(address, names::SERVICE_PORT),
        })
    }

    /// Admission sees the sandbox's new annotation a moment later than we wrote it.
    async fn pointed(&self, sandbox: &str, address: &str) -> Result<(), Stop> {
        let pods: Objects<Pod> = self.cluster.namespaced(sandbox);
        let asked = Probe::Serve { port: PEER_PORT };
        let asked = self.runner.host.pod(sandbox, ASKED, self.owner, &asked);
        let deadline = Instant::now() + GRANT_LIMIT;
        loop {
            let pod = when_granted(|| pods.dry_run_create(&asked))
                .await
                .map_err(|error| stop(&error))?;
            if names::is_pointed_at(&pod, address) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let message =
                    format!("fence not installed: pods of {sandbox} are not pointed at its name server; {INSTALL}");
                return Err(Stop::new(Reason::SandboxDenied, message));
            }
            sleep(GRANT_PAUSE).await;
        }
    }

    /// Waits until the name servers answer.
    pub(super) async fn names_served(&self, servers: &[NameServer]) -> Result<(), Stop> {
        try_join_all(servers.iter().map(|server| self.served(server))).await?;
        Ok(())
    }

    async fn served(&self, server: &NameServer) -> Result<(), Stop> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match dns::outside_names(server.address).await {
                Ok(_) => return Ok(()),
                Err(_) if Instant::now() < deadline => sleep(PAUSE).await,
                Err(error) => {
                    let pods: Objects<Pod> = self.cluster.namespaced(&server.sandbox);
                    let pod = pods.get_opt(NAME_SERVER).await.ok().flatten();
                    let message = format!(
                        "the name server of {} {}: {error} at {}; sandbox.nameRewrite: false does without",
                        server.sandbox,
                        progress(pod.as_ref()).why(),
                        server.address
                    );
                    return Err(Stop::new(Reason::SandboxDenied, message));
                }
            }
        }
    }
}

/// All outside names that pods of these sandboxes asked for so far, in order, and what could not be learnt.
pub async fn outside_names(servers: &[NameServer]) -> (Vec<String>, Option<String>) {
    let mut names = BTreeSet::new();
    let mut problem = None;
    for (server, answer) in servers
        .iter()
        .zip(join_all(servers.iter().map(|server| dns::outside_names(server.address))).await)
    {
        match answer {
            Ok(found) => names.extend(found),
            Err(error) => {
                problem = Some(format!(
                    "which outside names were asked for in {} is not known: its name server does not answer ({error})",
                    server.sandbox
                ));
            }
        }
    }
    (names.into_iter().collect(), problem)
}

#[cfg(test)]
mod tests;
