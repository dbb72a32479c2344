//! Looks at what did not come up for [`denied`](super::denied), and at Services whose endpoints are held. Secrets are never read.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::rbac::v1::RoleBinding;

use super::denied::{self, Told};
use crate::cluster::{Cluster, Error, Query};
use crate::facts::{Denied, DeniedFact, Facts, KindFacts, PodFailure, SandboxFacts, Status};

/// Most pods that are looked at; more of one kind tell the same.
const PODS: usize = 10;
/// Most `ConfigMaps` read for one pod, one at a time: each may have a megabyte.
const CONFIG_MAPS: usize = 10;

/// What a run's failing pods may be waiting for, though the sandbox denies it. Nothing where nothing failed. An answer that does not
/// come leaves out a hint and nothing else.
pub async fn denied(cluster: &Cluster, facts: &Facts) -> Vec<DeniedFact> {
    let failures = facts.pods.as_ref().map_or(&[][..], |pods| &pods.failures);
    let check_failed = facts.checks.iter().any(|check| check.status == Status::Fail);
    if failures.is_empty() && !check_failed {
        return Vec::new();
    }
    let mut found = Vec::new();
    for sandbox in &facts.sandboxes {
        match of_sandbox(cluster, sandbox, failures, facts).await {
            Ok(some) => found.extend(some),
            Err(error) => tracing::warn!(%error, "what the failing pods may be waiting for is not known"),
        }
    }
    found
}

async fn of_sandbox(
    cluster: &Cluster,
    sandbox: &SandboxFacts,
    failures: &[PodFailure],
    facts: &Facts,
) -> Result<Vec<DeniedFact>, Error> {
    let kinds = facts.objects.iter().flat_map(|objects| &objects.kinds);
    let own: Vec<&KindFacts> = kinds.filter(|kind| kind.source == sandbox.source).collect();
    let fact = |pod: Option<&str>, what| DeniedFact {
        source: sandbox.source.clone(),
        pod: pod.map(str::to_owned),
        what,
    };
    let mut found = Vec::new();
    for service in without_endpoints(cluster, sandbox, &own).await? {
        found.push(fact(None, Denied::Endpoints(service)));
    }
    let jobs: Vec<&str> = held(&own, "Job").collect();
    // What certainly cannot start has its reason already.
    let waiting = failures
        .iter()
        .filter(|failure| failure.source == sandbox.source && !failure.certain);
    let mut bindings = None;
    for failure in waiting.take(PODS) {
        let pods = cluster.namespaced::<Pod>(&sandbox.name);
        let Some(pod) = pods.get_opt(&failure.name).await? else {
            continue;
        };
        let (culprits, init) = denied::culprits(&pod);
        let Some(first) = culprits.first() else {
            continue;
        };
        let mut told: Vec<Told> = culprits
            .iter()
            .flat_map(|container| denied::of_container(container))
            .collect();
        for name in denied::config_maps(&pod, &culprits).into_iter().take(CONFIG_MAPS) {
            let map = cluster.namespaced::<ConfigMap>(&sandbox.name).get_opt(&name).await?;
            let data = map.and_then(|map| map.data).unwrap_or_default();
            told.extend(data.into_iter().map(|(key, text)| Told {
                place: format!("ConfigMap/{name} {key}"),
                text,
            }));
        }
        if bindings.is_none() {
            let all = cluster
                .namespaced::<RoleBinding>(&sandbox.name)
                .list(&Query::all())
                .await?;
            bindings = Some(all);
        }
        let bound = binding(bindings.as_deref().unwrap_or_default(), &pod);
        let init = init.then_some(first.name.as_str());
        let suspected = denied::suspect(&told, init, &jobs, bound);
        found.extend(suspected.into_iter().map(|what| fact(Some(&failure.name), what)));
    }
    Ok(found)
}

fn held<'k>(kinds: &'k [&KindFacts], kind: &str) -> impl Iterator<Item = &'k str> {
    let of_kind = kinds.iter().filter(move |facts| facts.kind == kind).collect::<Vec<_>>();
    of_kind
        .into_iter()
        .flat_map(|facts| &facts.held)
        .map(|held| held.name.as_str())
}

/// The Services whose endpoints somebody wrote by hand: they lead outside, and are held.
async fn without_endpoints(
    cluster: &Cluster,
    sandbox: &SandboxFacts,
    kinds: &[&KindFacts],
) -> Result<Vec<String>, Error> {
    let names: Vec<&str> = held(kinds, "Endpoints").chain(held(kinds, "EndpointSlice")).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let keep = |service: Service| {
        let spec = service.spec?;
        let by_hand = spec.selector.unwrap_or_default().is_empty() && spec.type_.as_deref() != Some("ExternalName");
        service.metadata.name.filter(|_| by_hand)
    };
    let services = cluster.namespaced::<Service>(&sandbox.name);
    let listed = services.list_with(&Query::all(), keep).await?;
    let is_held = |service: &String| {
        let is_its = |name: &&str| {
            let rest = name.strip_prefix(service.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        names.iter().any(is_its)
    };
    Ok(listed.into_iter().flatten().filter(is_held).collect())
}

/// A restored `RoleBinding` that gives rights to the service account of a pod that has its token.
fn binding<'b>(bindings: &'b [RoleBinding], pod: &Pod) -> Option<&'b str> {
    let account = pod.spec.as_ref()?.service_account_name.as_deref().unwrap_or("default");
    let is_subject = |binding: &&RoleBinding| {
        let mut subjects = binding.subjects.iter().flatten();
        subjects.any(|subject| subject.kind == "ServiceAccount" && subject.name == account)
    };
    let found = bindings.iter().find(is_subject).filter(|_| denied::has_token(pod))?;
    found.metadata.name.as_deref()
}
