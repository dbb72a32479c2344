//! Which fault a request meets. Drawn from the seed, what is asked, and how often it was asked before: so a seed shows the same
//! faults again although requests come in another order and under other names.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Uri};
use kymaros_runner::cluster::ApiCall;

/// What may go wrong. Each is something that real API servers, load balancers and networks do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The connection ends before the request was handed on.
    Close,
    /// The request is handed on, and its answer lost.
    Lost,
    /// It takes its time.
    Delay,
    /// A watch or a session in a pod ends early.
    Cut,
    /// A watch says nothing for a while, and then goes on.
    Stall,
    /// A watch never says anything again, and its connection stays open. Noticed after a minute.
    Dead,
    /// A request is not handed on, and its connection stays open: the other end is gone without a word.
    Hang,
    /// 409, nothing done.
    Conflict,
    /// 429, with `Retry-After` or without.
    Busy,
    /// 500.
    Error,
    /// 503.
    Unavailable,
    /// 200 with a body that is no JSON; a page of something in between.
    Garbage,
    /// The request is handed on, and its answer breaks off.
    Truncated,
    /// 502 with a page for people.
    Html,
}

impl Kind {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Close, "close"),
        (Self::Lost, "lost"),
        (Self::Delay, "delay"),
        (Self::Cut, "cut"),
        (Self::Stall, "stall"),
        (Self::Dead, "dead"),
        (Self::Hang, "hang"),
        (Self::Conflict, "conflict"),
        (Self::Busy, "busy"),
        (Self::Error, "error"),
        (Self::Unavailable, "unavailable"),
        (Self::Garbage, "garbage"),
        (Self::Truncated, "truncated"),
        (Self::Html, "html"),
    ];

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == word).map(|(kind, _)| *kind)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    /// Can a request of this sort meet it?
    fn fits(self, asked: &Asked) -> bool {
        match self {
            Self::Close | Self::Delay | Self::Busy | Self::Error | Self::Unavailable | Self::Html => true,
            Self::Cut => asked.sort != Sort::Plain,
            Self::Stall | Self::Dead => asked.sort == Sort::Watch,
            Self::Garbage => asked.sort != Sort::Session,
            Self::Lost | Self::Truncated | Self::Hang => asked.sort == Sort::Plain,
            Self::Conflict => asked.may_conflict,
        }
    }
}

/// How a request goes on after its head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sort {
    Plain,
    Watch,
    /// A stream into a pod, over WebSocket.
    Session,
}

/// A request, without the names that differ from run to run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Asked {
    /// E.g. `create velero.io/restores`, `try namespaces` for a dry run.
    pub(crate) words: String,
    pub(crate) sort: Sort,
    /// A write that is held against a version or a quota.
    may_conflict: bool,
}

impl Asked {
    pub(crate) fn of(method: &Method, uri: &Uri) -> Self {
        let call = ApiCall::of(method, uri);
        let dry = uri.query().is_some_and(|query| query.contains("dryRun="));
        let sort = match call.subresource.as_str() {
            "exec" | "attach" | "portforward" => Sort::Session,
            _ if call.verb == "watch" => Sort::Watch,
            _ => Sort::Plain,
        };
        let verb = if dry { "try" } else { call.verb };
        let parts = [&call.group, &call.resource, &call.subresource].map(String::as_str);
        let words: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        // Quotas are counted in sandboxes only, and only what they count can be in each other's way.
        let counted = call.namespace.contains("-kymaros-") && call.group.is_empty();
        let may_conflict = match call.verb {
            "update" | "patch" => true,
            "create" => counted,
            _ => false,
        };
        Self {
            words: format!("{verb} {}", words.join("/")),
            sort,
            may_conflict: may_conflict && sort == Sort::Plain,
        }
    }
}

/// A fault, and the numbers that belong to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    luck: u64,
}

impl Fault {
    /// A duration between these, in milliseconds.
    pub(crate) fn between(self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + (self.luck >> 8) % (most - least + 1))
    }

    /// Heads or tails.
    pub(crate) fn coin(self) -> bool {
        self.luck & 1 == 1
    }
}

