//! Fetches the files that Velero keeps beside a backup or a restore.
//!
//! Velero signs a URL on request; the file is then read from the store itself, which is outside the cluster's API and may
//! be unreachable from here although the server reaches it. It is read as a stream into the parser: nothing is ever held
//! whole, neither in memory nor on disk (the image has none).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use reqwest::{Client, StatusCode, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};

use super::error::{Error, chain};
use super::objects::Objects;
use super::{USER_AGENT, Waited};
use crate::names::PROVIDER_PREFIX;
use crate::velero::{self, DownloadPhase, DownloadRequest, DownloadRequestSpec, DownloadTarget, FileKind};

/// How long the server may take to sign a URL. It serves requests one at a time, so others' may stand before ours.
const SIGNING: Duration = Duration::from_secs(30);

/// How long a request may have an expiration but no phase, which is how a missing backup or restore looks. A live server
/// sets both at once.
const NO_SUCH_OBJECT: Duration = Duration::from_secs(3);

/// To connect to the store, and between two pieces of an answer.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);

/// For a whole file; the largest are read in seconds.
const TRANSFER: Duration = Duration::from_mins(5);

/// Tries of a GET that may pass, and the pause between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes read of a refusal; the codes stand at its beginning.
const REFUSAL: usize = 4 * 1024;

/// Bytes of one file, unpacked. Lists of the largest clusters have a tenth of it.
const LARGEST: u64 = 512 * 1024 * 1024;

/// Pieces of an answer that wait for the parser.
const QUEUE: usize = 4;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// There is no such backup or restore.
    #[error("the backup provider knows no backup or restore of this name")]
    NoSuchObject,
    /// It has no such file (yet).
    #[error("{0} is not available")]
    NotAvailable(FileKind),
    /// The server did not sign a URL.
    #[error("the backup provider did not answer a request for {kind} within {limit:?}{detail}")]
    NotSigned {
        /// The file.
        kind: FileKind,
        /// How long it was waited for.
        limit: Duration,
        /// What the server said, if it said something.
        detail: String,
    },
    /// The store cannot be reached from here.
    #[error(
        "the object store at {host} cannot be reached from the runner: {reason}; set config.publicUrl on the \
         BackupStorageLocation to a URL that can, or a proxy"
    )]
    Unreachable {
        /// Its host.
        host: String,
        /// What happened.
        reason: String,
    },
    /// The store's certificate is not trusted.
    #[error(
        "the certificate of the object store at {host} is not trusted: {reason}; put its authority into \
         objectStorage.caCert of the BackupStorageLocation"
    )]
    Untrusted {
        /// Its host.
        host: String,
        /// What happened.
        reason: String,
    },
    /// The store refused.
    #[error("the object store at {host} answered {status} to a request for {kind}")]
    Refused {
        /// The file.
        kind: FileKind,
        /// Its host.
        host: String,
        /// The status.
        status: u16,
    },
    /// It is not what it should be, or broke off.
    #[error("{kind} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        kind: FileKind,
        /// What happened.
        reason: String,
    },
    /// What is given as the store's authority is none.
    #[error("the certificate authority of the object store cannot be used: {0}")]
    BadTrust(String),
    /// The API server.
    #[error(transparent)]
    Api(#[from] Error),
}

impl DownloadError {
    /// May the same request be answered later? What the store certainly does not have, and what it has in another form, stays so.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoSuchObject | Self::NotAvailable(_) | Self::BadTrust(_) => false,
            Self::Api(error) => error.is_transient(),
            Self::NotSigned { .. }
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Refused { .. }
            | Self::Unreadable { .. } => true,
        }
    }
}

/// The authorities that a store's certificate may come from, besides the bundled ones.
#[derive(Clone, Debug, Default)]
pub struct StoreTrust {
    authorities: Vec<CertificateDer<'static>>,
}

impl StoreTrust {
    /// Adds the certificates of a PEM text, all or none.
    pub fn add(&mut self, pem: &[u8]) -> Result<(), DownloadError> {
        let bad = |error: &dyn fmt::Display| DownloadError::BadTrust(error.to_string());
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| bad(&error))?;
        if certificates.is_empty() {
            return Err(bad(&"it holds no PEM certificate"));
        }
        for certificate in &certificates {
            RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|error| bad(&error))?;
        }
        self.authorities.extend(certificates);
        Ok(())
    }
}

/// Fetches files for one run, one at a time: the server serves them so anyway.
pub struct Downloads {
    requests: Objects<DownloadRequest>,
    namespace: String,
    run: String,
    labels: BTreeMap<String, String>,
    http: Client,
    number: AtomicU32,
    turn: Mutex<()>,
}

