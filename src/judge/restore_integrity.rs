//! Level 1: did the provider's restore itself succeed?

use crate::facts::{Facts, Fault, ProviderProblem, RestoreFacts};
use crate::judge::level::{Level, first_few, weight::RESTORE_INTEGRITY};

/// Unexpected warnings cost a point each, but never more than this: the restore did succeed.
const MOST_FOR_WARNINGS: usize = 5;

/// Judges the restore.
pub fn judge(facts: &Facts) -> Level {
    let Some(restore) = &facts.restore else {
        return Level::skip("No restore was made");
    };
    let backup = facts.backup.iter().map(|b| b.name.clone()).collect();
    verdict(facts, restore).tested(backup)
}

fn verdict(facts: &Facts, restore: &RestoreFacts) -> Level {
    if !restore.terminal {
        let phase = if restore.phase.is_empty() {
            "New"
        } else {
            &restore.phase
        };
        return Level::fail(
            0,
            format!("Velero restore was not seen to end; its last phase was {phase}"),
        );
    }
    match restore.phase.as_str() {
        "Completed" => completed(facts, restore),
        "PartiallyFailed" => partially_failed(facts, restore),
        phase => {
            let why = restore.failure.as_deref().unwrap_or("the provider gives no reason");
            Level::fail(0, format!("Velero restore ended {phase}: {why}"))
        }
    }
}

fn completed(facts: &Facts, restore: &RestoreFacts) -> Level {
    match something_restored(facts, restore) {
        Some(true) => {}
        Some(false) => return Level::fail(0, "Velero restore completed, but it restored nothing"),
        None => return Level::skip("Velero restore completed, but the run ended before it was known what it restored"),
    }
    with_warnings(restore, "Velero restore completed without errors")
}

/// Refusals by our own rules are no fault of the backup; any other error is, and so is one that could not be read.
fn partially_failed(facts: &Facts, restore: &RestoreFacts) -> Level {
    let ours = |e: &&ProviderProblem| matches!(e.fault, Fault::Fence | Fault::PodSecurity | Fault::Drill);
    let refused = restore.errors.iter().filter(ours).count();
    if let Some(why) = &restore.results_unreadable {
        return Level::fail(
            0,
            format!("Velero restore ended PartiallyFailed and its errors could not be read: {why}"),
        );
    }
    let all_ours = refused > 0 && refused == restore.errors.len() && refused == restore.error_count;
    if !all_ours {
        let texts: Vec<String> = restore.errors.iter().filter(|e| !ours(e)).map(text).collect();
        let count = restore.error_count.saturating_sub(refused);
        let detail = if texts.is_empty() {
            format!("Velero restore ended PartiallyFailed, and of its {count} errors Velero gives no text")
        } else {
            format!(
                "Velero restore ended PartiallyFailed with {count} errors: {}",
                first_few(&texts, 3)
            )
        };
        return Level::fail(0, detail);
    }
    if something_restored(facts, restore) == Some(false) {
        return Level::fail(
            0,
            "Velero restored nothing: every object was refused by the sandbox's rules",
        );
    }
    let given_up = restore.errors.iter().filter(|e| e.fault == Fault::Drill).count();
    let errors = match (refused - given_up, given_up) {
        (refused, 0) => format!("{refused} objects that the sandbox refuses on purpose"),
        (0, _) => format!("{given_up} volumes whose pods could not take them"),
        (refused, _) => format!(
            "{refused} objects that the sandbox refuses on purpose and {given_up} volumes whose pods could not take them"
        ),
    };
    with_warnings(
        restore,
        &format!("Velero restore completed; its only errors are {errors}"),
    )
}

fn text(problem: &ProviderProblem) -> String {
    match &problem.object {
        Some(object) => format!("{object}: {}", problem.message),
        None => problem.message.clone(),
    }
}

