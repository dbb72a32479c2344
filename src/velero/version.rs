//! Which versions of Velero's server a drill works with.

/// The oldest: it is the first whose restores wait for their volumes in a phase of their own and list what became of each, and whose
/// resource modifiers can merge.
pub const OLDEST: (u32, u32) = (1, 14);

/// Major and minor number of a version as the server says it, `v1.18.3`. `None` for one that is built from no release.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().trim_start_matches('v').split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    Some((major, minor[..digits].parse().ok()?))
}

/// Is this certainly a server that drills do not work with?
pub fn is_too_old(version: &str) -> bool {
    numbers(version).is_some_and(|numbers| numbers < OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_release_can_be_too_old() {
        for (version, numbers_of, too_old) in [
            ("v1.18.3", Some((1, 18)), false),
            ("1.14.0", Some((1, 14)), false),
            ("v1.14-rc.1", Some((1, 14)), false),
            ("v1.13.2", Some((1, 13)), true),
            ("v1.9.7", Some((1, 9)), true),
            ("v2.0.0", Some((2, 0)), false),
            ("main", None, false),
            ("", None, false),
            ("v1", None, false),
        ] {
            assert_eq!(numbers(version), numbers_of, "{version}");
            assert_eq!(is_too_old(version), too_old, "{version}");
        }
    }
}
