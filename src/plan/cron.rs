//! Cron expressions as the cluster's `CronJob` controller reads them.
//!
//! The crate that computes the next time is more generous (`L`, `W`, `#`, Sunday as 7), so an expression it takes may be one
//! that the cluster refuses. Each field is therefore checked here by the cluster's own rules first.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// The parts of an expression, with the least and the greatest value, and names for them.
const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    (
        "month",
        1,
        12,
        &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    ),
    (
        "day of the week",
        0,
        6,
        &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    ),
];

/// Words that stand for a whole expression.
const WORDS: [&str; 7] = [
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
];

/// Parses an expression of five fields, or one of the words. The error says what is wrong, for a person.
pub(super) fn parse(text: &str) -> Result<Cron, String> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let plain = match fields.as_slice() {
        [word] if word.starts_with('@') => {
            if !WORDS.contains(word) {
                return Err(format!("{word:?} is none of {}", WORDS.join(", ")));
            }
            // The crate knows all the words but this one.
            if *word == "@midnight" { "@daily" } else { word }.to_owned()
        }
        fields if fields.len() == FIELDS.len() => {
            for (field, (name, min, max, names)) in fields.iter().zip(FIELDS) {
                for part in field.split(',') {
                    check(part, min, max, names).map_err(|why| format!("{name} {part:?}: {why}"))?;
                }
            }
            // Only the crate cares that `?` belongs to days.
            fields.join(" ").replace('?', "*")
        }
        fields => {
            return Err(format!(
                "{text:?} has {} fields instead of five (minute, hour, day, month, weekday)",
                fields.len()
            ));
        }
    };
    // `0/10` means "from 0 on, every tenth" to the cluster.
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .sloppy_ranges(true)
        .build();
    parser.parse(&plain).map_err(|error| format!("{text:?}: {error}"))
}

/// Checks `*`, `7`, `1-5`, each with or without `/step`.
fn check(part: &str, min: u32, max: u32, names: &[&str]) -> Result<(), String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    if let Some(step) = step
        && !step.parse::<u32>().is_ok_and(|step| (1..=max).contains(&step))
    {
        return Err(format!("the step must be a number from 1 to {max}"));
    }
    if range == "*" || range == "?" {
        return Ok(());
    }
    let value = |text: &str| {
        let position = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match position {
            // The names stand in order, from the least value on.
            Some(index) => u32::try_from(index).ok().map(|index| index + min),
            None => text
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten(),
        };
        number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| format!("must be from {min} to {max}"))
    };
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (value(first)?, value(last)?),
        None => (value(range)?, max),
    };
    if first > last {
        return Err("the range runs backwards".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn next(text: &str) -> String {
        let now: DateTime<Utc> = "2026-05-13T10:30:30Z".parse().unwrap();
        parse(text)
            .unwrap()
            .find_next_occurrence(&now, false)
            .unwrap()
            .to_rfc3339()
    }

    #[test]
    fn reads_what_the_cluster_reads() {
        for (text, expected) in [
            ("0 3 * * *", "2026-05-14T03:00:00+00:00"),
            ("@daily", "2026-05-14T00:00:00+00:00"),
            ("@midnight", "2026-05-14T00:00:00+00:00"),
            ("@hourly", "2026-05-13T11:00:00+00:00"),
            ("@weekly", "2026-05-17T00:00:00+00:00"),
            ("@monthly", "2026-06-01T00:00:00+00:00"),
            ("@yearly", "2027-01-01T00:00:00+00:00"),
            ("@annually", "2027-01-01T00:00:00+00:00"),
            ("*/15 * * * *", "2026-05-13T10:45:00+00:00"),
            ("5/10 * * * *", "2026-05-13T10:35:00+00:00"),
            ("0 2 * * MON-FRI", "2026-05-14T02:00:00+00:00"),
            ("0 2 * * sun", "2026-05-17T02:00:00+00:00"),
            ("0 2 1 jan ?", "2027-01-01T02:00:00+00:00"),
            ("0  2   1,15 * *", "2026-05-15T02:00:00+00:00"),
            ("0 0 31 12 *", "2026-12-31T00:00:00+00:00"),
        ] {
            assert_eq!(next(text), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_the_cluster_refuses() {
        for (text, part) in [
            ("", "has 0 fields"),
            ("0 3 * *", "has 4 fields"),
            ("0 0 3 * * *", "has 6 fields"),
            ("@every 5m", "has 2 fields"),
            ("@fortnightly", "is none of"),
            ("@DAILY", "is none of"),
            ("61 3 * * *", "minute \"61\": must be from 0 to 59"),
            ("0 24 * * *", "hour \"24\""),
            ("0 0 0 * *", "day of the month \"0\": must be from 1 to 31"),
            ("0 0 32 * *", "day of the month"),
            ("0 0 * 13 *", "month \"13\""),
            ("0 0 * * 7", "day of the week \"7\": must be from 0 to 6"),
            ("0 0 * * 5L", "day of the week"),
            ("0 0 L * *", "day of the month"),
            ("0 0 * * MON#1", "day of the week"),
            ("0 0 * FOO *", "month \"FOO\""),
            ("5-1 * * * *", "runs backwards"),
            ("*/0 * * * *", "the step must be"),
            ("*/x * * * *", "the step must be"),
            ("1,,2 * * * *", "minute \"\""),
            ("+5 * * * *", "minute \"+5\""),
            ("-5 * * * *", "minute \"-5\""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
