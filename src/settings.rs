//! The environment of the process: every variable, its default, and what it must hold.
//!
//! All variables are read before anything is said, so that one start shows every mistake. This is the only place that reads
//! the environment.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Everything the process takes from its environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `RESTORE_TEST_NAME`: the test to run; only read for a run.
    pub test: String,
    /// What every subcommand needs.
    pub common: Common,
    /// `LEASE_WAIT`: how long a second run of a test waits for the first.
    pub lease_wait: Duration,
    /// `CLEANUP_TIMEOUT`: how long clean-up may take after the report.
    pub cleanup_timeout: Duration,
    /// `FAIL_JOB_ON`: which verdicts make the process, and so the Job, fail.
    pub fail_job_on: FailJobOn,
    /// `POD_NAME`, `POD_UID`, `POD_NAMESPACE`, `POD_IP`: the runner's own pod, from the downward API.
    pub pod: Pod,
}

/// Settings of every subcommand that talks to the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// `API_TIMEOUT`: one API call, its retries included.
    pub api_timeout: Duration,
    /// Where the API server's Service is, as Kubernetes writes it into every pod.
    pub api_server: Option<(String, u16)>,
}

/// How and how much to log.
#[derive(Clone, Debug, PartialEq)]
pub struct Logging {
    /// `LOG_FORMAT`; by default JSON in a cluster and text elsewhere.
    pub format: LogFormat,
    /// `LOG_LEVEL`: a level, or directives such as `info,kube=debug`.
    pub level: String,
}

/// The runner's own pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its namespace, which is the namespace of the tests and reports.
    pub namespace: String,
    /// Its address, where the isolation proof is dialled.
    pub ip: std::net::IpAddr,
}

/// Which verdicts make the Job fail.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FailJobOn {
    /// Only `fail`.
    Fail,
    /// `fail` and `partial`.
    Partial,
    /// None; the report alone tells.
    Never,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// One variable that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{name}: {problem}; it must hold {expected}")]
pub struct Mistake {
    name: &'static str,
    problem: String,
    expected: &'static str,
}

/// A duration setting: `30s`, `1m`, `2h 30m`.
#[derive(Deserialize)]
struct Span(#[serde(with = "humantime_serde")] Duration);

/// The environment as pairs, so that tests need not change the process's own.
type Pairs = [(String, String)];

/// Reads the process's environment.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars().collect()
}

impl Logging {
    /// What to log with while the wish is not known.
    pub fn plain() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }

    /// How to log. Read first and apart, so that every later mistake can be logged in the right form.
    pub fn read(pairs: &Pairs) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(pairs);
        let in_cluster = lookup(pairs, "KUBERNETES_SERVICE_HOST").is_some();
        let default = if in_cluster { LogFormat::Json } else { LogFormat::Text };
        let format = reader.value("LOG_FORMAT", "`json` or `text`", Some(default));
        let level: Option<String> = reader.value("LOG_LEVEL", LEVELS, Some("info".to_owned()));
        let level = level.filter(|level| {
            let good = tracing_subscriber::EnvFilter::try_new(level).is_ok();
            if !good {
                reader.mistake("LOG_LEVEL", format!("it holds {level:?}"), LEVELS);
            }
            good
        });
        reader.done(|| {
            Some(Self {
                format: format?,
                level: level?,
            })
        })
    }
}

const LEVELS: &str = "a level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as `info,kube=debug`";
const SPAN: &str = "a duration such as `30s` or `2m`, longer than 0";

