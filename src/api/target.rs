//! A target for a time: compared as a time, and shown as its test writes it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Duration;

/// Longest text that is kept, as the schema has it.
const LONGEST: usize = 32;

/// `30m` stays `30m` and `90s` stays `90s`, where Go would print `30m0s` and `1m30s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    time: Duration,
    written: String,
}

impl Target {
    /// This time, written so if it is; otherwise as a person would write it.
    pub fn new(time: std::time::Duration, written: Option<&str>) -> Self {
        let time = Duration(time);
        let same = |text: &&str| text.is_ascii() && text.len() <= LONGEST && text.parse() == Ok(time);
        let written = written.filter(same).map_or_else(|| short(time), str::to_owned);
        Self { time, written }
    }

    /// The time.
    pub fn time(&self) -> Duration {
        self.time
    }
}

/// `30m` where Go prints `30m0s`.
fn short(time: Duration) -> String {
    let full = time.to_string();
    let text = match full.strip_suffix("m0s") {
        Some(minutes) => format!("{minutes}m"),
        None => full,
    };
    match text.strip_suffix("h0m") {
        Some(hours) => format!("{hours}h"),
        None => text,
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.written)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let time: Duration = text.parse().map_err(de::Error::custom)?;
        Ok(Self::new(time.0, Some(&text)))
    }
}

impl JsonSchema for Target {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Duration::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_the_user_is_kept() {
        for text in [
            "30m", "15m", "1h30m", "90s", "90m", "26h", "1.5h", "0.5h30m", "2h", "1800s", "30m0s",
        ] {
            let target: Target = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(target.time(), text.parse().unwrap());
            assert_eq!(serde_json::to_string(&target).unwrap(), format!("\"{text}\""));
        }
        assert!(serde_json::from_str::<Target>("\"1d\"").is_err());
    }

    #[test]
    fn without_it_or_where_it_says_something_else_the_time_is_written_short() {
        let text = |seconds, written| Target::new(std::time::Duration::from_secs(seconds), written).to_string();
        assert_eq!(text(1800, None), "30m");
        assert_eq!(text(7200, None), "2h");
        assert_eq!(text(5400, None), "1h30m");
        assert_eq!(text(14_412, None), "4h0m12s");
        assert_eq!(text(600, Some("20m")), "10m");
        assert_eq!(text(45, None), "45s");
        assert_eq!(text(0, None), "0s");
        // A report with such texts would be refused.
        assert_eq!(text(1, Some("1000000μs")), "1s");
        assert_eq!(text(1, Some("0000000000000000000000000000000000001s")), "1s");
    }
}
