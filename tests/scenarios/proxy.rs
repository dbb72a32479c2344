//! The proxy that stands between one run and the API server: `tests/faults`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::scenario::Run;

/// Lives as long as its run.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    /// Its end is the proxy's.
    input: Option<ChildStdin>,
    /// Where the runner finds the API server.
    pub(crate) host: String,
    pub(crate) port: String,
    /// While it exists, the API server is away.
    pub(crate) away: PathBuf,
    log: PathBuf,
}

impl Proxy {
    /// Starts the proxy that a run asks for; `None` if it asks for none.
    pub(crate) fn start(run: &Run, logs: &Path, job: &str) -> Result<Option<Self>, String> {
        let mut options: Vec<String> = Vec::new();
        let mut option = |name: &str, value: String| options.extend([format!("--{name}"), value]);
        if let Some(faults) = &run.faults {
            option("seed", faults.seed.to_string());
            option("rate", faults.rate.to_string());
            option("kinds", faults.kinds.join(","));
        }
        if let Some(outage) = &run.outage {
            option("outage-at", outage.at.clone());
            option("outage-lasts", outage.seconds.to_string());
        }
        if options.is_empty() {
            return Ok(None);
        }
        fs::create_dir_all(logs).map_err(|e| e.to_string())?;
        let log = logs.join(format!("{job}.requests"));
        let away = logs.join(format!("{job}.away"));
        drop(fs::remove_file(&away));
        let mut child = Command::new("tests/faults/start")
            .args([&log, &away])
            .args(&options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("tests/faults/start: {e}"))?;
        let mut address = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut address)
                .map_err(|e| e.to_string())?;
        }
        let input = child.stdin.take();
        let (host, port) = address
            .trim()
            .rsplit_once(':')
            .ok_or("the proxy of tests/faults did not start")?;
        Ok(Some(Self {
            input,
            host: host.to_owned(),
            port: port.to_owned(),
            away,
            log,
            child,
        }))
    }

    /// How to look at what it did, and to have it again.
    pub(crate) fn again(&self, run: &Run) -> String {
        let log = self.log.display();
        match &run.faults {
            Some(faults) if faults.rate > 0 => {
                format!(
                    "seed {seed}, again: tests/soak/faults {seed}; its requests: {log}",
                    seed = faults.seed
                )
            }
            _ => format!("its requests: {log}"),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.child.wait());
        drop(fs::remove_file(&self.away));
    }
}
