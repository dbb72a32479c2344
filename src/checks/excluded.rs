//! Checks whose targets the drill itself keeps out of the sandbox. That they are not there says nothing about the backup: such a
//! check is skipped, with what was kept out and why, and its points are not earned.
//!
//! | target | kept out if |
//! |---|---|
//! | pods by labels, or behind a Service | every pod with the labels is one that was refused, or whose owner is held |
//! | a Service | it was refused or excluded itself, or it has no selector and its endpoints are held |
//! | objects | each one that is missing is held |
//!
//! One other pod with the labels, ready or not, and the check runs and counts as always.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;

use super::{Context, locate, pods};
use crate::api::{Check, CheckType, ResourceRef};
use crate::cluster::Query;
use crate::facts::{Fault, KindFacts, ProviderProblem, SandboxFacts};
use crate::observe::LeftOut;

/// Most pods that a message names.
const NAMED: usize = 3;

/// What is kept out of the sandboxes.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeptOut<'a> {
    /// Pods.
    pub pods: &'a [LeftOut],
    /// The objects of the backup, some of which are held.
    pub objects: &'a [KindFacts],
    /// Errors of the provider, some of which are refusals by the fence.
    pub errors: &'a [ProviderProblem],
}

/// A check that may be in vain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct InVain {
    /// Why.
    pub(super) reason: String,
    /// There is something to try it on all the same.
    pub(super) try_it: bool,
}

impl InVain {
    fn for_certain(reason: String) -> Self {
        Self { reason, try_it: false }
    }
}

impl KeptOut<'_> {
    /// The rule by which an object is kept out, if it is.
    pub(super) fn rule(&self, source: &str, group: Option<&str>, kind: &str, name: &str) -> Option<String> {
        let of_kind = |facts: &&KindFacts| {
            facts.source == source && facts.kind == kind && group.is_none_or(|group| facts.group == group)
        };
        self.objects.iter().filter(of_kind).find_map(|facts| {
            let held = facts.held.iter().find(|held| held.name == name);
            held.map(|held| held.rule.clone()).or_else(|| self.refusal(facts, name))
        })
    }

    fn refusal(&self, facts: &KindFacts, name: &str) -> Option<String> {
        let is_it = |error: &&ProviderProblem| {
            error.fault == Fault::Fence
                && error.resource.as_deref() == Some(facts.resource.as_str())
                && error.source.as_deref() == Some(facts.source.as_str())
                && error.name.as_deref() == Some(name)
        };
        let error = self.errors.iter().find(is_it)?;
        Some(format!("refused by the sandbox's rules: {}", error.message))
    }

    /// The pods with these labels that are kept out of the sandbox of this namespace.
    fn with_labels(&self, source: &str, labels: &BTreeMap<String, String>) -> Vec<&LeftOut> {
        let fits = |left: &&LeftOut| left.source == source && has(left, labels);
        self.pods.iter().filter(fits).collect()
    }

    /// Are the endpoints held that somebody wrote for this Service by hand?
    fn endpoints(&self, source: &str, service: &str) -> bool {
        let of_source = self.objects.iter().filter(|facts| facts.source == source);
        let mut held = of_source
            .filter(|facts| matches!(facts.kind.as_str(), "Endpoints" | "EndpointSlice"))
            .flat_map(|facts| &facts.held);
        held.any(|held| {
            let rest = held.name.strip_prefix(service);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}

/// Has it these labels? Where they are not known, its name has to be one of the values, as tools that label pods have it.
fn has(left: &LeftOut, wanted: &BTreeMap<String, String>) -> bool {
    match &left.labels {
        Some(own) => wanted.iter().all(|(key, value)| own.get(key) == Some(value)),
        None => wanted.is_empty() || wanted.values().any(|value| *value == left.name),
    }
}

/// Is this check in vain? An error of the API says nothing of that; the check itself will meet it.
pub(super) async fn look(context: &Context<'_>, check: &Check) -> Option<InVain> {
    let places = locate::places(context.sandboxes, check.namespace.as_deref()).ok()?;
    match check.type_ {
        CheckType::PodStatus => by_labels(context, places, &check.pod_status.as_ref()?.label_selector).await,
        CheckType::Exec => by_labels(context, places, &check.exec.as_ref()?.pod_selector).await,
        CheckType::HttpGet => by_service(context, places, &check.http_get.as_ref()?.service).await,
        CheckType::TcpSocket => by_service(context, places, &check.tcp_socket.as_ref()?.service).await,
        // Its objects are looked for first: some that are held the cluster makes anew.
        CheckType::ResourceExists => None,
    }
}

async fn by_labels(
    context: &Context<'_>,
    places: &[SandboxFacts],
    labels: &BTreeMap<String, String>,
) -> Option<InVain> {
    let kept_out = context.kept_out;
    let fitting: Vec<&LeftOut> = places
        .iter()
        .flat_map(|sandbox| kept_out.with_labels(&sandbox.source, labels))
        .collect();
    if fitting.is_empty() {
        return None;
    }
    let mut ready = false;
    let mut there = Vec::new();
    for sandbox in places {
        for pod in pods::list(context, &sandbox.name, labels).await.ok()? {
            if !pods::is_live(&pod) {
                continue;
            }
            there.push(of_pod(kept_out.pods, &sandbox.source, &pod)?);
            ready |= pods::is_ready(&pod);
        }
    }
    let all: Vec<&LeftOut> = fitting.into_iter().chain(there).collect();
    let reason = told(&all)?;
    Some(InVain { reason, try_it: ready })
}

/// Which of those that are kept out this pod is, if it is one: it may be there, without what it needs.
fn of_pod<'l>(left_out: &'l [LeftOut], source: &str, pod: &Pod) -> Option<&'l LeftOut> {
    let name = pod.metadata.name.as_deref()?;
    left_out.iter().find(|left| left.source == source && left.name == name)
}

