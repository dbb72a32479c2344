//! Everything that has to stand before the first restored byte: the admission fence is tried, the sandboxes are made and closed,
//! and their isolation is proved (see [`isolation`]). That a sandbox is closed before a pod starts in it is what admission sees to;
//! the order here only keeps to it.
//!
//! Nothing here adopts what exists already, and every refusal ends the run with what the cluster said.

mod classes;
mod installation;
mod isolation;
mod name_server;
mod verdict;
mod ways_out;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, Pod, ResourceQuota, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::api::Sandbox;
use crate::build::probe::{PEER_PORT, Probe, ProbeHost};
use crate::build::sandbox::{self, End, Kinds};
use crate::build::{self, Owner, network};
use crate::cleanup::{expiry, label_of};
use crate::cluster::{Cluster, Error, Objects};
use crate::facts::{Isolation, Reason, SandboxFacts, Stop};
use crate::names::{self, CLOSED_FENCE, SERVICE_ACCOUNT, label, self_test};
use crate::settings;

pub use installation::installation_allows;
pub use isolation::IsolationWatch;
pub use name_server::{NameServer, outside_names};

/// A right that was just granted is in force within moments.
const GRANT_LIMIT: Duration = Duration::from_secs(5);
/// Between tries.
const GRANT_PAUSE: Duration = Duration::from_millis(50);
/// What to do about a missing fence.
const INSTALL: &str = "install the runner's manifests with `kubectl apply -k`, admission policies included";

/// The runner itself, as far as its sandboxes have to know it.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Its namespace.
    pub namespace: String,
    /// The `ServiceAccount` it acts as.
    pub service_account: String,
    /// How its probe pods are started.
    pub host: ProbeHost,
    /// The address of its pod.
    pub ip: IpAddr,
    /// The API server's Service, as pods reach it.
    pub api_server: SocketAddr,
}

impl Runner {
    /// Reads what is known of the runner from its own pod.
    pub async fn read(cluster: &Cluster, own: &settings::Pod, api_server: SocketAddr) -> Result<Self, Stop> {
        let pod: Pod = cluster
            .namespaced(&own.namespace)
            .get(&own.name)
            .await
            .map_err(|error| stop(&error))?;
        Self::of(&pod, own, api_server).ok_or_else(|| {
            Stop::new(
                Reason::SandboxDenied,
                format!(
                    "pod {}/{} does not say which image the runner runs from",
                    own.namespace, own.name
                ),
            )
        })
    }

    fn of(pod: &Pod, own: &settings::Pod, api_server: SocketAddr) -> Option<Self> {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        Some(Self {
            namespace: own.namespace.clone(),
            service_account: account.unwrap_or_else(|| SERVICE_ACCOUNT.to_owned()),
            host: ProbeHost::of(pod)?,
            ip: own.ip,
            api_server,
        })
    }

    /// The image it runs from.
    pub fn image(&self) -> &str {
        &self.host.image
    }
}

/// Makes sure that the fence around the runner stands: three requests that its policies must refuse, none of which stores
/// anything. Without the fence the runner's rights reach further than its sandboxes, so it refuses to work.
pub async fn self_test(cluster: &Cluster, own_namespace: &str, provider_namespace: &str) -> Result<(), Stop> {
    let bindings: Objects<RoleBinding> = cluster.namespaced(own_namespace);
    let namespaces: Objects<Namespace> = cluster.all();
    let maps: Objects<ConfigMap> = cluster.namespaced(provider_namespace);
    let binding = sandbox::role_binding(own_namespace, &Owner::default(), own_namespace, SERVICE_ACCOUNT);
    let namespace = sandbox::unlabelled_namespace();
    let foreign = build::restore::foreign_modifiers(provider_namespace);
    let (bound, made, mapped) = tokio::join!(
        bindings.dry_run_create(&binding),
        namespaces.dry_run_create(&namespace),
        maps.dry_run_create(&foreign)
    );
    must_be_refused("bind itself outside a sandbox", self_test::BINDING, bound.err())?;
    must_be_refused(
        "create a namespace that is not a sandbox",
        self_test::NAMESPACE,
        made.err(),
    )?;
    match mapped.err() {
        // Without rights at the provider there is nothing to fence; asking the provider says so better.
        Some(error) if lacks_rights(&error) || error.is_not_found() => Ok(()),
        error => must_be_refused(
            "have the provider change objects as it likes",
            self_test::MODIFIERS,
            error,
        ),
    }
}

