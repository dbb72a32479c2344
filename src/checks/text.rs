//! Words for people: what a container or a server said, made safe to print, and network errors without their jargon.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

/// Longest extract of foreign output in a message, in bytes.
const EXTRACT: usize = 512;
/// What is said of a port that nobody listens on.
pub(super) const REFUSED: &str = "connection refused";
/// Deepest chain of errors that is followed; a longer one would be a loop.
const CHAIN: usize = 16;

/// What a program said, fit for one line of a report: trimmed, control characters escaped, at most 512 bytes.
///
/// Characters that reorder or hide text are escaped too, so that output cannot pretend to be another message.
pub(super) fn extract(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut out = String::new();
    for c in text.trim().chars() {
        let before = out.len();
        if c.is_control() || is_invisible(c) {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > EXTRACT {
            out.truncate(before);
            out.push('…');
            break;
        }
    }
    out
}

/// Format characters: zero width, byte order mark, and the controls of writing direction.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `: <output>`, or nothing where there is none or where it may not be told.
pub(super) fn tail(output: &[u8], tell: bool) -> String {
    let text = if tell { extract(output) } else { String::new() };
    if text.is_empty() { text } else { format!(": {text}") }
}

/// A network error in the words of the person who has to mend it.
pub(super) fn network(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    for _ in 0..CHAIN {
        if let Some(words) = known(deepest) {
            return words;
        }
        // An io::Error built from another error shows that one's source as its own and would hide the error itself.
        let wrapped = deepest.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match wrapped
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| deepest.source())
        {
            Some(next) => deepest = next,
            None => break,
        }
    }
    deepest.to_string()
}

/// Words for one link of the chain, if it is one that needs them.
fn known(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls_words(tls));
    }
    let io = error.downcast_ref::<io::Error>()?;
    let words = match io.kind() {
        io::ErrorKind::ConnectionRefused => REFUSED,
        io::ErrorKind::ConnectionReset => "connection reset by the other side",
        io::ErrorKind::ConnectionAborted => "connection aborted",
        io::ErrorKind::BrokenPipe => "connection closed by the other side",
        io::ErrorKind::TimedOut => "timed out",
        io::ErrorKind::HostUnreachable => "no route to the host",
        io::ErrorKind::NetworkUnreachable => "no route to the network",
        io::ErrorKind::UnexpectedEof => "connection closed in the middle of the answer",
        _ => return None,
    };
    Some(words.to_owned())
}

/// A failed TLS handshake in words.
fn tls_words(error: &rustls::Error) -> String {
    use rustls::CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(problem) => {
            let words = match problem {
                C::UnknownIssuer => "it is signed by an authority that is not publicly trusted",
                C::Expired | C::ExpiredContext { .. } => "it has expired",
                C::NotValidYet | C::NotValidYetContext { .. } => "it is not valid yet",
                C::NotValidForName | C::NotValidForNameContext { .. } => "it is for another name",
                C::BadEncoding => "it cannot be read",
                other => return format!("TLS certificate problem: {other}"),
            };
            format!("TLS certificate problem: {words}")
        }
        rustls::Error::InvalidMessage(_) => "the port does not speak TLS".to_owned(),
        other => format!("TLS handshake failed: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_trimmed_and_escaped() {
        assert_eq!(extract(b"  all fine \n"), "all fine");
        assert_eq!(extract(b"a\nb\tc\x1b[31md"), "a\\nb\\tc\\u{1b}[31md");
        assert_eq!(extract("x\u{202e}y\u{200b}".as_bytes()), "x\\u{202e}y\\u{200b}");
        assert_eq!(extract(b"\xff ok"), "\u{fffd} ok");
        assert_eq!(extract(b" \n"), "");
    }

    #[test]
    fn output_is_cut_at_512_bytes_and_never_inside_a_character() {
        assert_eq!(extract("a".repeat(512).as_bytes()), "a".repeat(512));
        assert_eq!(extract("a".repeat(513).as_bytes()), format!("{}…", "a".repeat(512)));
        let euros = extract("€".repeat(400).as_bytes());
        assert_eq!(euros, format!("{}…", "€".repeat(170)));
        // An escape is kept whole or not at all.
        let controls = extract(format!("x{}x", "\u{1}".repeat(400)).as_bytes());
        assert!(controls.ends_with("\\u{1}…"), "{controls}");
        assert!(controls.len() <= EXTRACT + '…'.len_utf8());
    }

    #[test]
    fn output_can_be_kept_quiet() {
        assert_eq!(tail(b"secret", true), ": secret");
        assert_eq!(tail(b"secret", false), "");
        assert_eq!(tail(b"", true), "");
    }

    #[test]
    fn finds_the_cause_behind_wrappers() {
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request")]
        struct Outer(#[source] io::Error);

        let refused = Outer(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(network(&refused), "connection refused");
        let inside = Outer(io::Error::other(Outer(io::Error::from(io::ErrorKind::TimedOut))));
        assert_eq!(network(&inside), "timed out");
        let tls = Outer(io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::InvalidCertificate(rustls::CertificateError::Expired),
        ));
        assert_eq!(network(&tls), "TLS certificate problem: it has expired");
        let other = Outer(io::Error::other("weird"));
        assert_eq!(network(&other), "weird");
    }
}
