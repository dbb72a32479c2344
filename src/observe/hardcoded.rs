//! Finds names of the source namespaces in restored configuration: `db.shop.svc.cluster.local` and its shorter forms.
//!
//! In the sandbox they are led to the copies, so the drill passes. After a real restore under another name they would still
//! mean production, which is worth a line in the report. Only the names are kept, never the text around them, for that may
//! hold passwords. Secrets are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, PodTemplateSpec, Service};

use crate::facts::HardcodedFact;

/// Findings kept; more help nobody.
pub(super) const MAX_FINDINGS: usize = 100;

/// What to look for, and what was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    /// The source namespaces, each with the names of its Services.
    services: BTreeMap<String, BTreeSet<String>>,
    found: BTreeSet<(String, String)>,
}

impl Scanner {
    /// Looks for names of these namespaces. `db.shop` alone counts only if `shop` has a Service `db`: text is full of words
    /// with a dot in between.
    pub(super) fn new(services: BTreeMap<String, BTreeSet<String>>) -> Self {
        Self {
            services,
            found: BTreeSet::new(),
        }
    }

    /// Looks at the pod template of a workload; `object` is `Kind/name`.
    pub(super) fn template(&mut self, source: &str, object: &str, template: &PodTemplateSpec) {
        if let Some(spec) = &template.spec {
            self.pod(source, object, spec);
        }
    }

