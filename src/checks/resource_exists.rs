//! `resourceExists`: objects of any kind are in the sandbox. Nothing of them is read but their names.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Context, Verdict, excluded, locate};
use crate::api::{Check, ResourceExistsCheck, ResourceRef};
use crate::cluster::{Discovery, Error, Served};
use crate::names::label;

/// Most objects that a message names.
const NAMED: usize = 10;

/// Runs the check.
pub(super) async fn run(context: &Context<'_>, check: &Check, spec: &ResourceExistsCheck) -> Verdict {
    let discovery = context.cluster.discover().await.map_err(|error| context.told(&error))?;
    let mut wanted = Vec::new();
    for resource in &spec.resources {
        wanted.push((resource, choose(&discovery, resource)?));
    }
    let places = locate::places(context.sandboxes, check.namespace.as_deref())?;
    let mut found = Vec::new();
    for (resource, served) in &wanted {
        context.note(Some(format!("{} was being looked for", name(resource))));
        let mut answers = Vec::new();
        for sandbox in places {
            let answer = exists(context, &sandbox.name, served, &resource.name).await;
            answers.push((sandbox.source.as_str(), answer));
        }
        let answer = of_all(&answers).unwrap_or_else(|error| Err(unreadable(context, served, error)));
        found.push((name(resource), answer));
    }
    // Nothing is missing but what is held on purpose.
    let held = |(at, (_, answer)): (usize, &(String, Result<bool, String>))| {
        let rule = excluded::object(context.kept_out, places, wanted[at].0);
        rule.filter(|_| *answer == Ok(false))
    };
    let held: Vec<Option<String>> = found.iter().enumerate().map(held).collect();
    let mut missed = found.iter().zip(&held).filter(|((_, answer), _)| *answer != Ok(true));
    if missed.clone().next().is_some() && missed.all(|(_, rule)| rule.is_some()) {
        let held = found.iter().zip(held);
        let held: Vec<String> = held
            .filter_map(|((name, _), rule)| Some(format!("{name} ({})", rule?)))
            .collect();
        context.vain(format!("held on purpose: {}", summary(held.into_iter())));
    }
    evaluate(&found)
}

/// Is an object there, given what each sandbox answered? Each may be in another one; only what two of them have leaves it open
/// which is meant. Without a sandbox that has it, the first error.
fn of_all<'e, E>(answers: &'e [(&str, Result<bool, E>)]) -> Result<Result<bool, String>, &'e E> {
    let holders: Vec<&str> = answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Ok(true)))
        .map(|(source, _)| *source)
        .collect();
    match holders[..] {
        [_] => Ok(Ok(true)),
        [] => match answers.iter().find_map(|(_, answer)| answer.as_ref().err()) {
            Some(error) => Err(error),
            None => Ok(Ok(false)),
        },
        _ => Ok(Err(format!("found in {}: set namespace", holders.join(" and ")))),
    }
}

/// The kind that is meant.
fn choose<'a>(discovery: &'a Discovery, wanted: &ResourceRef) -> Result<&'a Served, String> {
    let kind = &wanted.kind;
    let named: Vec<&Served> = discovery
        .kinds
        .iter()
        .filter(|served| served.resource.kind == *kind)
        .collect();
    let version = wanted.api_version.as_deref();
    // The preferred version of a group comes first; of the groups, the more official one is meant.
    let rank = named.iter().map(|served| officialness(&served.resource.group)).min();
    let mut fitting: Vec<&Served> = Vec::new();
    for served in named.iter().copied() {
        let fits = match version {
            Some(version) => served.resource.api_version == version,
            None => Some(officialness(&served.resource.group)) == rank,
        };
        if fits
            && !fitting
                .iter()
                .any(|other| other.resource.group == served.resource.group)
        {
            fitting.push(served);
        }
    }
    match fitting[..] {
        [one] if one.namespaced => Ok(one),
        [_] => Err(format!("{kind} is a cluster-wide kind and no part of a sandbox")),
        [] => {
            let mut versions: Vec<&str> = named
                .iter()
                .map(|served| served.resource.api_version.as_str())
                .collect();
            versions.dedup();
            let hint = if !versions.is_empty() {
                format!("; {kind} is served as {}", versions.join(", "))
            } else if discovery.stale.is_empty() {
                String::new()
            } else {
                format!("; no answer from the servers of {}", discovery.stale.join(", "))
            };
            let what = version.map_or_else(|| kind.clone(), |version| format!("{version} {kind}"));
            Err(format!("the cluster serves no kind {what}{hint}"))
        }
        _ => {
            let versions: Vec<&str> = fitting
                .iter()
                .map(|served| served.resource.api_version.as_str())
                .collect();
            Err(format!("{kind} may be any of {}: set apiVersion", versions.join(", ")))
        }
    }
}

