//! Does a backup really hold the namespaces? Its list of objects says.

use super::ValidTest;
use super::select_backup::{NAMED_IN_MESSAGE, Passed, Point};
use crate::facts::{Reason, Stop};
use crate::velero::Contents;

/// Which of the namespaces the backup does not hold, if any.
pub fn holds(contents: &Contents, sources: &[String]) -> Result<(), Vec<String>> {
    let missing: Vec<String> = sources
        .iter()
        .filter(|source| !contents.holds(source))
        .cloned()
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// What is said of newer backups that were asked to hold the namespaces and do not: the newest of them, and how many more.
pub fn newer_lacking(chosen: &Point, tried: &[(Point, Vec<String>)]) -> Option<String> {
    let mut newer: Vec<&(Point, Vec<String>)> = tried
        .iter()
        .filter(|(point, _)| point.started_at > chosen.started_at)
        .collect();
    newer.sort_by_key(|(point, _)| std::cmp::Reverse(point.started_at));
    let (point, missing) = newer.first()?;
    let more = match newer.len() - 1 {
        0 => String::new(),
        1 => ", nor does 1 more".to_owned(),
        more => format!(", nor do {more} more"),
    };
    Some(format!(
        "newer backup {} does not hold {} although its spec includes it{more}; is it still backed up?",
        point.name,
        namespaces(missing)
    ))
}

fn namespaces(names: &[String]) -> String {
    let plural = if names.len() == 1 { "namespace" } else { "namespaces" };
    format!("{plural} {}", names.join(", "))
}

/// The end of a run that none of the candidates serves: `tried` says of each what is missing in it, `gone` are those whose files
/// are gone. `unread` is how many older ones nobody has looked into.
pub fn none_holds(test: &ValidTest, tried: &[(Point, Vec<String>)], gone: &[Passed], unread: usize) -> Stop {
    let lacks = tried
        .iter()
        .map(|(point, missing)| format!("backup {} does not hold {}", point.name, namespaces(missing)));
    let lost = gone
        .iter()
        .map(|passed| format!("backup {}: {}", passed.name(), passed.reason()));
    let all: Vec<String> = lost.chain(lacks).collect();
    let named = all
        .iter()
        .take(NAMED_IN_MESSAGE)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if test.named_backup().is_some() {
        let reason = if gone.is_empty() {
            Reason::NamespaceNotInBackup
        } else {
            Reason::BackupUnusable
        };
        return Stop::new(reason, named);
    }
    let more = match all.len().saturating_sub(NAMED_IN_MESSAGE) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let which = match unread {
        0 => "no usable backup".to_owned(),
        unread => format!(
            "none of the {} newest usable backups ({unread} older ones were not read)",
            all.len()
        ),
    };
    // Nobody knows what those hold whose files are gone.
    let reason = if gone.is_empty() {
        Reason::BackupNotFound
    } else {
        Reason::BackupUnusable
    };
    Stop::new(
        reason,
        format!("{which} holds all of {}: {named}{more}", test.sources().join(", ")),
    )
}
