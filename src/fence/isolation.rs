//! The proof of isolation, in the closed and empty sandboxes: one probe that the network policies let out has to reach the outside,
//! others that they do not must not, from their first moment.
//!
//! The first half is what makes the second one mean something: a pod that reaches nothing may sit behind a policy, or on a
//! broken network. The two differ in a label and in nothing else, and run at the same time, so it is the policies that make the
//! difference. The runner's own listener stands for the cluster's pods, the API server for its Services and nodes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::verdict::{Flaw, Inside, Outside, Progress, progress};
use super::{Fence, NameServer, create_when_granted, stop};
use crate::api::IsolationProof;
use crate::build::network::OPEN_PROBE;
use crate::build::probe::{Dial, Outcome, PEER_PORT, Probe, pod_ip};
use crate::cluster::{Cluster, Error, Objects, Waited};
use crate::facts::{Isolation, Reason, SandboxFacts, Stop};
use crate::names::NAME_SERVER;

/// How long the outside must be out of reach before the restore.
pub(super) const QUIET: Duration = Duration::from_secs(1);
/// How long it is watched on beside the restore.
const WATCHED: Duration = Duration::from_secs(5);
/// How long a probe tries what it should reach. A new pod's network takes a moment.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a probe pod may take to start: its image may have to be pulled.
pub(super) const START_LIMIT: Duration = Duration::from_mins(1);

/// The peer, the one that is shut in, and the one that watches on, beside the one that is let out.
const PEER: &str = "kymaros-probe-peer";
const SHUT: &str = "kymaros-probe-shut";
const WATCH: &str = "kymaros-probe-watch";

/// What the proof came to.
pub(super) struct Proof {
    /// For the report.
    pub isolation: Isolation,
    /// What goes on beside the restore, or why there may be none.
    pub end: Result<IsolationWatch, Stop>,
}

/// Pods that go on dialling outside while the restore begins. Resolves once to what they found: a breach has to end the run.
/// Where isolation was not proved there is nothing to watch, and it resolves to [`Isolation::NotReached`] at once. Dropping
/// it leaves the pods to the sandbox's end.
#[derive(Debug)]
pub struct IsolationWatch {
    task: Option<AbortOnDrop<Isolation>>,
}

impl Future for IsolationWatch {
    type Output = Isolation;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Isolation> {
        let Some(task) = &mut self.task else {
            return Poll::Ready(Isolation::NotReached);
        };
        Pin::new(&mut task.0).poll(context).map(|ended| match ended {
            Ok(isolation) => isolation,
            Err(error) => Isolation::NotTested(error.to_string()),
        })
    }
}

/// Where the proof is made.
struct Site<'a> {
    fence: &'a Fence<'a>,
    cluster: &'a Cluster,
    sandboxes: &'a [SandboxFacts],
    names: &'a [NameServer],
}

/// Proves isolation in all sandboxes at once.
pub(super) async fn prove(fence: &Fence<'_>, sandboxes: &[SandboxFacts], names: &[NameServer]) -> Proof {
    let begun = Instant::now();
    let site = Site {
        fence,
        cluster: fence.cluster,
        sandboxes,
        names,
    };
    let result = Box::pin(attempt(&site)).await;
    let done: &[&str] = if result.is_ok() {
        &[PEER, OPEN_PROBE, SHUT]
    } else {
        &[PEER, OPEN_PROBE, SHUT, WATCH]
    };
    remove_probes(&site, done).await;
    let required = fence.settings.isolation_proof == IsolationProof::Required;
    match result {
        Ok(outside) => {
            tracing::info!(elapsed_ms = begun.elapsed().as_millis(), "isolation proved");
            Proof {
                isolation: Isolation::Proved,
                end: Ok(watch_on(&site, outside)),
            }
        }
        Err(Failure::Api(error)) => {
            let isolation = Isolation::NotTested(format!("the probes could not be run: {error}"));
            // A cluster that refuses the probes leaves isolation unproved, and one that does not answer leaves everything.
            let end = if required || error.is_transient() {
                Err(stop(&error))
            } else {
                Ok(IsolationWatch { task: None })
            };
            Proof { isolation, end }
        }
        // With or without proof: the sandbox's pods are pointed at it.
        Err(Failure::Names(stop)) => Proof {
            isolation: Isolation::NotTested(stop.message.clone()),
            end: Err(stop),
        },
        Err(Failure::Flaw(flaw)) => {
            let (isolation, stop) = weigh(flaw, required);
            tracing::warn!(?isolation, required, "isolation was not proved");
            Proof {
                isolation,
                end: stop.map_or(Ok(IsolationWatch { task: None }), Err),
            }
        }
    }
}

