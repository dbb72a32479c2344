//! Against real servers on the loopback interface, among them the ones that misbehave.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use reqwest::header::{HOST, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Long enough for a busy machine, short enough for a test.
const SOON: Duration = Duration::from_secs(20);
/// For servers that never answer.
const SHORT: Duration = Duration::from_millis(300);
const ALL: Want = Want {
    bytes: 1 << 20,
    patience: Duration::MAX,
};

/// Serves every connection by `answer`, once the request has come in, and says what was asked.
async fn serve<F>(answer: impl Fn(TcpStream, String) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read_exact(&mut byte).await.is_err() {
                    break;
                }
                asked.push(byte[0]);
            }
            tokio::spawn(answer(stream, String::from_utf8(asked).unwrap()));
        }
    });
    address
}

/// Serves a fixed answer.
async fn serve_text(text: &'static str) -> SocketAddr {
    serve(move |mut stream, _| async move { stream.write_all(text.as_bytes()).await.unwrap() }).await
}

fn request(address: SocketAddr) -> Request {
    Request {
        addresses: vec![address],
        tls: false,
        any_certificate: false,
        name: "web.shop.svc".into(),
        path: "/healthz?full=1".into(),
        headers: HeaderMap::new(),
    }
}

#[tokio::test]
async fn asks_by_name_but_dials_the_address() {
    let address = serve(|mut stream, asked| async move {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{asked}", asked.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let answer = get(&request(address), SOON, |_| ALL).await.unwrap();
    let asked = String::from_utf8(answer.body).unwrap().to_lowercase();
    assert_eq!((answer.status, answer.end), (200, End::Complete));
    assert!(asked.starts_with("get /healthz?full=1 http/1.1\r\n"), "{asked}");
    assert!(
        asked.contains(&format!("\r\nhost: web.shop.svc:{}\r\n", address.port())),
        "{asked}"
    );

    let mut with_host = request(address);
    with_host.headers.insert(HOST, HeaderValue::from_static("shop.example"));
    let asked = get(&with_host, SOON, |_| ALL).await.unwrap().body;
    let asked = String::from_utf8(asked).unwrap().to_lowercase();
    assert!(asked.contains("\r\nhost: shop.example\r\n"), "{asked}");
    assert_eq!(asked.matches("host:").count(), 1, "{asked}");
}

#[tokio::test]
async fn an_address_as_name_is_never_dialled() {
    let address = serve_text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    for name in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "[::1]",
        "user@web",
        "web/x",
        "web:1",
        "",
        "a b",
    ] {
        let request = Request {
            name: name.into(),
            ..request(address)
        };
        assert!(get(&request, SOON, |_| ALL).await.is_err(), "{name}");
        assert!(!is_dns_name(name), "{name}");
    }
    assert!(is_dns_name("web.shop.svc") && is_dns_name("Shop.Example"));
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let answer = "HTTP/1.1 302 Found\r\nLocation: http://prod.example/login?token=1\r\nContent-Length: 0\r\n\r\n";
    let answer = get(&request(serve_text(answer).await), SOON, |_| ALL).await.unwrap();
    assert_eq!(
        (answer.status, answer.location.as_deref()),
        (302, Some("http://prod.example/login?token=1"))
    );
}

#[tokio::test]
async fn only_the_wanted_part_of_an_endless_body_is_read() {
    let address = serve(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let answer = get(&request(address), SOON, |_| ALL).await.unwrap();
    assert_eq!((answer.body.len(), answer.end), (1 << 20, End::Cut));
    let nothing = get(&request(address), SOON, |_| Want { bytes: 0, ..ALL })
        .await
        .unwrap();
    assert_eq!(nothing.body, b"");
}

#[tokio::test]
async fn a_slow_body_ends_with_the_time() {
    let address = serve(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let started = std::time::Instant::now();
    let answer = get(&request(address), Duration::from_secs(1), |_| ALL).await.unwrap();
    assert_eq!(answer.end, End::Late);
    assert!(!answer.body.is_empty() && started.elapsed() < Duration::from_secs(5));
    let impatient = Want {
        patience: Duration::from_millis(100),
        ..ALL
    };
    assert_eq!(
        get(&request(address), SOON, |_| impatient).await.unwrap().end,
        End::Late
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told() {
    let address = serve_text("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").await;
    let answer = get(&request(address), SOON, |_| ALL).await.unwrap();
    assert_eq!(answer.body, b"short");
    assert!(
        matches!(&answer.end, End::Broken(error) if error.contains("closed")),
        "{:?}",
        answer.end
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_left() {
    let address = serve(|stream, _| async move {
        tokio::time::sleep(Duration::from_mins(1)).await;
        drop(stream);
    })
    .await;
    assert_eq!(
        get(&request(address), SHORT, |_| ALL).await,
        Err("no answer within 300ms".into())
    );
}

#[tokio::test]
async fn refusals_and_nonsense_in_words() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(
        get(&request(closed), SOON, |_| ALL).await,
        Err("connection refused".into())
    );
    let silent = serve_text("").await;
    assert_eq!(
        get(&request(silent), SOON, |_| ALL).await,
        Err("connection closed before message completed".into())
    );
    let other = serve_text("+OK redis ready\r\n\r\n").await;
    let error = get(&request(other), SOON, |_| ALL).await.unwrap_err();
    assert!(error.contains("HTTP"), "{error}");
    let two = Request {
        addresses: vec![closed, SocketAddr::new([127, 0, 0, 1].into(), closed.port())],
        ..request(closed)
    };
    assert_eq!(get(&two, SOON, |_| ALL).await, Err("connection refused".into()));
}

/// Serves one answer over TLS with a certificate that nobody issued; the handshake may fail.
fn serve_tls() -> SocketAddr {
    let signed = rcgen::generate_simple_self_signed(["web.shop.svc".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let _ = tls.read(&mut [0; 4096]);
            let name = tls.conn.server_name().unwrap_or_default().to_owned();
            let _ = write!(tls, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            let _ = tls.flush();
        }
    });
    address
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_told_or_accepted() {
    let trusting = Request {
        tls: true,
        ..request(serve_tls())
    };
    let error = get(&trusting, SOON, |_| ALL).await.unwrap_err();
    assert_eq!(
        error,
        "TLS certificate problem: it is signed by an authority that is not publicly trusted"
    );
    let careless = Request {
        any_certificate: true,
        ..trusting
    };
    let answer = get(&careless, SOON, |_| ALL).await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, &b"web.shop.svc"[..]),
        "the name asked for in TLS"
    );
}

#[tokio::test]
async fn plain_http_on_a_tls_port_and_the_reverse() {
    // Some servers answer what they cannot read at once and in clear.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
    });
    let tls = Request {
        tls: true,
        ..request(plain)
    };
    assert_eq!(
        get(&tls, SOON, |_| ALL).await,
        Err("the port does not speak TLS".into())
    );
    assert!(get(&request(serve_tls()), SOON, |_| ALL).await.is_err());
}
