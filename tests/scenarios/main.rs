//! Plays scenarios on a real cluster with a real Velero: one file each, what is deployed, what goes wrong, and the verdict it
//! must give. `tests/scenarios/README.md` says how a file looks.
//!
//! `cargo test --test scenarios -- FOLDER[,FOLDER…] [NAME...]` with `KYMAROS_TEST_KUBECONFIG`, and `KYMAROS_TEST_PROVIDERS` for the namespaces
//! of the Velero servers, one scenario at a time on each.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

mod bed;
mod play;
mod proxy;
mod scenario;
mod source;
mod verdict;

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bed::Bed;
use scenario::Scenario;
use source::Shared;

/// How a scenario went.
struct Outcome {
    name: String,
    healthy: bool,
    took: Duration,
    expected: String,
    got: String,
    problems: Vec<String>,
}

fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if names.is_empty() {
        println!("which folder?");
        return ExitCode::FAILURE;
    }
    let folder = names.remove(0);
    let bed = match Bed::from_environment() {
        Ok(bed) => bed,
        Err(message) => {
            println!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let folders = folder.split(',').map(|folder| scenario::load(Path::new(folder)));
    let mut scenarios = match folders.collect::<Result<Vec<_>, _>>().map(|all| all.concat()) {
        Ok(scenarios) => scenarios,
        Err(message) => {
            println!("{message}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(unknown) = names.iter().find(|name| !scenarios.iter().any(|s| s.name == **name)) {
        println!("there is no scenario {unknown}");
        return ExitCode::FAILURE;
    }
    scenarios.retain(|s| names.is_empty() || names.contains(&s.name));
    let began = Instant::now();
    let (alone, together): (Vec<Scenario>, Vec<Scenario>) = scenarios.into_iter().partition(|s| s.alone);
    let mut outcomes = side_by_side(&bed, together);
    // What changes the cluster for everybody is played when nobody else is there.
    for scenario in alone {
        outcomes.push(play_one(&bed, &scenario, &bed.providers[0], &mut Shared::default()));
    }
    report(&outcomes, began.elapsed())
}

/// Plays scenarios on all providers, one at a time on each.
fn side_by_side(bed: &Bed, mut scenarios: Vec<Scenario>) -> Vec<Outcome> {
    // Long ones first, so that none is left alone at the end.
    scenarios.sort_by_key(|s| (std::cmp::Reverse(s.long), s.name.clone()));
    let queue = Mutex::new(VecDeque::from(scenarios));
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for provider in &bed.providers {
            scope.spawn(|| {
                let mut shared = Shared::default();
                while let Some(scenario) = next(&queue) {
                    let outcome = play_one(bed, &scenario, provider, &mut shared);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

fn next(queue: &Mutex<VecDeque<Scenario>>) -> Option<Scenario> {
    queue.lock().unwrap().pop_front()
}

fn play_one(bed: &Bed, scenario: &Scenario, provider: &str, shared: &mut Shared) -> Outcome {
    let began = Instant::now();
    let played = play::play(bed, scenario, provider, shared);
    let took = began.elapsed();
    let outcome = Outcome {
        name: scenario.name.clone(),
        healthy: scenario.healthy,
        took,
        expected: scenario.expected(),
        got: match played.behind {
            Some(behind) if behind != played.got => format!("{behind}, then {}", played.got),
            _ => played.got,
        },
        problems: played.problems,
    };
    let word = if outcome.problems.is_empty() { "ok" } else { "FAILED" };
    println!("{word:6} {:30} {:4} s  {}", outcome.name, took.as_secs(), outcome.got);
    for problem in &outcome.problems {
        println!("       {problem}");
    }
    outcome
}

fn report(outcomes: &[Outcome], took: Duration) -> ExitCode {
    let failed = outcomes.iter().filter(|o| !o.problems.is_empty()).count();
    println!("\n{:30} {:>5}   {:38} got", "scenario", "s", "expected");
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by_key(|o| (!o.healthy, &o.name));
    for outcome in sorted {
        let mark = if outcome.problems.is_empty() { ' ' } else { '!' };
        println!(
            "{:30} {:>5} {mark} {:38} {}",
            outcome.name,
            outcome.took.as_secs(),
            outcome.expected,
            outcome.got
        );
    }
    let healthy = outcomes.iter().filter(|o| o.healthy);
    let (fit, all) = healthy.fold((0, 0), |(fit, all), o| {
        (fit + usize::from(o.problems.is_empty()), all + 1)
    });
    if all > 0 {
        println!("healthy applications: {fit} of {all} are worth 100 points");
    }
    println!(
        "{} of {} scenarios as expected, {} s",
        outcomes.len() - failed,
        outcomes.len(),
        took.as_secs()
    );
    if failed == 0 && !outcomes.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