impl fmt::Debug for Downloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downloads")
            .field("namespace", &self.namespace)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

impl Downloads {
    /// For the run of this id, from the provider in `namespace`. Its requests carry `labels`.
    pub fn new(
        requests: Objects<DownloadRequest>,
        namespace: &str,
        run: &str,
        labels: &BTreeMap<String, String>,
        trust: &StoreTrust,
    ) -> Result<Self, DownloadError> {
        Ok(Self {
            requests,
            namespace: namespace.to_owned(),
            run: run.to_owned(),
            labels: labels.clone(),
            http: http_client(trust)?,
            number: AtomicU32::new(0),
            turn: Mutex::new(()),
        })
    }

    /// Reads a file of the backup or restore `name` with `parse`, which runs on a thread of its own. The request is deleted
    /// afterwards; if this future is dropped, it is left to the run's clean-up.
    pub async fn fetch<T, P>(&self, kind: FileKind, name: &str, parse: P) -> Result<T, DownloadError>
    where
        T: Send + 'static,
        P: FnOnce(&mut dyn Read) -> serde_json::Result<T> + Send + 'static,
    {
        let _turn = self.turn.lock().await;
        let request = self.requests.create_or_same(&self.request(kind, name)).await?;
        let result = async {
            let url = self.signed(kind, request.name()).await?;
            let answer = self.get(kind, &url).await?;
            read(kind, answer, parse).await
        }
        .await;
        // Velero deletes it ten minutes later in any case.
        let uid = request.metadata.uid.as_deref().unwrap_or_default();
        if let Err(error) = self.requests.delete(request.name(), uid).await {
            tracing::debug!(%error, "download request left behind");
        }
        result
    }

    fn request(&self, kind: FileKind, name: &str) -> DownloadRequest {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let target = DownloadTarget {
            kind: kind.as_str().to_owned(),
            name: name.to_owned(),
        };
        let mut request = DownloadRequest::new(
            &self.namespace,
            &format!("{PROVIDER_PREFIX}{}-{number}", self.run),
            DownloadRequestSpec { target },
        );
        request.metadata.labels = Some(self.labels.clone());
        request
    }

    /// The URL that the server signs for a request.
    async fn signed(&self, kind: FileKind, request: &str) -> Result<String, DownloadError> {
        let not_signed = |detail: String| DownloadError::NotSigned {
            kind,
            limit: SIGNING,
            detail,
        };
        let looked_at = |request: Option<&DownloadRequest>| {
            request.is_none_or(|request| {
                request.status.phase != DownloadPhase::New
                    || request.status.download_url.is_some()
                    || request.status.expiration.is_some()
            })
        };
        let signed = |request: Option<&DownloadRequest>| {
            request.is_none_or(|request| {
                request.status.phase == DownloadPhase::Failed || request.status.download_url.is_some()
            })
        };
        let state = match self.requests.wait_at_most(request, SIGNING, looked_at).await? {
            Waited::Late(_) => return Err(not_signed(String::new())),
            Waited::Met(state) if signed(state.as_ref()) => state,
            // It has an expiration only: either the rest is about to follow, or there is no such object.
            Waited::Met(_) => match self.requests.wait_at_most(request, NO_SUCH_OBJECT, signed).await? {
                Waited::Late(_) => return Err(DownloadError::NoSuchObject),
                Waited::Met(state) => state,
            },
        };
        let status = state.map(|request| request.status).unwrap_or_default();
        match status.download_url {
            Some(url) => Ok(url),
            None => Err(not_signed(match status.message {
                Some(message) => format!(": {message}"),
                None => ": the request was deleted".to_owned(),
            })),
        }
    }

    async fn get(&self, kind: FileKind, url: &str) -> Result<reqwest::Response, DownloadError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let result = self.http.get(url).send().await;
            let error = match result {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => {
                    let status = answer.status();
                    let host = host_of(answer.url().as_str());
                    if status == StatusCode::NOT_FOUND && velero::says_no_such_file(&beginning(answer).await) {
                        return Err(DownloadError::NotAvailable(kind));
                    }
                    let error = DownloadError::Refused {
                        kind,
                        host,
                        status: status.as_u16(),
                    };
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        return Err(error);
                    }
                    error
                }
                Err(error) => unreachable(url, error)?,
            };
            if tries == TRIES {
                return Err(error);
            }
            tracing::debug!(%error, "trying again");
            sleep(PAUSE).await;
        }
    }
}

