//! Lists what lives in the source namespaces, for the comparison with the backup: names, labels and owners alone, never a Secret.
//!
//! The number of requests grows with kinds and pages. Where the runner may not look it is refused once, not once for every kind:
//! clusters raise alarms on accounts that keep asking for what they may not have.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::core::v1::Namespace;
use tokio::time::timeout;

use crate::cluster::{Cluster, Discovery, Error, Query, Served};
use crate::facts::{AbsentFacts, Gap, LivingFacts};
use crate::plan::living::{Compared, Comparison};
use crate::plan::rules;
use crate::velero::Kind;

/// Requests under way at once; a restore runs meanwhile, and nothing waits for this.
const AT_ONCE: usize = 3;
/// One namespace may take so long.
const LIMIT: Duration = Duration::from_mins(1);

/// Compares each source namespace that lives with the backup. What fails is said in the facts.
pub async fn living(cluster: &Cluster, discovery: &Discovery, comparison: &Comparison) -> Vec<LivingFacts> {
    let mut all = Vec::new();
    for source in comparison.sources() {
        let mut facts = LivingFacts {
            source,
            ..LivingFacts::default()
        };
        let looked = timeout(LIMIT, one(cluster, discovery, comparison, &mut facts)).await;
        match looked {
            Ok(Ok(false)) => continue,
            Ok(Ok(true)) => {}
            Ok(Err(error)) => facts.gap = Some(Gap::Failed(error.to_string())),
            Err(_) => facts.gap = Some(Gap::Failed(format!("no end within {} s", LIMIT.as_secs()))),
        }
        tracing::info!(
            namespace = facts.source,
            absent = facts.absent.iter().map(|kind| kind.names.len()).sum::<usize>(),
            unlisted = facts.unlisted.len(),
            gap = ?facts.gap,
            "compared with the living namespace"
        );
        all.push(facts);
    }
    all
}

/// One namespace; `false` if there is nothing in it that could be older than the backup.
async fn one(
    cluster: &Cluster,
    discovery: &Discovery,
    comparison: &Comparison,
    facts: &mut LivingFacts,
) -> Result<bool, Error> {
    let namespace = cluster
        .all::<Namespace>()
        .get_metadata_opt(&facts.source)
        .await?
        .map(|namespace| namespace.metadata)
        .filter(|metadata| metadata.deletion_timestamp.is_none() && !comparison.too_young(metadata));
    if namespace.is_none() {
        return Ok(false);
    }
    let find = |(group, kind): &(String, String)| discovery.find(&Kind::new(group, "", kind));
    let mut kinds = comparison.kinds().iter().filter_map(find).cloned();
    let Some(first) = kinds.next() else {
        return Ok(true);
    };
    let Some(found) = absent(cluster, comparison, &facts.source, &first).await? else {
        facts.gap = Some(Gap::NotPermitted);
        return Ok(true);
    };
    facts.absent.extend(found);
    let source = facts.source.clone();
    let mut rest = stream::iter(kinds)
        .map(|served| {
            let source = &source;
            async move {
                let answer = absent(cluster, comparison, source, &served).await;
                (served, answer)
            }
        })
        .buffered(AT_ONCE);
    while let Some((served, answer)) = rest.next().await {
        match answer? {
            Some(found) => facts.absent.extend(found),
            None => facts.unlisted.push(served.resource_name()),
        }
    }
    Ok(true)
}

/// The objects of one kind that the backup should hold and does not; `None` if they may not be listed.
async fn absent(
    cluster: &Cluster,
    comparison: &Comparison,
    source: &str,
    served: &Served,
) -> Result<Option<Vec<AbsentFacts>>, Error> {
    let (group, kind) = (&served.resource.group, &served.resource.kind);
    let mut query = match comparison.labels() {
        labels if labels.is_empty() => Query::all(),
        labels => Query::labels(labels),
    };
    if group.is_empty() && kind == "Pod" {
        // A pod that has ended is nothing to miss, and its phase is not among its metadata.
        query = query.fields("status.phase!=Succeeded,status.phase!=Failed");
    }
    let listed = cluster
        .dynamic(served, source)
        .list_metadata_with(&query, |object| {
            let (reason, ignored) = match comparison.look(source, group, kind, &object.metadata) {
                Compared::Fine => return None,
                Compared::Absent(reason) => (reason, false),
                Compared::Ignored(reason) => (reason, true),
            };
            Some(((reason, ignored), object.metadata.name?))
        })
        .await;
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) if error.is_forbidden() => return Ok(None),
        // Its definition went away a moment ago.
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut found: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
    for (why, name) in listed.into_iter().flatten() {
        found.entry(why).or_default().push(name);
    }
    let facts = found.into_iter().map(|((reason, ignored), names)| AbsentFacts {
        group: group.clone(),
        kind: kind.clone(),
        custom: rules::is_custom(group),
        reason,
        ignored,
        names,
    });
    Ok(Some(facts.collect()))
}