/// What a flaw means for the report and, where the proof is required, for the run.
fn weigh(flaw: Flaw, required: bool) -> (Isolation, Option<Stop>) {
    let (isolation, reason, message) = match flaw {
        Flaw::Breach(text) => (Isolation::Breached(text.clone()), Reason::IsolationNotEnforced, text),
        Flaw::Unusable(text) => (Isolation::NotTested(text.clone()), Reason::SandboxDenied, text),
        Flaw::Untested(text) => (
            Isolation::NotTested(text.clone()),
            Reason::IsolationNotEnforced,
            format!("isolation could not be tested: {text}"),
        ),
    };
    (isolation, required.then(|| Stop::new(reason, message)))
}

/// Why there is no proof.
pub(super) enum Failure {
    /// The probes spoke.
    Flaw(Flaw),
    /// The API server did, or did not.
    Api(Error),
    /// A name server does not answer.
    Names(Stop),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Api(error)
    }
}

impl From<Flaw> for Failure {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

fn untested(text: String) -> Failure {
    Failure::Flaw(Flaw::Untested(text))
}

/// Both halves, at the same time.
async fn attempt(site: &Site<'_>) -> Result<Outside, Failure> {
    // Kept to the end of both: what is not there cannot be reached, policies or not.
    let (listener, outside) = outside_of(site).await?;
    let _accepting = AbortOnDrop(tokio::spawn(accept_all(listener)));
    let open = site
        .sandboxes
        .iter()
        .map(|sandbox| open_half(site, &sandbox.name, &outside));
    let shut = async {
        let peers = site.sandboxes.iter().map(|sandbox| peer(site, &sandbox.name));
        let (peers, served) = tokio::join!(join_all(peers), site.fence.names_served(site.names));
        served.map_err(Failure::Names)?;
        let peers = peers.into_iter().collect::<Result<Vec<IpAddr>, Failure>>()?;
        let shut = site
            .sandboxes
            .iter()
            .zip(peers)
            .map(|(sandbox, peer)| shut_half(site, sandbox, &outside, peer));
        worst(join_all(shut).await)
    };
    let (mut halves, shut) = tokio::join!(join_all(open), shut);
    halves.push(shut);
    worst(halves)?;
    Ok(outside)
}

/// A task that ends with whoever started it.
#[derive(Debug)]
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The gravest of several outcomes: a breach in one sandbox is not made good by a fault in another.
fn worst(results: Vec<Result<(), Failure>>) -> Result<(), Failure> {
    let mut failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
    failures.sort_by_key(|failure| match failure {
        Failure::Flaw(Flaw::Breach(_)) => 0,
        Failure::Api(_) | Failure::Names(_) => 1,
        Failure::Flaw(Flaw::Unusable(_)) => 2,
        Failure::Flaw(Flaw::Untested(_)) => 3,
    });
    failures.into_iter().next().map_or(Ok(()), Err)
}

async fn outside_of(site: &Site<'_>) -> Result<(TcpListener, Outside), Failure> {
    let runner = site.fence.runner;
    let opened = async {
        let listener = listen(runner.ip).await?;
        let port = listener.local_addr()?.port();
        Ok::<_, std::io::Error>((listener, port))
    };
    let (listener, port) = opened
        .await
        .map_err(|error| untested(format!("the runner cannot listen for its probes: {error}")))?;
    let outside = Outside {
        listener: SocketAddr::new(runner.ip, port),
        api_server: runner.api_server,
    };
    Ok((listener, outside))
}

/// On any address and not on the pod's own: that one may be hidden from the container by the network plugin.
async fn listen(own: IpAddr) -> std::io::Result<TcpListener> {
    match own {
        IpAddr::V4(_) => TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 0))).await,
        IpAddr::V6(_) => TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).await,
    }
}

