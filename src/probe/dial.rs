//! The measurement: forbidden addresses without pause, needed ones until they answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::dns;
use crate::build::probe::{Dial, Outcome};

/// A new connection is begun this often: a lost SYN is repeated by the kernel only after a second, and a hole in the fence
/// may be open for much less.
const PACE: Duration = Duration::from_millis(25);
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// Forbidden addresses are tried for this long after the network was seen to work: silence before it did proves nothing.
const SETTLE: Duration = Duration::from_millis(300);

/// One attempt's end.
struct Report {
    target: String,
    forbidden: bool,
    result: Result<(), String>,
}

/// Makes the measurement that `dial` describes.
pub(super) async fn measure(dial: &Dial, nameservers: &[SocketAddr]) -> Outcome {
    let start = Instant::now();
    let (reports, mut inbox) = mpsc::channel(64);
    // Dropped at the end of this function, which stops every attempt.
    let mut attempts = JoinSet::new();
    for target in &dial.forbidden {
        attempts.spawn(keep_dialling(*target, true, reports.clone()));
    }
    for target in &dial.needed {
        attempts.spawn(keep_dialling(*target, false, reports.clone()));
    }
    for name in &dial.names {
        attempts.spawn(keep_asking(name.clone(), nameservers.to_vec(), reports.clone()));
    }

    let mut outcome = Outcome::default();
    let mut open = dial.needed.len() + dial.names.len();
    let last = start + dial.at_most.max(dial.at_least);
    let mut end = if open == 0 { start + dial.at_least } else { last };
    loop {
        let report = tokio::select! {
            biased;
            report = inbox.recv() => report,
            () = sleep_until(end) => None,
        };
        let Some(Report {
            target,
            forbidden,
            result,
        }) = report
        else {
            break;
        };
        if let Err(error) = result {
            if !outcome.reached.contains_key(&target) {
                outcome.failed.insert(target, error);
            }
            continue;
        }
        outcome.failed.remove(&target);
        outcome.reached.insert(target, millis(start.elapsed()));
        if forbidden {
            break;
        }
        open -= 1;
        if open == 0 {
            let settled = if dial.forbidden.is_empty() {
                Duration::ZERO
            } else {
                SETTLE
            };
            end = (start + dial.at_least).max(Instant::now() + settled).min(last);
        }
    }
    complete(&mut outcome.failed, &outcome.reached, dial);
    outcome.elapsed_ms = millis(start.elapsed());
    outcome
}

/// Every target is in the answer, also one whose first attempt had not ended.
fn complete(failed: &mut BTreeMap<String, String>, reached: &BTreeMap<String, u64>, dial: &Dial) {
    let addresses = dial.forbidden.iter().chain(&dial.needed).map(ToString::to_string);
    for target in addresses.chain(dial.names.iter().cloned()) {
        if !reached.contains_key(&target) {
            failed.entry(target).or_insert_with(|| "no answer".to_owned());
        }
    }
}

/// Begins a connection at every tick, without waiting for the one before. A needed target is left alone once reached.
async fn keep_dialling(target: SocketAddr, forbidden: bool, reports: mpsc::Sender<Report>) {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = JoinSet::new();
    loop {
        let result = tokio::select! {
            _ = ticks.tick() => {
                running.spawn(connect(target));
                continue;
            }
            Some(Ok(result)) = running.join_next() => result,
        };
        let reached = result.is_ok();
        let report = Report {
            target: target.to_string(),
            forbidden,
            result,
        };
        if reports.send(report).await.is_err() || reached {
            return;
        }
    }
}

/// Only an opened connection counts as reached: a refusal may come from the fence itself, for some network plugins reject
/// where others drop.
async fn connect(target: SocketAddr) -> Result<(), String> {
    match timeout(PATIENCE, TcpStream::connect(target)).await {
        Err(_) => Err("no answer".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(_)) => Ok(()),
    }
}

/// Asks until the name is known.
async fn keep_asking(name: String, servers: Vec<SocketAddr>, reports: mpsc::Sender<Report>) {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let result = dns::ask(&servers, &name).await;
        let answered = result.is_ok();
        let report = Report {
            target: name.clone(),
            forbidden: false,
            result,
        };
        if reports.send(report).await.is_err() || answered {
            return;
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn open_port() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn closed_port() -> SocketAddr {
        open_port().await.1
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[tokio::test]
    async fn without_anything_forbidden_it_ends_when_all_is_reached() {
        let (_a, a) = open_port().await;
        let (_b, b) = open_port().await;
        let dial = Dial {
            needed: vec![a, b],
            at_most: ms(5_000),
            ..Dial::default()
        };
        let outcome = measure(&dial, &[]).await;
        assert_eq!(outcome.reached.len(), 2);
        assert!(outcome.failed.is_empty());
        assert!(outcome.elapsed_ms < 1_000, "{outcome:?}");
    }

    #[tokio::test]
    async fn a_breach_ends_it_at_once() {
        let (_a, a) = open_port().await;
        let dial = Dial {
            forbidden: vec![closed_port().await, a],
            at_least: ms(5_000),
            at_most: ms(5_000),
            ..Dial::default()
        };
        let outcome = measure(&dial, &[]).await;
        assert_eq!(outcome.reached_of(&dial.forbidden), [&a]);
        assert!(outcome.elapsed_ms < 1_000, "{outcome:?}");
    }

    #[tokio::test]
    async fn a_hole_that_opens_late_is_seen() {
        let address = closed_port().await;
        let dial = Dial {
            forbidden: vec![address],
            at_least: ms(3_000),
            at_most: ms(3_000),
            ..Dial::default()
        };
        let hole = async {
            tokio::time::sleep(ms(200)).await;
            let listener = TcpListener::bind(address).await.unwrap();
            tokio::time::sleep(ms(150)).await;
            drop(listener);
        };
        let (outcome, ()) = tokio::join!(measure(&dial, &[]), hole);
        assert_eq!(outcome.reached_of(&dial.forbidden), [&address]);
    }

    #[tokio::test]
    async fn it_lasts_as_long_as_it_should_and_says_what_failed() {
        let (closed, (_needed, needed)) = (closed_port().await, open_port().await);
        let dial = Dial {
            forbidden: vec![closed],
            needed: vec![needed],
            at_least: ms(400),
            at_most: ms(5_000),
            ..Dial::default()
        };
        let outcome = measure(&dial, &[]).await;
        assert!((400..2_000).contains(&outcome.elapsed_ms), "{outcome:?}");
        assert!(outcome.failed[&closed.to_string()].contains("refused"), "{outcome:?}");
        assert!(outcome.reached.contains_key(&needed.to_string()));
    }

    #[tokio::test]
    async fn what_is_needed_and_never_comes_ends_it_at_the_limit() {
        let dial = Dial {
            needed: vec![closed_port().await],
            names: vec!["x.y".to_owned()],
            at_least: ms(50),
            at_most: ms(300),
            ..Dial::default()
        };
        let outcome = measure(&dial, &[]).await;
        assert!(outcome.reached.is_empty());
        assert_eq!(outcome.failed["x.y"], "no name server is configured");
        assert!((300..2_000).contains(&outcome.elapsed_ms), "{outcome:?}");
    }
}
