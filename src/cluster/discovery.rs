//! The kinds that the API server serves, as it lists them itself.
//!
//! Two requests, by aggregated discovery, which every supported Kubernetes has.

use kube::core::discovery::ApiResource;
use kube::core::discovery::v2::APIGroupDiscoveryList;

use super::Cluster;
use super::error::{Call, Error};
use super::objects::{Again, bounded};
use crate::velero::Kind;

/// One kind that is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Served {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// It lives in namespaces.
    pub namespaced: bool,
    /// What can be done with it, e.g. `list`.
    pub verbs: Vec<String>,
}

impl Served {
    /// `plural.group`, or the plural alone for the core group, as Velero's filters and RBAC messages spell it.
    pub fn resource_name(&self) -> String {
        if self.resource.group.is_empty() {
            self.resource.plural.clone()
        } else {
            format!("{}.{}", self.resource.plural, self.resource.group)
        }
    }
}

/// All kinds that are served; of each group the preferred version comes first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Discovery {
    /// The kinds, without subresources.
    pub kinds: Vec<Served>,
    /// `group/version` of those whose own server did not answer: their kinds are missing here.
    pub stale: Vec<String>,
}

impl Discovery {
    pub(super) async fn read(cluster: &Cluster) -> Result<Self, Error> {
        let call = Call {
            verb: "list",
            kind: "served kinds".to_owned(),
            ..Call::default()
        };
        let core = bounded(&call, cluster.timeout, Again::Always, || {
            cluster.client.list_core_api_versions_aggregated()
        })
        .await?;
        let groups = bounded(&call, cluster.timeout, Again::Always, || {
            cluster.client.list_api_groups_aggregated()
        })
        .await?;
        let mut discovery = Self::default();
        discovery.add(core);
        discovery.add(groups);
        Ok(discovery)
    }

    fn add(&mut self, list: APIGroupDiscoveryList) {
        for group in list.items {
            let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
            for version in group.versions {
                let number = version.version.unwrap_or_default();
                let api_version = Kind::new(&name, &number, "").api_version();
                if version.freshness.as_deref() == Some("Stale") {
                    self.stale.push(api_version.clone());
                }
                for resource in version.resources {
                    let kind = resource.response_kind.and_then(|kind| kind.kind).unwrap_or_default();
                    let Some(plural) = resource.resource else { continue };
                    self.kinds.push(Served {
                        resource: ApiResource {
                            group: name.clone(),
                            version: number.clone(),
                            api_version: api_version.clone(),
                            kind,
                            plural,
                        },
                        namespaced: resource.scope.as_deref() == Some("Namespaced"),
                        verbs: resource.verbs,
                    });
                }
            }
        }
    }

    /// The kind of this group, in this version if it is served, else in the preferred one: a backup may be older than the
    /// cluster.
    pub fn find(&self, kind: &Kind) -> Option<&Served> {
        let of_kind = |served: &&Served| served.resource.group == kind.group && served.resource.kind == kind.kind;
        let mut same = self.kinds.iter().filter(of_kind);
        same.clone()
            .find(|served| served.resource.version == kind.version)
            .or_else(|| same.next())
    }
}
