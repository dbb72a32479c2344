//! Which expected objects are in the sandbox, from what the provider says and what was found there. Pure.

use std::collections::BTreeSet;

use crate::facts::{KindFacts, NotTested, SandboxFacts};
use crate::velero::{self, Action, Kind, Outcomes};

/// Why an object is left alone that the provider did not touch in a restore of a part.
const NOT_SELECTED: &str = "not selected by spec.backupSource.labelSelector";

/// With at most this many Secrets each is asked for, whatever the counts say.
pub(super) const FEW: usize = 20;

/// Takes what the provider says it did into the facts: which objects it made and, if only a part was to be restored, which
/// were part of it.
pub(super) fn take_outcomes(kinds: &mut [KindFacts], sandboxes: &[SandboxFacts], outcomes: &Outcomes, partial: bool) {
    for facts in kinds {
        let Some(sandbox) = sandboxes.iter().find(|sandbox| sandbox.source == facts.source) else {
            continue;
        };
        let mut touched = BTreeSet::new();
        let mut created = BTreeSet::new();
        let mut skipped = BTreeSet::new();
        for (action, name) in of_kind(outcomes, facts, &sandbox.name) {
            touched.insert(name);
            match action {
                Action::Created => _ = created.insert(name.to_owned()),
                Action::Skipped => _ = skipped.insert(name.to_owned()),
                Action::Updated | Action::Failed | Action::Other(_) => {}
            }
        }
        facts.created = created;
        facts.skipped = skipped;
        if partial {
            let (expected, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut facts.expected)
                .into_iter()
                .partition(|name| touched.contains(name.as_str()));
            facts.expected = expected;
            facts.not_tested.extend(rest.into_iter().map(|name| NotTested {
                name,
                reason: NOT_SELECTED.to_owned(),
            }));
        }
    }
}

/// What the provider did with objects of this kind, in whatever version.
fn of_kind<'o>(outcomes: &'o Outcomes, facts: &KindFacts, sandbox: &str) -> Vec<(&'o Action, &'o str)> {
    outcomes
        .kinds
        .iter()
        .filter(|(kind, _)| kind.group == facts.group && kind.kind == facts.kind)
        .filter_map(|(_, by_namespace)| by_namespace.get(sandbox))
        .flatten()
        .map(|item| (&item.action, item.name.as_str()))
        .collect()
}

/// Number of objects that the provider made in the sandboxes, those left out that every namespace has anyway.
pub fn created_items(outcomes: &Outcomes, sandboxes: &[SandboxFacts]) -> usize {
    let made = |kind: &Kind, item: &&velero::RestoredItem| {
        item.action == Action::Created && velero::made_by_the_cluster(&kind.kind, &item.name).is_none()
    };
    outcomes
        .kinds
        .iter()
        .flat_map(|(kind, by_namespace)| {
            sandboxes
                .iter()
                .filter_map(|sandbox| by_namespace.get(&sandbox.name))
                .flatten()
                .filter(move |item| made(kind, item))
        })
        .count()
}

/// Names of Secrets that the provider says are in the sandbox.
pub(super) fn claimed(outcomes: &Outcomes, facts: &KindFacts, sandbox: &str) -> BTreeSet<String> {
    of_kind(outcomes, facts, sandbox)
        .into_iter()
        .filter(|(action, _)| matches!(action, Action::Created | Action::Updated | Action::Skipped))
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// How to find out which Secrets are there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Secrets {
    /// The provider's list and the quota's count agree: these of the expected are there.
    Known(Vec<String>),
    /// Ask for each.
    Ask,
}

/// May the provider's list be believed? Only together with an independent count that is the same (a Secret that a controller made since
/// would make up for one that is lost), and not for a few names, for which asking costs nothing.
pub(super) fn secrets(expected: &[String], claimed: Option<&BTreeSet<String>>, counted: Option<usize>) -> Secrets {
    let (Some(claimed), Some(counted)) = (claimed, counted) else {
        return Secrets::Ask;
    };
    if expected.len() <= FEW || counted != claimed.len() || expected.iter().any(|name| !claimed.contains(name)) {
        return Secrets::Ask;
    }
    Secrets::Known(expected.to_vec())
}

/// The expected names among those found, in the order of the expected.
pub(super) fn found(expected: &[String], mut is_there: impl FnMut(&str) -> bool) -> Vec<String> {
    expected.iter().filter(|name| is_there(name)).cloned().collect()
}

/// What was there and is not any more.
pub(super) fn vanished(before: &[String], mut is_there: impl FnMut(&str) -> bool) -> Vec<String> {
    before.iter().filter(|name| !is_there(name)).cloned().collect()
}

