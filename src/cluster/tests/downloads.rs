use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::cluster::fake::{Asked, Log, Reply, cluster};
use crate::cluster::{DownloadError, Downloads, StoreTrust, Velero};
use crate::velero::{FileKind, read_backup_contents};

fn request(status: &Value) -> Value {
    json!({"apiVersion": "velero.io/v1", "kind": "DownloadRequest",
           "metadata": {"name": "kymaros-abc123-0", "namespace": "velero", "uid": "u", "resourceVersion": "1"},
           "spec": {"target": {"kind": "BackupResourceList", "name": "b"}}, "status": status})
}

/// Downloads from a provider whose requests get this status.
fn downloads(status: Value) -> (Downloads, Log) {
    let (cluster, log) = cluster(move |asked: &Asked| {
        if asked.is("POST", "downloadrequests") {
            assert_eq!(
                asked.body["spec"]["target"],
                json!({"kind": "BackupResourceList", "name": "b"})
            );
            assert_eq!(asked.body["metadata"]["labels"]["kymaros.io/run"], json!("abc123"));
        }
        if asked.is_watch() {
            return Reply::quiet();
        }
        if asked.method == "GET" {
            Reply::list(&[request(&status)])
        } else {
            Reply::json(&request(&status))
        }
    });
    let downloads = Velero::new(&cluster, "velero", "abc123")
        .downloads(&StoreTrust::default())
        .unwrap();
    (downloads, log)
}

fn signed(url: &str) -> Value {
    json!({"phase": "Processed", "downloadURL": url, "expiration": "2026-08-01T00:10:00Z"})
}

/// A store that gives these answers in turn, the last one for ever; returns its address.
async fn store(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            let answer = &answers[turn.min(answers.len() - 1)];
            let _closed_early = socket.write_all(answer).await;
        }
    });
    format!("http://{address}/bucket/b-resource-list.json.gz?X-Amz-Signature=secret")
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

async fn names(downloads: &Downloads) -> Result<usize, DownloadError> {
    downloads
        .fetch(FileKind::BackupResourceList, "b", |reader| {
            read_backup_contents(reader, &BTreeSet::from(["a".to_owned()])).map(|contents| contents.len())
        })
        .await
}

const LIST: &str = r#"{"v1/Pod":["a/x","a/y","b/z"]}"#;

#[tokio::test]
async fn files_are_read_packed_or_not() {
    let url = store(vec![answer("200 OK", &packed(LIST)), answer("200 OK", LIST.as_bytes())]).await;
    let (downloads, log) = downloads(signed(&url));
    assert_eq!(names(&downloads).await.unwrap(), 2);
    assert_eq!(names(&downloads).await.unwrap(), 2);
    let log = log.lock().unwrap();
    let deleted = log.iter().filter(|call| call.starts_with("DELETE")).count();
    assert_eq!(deleted, 2, "{log:?}");
}

#[tokio::test]
async fn a_large_file_passes_through_the_queue() {
    let names_of =
        |range: std::ops::Range<u32>| -> Vec<String> { range.map(|number| format!("\"a/object-{number}\"")).collect() };
    let text = format!("{{\"v1/ConfigMap\":[{}]}}", names_of(0..20_000).join(","));
    let (downloads, _) = downloads(signed(&store(vec![answer("200 OK", &packed(&text))]).await));
    assert_eq!(names(&downloads).await.unwrap(), 20_000);
}

#[tokio::test]
async fn a_missing_file_is_no_failure_of_the_store() {
    let body = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>";
    let (downloads, log) = downloads(signed(&store(vec![answer("404 Not Found", body)]).await));
    assert!(matches!(
        names(&downloads).await.unwrap_err(),
        DownloadError::NotAvailable(FileKind::BackupResourceList)
    ));
    assert!(log.lock().unwrap().iter().any(|call| call.starts_with("DELETE")));
}

#[tokio::test]
async fn not_found_alone_says_nothing_of_a_file() {
    for body in [
        &b"<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code></Error>"[..],
        b"<html>404 Not Found</html>",
        b"",
    ] {
        let error = names(&downloads(signed(&store(vec![answer("404 Not Found", body)]).await)).0)
            .await
            .unwrap_err();
        assert!(matches!(error, DownloadError::Refused { status: 404, .. }), "{error}");
        assert!(error.may_pass());
    }
}

#[tokio::test]
async fn a_busy_store_is_asked_again_and_a_refusal_is_not() {
    let url = store(vec![answer("503 Slow Down", b""), answer("200 OK", &packed(LIST))]).await;
    assert_eq!(names(&downloads(signed(&url)).0).await.unwrap(), 2);
    let url = store(vec![answer("403 Forbidden", b""), answer("200 OK", LIST.as_bytes())]).await;
    let error = names(&downloads(signed(&url)).0).await.unwrap_err();
    assert!(matches!(error, DownloadError::Refused { status: 403, .. }), "{error}");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_named_without_its_signature() {
    // A port that was just free.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (downloads, log) = downloads(signed(&format!("http://{address}/b?X-Amz-Signature=secret")));
    let error = names(&downloads).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DownloadError::Unreachable { .. }), "{text}");
    assert!(
        text.contains(&address.to_string()) && text.contains("publicUrl") && !text.contains("secret"),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    assert!(log.lock().unwrap().iter().any(|call| call.starts_with("DELETE")));
}