/// `by` are the policies that have to refuse it: another's refusal shows nothing of them.
fn must_be_refused(what: &str, by: &[&str], error: Option<Error>) -> Result<(), Stop> {
    match error {
        None => Err(Stop::new(
            Reason::SandboxDenied,
            format!("fence not installed: the cluster would let the runner {what}; {INSTALL}"),
        )),
        Some(error) if is_refused_by(&error, by) => Ok(()),
        Some(error) if lacks_rights(&error) => Err(Stop::new(
            Reason::SandboxDenied,
            format!("the fence could not be tried, because the runner lacks permissions it needs ({error}); {INSTALL}"),
        )),
        Some(error) if error.is_forbidden() || error.code() == Some(422) => Err(Stop::new(
            Reason::SandboxDenied,
            format!(
                "the fence could not be tried: policy {} should refuse to let the runner {what}, but something else did ({error})",
                by.join(" or ")
            ),
        )),
        Some(error) => Err(stop(&error)),
    }
}

/// Why a sandbox was not made.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// A namespace of this name exists already, and nothing is ever adopted. A run draws an id that no sandbox has, so somebody
    /// else made it since.
    NameTaken(String),
    /// The run cannot go on.
    Stopped(Stop),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken(name) => write!(
                f,
                "a namespace {name} exists already, and nothing is ever adopted; run the test again"
            ),
            Self::Stopped(stop) => f.write_str(&stop.message),
        }
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::NameTaken(_) => Self::new(Reason::SandboxDenied, problem.to_string()),
            Problem::Stopped(stop) => stop,
        }
    }
}

/// Who makes restored objects harmless in this cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Neutraliser {
    /// Admission, for every writer.
    Admission,
    /// Nobody: what would reach outside is refused. The provider has to change it on the way, or it is held.
    Refusal,
}

/// Makes the sandboxes of one run.
#[derive(Clone, Copy, Debug)]
pub struct Fence<'a> {
    cluster: &'a Cluster,
    runner: &'a Runner,
    owner: &'a Owner,
    settings: &'a Sandbox,
    kinds: &'a Kinds,
}

impl<'a> Fence<'a> {
    /// For the run `owner` of a test with these settings, which is going to restore objects of these kinds.
    pub fn new(
        cluster: &'a Cluster,
        runner: &'a Runner,
        owner: &'a Owner,
        settings: &'a Sandbox,
        kinds: &'a Kinds,
    ) -> Self {
        Self {
            cluster,
            runner,
            owner,
            settings,
            kinds,
        }
    }

    /// Makes the sandboxes, given as source namespace and name, each with the runner's rights in it, its quota, its
    /// default requests and the network policies that close it, and looks in the first of them whether the fence stands there too and lets the ways out pass that the
    /// test asks for. `made` receives all that exist by the end, complete or not: they have to be removed whatever comes.
    pub async fn make_sandboxes(
        &self,
        names: &[(String, String)],
        end: &End,
        made: &mut Vec<SandboxFacts>,
    ) -> Result<Neutraliser, Problem> {
        let makers = names.iter().map(
            async |(source, name)| match self.make_namespace(source, name, end).await {
                Err(problem) => (None, Some(problem)),
                Ok(facts) => {
                    let furnished = self.furnish(name).await;
                    (Some(facts), furnished.err().map(Problem::Stopped))
                }
            },
        );
        let mut problems = Vec::new();
        for (facts, problem) in join_all(makers).await {
            made.extend(facts);
            problems.extend(problem);
        }
        // A refusal says more than a name that is taken, and the first of several says enough.
        problems.sort_by_key(|problem| matches!(problem, Problem::NameTaken(_)));
        match (problems.into_iter().next(), names.first()) {
            (Some(problem), _) => Err(problem),
            (None, Some((_, first))) => {
                let neutraliser = self.neutraliser(first).await.map_err(Problem::Stopped)?;
                self.ways_out_permitted(first).await.map_err(Problem::Stopped)?;
                Ok(neutraliser)
            }
            (None, None) => Err(Problem::Stopped(Stop::new(
                Reason::InvalidSpec,
                "no namespace is to be restored",
            ))),
        }
    }

