//! The runner's side: what was asked for in a sandbox?

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::time::timeout;

use super::{OUTSIDE_NAMES, upstream};

/// A name server that is up answers at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// The outside names that were asked for so far, lower case and in order; of the name server at this address. That it
/// answers shows that it is up.
pub async fn outside_names(server: SocketAddr) -> io::Result<Vec<String>> {
    let mut question = Message::query();
    let name = Name::from_ascii(OUTSIDE_NAMES).map_err(io::Error::other)?;
    question.add_query(Query::query(name, RecordType::TXT));
    let answer = timeout(PATIENCE, upstream::by_tcp(server, &question))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if answer.metadata.response_code != ResponseCode::NoError {
        return Err(io::Error::other(answer.metadata.response_code.to_string()));
    }
    let text = |data: &RData| match data {
        RData::TXT(text) => Some(text.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect()),
        _ => None,
    };
    Ok(answer.answers.iter().filter_map(|record| text(&record.data)).collect())
}
