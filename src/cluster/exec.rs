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
        let status = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        Ok(collect(stdout, stderr, status, kept).await)
    }
}

/// Reads both streams while it waits for the status: the connection stops when one of the pipes is full.
///
/// A connection that broke gives no status, and its pipes are left open for ever: then the streams are not waited for.
async fn collect(
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
    status: impl Future<Output = Option<Status>>,
    kept: usize,
) -> Output {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let reading = async { tokio::join!(drain(stdout, kept, &mut out), drain(stderr, kept, &mut err)) };
        tokio::pin!(reading, status);
        tokio::select! {
            status = &mut status => {
                if status.is_some() {
                    reading.await;
                }
                status
            }
            _ = &mut reading => status.await,
        }
    };
    Output {
        ended: ended(status),
        stdout: out,
        stderr: err,
    }
}

/// Reads a stream to its end and keeps its beginning. An error is an end too: that the connection broke, the status tells.
async fn drain(stream: Option<impl AsyncRead + Unpin>, kept: usize, out: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; PIPE];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let room = kept - out.len();
        out.extend_from_slice(&buffer[..read.min(room)]);
    }
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
    use tokio::io::AsyncWriteExt as _;

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

    fn success() -> Status {
        from_value(json!({ "status": "Success" })).unwrap()
    }

    #[tokio::test]
    async fn the_beginning_is_kept_and_the_rest_is_read() {
        let long = vec![b'x'; 100_000];
        let output = collect(Some(long.as_slice()), Some(&long[..5]), async { Some(success()) }, 10).await;
        assert_eq!(
            (output.ended, output.stdout.as_slice(), output.stderr.as_slice()),
            (Ended::Code(0), &b"xxxxxxxxxx"[..], &b"xxxxx"[..])
        );
    }

    #[tokio::test]
    async fn both_streams_are_read_while_the_command_runs() {
        let (mut out, reader) = tokio::io::duplex(16);
        let (mut err, other) = tokio::io::duplex(16);
        let command = async {
            out.write_all(&[b'o'; 1000]).await.unwrap();
            err.write_all(&[b'e'; 1000]).await.unwrap();
            drop((out, err));
            Some(success())
        };
        let output = collect(Some(reader), Some(other), command, 100).await;
        assert_eq!(
            (output.ended, output.stdout.len(), output.stderr.len()),
            (Ended::Code(0), 100, 100)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_is_not_waited_for() {
        let (mut open, reader) = tokio::io::duplex(16);
        let breaks = async {
            open.write_all(b"started").await.unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            None
        };
        let reading = collect(Some(reader), None::<&[u8]>, breaks, 100);
        let output = tokio::time::timeout(std::time::Duration::from_secs(5), reading)
            .await
            .expect("an end");
        assert_eq!((output.ended, output.stdout.as_slice()), (Ended::Lost, &b"started"[..]));
    }
}
