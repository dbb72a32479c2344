//! What has to come back: from the backup's own list of objects and the rules, never from a live namespace.

use std::collections::{BTreeMap, BTreeSet};

use super::makers::Makers;
use super::rules::{self, Rule};
use super::served::{Served, qualified};
use super::{ValidTest, glob};
use crate::facts::{HeldFact, KindFacts, NotTested};
use crate::velero::Contents;

/// Why an object need not come back that the spec says so of.
const IGNORED: &str = "spec.completeness.ignore";

/// Velero brings the class of a pod along, into the cluster. Nothing outside a sandbox may change, and pods of a drill have a
/// class of their own.
const CLASSES_OF_PODS: &str = "priorityclasses.scheduling.k8s.io";

/// The resources that a Restore leaves out, sorted: what the rules hold, custom kinds that nobody let in or that the
/// cluster does not serve, and what the spec names.
///
/// Kinds of Kubernetes are named whether or not the backup holds them. Of custom kinds only those of the backup are, for a
/// cluster may have hundreds. One whose definition is gone is left out even if it was let in: Velero would wait for it.
pub fn excluded_resources(test: &ValidTest, served: &Served, contents: &Contents) -> Vec<String> {
    let mut excluded = excluded_by_spec(test, served);
    excluded.insert(CLASSES_OF_PODS.to_owned());
    let held_built_ins = rules::held_built_ins().filter_map(|(group, kind)| served.resource(group, kind));
    excluded.extend(held_built_ins.map(str::to_owned));
    for kind in contents.kinds.keys().filter(|kind| rules::is_custom(&kind.group)) {
        let rule = rules::of_kind(&kind.group, &kind.kind, &test.spec.restore.custom_resources);
        match served.resource(&kind.group, &kind.kind) {
            None => excluded.extend(unserved_names(&kind.group, &kind.kind, served, contents)),
            Some(resource) if matches!(rule, Rule::Held(_)) => _ = excluded.insert(resource.to_owned()),
            Some(_) => {}
        }
    }
    excluded.into_iter().collect()
}

pub(super) fn excluded_by_spec(test: &ValidTest, served: &Served) -> BTreeSet<String> {
    let named = test.spec.restore.excluded_resources.iter();
    named.flat_map(|name| served.resolve(name)).collect()
}

/// The names that the resource of a kind may have which the cluster does not serve: what the definitions in the backup say
/// for its group, and the usual plurals. A name too many does no harm, for nobody serves it.
fn unserved_names(group: &str, kind: &str, served: &Served, contents: &Contents) -> Vec<String> {
    let kind = kind.to_lowercase();
    let mut plurals = vec![format!("{kind}s"), format!("{kind}es"), kind.clone()];
    if let Some(stem) = kind.strip_suffix('y') {
        plurals.push(format!("{stem}ies"));
    }
    let usual = plurals.iter().map(|plural| qualified(plural, group));
    let defined = contents
        .definitions
        .iter()
        .filter(|definition| definition.split_once('.').is_some_and(|(_, of)| of == group));
    defined.cloned().chain(usual).filter(|name| !served.has(name)).collect()
}

/// The kinds that the provider is going to write, `Kind` or `Kind.group`: what the backup holds and the Restore does not exclude.
pub fn restored_kinds(test: &ValidTest, served: &Served, contents: &Contents) -> BTreeSet<String> {
    let excluded = excluded_resources(test, served, contents);
    let kinds = contents.kinds.keys().filter(|kind| {
        let resource = served.resource(&kind.group, &kind.kind);
        resource.is_some_and(|resource| !excluded.iter().any(|name| name == resource))
    });
    kinds
        .map(|kind| match kind.group.as_str() {
            "" => kind.kind.clone(),
            group => format!("{}.{group}", kind.kind),
        })
        .collect()
}

/// What has to be in the sandboxes, by source namespace in the order of the spec and then by group and kind.
///
/// Objects that are neither expected nor worth a word are left out altogether. Nothing is present yet.
/// With a `labelSelector` ([`ValidTest::is_partial`]) this says what the backup holds; what was selected of it is known only
/// when the provider has restored it.
pub fn expectation(test: &ValidTest, served: &Served, contents: &Contents) -> Vec<KindFacts> {
    let excluded = excluded_by_spec(test, served);
    let mut all = Vec::new();
    for source in test.sources() {
        // The same kind may be listed in two versions.
        let mut names: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for (kind, by_namespace) in &contents.kinds {
            let listed = by_namespace.get(&source).into_iter().flatten().map(String::as_str);
            names.entry((&kind.group, &kind.kind)).or_default().extend(listed);
        }
        let makers = Makers::of(contents, &source);
        let accounts = names.get(&("", "ServiceAccount")).cloned().unwrap_or_default();
        for ((group, kind), names) in names {
            let resource = served.resource(group, kind);
            let is_excluded = match resource {
                Some(resource) => excluded.contains(resource),
                None => unserved_names(group, kind, served, contents)
                    .iter()
                    .any(|name| excluded.contains(name)),
            };
            let of_kind = if is_excluded {
                Rule::Held(rules::EXCLUDED)
            } else {
                rules::of_kind(group, kind, &test.spec.restore.custom_resources)
            };
            let mut facts = KindFacts {
                source: source.clone(),
                group: group.to_owned(),
                kind: kind.to_owned(),
                resource: resource.unwrap_or_default().to_owned(),
                custom: rules::is_custom(group),
                ..KindFacts::default()
            };
            for name in names {
                let mut rule = of_kind;
                if rule == Rule::Expected {
                    let is_made = |name: &str| makers.made_replica_set(name);
                    rule = rules::of_object(group, kind, name, |account| accounts.contains(account), is_made);
                }
                if rule == Rule::Expected && ignored(test, kind, name) {
                    rule = Rule::NotTested(IGNORED);
                }
                sort_in(&mut facts, name, rule);
            }
            if resource.is_none() && !facts.expected.is_empty() {
                facts.unlisted = Some(format!("this cluster does not serve {}", qualified(kind, group)));
            }
            if !(facts.expected.is_empty() && facts.not_tested.is_empty() && facts.held.is_empty()) {
                all.push(facts);
            }
        }
    }
    all
}

fn sort_in(facts: &mut KindFacts, name: &str, rule: Rule) {
    let name = name.to_owned();
    match rule {
        Rule::Expected => facts.expected.push(name),
        Rule::NotExpected(_) => {}
        Rule::NotTested(reason) => {
            let reason = reason.to_owned();
            facts.not_tested.push(NotTested { name, reason });
        }
        Rule::Held(rule) => {
            let rule = rule.to_owned();
            facts.held.push(HeldFact { name, rule });
        }
    }
}

/// Does the spec say that this object need not come back?
pub(super) fn ignored(test: &ValidTest, kind: &str, name: &str) -> bool {
    let object = format!("{kind}/{name}");
    test.spec
        .completeness
        .ignore
        .iter()
        .any(|pattern| glob::matches(pattern, &object))
}