impl Settings {
    /// What a run needs.
    pub fn read(pairs: &Pairs) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(pairs);
        let test = reader.value::<String>(
            "RESTORE_TEST_NAME",
            "the name of a RestoreTest in the runner's namespace",
            None,
        );
        let test = test.filter(|name| {
            let good = name.len() <= 52 && is_dns_label(name);
            if !good {
                let expected = "a RestoreTest's name: a DNS label of at most 52 characters";
                reader.mistake("RESTORE_TEST_NAME", format!("it holds {name:?}"), expected);
            }
            good
        });
        let common = Common::take(&mut reader);
        let lease_wait = reader.span("LEASE_WAIT", Duration::from_mins(1));
        let cleanup_timeout = reader.span("CLEANUP_TIMEOUT", Duration::from_mins(10));
        let fail_job_on = reader.value("FAIL_JOB_ON", "`fail`, `partial` or `never`", Some(FailJobOn::Fail));
        let name = reader.value("POD_NAME", "the pod's own name (downward API, metadata.name)", None);
        let uid = reader.value("POD_UID", "the pod's own UID (downward API, metadata.uid)", None);
        let namespace = reader.value(
            "POD_NAMESPACE",
            "the pod's own namespace (downward API, metadata.namespace)",
            None,
        );
        let ip = reader.value("POD_IP", "the pod's own address (downward API, status.podIP)", None);
        reader.done(|| {
            Some(Self {
                test: test?,
                common: common?,
                lease_wait: lease_wait?,
                cleanup_timeout: cleanup_timeout?,
                fail_job_on: fail_job_on?,
                pod: Pod {
                    name: name?,
                    uid: uid?,
                    namespace: namespace?,
                    ip: ip?,
                },
            })
        })
    }
}

/// What the sweep needs.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepSettings {
    /// What every subcommand needs.
    pub common: Common,
    /// `POD_NAMESPACE`: where tests and Leases are.
    pub namespace: String,
    /// `CLEANUP_TIMEOUT`: how long the whole sweep may take.
    pub cleanup_timeout: Duration,
}

impl SweepSettings {
    /// What the sweep needs.
    pub fn read(pairs: &Pairs) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(pairs);
        let common = Common::take(&mut reader);
        let namespace = reader.value(
            "POD_NAMESPACE",
            "the pod's own namespace (downward API, metadata.namespace)",
            None,
        );
        let cleanup_timeout = reader.span("CLEANUP_TIMEOUT", Duration::from_mins(10));
        reader.done(|| {
            Some(Self {
                common: common?,
                namespace: namespace?,
                cleanup_timeout: cleanup_timeout?,
            })
        })
    }
}

impl Common {
    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        let api_timeout = reader.span("API_TIMEOUT", Duration::from_secs(30));
        let host = lookup(reader.pairs, "KUBERNETES_SERVICE_HOST");
        let port = reader.value("KUBERNETES_SERVICE_PORT", "a port number", Some(443));
        Some(Self {
            api_timeout: api_timeout?,
            api_server: host.zip(port),
        })
    }
}

/// Reads variables one by one and collects what is wrong.
struct Reader<'a> {
    pairs: &'a Pairs,
    mistakes: Vec<Mistake>,
}

/// A single field, so that envy reads one variable at a time and the mistakes of all are known.
#[derive(Deserialize)]
struct One<T> {
    value: T,
}

impl<'a> Reader<'a> {
    fn new(pairs: &'a Pairs) -> Self {
        Self {
            pairs,
            mistakes: Vec::new(),
        }
    }

    fn mistake(&mut self, name: &'static str, problem: String, expected: &'static str) {
        self.mistakes.push(Mistake {
            name,
            problem,
            expected,
        });
    }

    /// A variable, or `default`; without either it is a mistake. A variable set to nothing counts as not set.
    fn value<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        default: Option<T>,
    ) -> Option<T> {
        let Some(held) = lookup(self.pairs, name) else {
            if default.is_none() {
                self.mistake(name, "it is not set".to_owned(), expected);
            }
            return default;
        };
        let pair = [("VALUE".to_owned(), held.clone())];
        if let Ok(one) = envy::from_iter::<_, One<T>>(pair) {
            return Some(one.value);
        }
        self.mistake(name, format!("it holds {held:?}"), expected);
        None
    }

    fn span(&mut self, name: &'static str, default: Duration) -> Option<Duration> {
        let span = self.value(name, SPAN, Some(Span(default)))?.0;
        if span.is_zero() {
            self.mistake(name, "it holds 0".to_owned(), SPAN);
            return None;
        }
        Some(span)
    }

    fn done<T>(self, make: impl FnOnce() -> Option<T>) -> Result<T, Vec<Mistake>> {
        match make() {
            Some(settings) if self.mistakes.is_empty() => Ok(settings),
            _ => Err(self.mistakes),
        }
    }
}

