//! Whose is a name? Pure.

use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::rr::Name;

use crate::build::names::Rewrites;

/// Labels before the namespace in the longest name that the cluster's DNS has in it: `_port._protocol.service`.
const DEEPEST: usize = 3;

/// What a name is to the run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Sort {
    /// A name of the run, as the cluster's DNS knows it: in the sandbox.
    Own(Name),
    /// The reverse of an address inside the cluster.
    Reverse,
    /// Made by the resolver from its search path, or a short form of a name of the run: nobody means it as it stands.
    Noise,
    /// Something else.
    Outside,
}

/// A source namespace and its sandbox.
#[derive(Clone, Debug)]
struct Pair {
    source: Name,
    sandbox: Name,
    namespaces: [Vec<u8>; 2],
}

/// The namespaces of a run in the cluster's domain.
#[derive(Clone, Debug)]
pub(super) struct Zones {
    pairs: Vec<Pair>,
    /// `svc.<domain>`
    services: Name,
    /// `pod.<domain>`
    pods: Name,
    domain: Name,
}

impl Zones {
    /// The error names what is no domain name.
    pub(super) fn new(rewrites: &Rewrites) -> Result<Self, String> {
        let name = |text: &str| {
            let absolute = format!("{}.", text.trim_end_matches('.').to_lowercase());
            Name::from_ascii(absolute).map_err(|error| format!("`{text}` is no domain name: {error}"))
        };
        let domain = &rewrites.domain;
        let pair = |(source, sandbox): &(String, String)| {
            Ok(Pair {
                source: name(&format!("{source}.svc.{domain}"))?,
                sandbox: name(&format!("{sandbox}.svc.{domain}"))?,
                namespaces: [source.clone().into_bytes(), sandbox.clone().into_bytes()],
            })
        };
        Ok(Self {
            pairs: rewrites.pairs.iter().map(pair).collect::<Result<_, String>>()?,
            services: name(&format!("svc.{domain}"))?,
            pods: name(&format!("pod.{domain}"))?,
            domain: name(domain)?,
        })
    }

    /// `svc.<domain>`, the end of the search path's second entry.
    pub(super) fn services(&self) -> &Name {
        &self.services
    }

    /// Sorts a name.
    pub(super) fn sort(&self, name: &Name) -> Sort {
        let labels = labels(name);
        let mut zones = self
            .pairs
            .iter()
            .flat_map(|pair| [(&pair.source, pair), (&pair.sandbox, pair)]);
        if let Some((zone, pair)) = zones.find(|(zone, _)| zone.zone_of(name)) {
            let before = labels.len() - length(zone);
            return match moved(name, zone, &pair.sandbox) {
                Ok(own) if before <= DEEPEST && !self.is_in_the_middle(&labels) => Sort::Own(own),
                _ => Sort::Noise,
            };
        }
        if labels.last().is_some_and(|last| last == b"arpa") {
            return match name.parse_arpa_name() {
                Ok(net) if is_private(net.addr()) => Sort::Reverse,
                _ => Sort::Noise,
            };
        }
        // One label alone is a Service of the pod's own namespace, whatever the search path makes of it.
        let is_noise = |own: &[Vec<u8>]| own.len() < 2 || self.is_short(own);
        let of = |zone: &Name| zone.zone_of(name).then(|| &labels[..labels.len() - length(zone)]);
        if self.is_in_the_middle(&labels) {
            Sort::Noise
        } else if let Some(own) = of(&self.services) {
            if is_noise(own) { Sort::Noise } else { Sort::Outside }
        } else if let Some(own) = of(&self.domain) {
            if is_noise(own) || !self.pods.zone_of(name) {
                Sort::Noise
            } else {
                Sort::Outside
            }
        } else if is_noise(&labels) {
            Sort::Noise
        } else {
            Sort::Outside
        }
    }

    /// Is it a name of a source namespace?
    pub(super) fn is_of_a_source(&self, name: &Name) -> bool {
        self.pairs.iter().any(|pair| pair.source.zone_of(name))
    }

    /// The source's name for a name of a sandbox; `None` for any other.
    pub(super) fn back(&self, name: &Name) -> Option<Name> {
        let pair = self.pairs.iter().find(|pair| pair.sandbox.zone_of(name))?;
        moved(name, &pair.sandbox, &pair.source).ok()
    }

    /// A whole name to which the resolver has appended its search path, e.g. `db.shop.svc.cluster.local.svc.cluster.local`.
    fn is_in_the_middle(&self, labels: &[Vec<u8>]) -> bool {
        let whole: Vec<&[u8]> = self.services.iter().collect();
        let inner = labels.split_last().map_or(labels, |(_, inner)| inner);
        inner.windows(whole.len()).any(|window| window == whole)
    }

    /// `db.shop` or `db.shop.svc`: names of the run that become whole by the search path.
    fn is_short(&self, labels: &[Vec<u8>]) -> bool {
        let labels = match labels.split_last() {
            Some((last, rest)) if last == b"svc" => rest,
            _ => labels,
        };
        let ours = |label: &Vec<u8>| self.pairs.iter().any(|pair| pair.namespaces.contains(label));
        labels.len() <= DEEPEST + 1 && labels.last().is_some_and(ours)
    }
}

