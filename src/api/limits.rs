//! The bounds of everything a report may hold. The schema states them and whoever writes a report keeps to them, for a
//! report that the API server refuses is a report lost.

/// Longest name of a test: a `CronJob` of the same name must still fit, and report names append a time to it.
pub const TEST_NAME: usize = 52;
/// Longest `message` of a report, a check or a level, in characters.
pub const MESSAGE: usize = 4096;
/// Longest reason of a missing object or of a volume, in characters.
pub const REASON: usize = 1024;
/// Longest name of an object in a list: `<namespace>/<Kind>/<name>` with room for a long group.
pub const OBJECT: usize = 512;
/// Longest short word: a phase, a method, a rule, a size.
pub const WORD: usize = 128;
/// Most entries of `tested` and `notTested` of one level.
pub const TESTED: usize = 1000;
/// Most entries of `missing`.
pub const MISSING: usize = 1000;
/// Most entries of `notInBackup`.
pub const NOT_IN_BACKUP: usize = 1000;
/// Most entries of `held`.
pub const HELD: usize = 200;
/// Most entries of `changed`.
pub const CHANGED: usize = 200;
/// Most entries of `volumes`.
pub const VOLUMES: usize = 500;
/// Most entries of `completeness.others`.
pub const OTHERS: usize = 200;
/// Most entries of `hardcodedNames`.
pub const HARDCODED_NAMES: usize = 200;
/// Most entries of `outsideNames`.
pub const OUTSIDE_NAMES: usize = 200;
/// Most entries of `backup.newerUnusable`.
pub const NEWER_UNUSABLE: usize = 20;
/// Most entries of `timeline`.
pub const TIMELINE: usize = 20;
/// Most checks in one policy, and so in one report.
pub const CHECKS: usize = 100;
/// Most namespaces in one test, and so sandboxes in one report.
pub const NAMESPACES: usize = 16;
/// Most conditions of one object.
pub const CONDITIONS: usize = 16;

/// Cuts a text to `max` characters and marks the cut, never inside a character.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cuts_by_characters_and_marks_it() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "long…");
        assert_eq!(cut("ääää", 3), "ää…");
        assert_eq!(cut("ääää", 4), "ääää");
    }
}
