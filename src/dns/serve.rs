//! UDP and TCP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::answer::Server;
use super::upstream::{PAYLOAD, read_message, write_message};

/// Questions answered at once; one more is dropped, and its resolver asks again.
const QUESTIONS: usize = 512;
/// Connections held at once; one more waits.
const CONNECTIONS: usize = 64;
/// A connection without a question is closed after this.
const IDLE: Duration = Duration::from_secs(10);
/// Largest question that is read by UDP.
const LARGEST: usize = 4096;

/// Serves on this port of every address, until the pod is deleted. An error if it cannot listen.
pub(super) async fn serve(port: u16, server: Arc<Server>) -> io::Result<()> {
    let (udp, tcp) = match listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(both) => both,
        // A kernel without IPv6.
        Err(_) => listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await?,
    };
    tokio::join!(datagrams(udp, Arc::clone(&server)), connections(tcp, server));
    Ok(())
}

async fn listen(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    Ok((UdpSocket::bind(address).await?, TcpListener::bind(address).await?))
}

pub(super) async fn datagrams(socket: UdpSocket, server: Arc<Server>) {
    let socket = Arc::new(socket);
    let permits = Arc::new(Semaphore::new(QUESTIONS));
    let mut buffer = vec![0; LARGEST];
    loop {
        // An error is that of a packet sent before: its receiver was gone.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let (Ok(question), Ok(permit)) = (
            Message::from_vec(buffer.get(..length).unwrap_or_default()),
            Arc::clone(&permits).try_acquire_owned(),
        ) else {
            continue;
        };
        let (socket, server) = (Arc::clone(&socket), Arc::clone(&server));
        tokio::spawn(async move {
            if let Some(bytes) = server.answer(&question, false).await.and_then(|a| fit(&a, &question)) {
                // Nobody can be told that it was not sent.
                drop(socket.send_to(&bytes, from).await);
            }
            drop(permit);
        });
    }
}

/// The answer's bytes; cut, with the mark that makes the resolver ask by TCP, if they are too many for one packet.
fn fit(answer: &Message, question: &Message) -> Option<Vec<u8>> {
    let most = usize::from(question.max_payload().min(PAYLOAD));
    let bytes = answer.to_vec().ok()?;
    if bytes.len() <= most {
        Some(bytes)
    } else {
        answer.truncate().to_vec().ok()
    }
}

pub(super) async fn connections(listener: TcpListener, server: Arc<Server>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    converse(stream, &server).await;
                    drop(permit);
                });
            }
            // Out of file descriptors or the like.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Questions of one connection, one after the other, until something is wrong or it falls silent.
async fn converse(mut stream: TcpStream, server: &Server) {
    while let Ok(Ok(bytes)) = timeout(IDLE, read_message(&mut stream)).await {
        let Ok(question) = Message::from_vec(&bytes) else {
            return;
        };
        let Some(answer) = server.answer(&question, true).await else {
            return;
        };
        let Ok(bytes) = answer.to_vec() else { return };
        if !matches!(timeout(IDLE, write_message(&mut stream, &bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
}