/// The provider's own list decides; where it could not be read, what is in the sandbox does. `None` if neither is known.
fn something_restored(facts: &Facts, restore: &RestoreFacts) -> Option<bool> {
    if let Some(items) = restore.created_items {
        return Some(items > 0);
    }
    let kinds = facts.objects.iter().flat_map(|objects| &objects.kinds);
    let mut looked_at = kinds.filter_map(|k| Some((k, k.present.as_ref()?))).peekable();
    looked_at.peek()?;
    Some(looked_at.any(|(k, names)| k.expected.iter().any(|expected| names.contains(expected))))
}

fn with_warnings(restore: &RestoreFacts, clean: &str) -> Level {
    if let Some(why) = &restore.results_unreadable {
        let points = RESTORE_INTEGRITY.saturating_sub(5);
        return Level::pass(
            points,
            format!("{clean}; its warnings could not be read ({why}), which costs 5 points"),
        );
    }
    let cost = restore.warning_count.min(MOST_FOR_WARNINGS);
    if cost == 0 {
        return Level::pass(RESTORE_INTEGRITY, clean);
    }
    let points = RESTORE_INTEGRITY - u32::try_from(cost).unwrap_or(RESTORE_INTEGRITY);
    let warnings = first_few(&restore.warnings, 3);
    Level::pass(
        points,
        format!(
            "{clean}, with {} unexpected warnings: {warnings}",
            restore.warning_count
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Status::{Fail, Pass, Skip};

    fn restore(phase: &str) -> RestoreFacts {
        RestoreFacts {
            phase: phase.to_owned(),
            terminal: true,
            created_items: Some(7),
            ..RestoreFacts::default()
        }
    }

    fn problem(fault: Fault) -> ProviderProblem {
        ProviderProblem {
            object: Some("Pod/web".to_owned()),
            resource: None,
            source: None,
            name: None,
            message: "refused".to_owned(),
            fault,
        }
    }

    fn level(restore: RestoreFacts) -> Level {
        judge(&Facts {
            restore: Some(restore),
            ..Facts::default()
        })
    }

    #[test]
    #[rustfmt::skip]
    fn each_end_of_a_restore_has_its_verdict() {
        assert_eq!(judge(&Facts::default()).status, Skip);
        let with = |phase: &str, change: fn(&mut RestoreFacts)| {
            let mut restore = restore(phase);
            change(&mut restore);
            restore
        };
        let table = [
            (restore("Completed"), Pass, 25, "without errors"),
            (with("Completed", |r| r.created_items = Some(0)), Fail, 0, "restored nothing"),
            (with("InProgress", |r| r.terminal = false), Fail, 0, "last phase was InProgress"),
            (with("FailedValidation", |r| r.failure = Some("no such backup".to_owned())), Fail, 0, "no such backup"),
            (with("Completed", |r| r.created_items = None), Skip, 0, "before it was known"),
            (restore("Failed"), Fail, 0, "ended Failed"),
            (restore("Exploded"), Fail, 0, "ended Exploded"),
            (with("PartiallyFailed", |r| { r.errors = vec![problem(Fault::Backup)]; r.error_count = 1; }), Fail, 0, "Pod/web: refused"),
            (with("PartiallyFailed", |r| { r.errors = vec![problem(Fault::Fence)]; r.error_count = 1; }), Pass, 25, "refuses on purpose"),
            (with("PartiallyFailed", |r| { r.errors = vec![problem(Fault::Fence)]; r.error_count = 2; }), Fail, 0, "1 errors"),
            (restore("PartiallyFailed"), Fail, 0, "of its 0 errors Velero gives no text"),
            (with("PartiallyFailed", |r| r.results_unreadable = Some("gone".to_owned())), Fail, 0, "could not be read"),
            (with("Completed", |r| r.results_unreadable = Some("gone".to_owned())), Pass, 20, "could not be read"),
            (with("Completed", |r| { r.warnings = vec!["w".to_owned()]; r.warning_count = 4; }), Pass, 21, "4 unexpected warnings: w"),
            (with("Completed", |r| r.warning_count = 400), Pass, 20, "400 unexpected"),
        ];
        for (restore, status, points, words) in table {
            let level = level(restore.clone());
            assert_eq!((level.status, level.points), (status, points), "{restore:?}");
            assert!(level.detail.contains(words), "{words:?} not in {:?}", level.detail);
        }
    }
}
