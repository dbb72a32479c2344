//! Conditions: built, set so that `lastTransitionTime` means what it says, and found.

use chrono::{DateTime, Utc};

use super::{Condition, limits, time};

/// A condition that is `True` or `False` since `now`.
pub fn build(kind: &str, status: bool, reason: &str, message: &str, now: DateTime<Utc>) -> Condition {
    with_status(kind, if status { "True" } else { "False" }, reason, message, now)
}

/// A condition about which nothing is known, since `now`.
pub fn unknown(kind: &str, reason: &str, message: &str, now: DateTime<Utc>) -> Condition {
    with_status(kind, "Unknown", reason, message, now)
}

fn with_status(kind: &str, status: &str, reason: &str, message: &str, now: DateTime<Utc>) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: limits::cut(message, limits::MESSAGE),
        last_transition_time: time::to_time(now),
        observed_generation: None,
    }
}

/// Puts a condition into the list in place of one of the same type. The time of the last transition stays when the
/// status does.
pub fn set(conditions: &mut Vec<Condition>, mut condition: Condition) {
    match conditions.iter_mut().find(|old| old.type_ == condition.type_) {
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time.clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Is the condition of a type there and `True`?
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let mut list = vec![build("Complete", true, "Done", "", at(1))];
        set(&mut list, build("Ready", false, "InvalidSpec", "timeout", at(10)));
        set(&mut list, build("Ready", false, "InvalidSpec", "window", at(20)));
        let ready = find(&list, "Ready").unwrap();
        assert_eq!(
            (ready.message.as_str(), time::from_time(&ready.last_transition_time)),
            ("window", at(10))
        );
        assert!(ready.status == "False" && !is_true(&list, "Ready"));

        set(&mut list, build("Ready", true, "Valid", "", at(30)));
        assert_eq!(
            time::from_time(&find(&list, "Ready").unwrap().last_transition_time),
            at(30)
        );
        assert!(is_true(&list, "Ready") && is_true(&list, "Complete"));
        assert_eq!(list.len(), 2);

        set(&mut list, unknown("Ready", "NotTested", "", at(40)));
        assert!(!is_true(&list, "Ready") && find(&list, "Ready").unwrap().status == "Unknown");
    }
}