async fn accept_all(listener: TcpListener) {
    loop {
        if listener.accept().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The probe that is let out reaches the outside.
async fn open_half(site: &Site<'_>, sandbox: &str, outside: &Outside) -> Result<(), Failure> {
    let dial = Dial {
        needed: outside.targets(),
        at_most: PATIENCE,
        ..Dial::default()
    };
    start(site.fence, sandbox, OPEN_PROBE, &Probe::Dial(dial)).await?;
    let outcome = answer(site.cluster, sandbox, OPEN_PROBE, PATIENCE).await?;
    Ok(outside.judge_open(sandbox, &outcome)?)
}

/// Starts the peer of a sandbox, and returns its address.
async fn peer(site: &Site<'_>, sandbox: &str) -> Result<IpAddr, Failure> {
    start(site.fence, sandbox, PEER, &Probe::Serve { port: PEER_PORT }).await?;
    running(site.cluster, sandbox, PEER).await
}

/// The one that is shut in does not reach the outside, but DNS and the peer. The pod that watches on starts at the same time.
async fn shut_half(
    site: &Site<'_>,
    SandboxFacts {
        source, name: sandbox, ..
    }: &SandboxFacts,
    outside: &Outside,
    peer: IpAddr,
) -> Result<(), Failure> {
    // With a name server the cluster's DNS is out of reach, and the source's name of a Service of the sandbox has to lead to
    // it. The name server's own is there already.
    let service = if site.names.is_empty() {
        "kubernetes.default".to_owned()
    } else {
        format!("{NAME_SERVER}.{source}")
    };
    let inside = Inside {
        peer: SocketAddr::new(peer, PEER_PORT),
        name: format!("{service}.svc.{}", site.fence.settings.dns.domain),
    };
    let shut = Dial {
        forbidden: outside.targets(),
        needed: vec![inside.peer],
        names: vec![inside.name.clone()],
        at_least: QUIET,
        at_most: PATIENCE,
    };
    let watch = Dial {
        forbidden: outside.targets(),
        at_least: WATCHED,
        at_most: WATCHED,
        ..Dial::default()
    };
    let (shut, watch) = (Probe::Dial(shut), Probe::Dial(watch));
    tokio::try_join!(
        start(site.fence, sandbox, SHUT, &shut),
        start(site.fence, sandbox, WATCH, &watch)
    )?;
    let outcome = answer(site.cluster, sandbox, SHUT, PATIENCE).await?;
    Ok(outside.judge_shut(sandbox, &inside, &outcome)?)
}

pub(super) async fn start(fence: &Fence<'_>, sandbox: &str, name: &str, probe: &Probe) -> Result<(), Failure> {
    let pod = fence.runner.host.pod(sandbox, name, fence.owner, probe);
    create_when_granted::<Pod>(&fence.cluster.namespaced(sandbox), &pod).await?;
    Ok(())
}

/// The address of a probe pod, once it runs.
async fn running(cluster: &Cluster, sandbox: &str, name: &str) -> Result<IpAddr, Failure> {
    let pods: Objects<Pod> = cluster.namespaced(sandbox);
    let deadline = Instant::now() + START_LIMIT;
    let started = |pod: Option<&Pod>| match progress(pod) {
        Progress::Waiting(_) => false,
        Progress::Running => pod.is_some_and(|pod| pod_ip(pod).is_some()),
        Progress::Ended(_) | Progress::Lost(_) => true,
    };
    let pod = settled(pods.wait_for(name, deadline, started).await?);
    match (progress(pod.as_ref()), pod.as_ref().and_then(pod_ip)) {
        (Progress::Running, Some(address)) => Ok(address),
        (progress, _) => Err(unusable(sandbox, name, &progress)),
    }
}

/// The answer of a probe pod that dials for at most `dialling`.
pub(super) async fn answer(
    cluster: &Cluster,
    sandbox: &str,
    name: &str,
    dialling: Duration,
) -> Result<Outcome, Failure> {
    let pods: Objects<Pod> = cluster.namespaced(sandbox);
    let deadline = Instant::now() + START_LIMIT + dialling;
    let ended = |pod: Option<&Pod>| matches!(progress(pod), Progress::Ended(_) | Progress::Lost(_));
    let pod = settled(pods.wait_for(name, deadline, ended).await?);
    match progress(pod.as_ref()) {
        Progress::Ended(message) => serde_json::from_str(&message).map_err(|error| {
            untested(format!(
                "the answer of {name} in {sandbox} was not understood ({error}): {message}"
            ))
        }),
        progress => Err(unusable(sandbox, name, &progress)),
    }
}

fn settled(waited: Waited<Pod>) -> Option<Pod> {
    match waited {
        Waited::Met(pod) | Waited::Late(pod) => pod,
    }
}

fn unusable(sandbox: &str, name: &str, progress: &Progress) -> Failure {
    let why = progress.why();
    Failure::Flaw(Flaw::Unusable(format!("the probe pod {name} in {sandbox} {why}")))
}

/// Removes the probe pods whose work is done. Best effort: the observers of restored pods leave them out, and they go with
/// the sandbox.
async fn remove_probes(site: &Site<'_>, names: &[&str]) {
    let pods = site
        .sandboxes
        .iter()
        .flat_map(|sandbox| names.iter().map(|name| (sandbox.name.as_str(), *name)));
    join_all(pods.map(|(sandbox, name)| remove(site.cluster, sandbox, name))).await;
}

pub(super) async fn remove(cluster: &Cluster, sandbox: &str, name: &str) {
    let pods: Objects<Pod> = cluster.namespaced(sandbox);
    let removed = async {
        let Some(pod) = pods.get_metadata_opt(name).await? else {
            return Ok(true);
        };
        pods.delete(name, pod.metadata.uid.as_deref().unwrap_or_default()).await
    };
    if let Err(error) = removed.await {
        tracing::debug!(%error, "a probe pod stays until the sandbox goes");
    }
}

/// Waits for the pods that watch on, in all sandboxes, and removes them. Ways out are opened meanwhile.
fn watch_on(site: &Site<'_>, outside: Outside) -> IsolationWatch {
    let cluster = site.cluster.clone();
    let opened = !site.fence.settings.egress.is_empty();
    let sandboxes: Vec<String> = site.sandboxes.iter().map(|sandbox| sandbox.name.clone()).collect();
    let deadline = Instant::now() + START_LIMIT + WATCHED;
    let task = tokio::spawn(async move {
        let watches = sandboxes.iter().map(async |sandbox| {
            let outcome = timeout_at(deadline, answer(&cluster, sandbox, WATCH, WATCHED)).await;
            remove(&cluster, sandbox, WATCH).await;
            match outcome {
                Ok(Ok(outcome)) => Ok(outside.judge_silence(sandbox, &outcome)?),
                Ok(Err(failure)) => Err(failure),
                Err(_) => Err(untested(format!("{WATCH} in {sandbox} did not answer in time"))),
            }
        });
        match worst(join_all(watches).await) {
            Ok(()) => Isolation::Proved,
            Err(Failure::Flaw(Flaw::Breach(text))) if opened => {
                Isolation::Breached(format!("{text}, unless sandbox.egress leads there"))
            }
            Err(Failure::Flaw(Flaw::Breach(text))) => Isolation::Breached(text),
            Err(Failure::Flaw(Flaw::Unusable(text) | Flaw::Untested(text))) => Isolation::NotTested(text),
            Err(Failure::Api(error)) => Isolation::NotTested(error.to_string()),
            Err(Failure::Names(stop)) => Isolation::NotTested(stop.message),
        }
    });
    IsolationWatch {
        task: Some(AbortOnDrop(task)),
    }
}
