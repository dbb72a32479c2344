//! A command in a container: both its output streams, bounded, and how it ended.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::Error;
use super::objects::Objects;

/// The pipes between connection and reader. Their default of 1 KiB would make a round for each KiB.
const PIPE: usize = 16 << 10;

/// What a command said, and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// How it ended.
    pub ended: Ended,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With this exit code.
    Code(i32),
    /// It was never run, or its end is unknown to the node: the node's words.
    Refused(String),
    /// The connection broke before it ended. It may still be running.
    Lost,
}

impl Objects<Pod> {
    /// Runs a command in a container, without a terminal and without input, and waits for its end: how long, the caller
    /// bounds. Of each output stream the first `kept` bytes are kept; the rest is read too, or the command would stall.
    pub async fn exec(&self, pod: &str, container: &str, command: &[String], kept: usize) -> Result<Output, Error> {
        let params = AttachParams::default()
            .container(container)
            .stdin(false)
            .stdout(true)
            .stderr(true)
            .max_stdout_buf_size(PIPE)
            .max_stderr_buf_size(PIPE);
        let process = self.api().exec(pod, command, &params).await;
        let mut process = process.map_err(|error| self.named("exec in", pod).failed(error))?;
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        // All three at once: the connection stops when one of the pipes is full.
        let (stdout, stderr, status) = tokio::join!(drain(stdout, kept), drain(stderr, kept), async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        });
        Ok(Output {
            ended: ended(status),
            stdout,
            stderr,
        })
    }
}

/// Reads a stream to its end and keeps its beginning. An error is an end too: that the connection broke, the status tells.
async fn drain(stream: Option<impl AsyncRead + Unpin>, kept: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(mut stream) = stream else { return out };
    let mut buffer = vec![0; PIPE];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let room = kept - out.len();
        out.extend_from_slice(&buffer[..read.min(room)]);
    }
    out
}

/// Reads the status that ends a command.
fn ended(status: Option<Status>) -> Ended {
    let Some(status) = status else { return Ended::Lost };
    if status.status.as_deref() == Some("Success") {
        return Ended::Code(0);
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes
        .iter()
        .filter(|_| status.reason.as_deref() == Some("NonZeroExitCode"))
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse().ok());
    match code {
        Some(code) => Ended::Code(code),
        None => Ended::Refused(status.message.or(status.reason).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn read(status: Value) -> Ended {
        ended(Some(from_value(status).unwrap()))
    }

    #[test]
    fn the_status_tells_the_exit_code() {
        assert_eq!(read(json!({ "metadata": {}, "status": "Success" })), Ended::Code(0));
        let failed = json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": "command terminated with non-zero exit code: exit status 3",
            "details": { "causes": [{ "reason": "ExitCode", "message": "3" }] },
        });
        assert_eq!(read(failed), Ended::Code(3));
    }

    #[test]
    fn anything_else_is_no_exit_code() {
        let never = json!({ "status": "Failure", "reason": "InternalError", "message": "executable file not found" });
        assert_eq!(read(never), Ended::Refused("executable file not found".into()));
        let garbled = json!({
            "status": "Failure", "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": "many" }] },
        });
        assert_eq!(read(garbled), Ended::Refused("NonZeroExitCode".into()));
        assert_eq!(ended(None), Ended::Lost);
    }

    #[tokio::test]
    async fn the_beginning_is_kept_and_the_rest_is_read() {
        let long = vec![b'x'; 100_000];
        assert_eq!(drain(Some(long.as_slice()), 10).await, b"xxxxxxxxxx");
        assert_eq!(drain(Some(&long[..5]), 10).await, b"xxxxx");
        assert_eq!(drain(None::<&[u8]>, 10).await, b"");
    }
}
