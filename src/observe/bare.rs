//! Pods that nothing made and nothing makes anew: whether they came back is known only from what the provider did with them
//! and what is there. Pure.
//!
//! | the provider says | in the sandbox | so it |
//! |---|---|---|
//! | created | yes | is judged as every pod |
//! | created | no, or on its way out | vanished: it should run, and does not |
//! | failed | no | never came: it should run, and the provider's error says why |
//! | failed, by a rule of the fence | no | is held: nobody expects it |
//! | nothing | – | is not tested: pods that had ended are passed over without a word, and so is what a label leaves out |
//!
//! Without the provider's list nothing is known of them but what is there.

use crate::facts::{Fault, KindFacts, NotTested, ProviderProblem, SandboxFacts};
use crate::velero::{Action, Outcomes};

/// Why a pod is not looked for that the provider passed over.
const PASSED_OVER: &str = "the provider did not restore it, as it does with pods that had ended";
/// The same in a restore of a part.
const NOT_SELECTED: &str = "not selected by spec.backupSource.labelSelector, or it had ended";

/// A pod that should stand in a sandbox by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BarePod {
    /// The source namespace.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Why the provider could not make it, and whose fault that is; `None` if it says that it made it.
    pub refused: Option<(String, Fault)>,
}

/// What the provider did with the pods of the backup that nothing made, each given with its namespace: those that should be
/// there, and, by namespace, those of which nothing can be said.
///
/// `errors` are the provider's; `partial` says that only a part of the backup was to be restored.
pub fn bare_pods(
    pods: &[(String, String)],
    sandboxes: &[SandboxFacts],
    outcomes: &Outcomes,
    errors: &[ProviderProblem],
    partial: bool,
) -> (Vec<BarePod>, Vec<KindFacts>) {
    let mut wanted = Vec::new();
    let mut unknown: Vec<KindFacts> = Vec::new();
    for (source, name) in pods {
        let Some(sandbox) = sandboxes.iter().find(|sandbox| sandbox.source == *source) else {
            continue;
        };
        let pod = |refused| BarePod {
            source: source.clone(),
            name: name.clone(),
            refused,
        };
        match action(outcomes, &sandbox.name, name) {
            Some(Action::Created | Action::Updated) => wanted.push(pod(None)),
            Some(Action::Failed) => wanted.push(pod(Some(error(errors, source, name)))),
            Some(Action::Skipped | Action::Other(_)) | None => {
                let reason = if partial { NOT_SELECTED } else { PASSED_OVER };
                let not_tested = NotTested {
                    name: name.clone(),
                    reason: reason.to_owned(),
                };
                match unknown.last_mut().filter(|kind| kind.source == *source) {
                    Some(kind) => kind.not_tested.push(not_tested),
                    None => unknown.push(KindFacts {
                        source: source.clone(),
                        kind: "Pod".to_owned(),
                        resource: "pods".to_owned(),
                        not_tested: vec![not_tested],
                        ..KindFacts::default()
                    }),
                }
            }
        }
    }
    (wanted, unknown)
}

fn action<'o>(outcomes: &'o Outcomes, sandbox: &str, name: &str) -> Option<&'o Action> {
    let pods = outcomes
        .kinds
        .iter()
        .filter(|(kind, _)| kind.group.is_empty() && kind.kind == "Pod");
    let mut items = pods.filter_map(|(_, by_namespace)| by_namespace.get(sandbox)).flatten();
    items.find(|item| item.name == name).map(|item| &item.action)
}

/// The provider's error about this pod.
fn error(errors: &[ProviderProblem], source: &str, name: &str) -> (String, Fault) {
    let about = |error: &&ProviderProblem| {
        error.resource.as_deref() == Some("pods")
            && error.source.as_deref() == Some(source)
            && error.name.as_deref() == Some(name)
    };
    match errors.iter().find(about) {
        Some(error) => (error.message.clone(), error.fault),
        None => ("the provider could not make it".to_owned(), Fault::Backup),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::velero::read_restore_outcomes;

    fn sandboxes() -> Vec<SandboxFacts> {
        let sandbox = |source: &str| SandboxFacts {
            source: source.to_owned(),
            name: format!("sb-{source}"),
            uid: "u".to_owned(),
        };
        vec![sandbox("shop"), sandbox("infra")]
    }

    fn outcomes(text: &str) -> Outcomes {
        let wanted: BTreeSet<String> = sandboxes().into_iter().map(|sandbox| sandbox.name).collect();
        read_restore_outcomes(text.as_bytes(), &wanted).unwrap()
    }

    fn pods(names: &[(&str, &str)]) -> Vec<(String, String)> {
        names
            .iter()
            .map(|(source, name)| ((*source).to_owned(), (*name).to_owned()))
            .collect()
    }

    #[test]
    fn the_provider_says_which_should_be_there() {
        let outcomes = outcomes(
            r#"{"v1/Pod": ["sb-shop/up(created)", "sb-shop/bad(failed)", "sb-shop/agent(failed)", "sb-infra/up(failed)",
                "sb-infra/mirror(skipped)"]}"#,
        );
        let problem = |name: &str, message: &str, fault| ProviderProblem {
            object: None,
            resource: Some("pods".to_owned()),
            source: Some("shop".to_owned()),
            name: Some(name.to_owned()),
            message: message.to_owned(),
            fault,
        };
        let errors = [
            problem("bad", "pods \"bad\" is forbidden: no", Fault::Backup),
            problem("agent", "no host access", Fault::Fence),
        ];
        let all = pods(&[
            ("shop", "up"),
            ("shop", "bad"),
            ("shop", "agent"),
            ("shop", "task"),
            ("infra", "up"),
            ("infra", "mirror"),
            ("infra", "done"),
            ("elsewhere", "x"),
        ]);
        let (wanted, unknown) = bare_pods(&all, &sandboxes(), &outcomes, &errors, false);
        let wanted: Vec<_> = wanted
            .iter()
            .map(|pod| {
                (
                    pod.source.as_str(),
                    pod.name.as_str(),
                    pod.refused.as_ref().map(|(text, fault)| (text.as_str(), *fault)),
                )
            })
            .collect();
        assert_eq!(
            wanted,
            [
                ("shop", "up", None),
                ("shop", "bad", Some(("pods \"bad\" is forbidden: no", Fault::Backup))),
                ("shop", "agent", Some(("no host access", Fault::Fence))),
                // The error of the pod of this name in another namespace is not its own.
                ("infra", "up", Some(("the provider could not make it", Fault::Backup))),
            ]
        );
        let unknown: Vec<_> = unknown
            .iter()
            .flat_map(|kind| {
                kind.not_tested
                    .iter()
                    .map(|one| (kind.source.as_str(), one.name.as_str(), one.reason.as_str()))
            })
            .collect();
        assert_eq!(
            unknown,
            [
                ("shop", "task", PASSED_OVER),
                ("infra", "mirror", PASSED_OVER),
                ("infra", "done", PASSED_OVER)
            ]
        );
    }

    #[test]
    fn of_a_part_only_what_was_selected_is_wanted() {
        let outcomes = outcomes(r#"{"v1/Pod": ["sb-shop/up(created)"]}"#);
        let (wanted, unknown) = bare_pods(
            &pods(&[("shop", "up"), ("shop", "other")]),
            &sandboxes(),
            &outcomes,
            &[],
            true,
        );
        assert_eq!(wanted.len(), 1);
        assert_eq!(unknown[0].not_tested[0].name, "other");
        assert_eq!(unknown[0].not_tested[0].reason, NOT_SELECTED);
    }
}