    /// Looks at the spec of a pod.
    pub(super) fn pod(&mut self, source: &str, object: &str, spec: &PodSpec) {
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            self.container(source, object, container);
        }
        for alias in spec.host_aliases.iter().flatten() {
            for name in alias.hostnames.iter().flatten() {
                self.text(source, &format!("{object} hostAliases"), name);
            }
        }
    }

    fn container(&mut self, source: &str, object: &str, container: &Container) {
        for variable in container.env.iter().flatten() {
            if let Some(value) = &variable.value {
                self.text(source, &format!("{object} env {}", variable.name), value);
            }
        }
        for (words, place) in [(&container.command, "command"), (&container.args, "args")] {
            for word in words.iter().flatten() {
                self.text(source, &format!("{object} {place}"), word);
            }
        }
    }

    /// Looks at the values of a `ConfigMap`.
    pub(super) fn config_map(&mut self, source: &str, object: &ConfigMap) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        for (key, value) in object.data.iter().flatten() {
            self.text(source, &format!("ConfigMap/{name} {key}"), value);
        }
    }

    /// Looks at the outside name of a Service.
    pub(super) fn service(&mut self, source: &str, object: &Service) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if let Some(outside) = object.spec.as_ref().and_then(|spec| spec.external_name.as_deref()) {
            self.text(source, &format!("Service/{name} externalName"), outside);
        }
    }

    fn text(&mut self, source: &str, place: &str, text: &str) {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.')) {
            if self.found.len() >= MAX_FINDINGS {
                return;
            }
            // The final dot of a full name is a full stop as well.
            let word = word.trim_matches('.');
            if self.means_a_source(word) {
                let place = if self.services.len() > 1 {
                    format!("{source}/{place}")
                } else {
                    place.to_owned()
                };
                self.found.insert((place, word.to_ascii_lowercase()));
            }
        }
    }

    /// Is this the name of a Service, or of a pod behind one, in a source namespace?
    fn means_a_source(&self, word: &str) -> bool {
        // Most words have no dot, and most of a large text is such words.
        if !word.contains('.') || word.len() > 253 {
            return false;
        }
        let word = word.to_ascii_lowercase();
        let labels: Vec<&str> = word.split('.').collect();
        if labels.iter().any(|label| label.is_empty()) {
            return false;
        }
        if let Some(svc) = labels.iter().position(|label| *label == "svc").filter(|at| *at >= 2) {
            let domain_follows = labels.len() == svc + 1 || labels.len() >= svc + 3;
            return domain_follows && self.services.contains_key(labels[svc - 1]);
        }
        let [.., service, namespace] = labels.as_slice() else {
            return false;
        };
        labels.len() <= 3
            && self
                .services
                .get(*namespace)
                .is_some_and(|services| services.contains(*service))
    }

    /// Nothing more would be kept.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MAX_FINDINGS
    }

    /// What was found, by place.
    pub(super) fn into_facts(self) -> Vec<HardcodedFact> {
        self.found
            .into_iter()
            .map(|(object, name)| HardcodedFact { object, name })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scanner(sources: &[&str]) -> Scanner {
        let services = |source: &&str| {
            let names = ["db", "cache"].map(str::to_owned);
            ((*source).to_owned(), BTreeSet::from(names))
        };
        Scanner::new(sources.iter().map(services).collect())
    }

    fn names(text: &str) -> Vec<String> {
        let mut scanner = scanner(&["shop"]);
        scanner.text("shop", "x", text);
        scanner.into_facts().into_iter().map(|fact| fact.name).collect()
    }

    #[test]
    fn names_in_text() {
        let table: [(&str, &[&str]); 12] = [
            (
                "postgres://u:secret@db.shop.svc.cluster.local:5432/x",
                &["db.shop.svc.cluster.local"],
            ),
            ("DB.Shop.svc", &["db.shop.svc"]),
            ("unknown.shop.svc", &["unknown.shop.svc"]),
            ("db-0.db.shop.svc.example.org.", &["db-0.db.shop.svc.example.org"]),
            ("hosts: [db.shop, cache.shop]", &["cache.shop", "db.shop"]),
            ("db-0.db.shop", &["db-0.db.shop"]),
            ("unknown.shop", &[]),
            ("https://www.shop.com db.shop.com/", &[]),
            ("db.other.svc.cluster.local", &[]),
            ("shop.svc svc.shop a.shop.svc.b", &[]),
            ("db..shop.svc", &[]),
            ("db", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn every_place_is_named() {
        let mut scanner = scanner(&["shop"]);
        let template: PodTemplateSpec = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "i", "command": ["sh", "-c", "until nc db.shop 1; do sleep 1; done"]}],
            "containers": [{"name": "a", "args": ["--db=db.shop.svc"], "env": [
                {"name": "DB_HOST", "value": "db.shop.svc.cluster.local"}, {"name": "EMPTY"}]}],
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["cache.shop.svc"]}],
        }}))
        .unwrap();
        scanner.template("shop", "Deployment/web", &template);
        scanner.config_map(
            "shop",
            &serde_json::from_value(
                json!({"metadata": {"name": "app"}, "data": {"app.yaml": "url: http://cache.shop/"}}),
            )
            .unwrap(),
        );
        scanner.service(
            "shop",
            &serde_json::from_value(json!({"metadata": {"name": "alias"}, "spec": {"externalName": "db.shop.svc"}}))
                .unwrap(),
        );
        let found: Vec<String> = scanner
            .into_facts()
            .into_iter()
            .map(|fact| format!("{}: {}", fact.object, fact.name))
            .collect();
        assert_eq!(
            found,
            [
                "ConfigMap/app app.yaml: cache.shop",
                "Deployment/web args: db.shop.svc",
                "Deployment/web command: db.shop",
                "Deployment/web env DB_HOST: db.shop.svc.cluster.local",
                "Deployment/web hostAliases: cache.shop.svc",
                "Service/alias externalName: db.shop.svc",
            ]
        );
    }

    #[test]
    fn several_sources_are_told_apart() {
        let mut scanner = scanner(&["platform", "shop"]);
        scanner.text("shop", "ConfigMap/a b", "cache.platform.svc");
        let facts = scanner.into_facts();
        assert_eq!(facts[0].object, "shop/ConfigMap/a b");
    }

    #[test]
    fn findings_are_bounded() {
        let mut scanner = scanner(&["shop"]);
        for index in 0..500 {
            scanner.text("shop", "x", &format!("s{index}.shop.svc"));
        }
        assert!(scanner.is_full());
        assert_eq!(scanner.into_facts().len(), MAX_FINDINGS);
    }
}