fn labels(name: &Name) -> Vec<Vec<u8>> {
    name.iter().map(<[u8]>::to_ascii_lowercase).collect()
}

/// `Name::num_labels` does not count a `*`.
fn length(name: &Name) -> usize {
    name.iter().count()
}

/// The same name in another zone; its spelling before the zone stays. An error if it becomes too long.
fn moved(name: &Name, from: &Name, to: &Name) -> Result<Name, ProtoError> {
    let before = length(name) - length(from);
    Name::from_labels(name.iter().take(before))?.append_domain(to)
}

/// Addresses of no public network: those a cluster gives to its pods and Services. Any other would be looked up outside.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10, shared by carriers and by clusters.
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones() -> Zones {
        Zones::new(&Rewrites {
            domain: "cluster.local".to_owned(),
            pairs: vec![
                ("shop".to_owned(), "t-shop-kymaros-abc123".to_owned()),
                ("rates".to_owned(), "t-rates-kymaros-abc123".to_owned()),
            ],
        })
        .unwrap()
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(format!("{text}.")).unwrap()
    }

    #[test]
    fn names_of_the_sources_are_the_sandboxes() {
        let sandbox = "t-shop-kymaros-abc123.svc.cluster.local";
        for (asked, own) in [
            ("db.shop.svc.cluster.local", format!("db.{sandbox}")),
            ("dB.Shop.SVC.cluster.LOCAL", format!("dB.{sandbox}")),
            ("db-0.db.shop.svc.cluster.local", format!("db-0.db.{sandbox}")),
            ("_sql._tcp.db.shop.svc.cluster.local", format!("_sql._tcp.db.{sandbox}")),
            ("shop.svc.cluster.local", sandbox.to_owned()),
            ("db.t-shop-kymaros-abc123.svc.cluster.local", format!("db.{sandbox}")),
            (
                "eur.rates.svc.cluster.local",
                "eur.t-rates-kymaros-abc123.svc.cluster.local".to_owned(),
            ),
        ] {
            match zones().sort(&name(asked)) {
                Sort::Own(found) => assert!(found.eq_case(&name(&own)), "{found}"),
                other => panic!("{asked}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_the_search_path_makes_is_noise() {
        for asked in [
            "db.shop.svc.cluster.local.t-shop-kymaros-abc123.svc.cluster.local",
            "db.shop.svc.cluster.local.svc.cluster.local",
            "db.shop.svc.cluster.local.cluster.local",
            "api.other.svc.cluster.local.svc.cluster.local",
            "api.other.svc.cluster.local.corp.example",
            "a.long.name.of.production.example.t-shop-kymaros-abc123.svc.cluster.local",
            "registry.production.example.cluster.local",
            "db.shop.svc",
            "db.shop",
            "db-0.db.shop",
            "db.shop.svc.svc.cluster.local",
            "db.shop.cluster.local",
            "db.shop.svc.cluster.local.shop.svc.cluster.local",
            "db",
            "db.svc.cluster.local",
            "db.cluster.local",
            "localhost",
            "svc.cluster.local",
            "cluster.local",
            // Would be looked up outside the cluster.
            "8.8.8.8.in-addr.arpa",
            "no.address.arpa",
        ] {
            assert_eq!(zones().sort(&name(asked)), Sort::Noise, "{asked}");
        }
        assert_eq!(zones().sort(&Name::root()), Sort::Noise);
    }

    #[test]
    fn everything_else_is_outside() {
        for asked in [
            "registry.production.example",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "api.payments",
            "api.payments.svc.cluster.local",
            "*.payments.svc.cluster.local",
            "db.shop.svc.other.domain",
            // Ends in the same letters but is another namespace.
            "db.workshop.svc.cluster.local",
            "10-1-2-3.shop.pod.cluster.local",
        ] {
            assert_eq!(zones().sort(&name(asked)), Sort::Outside, "{asked}");
        }
    }

    #[test]
    fn addresses_of_the_cluster_may_be_asked_for_their_names() {
        for asked in ["5.0.244.10.in-addr.arpa", "1.0.64.100.in-addr.arpa"] {
            assert_eq!(zones().sort(&name(asked)), Sort::Reverse, "{asked}");
        }
    }

    #[test]
    fn the_way_back_leads_to_the_source() {
        let zones = zones();
        let back = zones
            .back(&name("db-0.db.t-shop-kymaros-abc123.svc.cluster.local"))
            .unwrap();
        assert_eq!(back, name("db-0.db.shop.svc.cluster.local"));
        assert!(zones.back(&name("db.shop.svc.cluster.local")).is_none());
        assert!(zones.is_of_a_source(&name("db.shop.svc.cluster.local")));
        assert!(!zones.is_of_a_source(&name("db.t-shop-kymaros-abc123.svc.cluster.local")));
    }
}