    async fn make_namespace(&self, source: &str, name: &str, end: &End) -> Result<SandboxFacts, Problem> {
        let wanted = sandbox::namespace(source, name, self.owner, self.settings, end, self.kinds);
        let namespaces: Objects<Namespace> = self.cluster.all();
        let made = match namespaces.create_or_same(&wanted).await {
            Ok(made) if is_same(&made, &wanted) => made,
            Ok(_) => return Err(Problem::NameTaken(name.to_owned())),
            Err(error) if error.is_already_exists() => return Err(Problem::NameTaken(name.to_owned())),
            Err(error) => return Err(Problem::Stopped(stop(&error))),
        };
        tracing::info!(sandbox = name, source, "sandbox made");
        Ok(SandboxFacts {
            source: source.to_owned(),
            name: name.to_owned(),
            uid: made.metadata.uid.unwrap_or_default(),
        })
    }

    /// The runner's rights first, for all else needs them, and then what closes the sandbox, before anything may start in it.
    async fn furnish(&self, name: &str) -> Result<(), Stop> {
        let (cluster, owner) = (self.cluster, self.owner);
        let binding = sandbox::role_binding(name, owner, &self.runner.namespace, &self.runner.service_account);
        let bound = cluster.namespaced::<RoleBinding>(name).create_or_same(&binding).await;
        bound.map_err(|error| stop(&error))?;
        self.no_pod_before_it_is_closed(name).await?;
        let furniture = async {
            let policies = network::closed(name, owner, self.settings, &self.runner.namespace);
            let closed = policies
                .iter()
                .map(async |policy| create_when_granted::<NetworkPolicy>(&cluster.namespaced(name), policy).await);
            try_join_all(closed).await?;
            let quota = sandbox::quota(name, owner, self.settings);
            create_when_granted::<ResourceQuota>(&cluster.namespaced(name), &quota).await?;
            if let Some(limits) = sandbox::limit_range(name, owner, self.settings) {
                create_when_granted::<LimitRange>(&cluster.namespaced(name), &limits).await?;
            }
            Ok(())
        };
        furniture.await.map_err(|error| stop(&error))
    }

    /// Asks for a pod in a sandbox that has no network policies yet, without storing it: admission must refuse it for that.
    async fn no_pod_before_it_is_closed(&self, sandbox: &str) -> Result<(), Stop> {
        let pods: Objects<Pod> = self.cluster.namespaced(sandbox);
        let probe = Probe::Serve { port: PEER_PORT };
        let pod = self.runner.host.pod(sandbox, sandbox::TEST_POD, self.owner, &probe);
        let started = until(passes_with_rights, || pods.dry_run_create(&pod)).await;
        must_be_refused(
            "start pods in a sandbox that is not closed",
            self_test::POD,
            started.err(),
        )
    }

    /// Lets the sandboxes ask the cluster's DNS; with name servers of their own (`served`) only these may.
    pub async fn allow_dns(&self, sandboxes: &[SandboxFacts], served: bool) -> Result<(), Stop> {
        let allowed = sandboxes.iter().map(async |sandbox| {
            let policy = network::dns(&sandbox.name, self.owner, self.settings, served);
            create_when_granted::<NetworkPolicy>(&self.cluster.namespaced(&sandbox.name), &policy).await
        });
        try_join_all(allowed).await.map_err(|error| stop(&error))?;
        Ok(())
    }

    /// Asks for a Service in a sandbox that would be reachable from outside, without storing it, and looks at what would
    /// come of it. Dangerous is only one that would be stored as it is.
    async fn neutraliser(&self, sandbox: &str) -> Result<Neutraliser, Stop> {
        let services: Objects<Service> = self.cluster.namespaced(sandbox);
        let exposed = sandbox::exposed_service(sandbox, self.owner);
        match when_granted(|| services.dry_run_create(&exposed)).await {
            Ok(service) => match sandbox::exposure(&service) {
                None => Ok(Neutraliser::Admission),
                Some(how) => Err(Stop::new(
                    Reason::SandboxDenied,
                    format!(
                        "fence not installed: a Service in the sandbox would be reachable from outside ({how}); {INSTALL}"
                    ),
                )),
            },
            Err(error) if is_refused_by(&error, self_test::SERVICE) => Ok(Neutraliser::Refusal),
            Err(error) => Err(stop(&error)),
        }
    }