/// The reason in words; `None` where nothing is kept out.
fn told(left_out: &[&LeftOut]) -> Option<String> {
    let mut words: Vec<String> = left_out
        .iter()
        .map(|left| format!("{} ({})", left.name, left.reason))
        .collect();
    words.sort();
    words.dedup();
    let more = words.len().saturating_sub(NAMED);
    words.truncate(NAMED);
    let more = if more > 0 {
        format!(", and {more} more")
    } else {
        String::new()
    };
    (!words.is_empty()).then(|| format!("its pods are held: {}{more}", words.join(", ")))
}

async fn by_service(context: &Context<'_>, places: &[SandboxFacts], name: &str) -> Option<InVain> {
    let kept_out = context.kept_out;
    let mut refused = None;
    for sandbox in places {
        let services = context.cluster.namespaced::<Service>(&sandbox.name);
        let Some(service) = services.get_opt(name).await.ok()? else {
            let rule = kept_out.rule(&sandbox.source, Some(""), "Service", name);
            refused = refused.or(rule);
            continue;
        };
        let spec = service.spec.unwrap_or_default();
        if spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let selector = spec.selector.unwrap_or_default();
        if !selector.is_empty() {
            return by_labels(context, std::slice::from_ref(sandbox), &selector).await;
        }
        if kept_out.endpoints(&sandbox.source, name) && !has_endpoints(context, &sandbox.name, name).await? {
            let reason = "its endpoints are held: those of the backup lead outside the sandbox".to_owned();
            return Some(InVain::for_certain(reason));
        }
        return None;
    }
    refused.map(|rule| InVain::for_certain(format!("Service {name} is held: {rule}")))
}

async fn has_endpoints(context: &Context<'_>, sandbox: &str, service: &str) -> Option<bool> {
    let of_service = Query::labels(format!("kubernetes.io/service-name={service}"));
    let slices = context
        .cluster
        .namespaced::<EndpointSlice>(sandbox)
        .list(&of_service)
        .await;
    Some(slices.ok()?.iter().any(|slice| !slice.endpoints.is_empty()))
}

