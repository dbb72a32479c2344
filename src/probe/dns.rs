//! One DNS question by hand. The C library's resolver would do, but it has its own timeouts of many seconds, cannot be
//! stopped, and hides whether nobody answered or the answer was no.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The port of DNS.
const PORT: u16 = 53;
/// An answer to a question about the cluster's own names comes within this, or the packet was lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// The name servers of a `resolv.conf`.
pub(super) fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, PORT))
        .collect()
}

/// Asks each server in turn for the absolute `name`. The name exists when a server answers without error; whether it has
/// an address of this or that family does not matter here.
pub(super) async fn ask(servers: &[SocketAddr], name: &str) -> Result<(), String> {
    let mut last = "no name server is configured".to_owned();
    for server in servers {
        match ask_one(*server, name).await {
            Ok(()) => return Ok(()),
            Err(error) => last = format!("{server}: {error}"),
        }
    }
    Err(last)
}

async fn ask_one(server: SocketAddr, name: &str) -> Result<(), String> {
    let question = question(name).ok_or("the name cannot be asked for")?;
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let exchange = async {
        let socket = UdpSocket::bind(any).await?;
        // A connected socket takes packets from the server only.
        socket.connect(server).await?;
        socket.send(&question).await?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).await?;
        Ok::<_, std::io::Error>((answer, length))
    };
    match timeout(PATIENCE, exchange).await {
        Err(_) => Err("no answer".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok((answer, length))) => verdict(answer.get(..length).unwrap_or_default()),
    }
}

/// A question for the A records of `name`. Its id is constant: the socket is connected and used once.
fn question(name: &str) -> Option<Vec<u8>> {
    let mut message = vec![b'k', b'y', 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for part in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(part.len()).ok().filter(|n| (1..64).contains(n))?;
        message.push(length);
        message.extend_from_slice(part.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    Some(message)
}

/// What an answer says: its code stands in the lower half of the fourth byte.
fn verdict(answer: &[u8]) -> Result<(), String> {
    match answer {
        [b'k', b'y', flags, codes, ..] if flags & 0x80 != 0 => match codes & 0x0f {
            0 => Ok(()),
            3 => Err("no such name".to_owned()),
            code => Err(format!("DNS error {code}")),
        },
        _ => Err("not an answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read() {
        let text = "search shop.svc.cluster.local\nnameserver 10.96.0.10\n# nameserver 1.1.1.1\nnameserver\tfd00::a\nnameserver x\n";
        let expected: Vec<SocketAddr> = vec!["10.96.0.10:53".parse().unwrap(), "[fd00::a]:53".parse().unwrap()];
        assert_eq!(nameservers(text), expected);
    }

    #[test]
    fn names_are_written_by_labels() {
        assert_eq!(question("a.bc.").unwrap()[12..], *b"\x01a\x02bc\x00\x00\x01\x00\x01");
        assert_eq!(question(""), None);
        assert_eq!(question(&"x".repeat(64)), None);
    }

    #[tokio::test]
    async fn the_answers_code_decides() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let task = tokio::spawn(async move {
            for code in [0, 3, 2] {
                let mut buffer = [0; 512];
                let (length, from) = server.recv_from(&mut buffer).await.unwrap();
                buffer[2] |= 0x80;
                buffer[3] = code;
                server.send_to(&buffer[..length], from).await.unwrap();
            }
        });
        let servers = [address];
        assert_eq!(ask(&servers, "kubernetes.default.svc.cluster.local").await, Ok(()));
        assert!(ask(&servers, "x.y").await.unwrap_err().ends_with("no such name"));
        assert!(ask(&servers, "x.y").await.unwrap_err().ends_with("DNS error 2"));
        task.await.unwrap();
        assert!(ask(&[], "x").await.is_err());
        // Nobody listens any more: refused or silent, but never an answer.
        assert!(ask(&servers, "x.y").await.is_err());
    }
}
