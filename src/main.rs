//! The binary: environment and arguments in, exit code out.

use std::process::ExitCode;

use kymaros_runner::settings::{self, Logging, Mistake, Settings, SweepSettings};
use kymaros_runner::{dns, logging, probe, run, sweep};

const USAGE: u8 = 64;

const HELP: &str = "\
kymaros-runner restores a backup into a throw-away sandbox, validates it and writes one RestoreReport.

  kymaros-runner          one run of the RestoreTest that RESTORE_TEST_NAME names
  kymaros-runner sweep    removes what dead runs have left
  kymaros-runner probe    measures reachability from inside a sandbox; started by a run
  kymaros-runner dns      serves names inside a sandbox; started by a run

Settings come from the environment; docs/settings.md lists them.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = arguments.first().map(String::as_str);
    if command == Some("probe") {
        return block_on(probe::run(&arguments[1..])).unwrap_or(ExitCode::FAILURE);
    }
    if command == Some("dns") {
        logging::start(&Logging::plain());
        return block_on(dns::run(&arguments[1..])).unwrap_or(ExitCode::FAILURE);
    }
    let environment = settings::environment();
    let logged = Logging::read(&environment);
    logging::start(logged.as_ref().unwrap_or(&Logging::plain()));
    let mistakes = logged.err().unwrap_or_default();
    match (command, arguments.len()) {
        (None, _) => match Settings::read(&environment) {
            Ok(settings) if mistakes.is_empty() => {
                block_on(run::run(&settings)).map_or(ExitCode::FAILURE, |exit| exit.code().into())
            }
            read => wrong(mistakes, read.err()),
        },
        (Some("sweep"), 1) => match SweepSettings::read(&environment) {
            Ok(settings) if mistakes.is_empty() => block_on(sweep::run(&settings)).unwrap_or(ExitCode::FAILURE),
            read => wrong(mistakes, read.err()),
        },
        (Some("--help" | "-h" | "help"), 1) => print(HELP),
        (Some("--version" | "-V"), 1) => print(concat!("kymaros-runner ", env!("CARGO_PKG_VERSION"))),
        _ => {
            tracing::error!(arguments = arguments.join(" "), "unknown arguments\n{HELP}");
            USAGE.into()
        }
    }
}

/// What was asked for goes to the standard output, unlike the log.
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// All mistakes at once, then the exit code for a wrong environment.
fn wrong(mut mistakes: Vec<Mistake>, more: Option<Vec<Mistake>>) -> ExitCode {
    mistakes.extend(more.unwrap_or_default());
    for mistake in mistakes {
        tracing::error!("{mistake}");
    }
    USAGE.into()
}

/// One thread is enough: the program waits on networks all day.
fn block_on<T>(future: impl Future<Output = T>) -> Option<T> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(future);
            // A name that is still being looked up must not keep the process.
            runtime.shutdown_background();
            Some(outcome)
        }
        Err(error) => {
            tracing::error!(%error, "the runtime could not be started");
            None
        }
    }
}