/// Why an object that is missing is kept out, if it is; `places` are the sandboxes in which it may be.
pub(super) fn object(kept_out: KeptOut<'_>, places: &[SandboxFacts], wanted: &ResourceRef) -> Option<String> {
    let group = wanted
        .api_version
        .as_deref()
        .map(|version| version.rsplit_once('/').map_or("", |(group, _)| group));
    let rule = |sandbox: &SandboxFacts| kept_out.rule(&sandbox.source, group, &wanted.kind, &wanted.name);
    places.iter().find_map(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::HeldFact;

    fn left(name: &str, labels: Option<&[(&str, &str)]>) -> LeftOut {
        LeftOut {
            source: "shop".to_owned(),
            name: name.to_owned(),
            labels: labels.map(map),
            reason: "no host access".to_owned(),
        }
    }

    fn map(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn labels_tell_and_where_they_are_not_known_the_name() {
        let own: &[(&str, &str)] = &[("app", "search"), ("tier", "index")];
        assert!(has(&left("search", Some(own)), &map(&[("app", "search")])));
        assert!(!has(&left("search", Some(own)), &map(&[("app", "search"), ("x", "y")])));
        assert!(
            !has(&left("search", Some(&[])), &map(&[("app", "search")])),
            "known to have none"
        );
        assert!(has(&left("debug", None), &map(&[("run", "debug")])));
        assert!(!has(&left("debug", None), &map(&[("app", "web")])));
        assert!(has(&left("debug", None), &map(&[])));
    }

    #[test]
    fn the_first_few_are_named() {
        let all: Vec<LeftOut> = ["d", "b", "a", "c"].map(|name| left(name, None)).into();
        let all: Vec<&LeftOut> = all.iter().collect();
        let expected = "its pods are held: a (no host access), b (no host access), c (no host access), and 1 more";
        assert_eq!(told(&all).as_deref(), Some(expected));
        assert_eq!(told(&[]), None);
    }

    #[test]
    fn rules_are_those_of_the_sources_own_objects() {
        let kind = |group: &str, kind: &str, held: &str| KindFacts {
            source: "shop".to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            held: vec![HeldFact {
                name: held.to_owned(),
                rule: "custom resource".to_owned(),
            }],
            ..KindFacts::default()
        };
        let refused = KindFacts {
            source: "shop".to_owned(),
            kind: "Service".to_owned(),
            resource: "services".to_owned(),
            expected: vec!["web".to_owned()],
            ..KindFacts::default()
        };
        let objects = [
            kind("example.com", "Parcel", "one"),
            kind("", "Endpoints", "legacy"),
            refused,
        ];
        let error = ProviderProblem {
            object: None,
            resource: Some("services".to_owned()),
            source: Some("shop".to_owned()),
            name: Some("web".to_owned()),
            message: "no".to_owned(),
            fault: Fault::Fence,
        };
        let errors = [error];
        let kept_out = KeptOut {
            objects: &objects,
            errors: &errors,
            ..KeptOut::default()
        };
        let rule = |source: &str, group, kind: &str, name: &str| kept_out.rule(source, group, kind, name);
        assert_eq!(rule("shop", None, "Parcel", "one").as_deref(), Some("custom resource"));
        assert_eq!(rule("shop", Some("other.com"), "Parcel", "one"), None);
        assert_eq!(rule("billing", None, "Parcel", "one"), None);
        assert_eq!(rule("shop", None, "Parcel", "two"), None);
        assert_eq!(
            rule("shop", Some(""), "Service", "web").as_deref(),
            Some("refused by the sandbox's rules: no")
        );
        assert!(kept_out.endpoints("shop", "legacy") && !kept_out.endpoints("shop", "leg"));
    }
}
