//! In which sandbox a check runs: the one it names, the only one, or the one that holds its target.

use std::collections::BTreeMap;

use super::{Context, pods, service};
use crate::facts::SandboxFacts;

/// The sandbox of a check whose target is a Service.
pub(super) async fn by_service<'a>(
    context: &Context<'a>,
    namespace: Option<&str>,
    name: &str,
) -> Result<&'a SandboxFacts, String> {
    find(
        context.sandboxes,
        namespace,
        &format!("Service {name}"),
        async |sandbox| service::exists(context, &sandbox.name, name).await,
    )
    .await
}

/// The sandbox of a check whose target is pods.
pub(super) async fn by_pods<'a>(
    context: &Context<'a>,
    namespace: Option<&str>,
    labels: &BTreeMap<String, String>,
) -> Result<&'a SandboxFacts, String> {
    find(context.sandboxes, namespace, &pods::describe(labels), async |sandbox| {
        pods::exist(context, &sandbox.name, labels).await
    })
    .await
}

/// The sandboxes in which a check may find its targets: the one it names, or all.
pub(super) fn places<'a>(sandboxes: &'a [SandboxFacts], namespace: Option<&str>) -> Result<&'a [SandboxFacts], String> {
    let Some(namespace) = namespace else {
        return Ok(sandboxes);
    };
    let named = sandboxes.iter().position(|sandbox| sandbox.source == namespace);
    named.map(|at| &sandboxes[at..=at]).ok_or_else(|| {
        format!(
            "namespace {namespace} is none of those restored: {}",
            sources(sandboxes)
        )
    })
}

fn sources(sandboxes: &[SandboxFacts]) -> String {
    let sources: Vec<&str> = sandboxes.iter().map(|sandbox| sandbox.source.as_str()).collect();
    sources.join(", ")
}

/// The sandbox that is named, or the only one, or the only one of several that `holds` the target, `what`.
async fn find<'a>(
    sandboxes: &'a [SandboxFacts],
    namespace: Option<&str>,
    what: &str,
    holds: impl AsyncFn(&SandboxFacts) -> Result<bool, String>,
) -> Result<&'a SandboxFacts, String> {
    let places = places(sandboxes, namespace)?;
    if let [only] = places {
        return Ok(only);
    }
    let mut found = Vec::new();
    for sandbox in places {
        if holds(sandbox).await? {
            found.push(sandbox);
        }
    }
    match found[..] {
        [one] => Ok(one),
        [] => Err(format!("{what} not found in any of: {}", sources(sandboxes))),
        _ => {
            let candidates: Vec<&str> = found.iter().map(|sandbox| sandbox.source.as_str()).collect();
            Err(format!("{what} found in {}: set namespace", candidates.join(" and ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandboxes(sources: &[&str]) -> Vec<SandboxFacts> {
        let make = |source: &&str| SandboxFacts {
            source: (*source).to_owned(),
            name: format!("rp-test-{source}-kymaros-abc123"),
            uid: String::new(),
        };
        sources.iter().map(make).collect()
    }

    /// Finds Service web, which is in the sandboxes of `held`; asking for another fails.
    async fn look(all: &[&str], namespace: Option<&str>, held: &[&str]) -> Result<String, String> {
        let all = sandboxes(all);
        let holds = async |sandbox: &SandboxFacts| Ok(held.contains(&sandbox.source.as_str()));
        find(&all, namespace, "Service web", holds)
            .await
            .map(|sandbox| sandbox.source.clone())
    }

    #[tokio::test]
    async fn the_only_sandbox_needs_no_looking() {
        assert_eq!(look(&["shop"], None, &[]).await, Ok("shop".into()));
    }

    #[tokio::test]
    async fn a_named_sandbox_is_taken_whatever_it_holds() {
        assert_eq!(
            look(&["shop", "billing"], Some("billing"), &["shop"]).await,
            Ok("billing".into())
        );
        let error = look(&["shop", "billing"], Some("crm"), &["shop"]).await;
        assert_eq!(
            error,
            Err("namespace crm is none of those restored: shop, billing".into())
        );
    }

    #[tokio::test]
    async fn of_several_the_one_that_holds_the_target_is_taken() {
        let all = ["shop", "billing", "crm"];
        assert_eq!(look(&all, None, &["crm"]).await, Ok("crm".into()));
        assert_eq!(
            look(&all, None, &["shop", "crm"]).await,
            Err("Service web found in shop and crm: set namespace".into())
        );
        assert_eq!(
            look(&all, None, &[]).await,
            Err("Service web not found in any of: shop, billing, crm".into())
        );
    }

    #[tokio::test]
    async fn an_error_is_no_answer() {
        let all = sandboxes(&["shop", "billing"]);
        let error = find(&all, None, "Service web", async |_| Err("API unreachable".to_owned())).await;
        assert_eq!(error, Err("API unreachable".into()));
    }
}