/// The line for a kind that may not be listed.
pub(super) fn may_not_list(resource: &str) -> String {
    format!(
        "may not be listed in the sandbox: add a ClusterRole labelled kymaros.io/aggregate-to-sandbox=true that lists {resource}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velero::read_restore_outcomes;

    const SANDBOX: &str = "test-shop-kymaros-abc123";

    fn sandboxes() -> Vec<SandboxFacts> {
        vec![SandboxFacts {
            source: "shop".to_owned(),
            name: SANDBOX.to_owned(),
            uid: "u".to_owned(),
        }]
    }

    fn outcomes(text: &str) -> Outcomes {
        let wanted = BTreeSet::from([SANDBOX.to_owned()]);
        read_restore_outcomes(text.replace("SB", SANDBOX).as_bytes(), &wanted).unwrap()
    }

    fn kind(group: &str, kind: &str, expected: &[&str]) -> KindFacts {
        KindFacts {
            source: "shop".to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            expected: expected.iter().map(|name| (*name).to_owned()).collect(),
            ..KindFacts::default()
        }
    }

    #[test]
    fn what_was_made_is_taken_from_the_provider() {
        let outcomes = outcomes(
            r#"{"v1/ConfigMap": ["SB/a(created)", "SB/kube-root-ca.crt(failed)", "SB/b(skipped)"],
                "apps/v1/Deployment": ["SB/web(created)"], "v1/ServiceAccount": ["SB/default(created)"]}"#,
        );
        let mut kinds = [
            kind("", "ConfigMap", &["a", "b", "c"]),
            kind("apps", "Deployment", &["web"]),
        ];
        take_outcomes(&mut kinds, &sandboxes(), &outcomes, false);
        assert_eq!(kinds[0].created, BTreeSet::from(["a".to_owned()]));
        assert_eq!(kinds[0].skipped, BTreeSet::from(["b".to_owned()]));
        assert_eq!(
            kinds[0].expected,
            ["a", "b", "c"],
            "what was never tried is still missed"
        );
        assert_eq!(kinds[1].created, BTreeSet::from(["web".to_owned()]));
        assert_eq!(created_items(&outcomes, &sandboxes()), 2);
    }

    #[test]
    fn of_a_part_only_what_was_touched_is_expected() {
        let outcomes = outcomes(r#"{"v1/ConfigMap": ["SB/a(created)", "SB/b(failed)"]}"#);
        let mut kinds = [
            kind("", "ConfigMap", &["a", "b", "c"]),
            kind("apps", "Deployment", &["web"]),
        ];
        take_outcomes(&mut kinds, &sandboxes(), &outcomes, true);
        assert_eq!(kinds[0].expected, ["a", "b"], "one that failed is missed all the same");
        assert_eq!(kinds[0].not_tested.len(), 1);
        assert_eq!(
            (
                kinds[0].not_tested[0].name.as_str(),
                kinds[0].not_tested[0].reason.as_str()
            ),
            ("c", NOT_SELECTED)
        );
        assert!(kinds[1].expected.is_empty());
    }

    #[test]
    fn secrets_are_believed_only_with_two_witnesses() {
        let many: Vec<String> = (0..30).map(|index| format!("s{index}")).collect();
        let all: BTreeSet<String> = many.iter().cloned().collect();
        let fewer: BTreeSet<String> = many.iter().skip(1).cloned().collect();
        assert_eq!(secrets(&many, Some(&all), Some(30)), Secrets::Known(many.clone()));
        assert_eq!(secrets(&many, Some(&all), Some(31)), Secrets::Ask, "somebody made one");
        assert_eq!(secrets(&many, Some(&all), Some(29)), Secrets::Ask, "one is gone");
        assert_eq!(secrets(&many, Some(&fewer), Some(30)), Secrets::Ask, "one was not made");
        assert_eq!(secrets(&many, None, Some(30)), Secrets::Ask);
        assert_eq!(secrets(&many, Some(&all), None), Secrets::Ask);
        assert_eq!(
            secrets(&many[..3], Some(&all), Some(30)),
            Secrets::Ask,
            "asking for a few costs nothing"
        );
    }

    #[test]
    fn skipped_secrets_were_there_and_failed_ones_may_not_be() {
        let outcomes =
            outcomes(r#"{"v1/Secret": ["SB/a(created)", "SB/b(skipped)", "SB/c(failed)", "SB/d(updated)"]}"#);
        let claimed = claimed(&outcomes, &kind("", "Secret", &[]), SANDBOX);
        assert_eq!(claimed.into_iter().collect::<Vec<_>>(), ["a", "b", "d"]);
    }

    #[test]
    fn presence_and_loss_go_by_name() {
        let expected = ["a", "b"].map(str::to_owned);
        assert_eq!(found(&expected, |name| name != "b"), ["a"]);
        assert_eq!(vanished(&expected, |name| name != "b"), ["b"]);
    }
}