    /// Proves that the sandboxes are isolated, in all of them at once. They have to be empty but for their name servers, `names`,
    /// if they have any; these answer by the end.
    /// `isolation` receives what was shown, also where it stops the run. What is returned goes on beside the restore.
    pub async fn prove_isolation(
        &self,
        sandboxes: &[SandboxFacts],
        names: &[NameServer],
        isolation: &mut Isolation,
    ) -> Result<IsolationWatch, Stop> {
        let proof = isolation::prove(self, sandboxes, names).await;
        *isolation = proof.isolation;
        proof.end
    }
}

/// A namespace found in place of the one that was asked for is ours only if an answer was lost: then it says all that ours
/// would.
fn is_same(found: &Namespace, wanted: &Namespace) -> bool {
    let label = |namespace: &Namespace, key| label_of(&namespace.metadata, key).map(str::to_owned);
    [label::RUN, label::TEST_UID, label::SOURCE_NAMESPACE]
        .iter()
        .all(|key| label(found, *key) == label(wanted, *key))
        && expiry(&found.metadata) == expiry(&wanted.metadata)
        && found.metadata.deletion_timestamp.is_none()
}

/// Creates an object in a sandbox as soon as the runner's new rights there, and the namespace's own furniture, are in force.
async fn create_when_granted<K>(objects: &Objects<K>, object: &K) -> Result<K, Error>
where
    K: Resource + Clone + DeserializeOwned + Serialize + fmt::Debug + Send + 'static,
{
    when_granted(|| objects.create_or_same(object)).await
}

async fn when_granted<T, F, Fut>(attempt: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    until(passes_soon, attempt).await
}

/// Tries again for a moment while the error is one that passes.
async fn until<T, F, Fut>(passes: impl Fn(&Error) -> bool, mut attempt: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let deadline = Instant::now() + GRANT_LIMIT;
    loop {
        match attempt().await {
            Err(error) if passes(&error) && Instant::now() < deadline => sleep(GRANT_PAUSE).await,
            other => return other,
        }
    }
}

/// Refusals that a sandbox gives for its first moments: those of a new namespace, and that it is not closed, which admission learns a
/// moment after the network policy was made. The latter comes as 422 and not as 403.
fn passes_soon(error: &Error) -> bool {
    let unclosed = refusing_policy(error) == Some(CLOSED_FENCE) && error.server_message().is_some_and(is_blind);
    passes_with_rights(error) || unclosed
}

/// A policy of ours was not given its parameter.
fn is_blind(text: &str) -> bool {
    names::refusing_policy(text).is_some() && text.contains("no params found for policy binding")
}

/// Refusals that a new namespace gives for its first moments: rights not yet in force, no default `ServiceAccount` yet, a
/// quota not yet counted.
fn passes_with_rights(error: &Error) -> bool {
    const EARLY: [&str; 3] = [
        " cannot ",
        "error looking up service account",
        "status unknown for quota",
    ];
    error.is_forbidden()
        && refusing_policy(error).is_none()
        && error
            .server_message()
            .is_some_and(|text| EARLY.iter().any(|early| text.contains(early)))
}

/// The admission policy of ours that refused.
fn refusing_policy(error: &Error) -> Option<&str> {
    error.server_message().and_then(names::refusing_policy)
}

fn is_refused_by(error: &Error, policies: &[&str]) -> bool {
    refusing_policy(error).is_some_and(|policy| policies.contains(&policy))
}

/// RBAC refused, in the words of Kubernetes.
fn lacks_rights(error: &Error) -> bool {
    let by_rbac = |text: &str| text.contains("is forbidden: User ") && text.contains(" cannot ");
    error.is_forbidden() && error.server_message().is_some_and(by_rbac)
}

/// Admission looks for what is there and does not see it.
const BLIND: &str = "admission does not see what is there: a kube-apiserver stops looking at the kinds that parameterise its policies when \
                     the last such policy is deleted, and starts again only with its next start. If the runner's policies were deleted and \
                     applied again, restart it";

/// The end of a run whose sandbox could not be had.
fn stop(error: &Error) -> Stop {
    if error.is_transient() {
        Stop::new(Reason::ApiUnavailable, error.to_string())
    } else if error.server_message().is_some_and(is_blind) {
        Stop::new(Reason::SandboxDenied, format!("{BLIND} ({error})"))
    } else {
        Stop::new(
            Reason::SandboxDenied,
            format!("the cluster refused what belongs to the sandbox: {error}"),
        )
    }
}

#[cfg(test)]
mod tests;
