//! Opening TCP connections to addresses that are already known.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::text;

/// Opens a connection to the first address that answers, within `limit` for all of them.
///
/// The time left is shared out among the addresses left, so that one that swallows packets does not hide the next.
pub(super) async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    let mut errors = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let until = now + deadline.saturating_duration_since(now) / left;
        let words = match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(_stream)) => return Ok(()),
            Ok(Err(error)) => text::network(&error),
            Err(_) => "timed out".to_owned(),
        };
        errors.push(format!("{words} ({address})"));
    }
    Err(errors.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_first_address_that_answers_is_enough() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        assert_eq!(connect(&[closed().await, open], Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn every_refusal_is_told() {
        let (one, two) = (closed().await, closed().await);
        let error = connect(&[one, two], Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error, format!("connection refused ({one}); connection refused ({two})"));
    }

    /// A port on which nobody listens.
    async fn closed() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }
}
