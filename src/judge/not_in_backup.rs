//! What lives in the source namespace, should be in the backup and is not: a disaster would take it for good. Part of level 2.

use crate::facts::{AbsentFacts, Brief, Facts, Gap, LivingFacts};
use crate::judge::completeness::Missing;
use crate::judge::level::{first_few, name_in};

/// The component of a test's kustomization that lets the runner compare.
const COMPONENT: &str = "compare-with-source";

/// Objects that count as expected and missing, by source and kind.
pub(super) fn absent(facts: &Facts) -> impl Iterator<Item = (&LivingFacts, &AbsentFacts)> {
    of(facts, false)
}

fn of(facts: &Facts, ignored: bool) -> impl Iterator<Item = (&LivingFacts, &AbsentFacts)> {
    let all = facts.living.iter();
    all.flat_map(|living| living.absent.iter().map(move |kind| (living, kind)))
        .filter(move |(_, kind)| kind.ignored == ignored)
}

fn objects<'f>(
    brief: &'f Brief,
    (living, kind): (&'f LivingFacts, &'f AbsentFacts),
) -> impl Iterator<Item = Missing> + 'f {
    kind.names.iter().map(move |name| Missing {
        object: name_in(brief, &living.source, &format!("{}/{name}", kind.kind)),
        reason: kind.reason.clone(),
    })
}

/// Each of them with its reason.
pub(super) fn list(brief: &Brief, facts: &Facts) -> Vec<Missing> {
    absent(facts).flat_map(|kind| objects(brief, kind)).collect()
}

/// Those that the spec says need not come back, for `notTested`.
pub(super) fn ignored(brief: &Brief, facts: &Facts) -> Vec<String> {
    let all = of(facts, true).flat_map(|kind| objects(brief, kind));
    all.map(|m| {
        format!(
            "{} (not in the backup: {}; spec.completeness.ignore)",
            m.object, m.reason
        )
    })
    .collect()
}

/// What the level has to say of the comparison, to be put behind its sentence. A namespace that is gone says nothing.
pub(super) fn words(facts: &Facts) -> String {
    let sources = |which: &dyn Fn(&LivingFacts) -> bool| {
        let living = facts.living.iter().filter(|living| which(living));
        living.map(|living| living.source.clone()).collect::<Vec<_>>()
    };
    let compared = sources(&|living| living.gap.is_none());
    let refused = sources(&|living| living.gap == Some(Gap::NotPermitted));
    let mut words = Vec::new();
    if !compared.is_empty() {
        words.push(format!("; compared with the living {}", namespaces(&compared)));
    }
    if !refused.is_empty() {
        words.push(format!(
            "; no comparison was made with the living {}, whose objects the runner may not list: add the component {COMPONENT} to the test",
            namespaces(&refused)
        ));
    }
    for living in &facts.living {
        if let Some(Gap::Failed(why)) = &living.gap {
            let namespace = namespaces(std::slice::from_ref(&living.source));
            words.push(format!("; the comparison with the living {namespace} failed: {why}"));
        }
        if !living.unlisted.is_empty() {
            words.push(format!(
                "; in {} the runner may not list, and so did not compare, {}",
                living.source,
                first_few(&living.unlisted, 5)
            ));
        }
    }
    words.concat()
}

fn namespaces(names: &[String]) -> String {
    let word = if names.len() == 1 { "namespace" } else { "namespaces" };
    format!("{word} {}", first_few(names, 3))
}
