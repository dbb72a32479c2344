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

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bed::Bed;
use play::Prepared;
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
    let outcomes = play_all(&bed, scenarios);
    report(&outcomes, began.elapsed())
}

/// Plays scenarios on all providers, one at a time on each; at last those that change the cluster for everybody, when nobody else is
/// there. Their sources and backups do not, and are made before.
fn play_all(bed: &Bed, mut scenarios: Vec<Scenario>) -> Vec<Outcome> {
    // Long ones first, so that none is left alone at the end; and before them those that must wait for each other.
    scenarios.sort_by_key(|s| (s.alone, !s.installation, !s.long, s.name.clone()));
    let queue = Mutex::new(Queue {
        scenarios,
        begun: BTreeSet::new(),
        changing: false,
    });
    let (outcomes, alone) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for provider in &bed.providers {
            scope.spawn(|| {
                let mut shared = Shared::default();
                while let Some(scenario) = next(&queue, provider, &shared) {
                    let began = Instant::now();
                    let prepared = play::prepare(bed, &scenario, provider, &mut shared);
                    let took = began.elapsed();
                    if scenario.alone {
                        alone.lock().unwrap().push((scenario, prepared, took));
                    } else {
                        let outcome = finish(bed, &scenario, prepared, took);
                        outcomes.lock().unwrap().push(outcome);
                        if scenario.installation {
                            queue.lock().unwrap().changing = false;
                        }
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    for (scenario, prepared, took) in alone.into_inner().unwrap() {
        outcomes.push(finish(bed, &scenario, prepared, took));
    }
    outcomes
}

/// What is still to be played.
struct Queue {
    scenarios: Vec<Scenario>,
    /// Applications whose shared backup somebody has begun to make.
    begun: BTreeSet<Vec<String>>,
    /// Somebody plays one that changes the installation. He plays the others of its kind as well, if nobody else is left.
    changing: bool,
}

/// The next one for a provider. Of those that are equally long and equally alone it is one whose shared backup this provider has; or
/// else one whose backup nobody else has either, for each provider has its own.
fn next(queue: &Mutex<Queue>, provider: &str, shared: &Shared) -> Option<Scenario> {
    let mut queue = queue.lock().unwrap();
    let changing = queue.changing;
    let free = || {
        queue
            .scenarios
            .iter()
            .enumerate()
            .filter(|(_, s)| !(changing && s.installation))
    };
    let class = |s: &Scenario| (s.alone, s.installation, s.long);
    let first = class(free().next()?.1);
    let rank = |s: &Scenario| match s.common(provider) {
        Some(backup) if shared.has(&backup) => 0,
        Some(_) if queue.begun.contains(&s.apps) => 2,
        _ => 1,
    };
    let alike = free().take_while(|(_, s)| class(s) == first);
    let (index, _) = alike.min_by_key(|(_, s)| rank(s))?;
    let scenario = queue.scenarios.remove(index);
    queue.changing |= scenario.installation && !scenario.alone;
    if scenario.common(provider).is_some() {
        queue.begun.insert(scenario.apps.clone());
    }
    Some(scenario)
}

/// Plays a scenario from its backup on. `took` is for what came before.
fn finish(bed: &Bed, scenario: &Scenario, prepared: Prepared, took: Duration) -> Outcome {
    let began = Instant::now();
    let played = play::play(bed, prepared);
    let preparing = took;
    let took = took + began.elapsed();
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
    println!(
        "{word:6} {:30} {:4} s ({:2} s for its backup)  {}",
        outcome.name,
        took.as_secs(),
        preparing.as_secs(),
        outcome.got
    );
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
