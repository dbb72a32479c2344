//! The cluster's DNS.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Largest answer by UDP that no network fragments.
pub(super) const PAYLOAD: u16 = 1232;
/// A lost packet is sent again after this: below the 5 s after which common resolvers give up on us.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Each server is asked so often.
const TRIES: usize = 2;

/// Where the cluster's DNS answers.
#[derive(Debug)]
pub(super) struct Upstream {
    servers: Vec<SocketAddr>,
}

impl Upstream {
    pub(super) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// Asks the servers in turn. An answer that is cut is asked for again by TCP.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> io::Result<Message> {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(name.clone(), kind));
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        question.set_edns(edns);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no name server is configured");
        for _ in 0..TRIES {
            for server in &self.servers {
                match timeout(PATIENCE, exchange(*server, &question)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => last = error,
                    Err(_) => last = io::ErrorKind::TimedOut.into(),
                }
            }
        }
        Err(last)
    }
}

async fn exchange(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    // A new port for each question, and connected: nobody else's packets are taken for the answer.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut buffer = [0; PAYLOAD as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Ok(answer) = Message::from_vec(buffer.get(..length).unwrap_or_default()) else {
            continue;
        };
        if !answers(&answer, question) {
            continue;
        }
        if answer.metadata.truncation {
            return by_tcp(server, question).await;
        }
        return Ok(answer);
    }
}

fn answers(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id && answer.queries == question.queries
}

/// One question and its answer by TCP.
pub(super) async fn by_tcp(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, &bytes).await?;
    let answer = Message::from_vec(&read_message(&mut stream).await?).map_err(io::Error::other)?;
    if answers(&answer, question) {
        Ok(answer)
    } else {
        Err(io::Error::other("not an answer to the question"))
    }
}

/// By TCP a message stands behind its length.
pub(super) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes a message behind its length, in one piece.
pub(super) async fn write_message(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await
}