/// Draws faults.
pub(crate) struct Draw {
    seed: u64,
    /// Of a hundred requests.
    rate: u64,
    kinds: Vec<Kind>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Draw {
    /// Without `kinds` all but the one that takes a minute.
    pub(crate) fn new(seed: u64, rate: u64, kinds: &[Kind]) -> Self {
        let usual = Kind::ALL
            .iter()
            .map(|(kind, _)| *kind)
            .filter(|kind| !matches!(kind, Kind::Dead | Kind::Hang));
        Self {
            seed,
            rate,
            kinds: if kinds.is_empty() {
                usual.collect()
            } else {
                kinds.to_vec()
            },
            counts: Mutex::default(),
        }
    }

    /// The fault of this request, if it has one, and which of its sort it was.
    pub(crate) fn fault(&self, asked: &Asked) -> (u64, Option<Fault>) {
        let nth = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(asked.words.clone()).or_insert(0);
            *count += 1;
            *count
        };
        let mut state = asked
            .words
            .bytes()
            .fold(self.seed ^ nth.rotate_left(32), |state, byte| {
                mixed(state ^ u64::from(byte))
            });
        let mut next = || {
            state = mixed(state);
            state
        };
        let fits: Vec<Kind> = self.kinds.iter().copied().filter(|kind| kind.fits(asked)).collect();
        let struck = next() % 100 < self.rate;
        let pick = usize::try_from(next() >> 1).unwrap_or(usize::MAX);
        let luck = next();
        let kind = fits.get(pick.checked_rem(fits.len()).unwrap_or(0));
        (nth, kind.filter(|_| struck).map(|kind| Fault { kind: *kind, luck }))
    }
}

/// One step of splitmix64.
fn mixed(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, path: &str) -> Asked {
        Asked::of(method, &path.parse().unwrap())
    }

    fn faults(seed: u64, asked: &Asked) -> Vec<Option<Kind>> {
        let draw = Draw::new(seed, 15, &[]);
        (0..1000).map(|_| draw.fault(asked).1.map(|fault| fault.kind)).collect()
    }

    #[test]
    fn a_seed_shows_the_same_faults_again_under_other_names() {
        let one = asked(&Method::GET, "/api/v1/namespaces/a-kymaros-abc123/pods/x");
        let other = asked(&Method::GET, "/api/v1/namespaces/b-kymaros-zzz999/pods/y");
        assert_eq!(faults(7, &one), faults(7, &other));
        assert_ne!(faults(7, &one), faults(8, &one));
        let struck = faults(7, &one).iter().flatten().count();
        assert!((100..200).contains(&struck), "{struck} of 1000 at 15 %");
    }

    #[test]
    fn a_request_meets_only_what_a_real_one_can() {
        let list = asked(&Method::GET, "/api/v1/namespaces/a/pods");
        let watch = asked(&Method::GET, "/api/v1/namespaces/a/pods?watch=true");
        let exec = asked(&Method::GET, "/api/v1/namespaces/a/pods/x/exec?command=true");
        let patch = asked(&Method::PATCH, "/api/v1/namespaces/a");
        let delete = asked(&Method::DELETE, "/api/v1/namespaces/a");
        let restore = asked(&Method::POST, "/apis/velero.io/v1/namespaces/velero/restores");
        let pod = asked(&Method::POST, "/api/v1/namespaces/a-kymaros-abc123/pods");
        for (asked, kind, fits) in [
            (&list, Kind::Conflict, false),
            (&list, Kind::Cut, false),
            (&list, Kind::Truncated, true),
            (&watch, Kind::Stall, true),
            (&watch, Kind::Lost, false),
            (&exec, Kind::Cut, true),
            (&exec, Kind::Garbage, false),
            (&patch, Kind::Conflict, true),
            (&delete, Kind::Conflict, false),
            (&restore, Kind::Conflict, false),
            (&pod, Kind::Conflict, true),
        ] {
            assert_eq!(kind.fits(asked), fits, "{asked:?} {kind:?}");
            assert!(fits || !faults(1, asked).contains(&Some(kind)), "{asked:?} {kind:?}");
        }
        assert!(faults(1, &list).iter().flatten().count() > 0);
        assert!(!faults(1, &watch).contains(&Some(Kind::Dead)), "it has to be asked for");
        assert!(!faults(1, &list).contains(&Some(Kind::Hang)), "so has this");
    }

    #[test]
    fn requests_have_words() {
        for (method, path, words) in [
            (Method::GET, "/api/v1/namespaces/a/pods", "list pods"),
            (Method::POST, "/api/v1/namespaces?dryRun=All", "try namespaces"),
            (
                Method::PATCH,
                "/apis/restore.kymaros.io/v1alpha1/namespaces/a/restorereports/r/status",
                "patch restore.kymaros.io/restorereports/status",
            ),
        ] {
            assert_eq!(asked(&method, path).words, words);
        }
    }
}