/// How official a group is: core, the other built-in ones, those that Kubernetes itself maintains, all others.
fn officialness(group: &str) -> u8 {
    match group {
        "" => 0,
        group if !group.contains('.') => 1,
        group if group.ends_with(".k8s.io") => 2,
        _ => 3,
    }
}

/// Is the object there? Secrets are not read: whether their name is taken, a create that stores nothing tells.
async fn exists(context: &Context<'_>, sandbox: &str, served: &Served, name: &str) -> Result<bool, Error> {
    if served.resource.group.is_empty() && served.resource.kind == "Secret" {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        let secret = Secret {
            metadata,
            ..Secret::default()
        };
        return match context
            .cluster
            .namespaced::<Secret>(sandbox)
            .dry_run_create(&secret)
            .await
        {
            Ok(_) => Ok(false),
            Err(error) if error.is_already_exists() => Ok(true),
            Err(error) => Err(error),
        };
    }
    let found = context.cluster.dynamic(served, sandbox).get_metadata_opt(name).await?;
    Ok(found.is_some())
}

/// Why an object could not be looked for, with the role to add.
fn unreadable(context: &Context<'_>, served: &Served, error: &Error) -> String {
    if error.is_forbidden() {
        let resource = served.resource_name();
        format!(
            "may not be looked for; add a ClusterRole labelled {}=true with get on {resource}",
            label::AGGREGATE_TO_SANDBOX
        )
    } else {
        context.told(error)
    }
}

/// `Kind/name`.
fn name(resource: &ResourceRef) -> String {
    format!("{}/{}", resource.kind, resource.name)
}

/// Judges what was found.
fn evaluate(found: &[(String, Result<bool, String>)]) -> Verdict {
    let present = found.iter().filter(|(_, answer)| *answer == Ok(true)).count();
    let exist = format!("{present}/{} resources exist", found.len());
    let missing: Vec<&String> = found
        .iter()
        .filter(|(_, answer)| *answer == Ok(false))
        .map(|(name, _)| name)
        .collect();
    let unknown: Vec<String> = found
        .iter()
        .filter_map(|(name, answer)| answer.as_ref().err().map(|error| format!("{name}: {error}")))
        .collect();
    if missing.is_empty() && unknown.is_empty() {
        return Ok(exist);
    }
    let mut message = exist;
    if !missing.is_empty() {
        message = format!("{message}; missing: {}", summary(missing.into_iter().cloned()));
    }
    if !unknown.is_empty() {
        message = format!("{message}; {}", summary(unknown.into_iter()));
    }
    Err(message)
}

