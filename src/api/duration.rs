//! Durations as Go writes and reads them, because that is what the kinds' users write and what their tools parse.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, never negative, in Go's form: `11m35s`, `8s`, `230ms`, `0s`, `1h30m0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

/// Go keeps a duration in a signed 64-bit count of nanoseconds; a longer one could be written but not read back.
const MAX_NANOS: u128 = i64::MAX as u128;

impl Duration {
    /// No time at all, printed `0s`.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    /// A number of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// A number of whole minutes.
    pub const fn from_mins(minutes: u64) -> Self {
        Self::from_secs(minutes * 60)
    }

    /// The same time with the fraction of a second cut off.
    #[must_use]
    pub const fn whole_seconds(self) -> Self {
        Self::from_secs(self.0.as_secs())
    }

    /// The same time with the fraction of a millisecond cut off.
    #[must_use]
    pub const fn whole_millis(self) -> Self {
        Self(std::time::Duration::new(
            self.0.as_secs(),
            self.0.subsec_millis() * 1_000_000,
        ))
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        Self(value)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        value.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let nanos = self.0.subsec_nanos();
        if seconds == 0 {
            return match nanos {
                0 => out.write_str("0s"),
                1..1_000 => write!(out, "{nanos}ns"),
                1_000..1_000_000 => write!(out, "{}µs", decimal(u64::from(nanos), 3)),
                _ => write!(out, "{}ms", decimal(u64::from(nanos), 6)),
            };
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(out, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(out, "{minutes}m")?;
        }
        write!(out, "{}s", decimal(seconds % 60 * 1_000_000_000 + u64::from(nanos), 9))
    }
}

/// `value` divided by ten to the power of `places`, without zeros at the end.
fn decimal(value: u64, places: u32) -> String {
    let unit = 10_u64.pow(places);
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let fraction = format!("{rest:0width$}", width = places as usize);
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// Nothing was written.
    #[error("an empty duration; write 0s for none")]
    Empty,
    /// A minus sign.
    #[error("{0:?} is negative")]
    Negative(String),
    /// Not a number followed by a unit, or a unit that Go does not know (`d` is none).
    #[error("{0:?} is no duration: write numbers with the units h, m, s or ms, such as 1h30m")]
    Malformed(String),
    /// Longer than 292 years.
    #[error("{0:?} is too long for a duration")]
    TooLong(String),
}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseDurationError::Malformed(text.to_owned());
        let too_long = || ParseDurationError::TooLong(text.to_owned());
        match text {
            "" => return Err(ParseDurationError::Empty),
            "0" => return Ok(Self::ZERO),
            _ if text.starts_with('-') => return Err(ParseDurationError::Negative(text.to_owned())),
            _ => {}
        }
        let mut total: u128 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let (whole, after) = digits(rest);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => digits(after),
                None => ("", after),
            };
            if whole.is_empty() || (after.len() + whole.len() < rest.len() && fraction.is_empty()) {
                return Err(malformed());
            }
            let (unit, after) = unit(after).ok_or_else(malformed)?;
            let count: u128 = whole.parse().map_err(|_| too_long())?;
            total = count
                .checked_mul(unit)
                .and_then(|nanos| nanos.checked_add(total)?.checked_add(fraction_of(fraction, unit)))
                .filter(|nanos| *nanos <= MAX_NANOS)
                .ok_or_else(too_long)?;
            rest = after;
        }
        u64::try_from(total)
            .map(|nanos| Self(std::time::Duration::from_nanos(nanos)))
            .map_err(|_| too_long())
    }
}

/// Splits a text after its leading ASCII digits.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The nanoseconds of the unit a text begins with, and what follows it. Both signs for micro are read, as Go does.
fn unit(text: &str) -> Option<(u128, &str)> {
    const UNITS: [(&str, u128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("\u{b5}s", 1_000),
        ("\u{3bc}s", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS
        .iter()
        .find_map(|(name, nanos)| Some((*nanos, text.strip_prefix(name)?)))
}

/// The digits after a decimal point as nanoseconds of a unit, cut off below one.
fn fraction_of(digits: &str, unit: u128) -> u128 {
    let mut scale = unit;
    digits.bytes().fold(0, |sum, digit| {
        let part = u128::from(digit - b'0') * scale / 10;
        scale /= 10;
        sum + part
    })
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "pattern": r"^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        for text in [
            "0s",
            "8s",
            "12s",
            "230ms",
            "1.5s",
            "11m35s",
            "5m0s",
            "30m0s",
            "1h0m0s",
            "1h30m0s",
            "4h0m12s",
            "5h0m8s",
            "1ns",
            "1.5µs",
            "999.999999ms",
            "24h0m0s",
            "1m0.000000001s",
            "2562047h47m16.854775807s",
        ] {
            assert_eq!(text.parse::<Duration>().map(|d| d.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, printed) in [
            ("30m", "30m0s"),
            ("15m", "15m0s"),
            ("90m", "1h30m0s"),
            ("1.5h", "1h30m0s"),
            ("0", "0s"),
            ("0m", "0s"),
            ("1us", "1µs"),
            ("1m1m", "2m0s"),
            ("0.1s", "100ms"),
            ("1.0000000009s", "1s"),
            ("1000ms", "1s"),
        ] {
            assert_eq!(
                text.parse::<Duration>().map(|d| d.to_string()),
                Ok(printed.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_go_refuses_and_negatives() {
        use ParseDurationError::{Empty, Malformed, Negative, TooLong};
        assert_eq!("".parse::<Duration>(), Err(Empty));
        assert_eq!("-5m".parse::<Duration>(), Err(Negative("-5m".into())));
        for text in [
            "1d", "1w2d", "PT5M", "1 h", "5", "m", "1.s", ".s", "1h 30m", "5m-", "١s", "1hh", " 1h", "1h ",
        ] {
            assert_eq!(text.parse::<Duration>(), Err(Malformed(text.into())), "{text}");
        }
        for text in [
            "2562047h47m16.854775808s",
            "9999999h",
            "99999999999999999999999999999999999999999s",
        ] {
            assert_eq!(text.parse::<Duration>(), Err(TooLong(text.into())), "{text}");
        }
    }

    #[test]
    fn fractions_are_exact_to_the_nanosecond() {
        assert_eq!("0.3h".parse(), Ok(Duration(std::time::Duration::from_mins(18))));
        assert_eq!("1.7h".parse(), Ok(Duration::from_mins(102)));
        assert_eq!(
            "0.123456789s".parse(),
            Ok(Duration(std::time::Duration::from_nanos(123_456_789)))
        );
    }

    #[test]
    fn cuts_fractions() {
        let time = Duration(std::time::Duration::from_nanos(695_987_654_321));
        assert_eq!(time.whole_seconds().to_string(), "11m35s");
        assert_eq!(time.whole_millis().to_string(), "11m35.987s");
    }

    #[test]
    fn survives_json() {
        let time: Duration = serde_json::from_str("\"90m\"").unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"1h30m0s\"");
        assert!(
            serde_json::from_str::<Duration>("\"1d\"")
                .unwrap_err()
                .to_string()
                .contains("no duration")
        );
        assert!(serde_json::from_str::<Duration>("5").is_err());
    }
}