/// The beginning of what a store says when it refuses; empty if it says nothing that can be read.
async fn beginning(mut answer: reqwest::Response) -> String {
    let mut text = Vec::new();
    while text.len() < REFUSAL {
        match answer.chunk().await {
            Ok(Some(piece)) => text.extend_from_slice(&piece[..piece.len().min(REFUSAL)]),
            Ok(None) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What a request that got no answer ended in; at once if trying again cannot help.
fn unreachable(url: &str, error: reqwest::Error) -> Result<DownloadError, DownloadError> {
    let host = host_of(url);
    // The URL is signed: whoever reads it in a log could use it.
    let reason = chain(&error.without_url());
    if reason.contains("invalid peer certificate") {
        return Err(DownloadError::Untrusted { host, reason });
    }
    Ok(DownloadError::Unreachable { host, reason })
}

/// Host and port of a URL, and nothing of its signature.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

fn http_client(trust: &StoreTrust) -> Result<Client, DownloadError> {
    super::install_crypto();
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    roots.add_parsable_certificates(trust.authorities.iter().cloned());
    let tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .user_agent(USER_AGENT)
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        // Stores send clients to the region a bucket is in.
        .redirect(redirect::Policy::limited(3))
        .build()
        .map_err(|error| DownloadError::BadTrust(chain(&error)))
}

/// Feeds an answer to the parser as it arrives. The parser runs on a blocking thread, with a short queue between: when
/// either side stops, so does the other.
async fn read<T, P>(kind: FileKind, mut answer: reqwest::Response, parse: P) -> Result<T, DownloadError>
where
    T: Send + 'static,
    P: FnOnce(&mut dyn Read) -> serde_json::Result<T> + Send + 'static,
{
    let unreadable = |reason: String| DownloadError::Unreadable { kind, reason };
    let (sender, receiver) = mpsc::channel(QUEUE);
    let parser = tokio::task::spawn_blocking(move || {
        let mut reader = Limited::new(unpacked(Arrivals::new(receiver))?);
        parse(&mut reader).map_err(io::Error::from)
    });
    let transfer = async {
        loop {
            let piece = answer
                .chunk()
                .await
                .map_err(|error| io::Error::other(chain(&error.without_url())))
                .transpose();
            let Some(piece) = piece else { break };
            let broken = piece.is_err();
            // Closed: the parser has seen enough, or an error.
            if sender.send(piece).await.is_err() || broken {
                break;
            }
        }
        drop(sender);
    };
    if timeout(TRANSFER, transfer).await.is_err() {
        // The sender is gone with the future, so the parser ends on a document that broke off.
        let _unfinished = parser.await;
        return Err(unreadable(format!("not read within {TRANSFER:?}")));
    }
    match parser.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(unreadable(error.to_string())),
        Err(_) => Err(unreadable("its parser panicked".to_owned())),
    }
}

/// The pieces of an answer as a reader.
struct Arrivals<B> {
    receiver: mpsc::Receiver<io::Result<B>>,
    piece: Option<B>,
    position: usize,
}

impl<B: AsRef<[u8]>> Arrivals<B> {
    fn new(receiver: mpsc::Receiver<io::Result<B>>) -> Self {
        Self {
            receiver,
            piece: None,
            position: 0,
        }
    }
}

impl<B: AsRef<[u8]>> Read for Arrivals<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(piece) = &self.piece {
                let rest = &piece.as_ref()[self.position..];
                if !rest.is_empty() {
                    let read = rest.len().min(buffer.len());
                    buffer[..read].copy_from_slice(&rest[..read]);
                    self.position += read;
                    return Ok(read);
                }
            }
            match self.receiver.blocking_recv() {
                Some(piece) => {
                    self.piece = Some(piece?);
                    self.position = 0;
                }
                None => return Ok(0),
            }
        }
    }
}

/// Unpacks what is packed. The files are packed without a header that says so, and some proxies unpack them on the way, so
/// only the first bytes tell.
fn unpacked<R: Read + 'static>(mut reader: R) -> io::Result<Box<dyn Read>> {
    let mut start = [0; 2];
    let mut read = 0;
    while read < start.len() {
        match reader.read(&mut start[read..])? {
            0 => break,
            more => read += more,
        }
    }
    let whole = io::Cursor::new(start).take(read as u64).chain(reader);
    Ok(if start == [0x1f, 0x8b] {
        Box::new(MultiGzDecoder::new(whole))
    } else {
        Box::new(whole)
    })
}

/// Ends with an error, not with an end, after [`LARGEST`] bytes.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R> Limited<R> {
    fn new(inner: R) -> Self {
        Self { inner, left: LARGEST }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("more than {LARGEST} bytes")))?;
        Ok(read)
    }
}
