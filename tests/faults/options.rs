//! What the proxy is told on its command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::draw::{Draw, Kind};

/// `--name value` for each of them.
pub(crate) struct Options {
    /// Where to listen; the port or one of the next that are free.
    pub(crate) listen: SocketAddr,
    /// The API server.
    pub(crate) upstream: SocketAddr,
    /// What it shows to the runner, and the authority that it trusts.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
    /// One JSON line a request.
    pub(crate) log: PathBuf,
    /// While this file exists the API server is away.
    pub(crate) away: PathBuf,
    pub(crate) draw: Draw,
    pub(crate) outage: Option<Outage>,
}

/// The API server goes away when it has done what it was asked first in each of these words (`create velero.io/restores`, `2nd list
/// velero.io/datadownloads`, or `request 57` for the 57th request of all), without an answer.
pub(crate) struct Outage {
    /// The words, and how many more such requests it still does.
    pub(crate) at: Mutex<Vec<(usize, String)>>,
    pub(crate) lasts: Duration,
}

impl Outage {
    /// Does it begin with this request? Once for each of its words.
    pub(crate) fn begins(&self, words: &str, number: &str) -> bool {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = at.iter().position(|(_, at)| at == words || at == number) else {
            return false;
        };
        match &mut at[found].0 {
            0 => _ = at.remove(found),
            more => {
                *more -= 1;
                return false;
            }
        }
        true
    }

    /// From `2nd list pods`, or without a number for the first.
    pub(crate) fn read(words: &str) -> (usize, String) {
        let nth = words.split_once(' ').and_then(|(nth, rest)| {
            let digits = nth.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let nth: usize = digits.parse().ok().filter(|_| digits != nth)?;
            Some((nth.checked_sub(1)?, rest.to_owned()))
        });
        nth.unwrap_or_else(|| (0, words.to_owned()))
    }
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut pairs = std::collections::BTreeMap::new();
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            pairs.insert(name, value);
        }
        let mut take = |name: &str| pairs.remove(name);
        let need = |name: &str, value: Option<String>| value.ok_or_else(|| format!("{name} is missing"));
        let number = |name: &str, value: Option<String>| {
            let value = value.unwrap_or_else(|| "0".to_owned());
            value.parse::<u64>().map_err(|e| format!("{name}: {e}"))
        };
        let address = |name: &str, value: Option<String>| {
            let value = need(name, value)?;
            value.parse::<SocketAddr>().map_err(|e| format!("{name}: {e}"))
        };
        let kinds = take("--kinds").unwrap_or_default();
        let kinds: Vec<Kind> = kinds
            .split(',')
            .filter(|word| !word.is_empty())
            .map(|word| Kind::parse(word).ok_or_else(|| format!("--kinds: there is no fault {word:?}")))
            .collect::<Result<_, _>>()?;
        let lasts = number("--outage-lasts", take("--outage-lasts"))?;
        let options = Self {
            listen: address("--listen", take("--listen"))?,
            upstream: address("--upstream", take("--upstream"))?,
            certificate: need("--certificate", take("--certificate"))?.into(),
            key: need("--key", take("--key"))?.into(),
            authority: need("--authority", take("--authority"))?.into(),
            log: need("--log", take("--log"))?.into(),
            away: need("--away", take("--away"))?.into(),
            draw: Draw::new(
                number("--seed", take("--seed"))?,
                number("--rate", take("--rate"))?,
                &kinds,
            ),
            outage: take("--outage-at").map(|at| Outage {
                at: Mutex::new(at.split(',').map(|words| Outage::read(words.trim())).collect()),
                lasts: Duration::from_secs(lasts),
            }),
        };
        match pairs.keys().next() {
            Some(unknown) => Err(format!("there is no {unknown}")),
            None => Ok(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_with_the_request_that_is_named() {
        let at = ["2nd list pods", "create pods", "request 5"].map(Outage::read);
        let outage = Outage {
            at: Mutex::new(at.into()),
            lasts: Duration::ZERO,
        };
        let begins = [
            ("list pods", false),
            ("create pods", true),
            ("list pods", true),
            ("create pods", false),
            ("get pods", true),
            ("list pods", false),
        ];
        for (number, (words, expected)) in (1..).zip(begins) {
            let number = format!("request {number}");
            assert_eq!(outage.begins(words, &number), expected, "{number} {words}");
        }
    }
}
