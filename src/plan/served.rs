//! What the cluster serves: how kinds and the names of resources belong together.

use std::collections::BTreeMap;

use super::rules;

/// The namespaced kinds that the cluster serves, from discovery.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Served {
    /// From group and kind to `plural.group`.
    resources: BTreeMap<(String, String), String>,
}

/// Short names that users know from kubectl; Velero understands them too.
const SHORT: [(&str, &str); 17] = [
    ("cj", "cronjobs"),
    ("cm", "configmaps"),
    ("deploy", "deployments"),
    ("ds", "daemonsets"),
    ("ep", "endpoints"),
    ("hpa", "horizontalpodautoscalers"),
    ("ing", "ingresses"),
    ("limits", "limitranges"),
    ("netpol", "networkpolicies"),
    ("pdb", "poddisruptionbudgets"),
    ("po", "pods"),
    ("pvc", "persistentvolumeclaims"),
    ("pv", "persistentvolumes"),
    ("quota", "resourcequotas"),
    ("rc", "replicationcontrollers"),
    ("sts", "statefulsets"),
    ("svc", "services"),
];

impl Served {
    /// Adds a kind; `plural` is its resource's name without the group. The version does not matter.
    pub fn add(&mut self, group: &str, kind: &str, plural: &str) {
        self.resources
            .insert((group.to_owned(), kind.to_owned()), qualified(plural, group));
    }

    /// The resource of a kind, `plural.group`; `None` if the cluster does not serve it.
    pub fn resource(&self, group: &str, kind: &str) -> Option<&str> {
        self.resources
            .get(&(group.to_owned(), kind.to_owned()))
            .map(String::as_str)
    }

    /// All of them, group and kind.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&str, &str)> {
        self.resources
            .keys()
            .map(|(group, kind)| (group.as_str(), kind.as_str()))
    }

    /// Is there such a resource?
    pub(super) fn has(&self, resource: &str) -> bool {
        self.resources.values().any(|served| served == resource)
    }

    /// What a user's name for a resource stands for, as the cluster spells it; the name itself if that is unknown.
    ///
    /// A name without a group means Kubernetes' own before a custom one, as it does to Velero.
    pub(super) fn resolve(&self, name: &str) -> Vec<String> {
        let name = long(name);
        if self.has(name) {
            return vec![name.to_owned()];
        }
        let of_this_name = self.resources.iter().filter(|((group, kind), resource)| {
            let plural = resource.split('.').next().unwrap_or_default();
            let names = [plural.to_owned(), kind.to_lowercase()];
            names
                .iter()
                .any(|short| name == short || name == qualified(short, group))
        });
        let (custom, built_in): (Vec<_>, Vec<_>) = of_this_name.partition(|((group, _), _)| rules::is_custom(group));
        let found = if built_in.is_empty() { custom } else { built_in };
        if found.is_empty() {
            return vec![name.to_owned()];
        }
        found.into_iter().map(|(_, resource)| resource.clone()).collect()
    }
}

/// The long form of a short name.
pub(super) fn long(name: &str) -> &str {
    SHORT
        .iter()
        .find(|(short, _)| *short == name)
        .map_or(name, |(_, long)| long)
}

/// `plural.group`, or the plural alone in the core group.
pub(super) fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_as_velero_does() {
        let mut served = Served::default();
        for (group, kind, plural) in [
            ("", "Service", "services"),
            ("serving.knative.dev", "Service", "services"),
            ("", "Event", "events"),
            ("events.k8s.io", "Event", "events"),
            ("apps", "Deployment", "deployments"),
            ("example.com", "Widget", "widgets"),
            ("networking.k8s.io", "Ingress", "ingresses"),
        ] {
            served.add(group, kind, plural);
        }
        for (name, expected) in [
            ("services", &["services"][..]),
            ("svc", &["services"]),
            ("services.serving.knative.dev", &["services.serving.knative.dev"]),
            ("deployments", &["deployments.apps"]),
            ("deployment", &["deployments.apps"]),
            ("deploy", &["deployments.apps"]),
            ("deployment.apps", &["deployments.apps"]),
            ("deployments.apps", &["deployments.apps"]),
            ("widget", &["widgets.example.com"]),
            ("widgets", &["widgets.example.com"]),
            ("ing", &["ingresses.networking.k8s.io"]),
            // The core group is found by its full name first.
            ("events", &["events"]),
            ("event", &["events", "events.events.k8s.io"]),
            ("unknown", &["unknown"]),
            ("unknown.example.com", &["unknown.example.com"]),
        ] {
            assert_eq!(served.resolve(name), expected, "{name}");
        }
        assert_eq!(served.resource("", "Service"), Some("services"));
        assert_eq!(served.resource("example.com", "Widget"), Some("widgets.example.com"));
        assert_eq!(served.resource("example.com", "Gear"), None);
    }
}