#[tokio::test]
async fn what_is_broken_is_unreadable() {
    let whole = packed(LIST);
    let half = &whole[..whole.len() - 9];
    let mut lying = answer("200 OK", &whole);
    lying.truncate(lying.len() - 4);
    let cases = [
        (answer("200 OK", half), "its packing ends early"),
        (lying, "the connection ends early"),
        (answer("200 OK", b"<html>hello</html>"), "it is no JSON"),
        (answer("200 OK", b""), "it is empty"),
        (answer("200 OK", b"{"), "it ends early"),
    ];
    for (bytes, case) in cases {
        let error = names(&downloads(signed(&store(vec![bytes]).await)).0)
            .await
            .unwrap_err();
        assert!(matches!(error, DownloadError::Unreadable { .. }), "{case}: {error}");
    }
}

#[tokio::test]
async fn a_parser_that_has_seen_enough_ends_the_transfer() {
    let endless = "\"a\",".repeat(2_000_000);
    let (downloads, _) = downloads(signed(&store(vec![answer("200 OK", endless.as_bytes())]).await));
    let first = downloads
        .fetch(FileKind::BackupResourceList, "b", |reader| {
            let mut start = [0; 3];
            reader.read_exact(&mut start).map_err(serde_json::Error::io)?;
            Ok(start)
        })
        .await;
    assert_eq!(&first.unwrap(), b"\"a\"");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_backup_is_found_out_in_seconds() {
    let (downloads, log) = downloads(json!({"expiration": "2026-08-01T00:10:00Z"}));
    let start = Instant::now();
    let error = names(&downloads).await.unwrap_err();
    assert!(matches!(error, DownloadError::NoSuchObject), "{error}");
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert!(log.lock().unwrap().last().unwrap().starts_with("DELETE"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_looks_at_is_given_up() {
    let (downloads, _) = downloads(json!({}));
    let start = Instant::now();
    let error = names(&downloads).await.unwrap_err();
    assert!(matches!(error, DownloadError::NotSigned { .. }), "{error}");
    assert_eq!(start.elapsed(), Duration::from_secs(30));
}

#[tokio::test]
async fn a_failed_request_says_why() {
    let (downloads, _) = downloads(json!({"phase": "Failed", "message": "no such plugin"}));
    let error = names(&downloads).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the backup provider did not answer a request for BackupResourceList within 30s: no such plugin"
    );
}

/// A certificate for 127.0.0.1, its key, and the authority that signed it; valid from 2020 to 2120.
const STORE: &str = include_str!("store.pem");
const AUTHORITY: &str = include_str!("authority.pem");

/// A store with a certificate of an authority nobody knows.
fn secure_store(body: &'static [u8]) -> String {
    crate::cluster::install_crypto();
    let certificates = CertificateDer::pem_slice_iter(STORE.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(STORE.as_bytes()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket.unwrap());
            let mut head = [0; 4096];
            // A client that does not trust us is gone by now.
            if stream.read(&mut head).is_ok() {
                stream.write_all(&answer("200 OK", body)).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    });
    format!("https://{address}/b?X-Amz-Signature=secret")
}

#[tokio::test]
async fn the_locations_own_authority_is_trusted_and_no_other() {
    let url = secure_store(LIST.as_bytes());
    let status = signed(&url);
    let (cluster, _) = cluster(move |asked| {
        if asked.path.contains("/secrets/ca") {
            let key = base64(AUTHORITY);
            return Reply::json(
                &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca"}, "data": {"ca.crt": key}}),
            );
        }
        if asked.is_watch() {
            return Reply::quiet();
        }
        if asked.method == "GET" {
            Reply::list(&[request(&status)])
        } else {
            Reply::json(&request(&status))
        }
    });
    let velero = Velero::new(&cluster, "velero", "abc123");
    let read = async |storage: Value| {
        let location = json!({"metadata": {"name": "default"}, "spec": {"objectStorage": storage}});
        let trust = velero.trust(&[serde_json::from_value(location).unwrap()]).await;
        names(&velero.downloads(&trust).unwrap()).await
    };
    assert_eq!(read(json!({"caCert": base64(AUTHORITY)})).await.unwrap(), 2);
    assert_eq!(
        read(json!({"caCertRef": {"name": "ca", "key": "ca.crt"}}))
            .await
            .unwrap(),
        2
    );
    for storage in [
        json!({}),
        json!({"caCert": "?"}),
        json!({"caCert": base64("hello")}),
        json!({"caCertRef": {"name": "ca", "key": "x"}}),
    ] {
        let error = read(storage).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, DownloadError::Untrusted { .. }), "{text}");
        assert!(
            text.contains("objectStorage.caCert") && !text.contains("secret"),
            "{text}"
        );
    }
}

fn base64(text: &str) -> String {
    serde_json::to_value(ByteString(text.as_bytes().to_vec()))
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn what_is_no_authority_is_refused() {
    let mut trust = StoreTrust::default();
    for pem in [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(
            matches!(trust.add(pem.as_bytes()).unwrap_err(), DownloadError::BadTrust(_)),
            "{pem}"
        );
    }
    assert!(trust.add(AUTHORITY.as_bytes()).is_ok());
}
