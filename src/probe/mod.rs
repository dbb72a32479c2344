//! `kymaros-runner probe …`: runs inside a probe pod, measures what can be reached from there, and answers in the pod's
//! termination message. It takes arguments only; it has no token and knows nothing of the cluster.

mod dial;
mod dns;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use tokio::net::TcpListener;

use crate::build::probe::Probe;

/// Where the kubelet takes the termination message from.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// The resolver's configuration as the kubelet wrote it for this pod.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// `EX_USAGE`.
const USAGE: u8 = 64;

/// Runs the probe that `args` (without the subcommand's name) ask for. A measurement that could be made is a success,
/// whatever it showed: the fence judges it.
pub async fn run(args: &[String]) -> ExitCode {
    match Probe::from_args(args) {
        Err(message) => end(&message, ExitCode::from(USAGE)),
        Ok(Probe::Serve { port }) => match serve(port).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => end(&format!("cannot listen on port {port}: {error}"), ExitCode::FAILURE),
        },
        Ok(Probe::Dial(dial)) => {
            let outcome = dial::measure(&dial, &nameservers()).await;
            match serde_json::to_string(&outcome) {
                Ok(json) => end(&json, ExitCode::SUCCESS),
                Err(error) => end(&error.to_string(), ExitCode::FAILURE),
            }
        }
    }
}

/// The name servers of this pod.
pub(crate) fn nameservers() -> Vec<SocketAddr> {
    std::fs::read_to_string(RESOLV_CONF).map_or_else(|_| Vec::new(), |text| dns::nameservers(&text))
}

/// An answer that cannot be written is no answer, so then the probe has failed.
fn end(message: &str, code: ExitCode) -> ExitCode {
    match write_message(Path::new(TERMINATION_LOG), message) {
        Ok(()) => code,
        Err(error) => {
            tracing::error!(%error, answer = message, "the termination message could not be written");
            ExitCode::FAILURE
        }
    }
}

/// The kubelet made the file and mounted it; it is written in place, for its folder cannot be written to.
fn write_message(path: &Path, message: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)?
        .write_all(message.as_bytes())
}

/// Takes connections and closes them, until the pod is deleted.
async fn serve(port: u16) -> std::io::Result<()> {
    let listener = listen(port).await?;
    loop {
        if listener.accept().await.is_err() {
            // Out of file descriptors or the like; connections already queued still complete in the kernel.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// Listens on every address of the pod: the IPv6 wildcard takes IPv4 as well, and a kernel without IPv6 has only IPv4.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_replaces_what_was_there_and_needs_the_file() {
        let folder = std::env::temp_dir().join(format!("kymaros-probe-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("termination-log");
        assert!(
            write_message(&file, "x").is_err(),
            "the kubelet makes the file, not the probe"
        );
        std::fs::write(&file, "something longer").unwrap();
        write_message(&file, "{}").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn the_peer_takes_connections() {
        let listener = listen(0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let server = tokio::spawn(serve(port));
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let mut connected = false;
        for _ in 0..50 {
            connected = tokio::net::TcpStream::connect(target).await.is_ok();
            if connected {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        server.abort();
        assert!(connected);
    }
}
