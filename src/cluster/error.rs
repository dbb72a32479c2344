//! What went wrong with a call to the API server: which call, on what, and the server's own words.
//!
//! kube's errors print too much (a status twice, once as debug output) or too little ("client error (Connect)"); nobody above
//! this module sees them.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;

/// A call that failed.
#[derive(Debug)]
pub struct Error {
    call: Call,
    problem: Box<Problem>,
}

/// One call, for its error's text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Call {
    /// As RBAC calls it, e.g. `get`.
    pub verb: &'static str,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
}

#[derive(Debug)]
enum Problem {
    /// The server said no.
    Status(Status),
    /// The server was not reached, or its answer not understood.
    Client(kube::Error),
    /// A page of a list or a watch, for which the watcher has errors of its own.
    Watch(watcher::Error),
    /// No answer in time; with the last error, if there was one.
    Timeout(Duration, Option<Box<Error>>),
    /// Said by this program.
    Other { text: String, transient: bool },
}

impl Call {
    /// The error of this call.
    pub(super) fn failed(&self, error: kube::Error) -> Error {
        self.error(match error {
            kube::Error::Api(status) => Problem::Status(*status),
            other => Problem::Client(other),
        })
    }

    /// The error of a watch.
    pub(super) fn watch_failed(&self, error: watcher::Error) -> Error {
        use watcher::Error as Watch;
        match error {
            Watch::InitialListFailed(error) | Watch::WatchStartFailed(error) | Watch::WatchFailed(error) => {
                self.failed(error)
            }
            Watch::WatchError(status) => self.error(Problem::Status(*status)),
            Watch::NoResourceVersion => self.error(Problem::Watch(error)),
        }
    }

    /// No answer within `limit`.
    pub(super) fn timed_out(&self, limit: Duration, last: Option<Error>) -> Error {
        self.error(Problem::Timeout(limit, last.map(Box::new)))
    }

    /// An error in our own words that trying again cannot cure.
    pub(super) fn refused(&self, text: impl Into<String>) -> Error {
        self.error(Problem::Other {
            text: text.into(),
            transient: false,
        })
    }

    /// An error in our own words that may pass.
    pub(super) fn interrupted(&self, text: impl Into<String>) -> Error {
        self.error(Problem::Other {
            text: text.into(),
            transient: true,
        })
    }

    fn error(&self, problem: Problem) -> Error {
        Error {
            call: self.clone(),
            problem: Box::new(problem),
        }
    }
}

impl Error {
    /// The HTTP status of the server's refusal; `None` if it never answered.
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// The server's own words, if it answered.
    pub fn server_message(&self) -> Option<&str> {
        self.status().map(|status| status.message.as_str())
    }

    /// There is no such object, or no such kind.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// We may not, or admission refused it.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// Somebody else changed the object, or it is not the one that was meant.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409) && !self.is_already_exists()
    }

    /// The name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(|status| status.reason == "AlreadyExists")
    }

    /// A list's or watch's place in history is gone: begin again.
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    /// Trying again may help: the server was not reached, is overloaded or broken. What it understood and refused stays
    /// refused.
    pub fn is_transient(&self) -> bool {
        match &*self.problem {
            Problem::Status(status) => matches!(status.code, 408 | 410 | 429) || status.code >= 500,
            Problem::Client(error) => match error {
                kube::Error::Service(_)
                | kube::Error::HyperError(_)
                | kube::Error::ReadEvents(_)
                | kube::Error::UpgradeConnection(_)
                | kube::Error::FromUtf8(_) => true,
                // No JSON at all comes from something in between; JSON of another form will have it the next time too.
                kube::Error::SerdeError(error) => !error.is_data(),
                _ => false,
            },
            Problem::Watch(_) => false,
            Problem::Timeout(..) => true,
            Problem::Other { transient, .. } => *transient,
        }
    }

    fn status(&self) -> Option<&Status> {
        match &*self.problem {
            Problem::Status(status) => Some(status),
            _ => None,
        }
    }
}

/// A list of a kind that the cluster does not serve is empty: an installation without data movement or snapshots need not have
/// their kinds.
pub(crate) fn none_if_unknown<T>(result: Result<Vec<T>, Error>) -> Result<Vec<T>, Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other,
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.kind)?;
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, " {namespace}/{name}"),
            (Some(namespace), None) => write!(f, " in {namespace}"),
            (None, Some(name)) => write!(f, " {name}"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.call)?;
        match &*self.problem {
            Problem::Status(status) => write_status(f, status),
            Problem::Client(error) => f.write_str(&chain(error)),
            Problem::Watch(error) => f.write_str(&chain(error)),
            Problem::Timeout(limit, None) => write!(f, "no answer within {limit:?}"),
            Problem::Timeout(limit, Some(last)) => {
                write!(f, "no success within {limit:?}; last: ")?;
                match &*last.problem {
                    Problem::Status(status) => write_status(f, status),
                    Problem::Client(error) => f.write_str(&chain(error)),
                    Problem::Timeout(limit, None) => write!(f, "no answer within {limit:?}"),
                    _ => last.fmt(f),
                }
            }
            Problem::Other { text, .. } => f.write_str(text),
        }
    }
}

// The source is part of the text already, so a chain walker must not print it again.
impl StdError for Error {}

fn write_status(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    match (status.message.is_empty(), status.reason.is_empty()) {
        (true, true) => write!(f, "status {}", status.code),
        (true, false) => write!(f, "{} {}", status.code, status.reason),
        (false, true) => write!(f, "{} ({})", status.message, status.code),
        (false, false) => write!(f, "{} ({} {})", status.message, status.code, status.reason),
    }
}

/// An error with its sources, each link once: many say in their own text what their source says.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut next = error.source();
    while let Some(error) = next {
        let link = error.to_string();
        if !last.contains(&link) {
            text.push_str(": ");
            text.push_str(&link);
            last = link;
        }
        next = error.source();
    }
    text
}