/// The first of a list, and how many more there are.
fn summary(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let first: Vec<String> = all.take(NAMED).collect();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use kube::core::discovery::ApiResource;

    use super::*;

    fn served(api_version: &str, kind: &str, namespaced: bool) -> Served {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: api_version.into(),
            kind: kind.into(),
            plural: format!("{}s", kind.to_lowercase()),
        };
        Served {
            resource,
            namespaced,
            verbs: vec!["get".into()],
        }
    }

    fn chosen(kind: &str, api_version: Option<&str>) -> Result<String, String> {
        let discovery = Discovery {
            kinds: vec![
                served("v1", "Event", true),
                served("apps/v1", "Deployment", true),
                served("events.k8s.io/v1", "Event", true),
                served("networking.k8s.io/v1", "Ingress", true),
                served("networking.k8s.io/v1beta1", "Ingress", true),
                served("example.com/v1", "Ingress", true),
                served("one.example.com/v2", "Cluster", true),
                served("one.example.com/v1", "Cluster", true),
                served("two.example.com/v1", "Cluster", true),
                served("rbac.authorization.k8s.io/v1", "ClusterRole", false),
            ],
            stale: vec!["metrics.k8s.io/v1beta1".into()],
        };
        let wanted = ResourceRef {
            kind: kind.into(),
            name: "x".into(),
            api_version: api_version.map(str::to_owned),
        };
        choose(&discovery, &wanted).map(|served| served.resource.api_version.clone())
    }

    #[test]
    fn the_official_group_and_its_preferred_version_are_meant() {
        assert_eq!(chosen("Deployment", None), Ok("apps/v1".into()));
        assert_eq!(chosen("Event", None), Ok("v1".into()));
        assert_eq!(chosen("Ingress", None), Ok("networking.k8s.io/v1".into()));
        assert_eq!(
            chosen("Ingress", Some("networking.k8s.io/v1beta1")),
            Ok("networking.k8s.io/v1beta1".into())
        );
        assert_eq!(chosen("Ingress", Some("example.com/v1")), Ok("example.com/v1".into()));
    }

    #[test]
    fn equals_need_a_word_from_the_user() {
        let error = "Cluster may be any of one.example.com/v2, two.example.com/v1: set apiVersion";
        assert_eq!(chosen("Cluster", None), Err(error.into()));
        assert_eq!(
            chosen("Cluster", Some("one.example.com/v1")),
            Ok("one.example.com/v1".into())
        );
    }

    #[test]
    fn what_is_not_served_cannot_be_there() {
        let error = "the cluster serves no kind apps/v2 Deployment; Deployment is served as apps/v1";
        assert_eq!(chosen("Deployment", Some("apps/v2")), Err(error.into()));
        let error = "the cluster serves no kind PodMetrics; no answer from the servers of metrics.k8s.io/v1beta1";
        assert_eq!(chosen("PodMetrics", None), Err(error.into()));
        assert_eq!(
            chosen("ClusterRole", None),
            Err("ClusterRole is a cluster-wide kind and no part of a sandbox".into())
        );
    }

    #[test]
    fn an_object_may_be_in_any_sandbox_but_not_in_two() {
        let all = |answers: &[(&str, Result<bool, &str>)]| match of_all(answers) {
            Ok(answer) => answer,
            Err(error) => Err((*error).to_owned()),
        };
        assert_eq!(all(&[("shop", Ok(false)), ("billing", Ok(true))]), Ok(true));
        assert_eq!(all(&[("shop", Ok(false)), ("billing", Ok(false))]), Ok(false));
        let twice = all(&[("shop", Ok(true)), ("crm", Ok(false)), ("billing", Ok(true))]);
        assert_eq!(twice, Err("found in shop and billing: set namespace".to_owned()));
        assert_eq!(all(&[("shop", Err("no right")), ("billing", Ok(true))]), Ok(true));
        assert_eq!(
            all(&[("shop", Ok(false)), ("billing", Err("no right"))]),
            Err("no right".to_owned())
        );
    }

    #[test]
    fn every_missing_object_is_named_up_to_a_bound() {
        let yes = |name: &str| (name.to_owned(), Ok(true));
        assert_eq!(
            evaluate(&[yes("ConfigMap/a"), yes("Secret/b")]),
            Ok("2/2 resources exist".into())
        );
        let mixed = [
            yes("ConfigMap/a"),
            ("Secret/b".into(), Ok(false)),
            ("Widget/c".into(), Err("may not be looked for".into())),
        ];
        let message = "1/3 resources exist; missing: Secret/b; Widget/c: may not be looked for";
        assert_eq!(evaluate(&mixed), Err(message.into()));
        let many: Vec<_> = (0..12).map(|n| (format!("ConfigMap/{n}"), Ok(false))).collect();
        let message = evaluate(&many).unwrap_err();
        assert!(message.ends_with("ConfigMap/9 and 2 more"), "{message}");
    }
}
