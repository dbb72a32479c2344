//! Reads the restored configuration for [`Scanner`]: pod templates, Services and `ConfigMaps`, never Secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Service};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::hardcoded::Scanner;
use crate::cluster::{Cluster, Error, Query};
use crate::facts::{HardcodedFact, KindFacts, SandboxFacts};
use crate::{names, velero};

/// `ConfigMaps` scanned in a run.
const MAX_CONFIG_MAPS: usize = 2_000;

/// `ConfigMaps` held at once: each may have a megabyte.
const CONFIG_MAPS: u32 = 10;

/// Workloads held at once.
const WORKLOADS: u32 = 50;

/// Names of the source namespaces in the configuration that was restored into the sandboxes, and, without a name, what was
/// not scanned. `kinds` are the objects that were found.
///
/// This is a hint, not a verdict: a kind that may not be listed is left out, with a line in the log.
pub async fn hardcoded_names(
    cluster: &Cluster,
    sandboxes: &[SandboxFacts],
    kinds: &[KindFacts],
) -> Result<Vec<HardcodedFact>, Error> {
    let of_kind = |source: &str, kind: &str| {
        kinds
            .iter()
            .find(|facts| facts.source == source && facts.group.is_empty() && facts.kind == kind)
    };
    let services: BTreeMap<String, BTreeSet<String>> = sandboxes
        .iter()
        .map(|sandbox| {
            let expected = of_kind(&sandbox.source, "Service").map(|facts| facts.expected.iter().cloned());
            (sandbox.source.clone(), expected.into_iter().flatten().collect())
        })
        .collect();
    let mut scan = Scan {
        cluster,
        scanner: Scanner::new(services),
        config_maps: 0,
    };
    let mut unscanned = Vec::new();
    for sandbox in sandboxes {
        scan.workloads(sandbox).await?;
        let scanned = scan.config_maps(sandbox).await?;
        let there = of_kind(&sandbox.source, "ConfigMap").and_then(|facts| facts.present.as_ref());
        let rest = there.map_or(0, Vec::len).saturating_sub(scanned);
        if scan.config_maps >= MAX_CONFIG_MAPS && rest > 0 {
            unscanned.push(HardcodedFact {
                object: format!("{rest} ConfigMaps of {} were not scanned", sandbox.source),
                name: String::new(),
            });
        }
    }
    let mut found = scan.scanner.into_facts();
    found.append(&mut unscanned);
    Ok(found)
}

struct Scan<'s> {
    cluster: &'s Cluster,
    scanner: Scanner,
    config_maps: usize,
}

impl Scan<'_> {
    async fn workloads(&mut self, sandbox: &SandboxFacts) -> Result<(), Error> {
        self.templates::<Deployment>(sandbox, |object| Some(object.spec?.template))
            .await?;
        self.templates::<StatefulSet>(sandbox, |object| Some(object.spec?.template))
            .await?;
        self.templates::<DaemonSet>(sandbox, |object| Some(object.spec?.template))
            .await?;
        self.templates::<CronJob>(sandbox, |object| Some(object.spec?.job_template.spec?.template))
            .await?;
        let services = self.cluster.namespaced::<Service>(&sandbox.name);
        let scanner = &mut self.scanner;
        let listed = services
            .list_with(&Query::all(), |object| scanner.service(&sandbox.source, &object))
            .await;
        permitted(listed)
    }

    /// Scans the pod templates of one kind.
    async fn templates<K>(
        &mut self,
        sandbox: &SandboxFacts,
        template: fn(K) -> Option<PodTemplateSpec>,
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + fmt::Debug
            + Send
            + 'static,
    {
        let scanner = &mut self.scanner;
        let listed = self
            .cluster
            .namespaced::<K>(&sandbox.name)
            .list_with(&Query::all().page(WORKLOADS), |object| {
                let name = format!("{}/{}", K::kind(&()), object.name_any());
                if let Some(template) = template(object) {
                    scanner.template(&sandbox.source, &name, &template);
                }
            })
            .await;
        permitted(listed)
    }

    /// Scans `ConfigMaps` until there are no more, or it is enough. Returns how many were of the application.
    async fn config_maps(&mut self, sandbox: &SandboxFacts) -> Result<usize, Error> {
        let objects = self.cluster.namespaced::<ConfigMap>(&sandbox.name);
        let mut pages = objects.pages(&Query::all().page(CONFIG_MAPS));
        let mut scanned = 0;
        while self.config_maps < MAX_CONFIG_MAPS && !self.scanner.is_full() {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                // The rest of the list is gone from the server's memory; a hint is not worth a second try.
                Err(error) if error.is_expired() => break,
                Err(error) => {
                    permitted::<()>(Err(error))?;
                    break;
                }
            };
            for object in page {
                self.config_maps += 1;
                if is_applications(&object) {
                    scanned += 1;
                    self.scanner.config_map(&sandbox.source, &object);
                }
            }
        }
        Ok(scanned)
    }
}

fn is_applications(object: &ConfigMap) -> bool {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let labels = object.metadata.labels.as_ref();
    let ours = labels
        .and_then(|labels| labels.get(names::label::MANAGED_BY))
        .is_some_and(|value| value == names::MANAGED_BY);
    !ours && velero::made_by_the_cluster("ConfigMap", name).is_none()
}

/// A kind that may not be listed is no reason to end a run.
fn permitted<T>(listed: Result<T, Error>) -> Result<(), Error> {
    match listed {
        Ok(_) => Ok(()),
        Err(error) if error.is_forbidden() => {
            tracing::warn!(%error, "not scanned for names of the source");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
