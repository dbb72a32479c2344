//! Does a backup really hold the namespaces? Its list of objects says.

use super::ValidTest;
use super::select_backup::{NAMED_IN_MESSAGE, Point};
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

/// The end of a run none of whose candidates holds all namespaces; `tried` says of each what is missing in it.
pub fn none_holds(test: &ValidTest, tried: &[(Point, Vec<String>)]) -> Stop {
    let lacks = |(point, missing): &(Point, Vec<String>)| {
        let plural = if missing.len() == 1 { "namespace" } else { "namespaces" };
        format!("backup {} does not hold {plural} {}", point.name, missing.join(", "))
    };
    let named: Vec<String> = tried.iter().take(NAMED_IN_MESSAGE).map(lacks).collect();
    if test.named_backup().is_some() {
        return Stop::new(Reason::NamespaceNotInBackup, named.join("; "));
    }
    let rest = tried.len() - named.len();
    let more = if rest > 0 {
        format!("; and {rest} more")
    } else {
        String::new()
    };
    Stop::new(
        Reason::BackupNotFound,
        format!(
            "no usable backup holds all of {}: {}{more}",
            test.sources().join(", "),
            named.join("; ")
        ),
    )
}