fn lookup(pairs: &Pairs, name: &str) -> Option<String> {
    let (_, value) = pairs.iter().find(|(key, _)| key == name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn is_dns_label(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    const GOOD: [(&str, &str); 5] = [
        ("RESTORE_TEST_NAME", "shop-nightly"),
        ("POD_NAME", "shop-nightly-1"),
        ("POD_UID", "0c1e"),
        ("POD_NAMESPACE", "kymaros-system"),
        ("POD_IP", "10.0.0.7"),
    ];

    #[test]
    fn defaults_are_those_of_the_manual() {
        let settings = Settings::read(&pairs(&GOOD)).unwrap();
        assert_eq!(settings.common.api_timeout, Duration::from_secs(30));
        assert_eq!(settings.lease_wait, Duration::from_mins(1));
        assert_eq!(settings.cleanup_timeout, Duration::from_mins(10));
        assert_eq!(settings.fail_job_on, FailJobOn::Fail);
        assert_eq!(settings.common.api_server, None);
    }

    #[test]
    fn every_setting_is_read() {
        let mut list = GOOD.to_vec();
        list.extend([
            ("API_TIMEOUT", "5s"),
            ("LEASE_WAIT", "2m"),
            ("CLEANUP_TIMEOUT", "1h"),
            ("FAIL_JOB_ON", "never"),
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("KUBERNETES_SERVICE_PORT", "6443"),
        ]);
        let settings = Settings::read(&pairs(&list)).unwrap();
        assert_eq!(settings.common.api_timeout, Duration::from_secs(5));
        assert_eq!(settings.lease_wait, Duration::from_mins(2));
        assert_eq!(settings.cleanup_timeout, Duration::from_hours(1));
        assert_eq!(settings.fail_job_on, FailJobOn::Never);
        assert_eq!(settings.common.api_server, Some(("10.96.0.1".to_owned(), 6443)));
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_name_value_and_expectation() {
        let list = pairs(&[
            ("RESTORE_TEST_NAME", "Shop"),
            ("API_TIMEOUT", "5"),
            ("LEASE_WAIT", "0s"),
            ("FAIL_JOB_ON", "sometimes"),
            ("POD_NAME", ""),
            ("POD_UID", "x"),
            ("POD_NAMESPACE", "kymaros-system"),
            ("POD_IP", "ten"),
        ]);
        let mistakes = Settings::read(&list).unwrap_err();
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "RESTORE_TEST_NAME: it holds \"Shop\"; it must hold a RestoreTest's name: a DNS label of at most 52 characters",
                "API_TIMEOUT: it holds \"5\"; it must hold a duration such as `30s` or `2m`, longer than 0",
                "LEASE_WAIT: it holds 0; it must hold a duration such as `30s` or `2m`, longer than 0",
                "FAIL_JOB_ON: it holds \"sometimes\"; it must hold `fail`, `partial` or `never`",
                "POD_NAME: it is not set; it must hold the pod's own name (downward API, metadata.name)",
                "POD_IP: it holds \"ten\"; it must hold the pod's own address (downward API, status.podIP)",
            ]
        );
    }

    #[test]
    fn logs_are_json_in_a_cluster_and_text_elsewhere() {
        let read = |list: &[(&str, &str)]| Logging::read(&pairs(list)).map(|l| l.format);
        assert_eq!(read(&[]), Ok(LogFormat::Text));
        assert_eq!(read(&[("KUBERNETES_SERVICE_HOST", "10.96.0.1")]), Ok(LogFormat::Json));
        assert_eq!(
            read(&[("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("LOG_FORMAT", "text")]),
            Ok(LogFormat::Text)
        );
        let mistakes = Logging::read(&pairs(&[("LOG_FORMAT", "xml"), ("LOG_LEVEL", "a=b=c")])).unwrap_err();
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    }
}
