//! What the application asked for beyond the run's namespaces. It earns and costs nothing, but it often is the reason.

use crate::facts::{Facts, Status};
use crate::judge::Verdict;
use crate::judge::level::first_few;

/// The outside names, without short names of Services that the backup holds: the resolver asks for `db-0.db` as it stands
/// while the pod behind it is not ready, and nothing outside is meant.
pub(super) fn names(facts: &Facts) -> impl Iterator<Item = &str> {
    let kinds = facts.objects.iter().flat_map(|objects| &objects.kinds);
    let services: Vec<&str> = kinds
        .filter(|kind| kind.group.is_empty() && kind.kind == "Service")
        .flat_map(|kind| &kind.expected)
        .map(String::as_str)
        .collect();
    let is_own = move |name: &str| {
        let labels: Vec<&str> = name.split('.').collect();
        match labels[..] {
            [_, service] => services.contains(&service),
            [port, _, service] => port.starts_with('_') && services.contains(&service),
            _ => false,
        }
    };
    let names = facts.outside_names.iter().map(String::as_str);
    names.filter(move |name| !is_own(name))
}

/// For the message, where the application did not do well.
pub(super) fn hint(facts: &Facts, verdict: &Verdict) -> Option<String> {
    let failed = |level: &str| {
        verdict
            .levels
            .iter()
            .any(|(name, _, judged)| *name == level && judged.status == Status::Fail)
    };
    let names: Vec<String> = names(facts).map(str::to_owned).collect();
    (!names.is_empty() && (failed("podStartup") || failed("internalHealth"))).then(|| {
        format!(
            "the application asked for names outside its namespaces, which the sandbox refuses: {}",
            first_few(&names, 3)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{KindFacts, ObjectFacts};
    use crate::judge::judge;
    use crate::judge::tests::{brief, good};

    #[test]
    fn short_names_of_restored_services_are_not_outside() {
        let service = KindFacts {
            kind: "Service".to_owned(),
            expected: vec!["db".to_owned()],
            ..KindFacts::default()
        };
        let asked = [
            "_sql._tcp.db",
            "api.db.example",
            "api.payments",
            "db-0.db",
            "registry.production.example",
        ];
        let facts = Facts {
            objects: Some(ObjectFacts { kinds: vec![service] }),
            outside_names: asked.map(str::to_owned).into(),
            ..Facts::default()
        };
        let expected = ["api.db.example", "api.payments", "registry.production.example"];
        assert_eq!(names(&facts).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_message_names_them_where_the_application_failed() {
        let mut facts = good();
        facts.outside_names = vec!["registry.production.example".to_owned()];
        let says = |facts: &Facts| judge(&brief(), facts).message.contains("registry.production.example");
        assert!(!says(&facts), "all is well, so nobody has to look for a reason");
        facts.checks[0].status = Status::Fail;
        assert!(says(&facts));
    }
}
