//! One HTTP request to addresses that are already known: no name is looked up, no proxy is used, no redirect is followed.
//!
//! The name in the URL serves for the Host header and for TLS alone. A resolver of our own answers it, whatever it is, with
//! the addresses of the request, so that no answer and no setting can lead the request out of the sandbox.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Response, Url};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::time::{Instant, timeout_at};

use super::text;
use crate::api;

/// What to ask, and whom.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Where to connect to; the first that answers is taken. All of one port: the first one's.
    pub(super) addresses: Vec<SocketAddr>,
    /// HTTPS.
    pub(super) tls: bool,
    /// Accept any certificate.
    pub(super) any_certificate: bool,
    /// A DNS name: for TLS, and for the Host header unless `headers` has one.
    pub(super) name: String,
    /// Path and query.
    pub(super) path: String,
    /// Further headers.
    pub(super) headers: HeaderMap,
}

/// How much of a body is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// At most so many bytes.
    pub(super) bytes: usize,
    /// For at most so long, within the time of the request.
    pub(super) patience: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Where a redirect points to.
    pub(super) location: Option<String>,
    /// The beginning of the body.
    pub(super) body: Vec<u8>,
    /// How reading it ended.
    pub(super) end: End,
}

/// How reading a body ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// With its last byte.
    Complete,
    /// At the number of bytes wanted.
    Cut,
    /// It went on for longer than there was time.
    Late,
    /// With an error.
    Broken(String),
}

/// Sends the request. `want` decides by the status how much of the body is read; `limit` bounds it all.
pub(super) async fn get(request: &Request, limit: Duration, want: impl FnOnce(u16) -> Want) -> Result<Answer, String> {
    let deadline = Instant::now() + limit;
    let late = || format!("no answer within {}", api::Duration(limit));
    let call = client(request, limit)?
        .get(url(request)?)
        .headers(request.headers.clone())
        .send();
    let mut response = match timeout_at(deadline, call).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if error.is_timeout() => return Err(late()),
        Ok(Err(error)) => return Err(text::network(&error)),
        Err(_) => return Err(late()),
    };
    let status = response.status().as_u16();
    let location = response
        .headers()
        .get(LOCATION)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let want = want(status);
    let now = Instant::now();
    let until = now + want.patience.min(deadline.saturating_duration_since(now));
    let (body, end) = read(&mut response, want.bytes, until).await;
    Ok(Answer {
        status,
        location,
        body,
        end,
    })
}

/// Reads at most `bytes` of the body.
async fn read(response: &mut Response, bytes: usize, until: Instant) -> (Vec<u8>, End) {
    let mut body = Vec::new();
    while body.len() < bytes {
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                let room = bytes - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(Ok(None)) => return (body, End::Complete),
            Ok(Err(error)) if error.is_timeout() => return (body, End::Late),
            Ok(Err(error)) => return (body, End::Broken(text::network(&error))),
            Err(_) => return (body, End::Late),
        }
    }
    (body, End::Cut)
}

/// The URL of a request. Its host is a name and never an address, because an address would be dialled as it stands.
fn url(request: &Request) -> Result<Url, String> {
    let scheme = if request.tls { "https" } else { "http" };
    let port = request
        .addresses
        .first()
        .map(SocketAddr::port)
        .ok_or("no address to dial")?;
    let text = format!("{scheme}://{}:{port}{}", request.name, request.path);
    let url = Url::parse(&text).map_err(|error| format!("the path or the host makes no URL: {error}"))?;
    if is_same_name(&url, &request.name) {
        Ok(url)
    } else {
        Err(format!("{} is no host name", request.name))
    }
}

/// Is `name` a DNS name that can stand in a URL as it is?
pub(super) fn is_dns_name(name: &str) -> bool {
    Url::parse(&format!("http://{name}/")).is_ok_and(|url| is_same_name(&url, name))
}

/// Does the URL's host say just this name?
fn is_same_name(url: &Url, name: &str) -> bool {
    url.domain().is_some_and(|domain| domain.eq_ignore_ascii_case(name))
}

/// A client for one request.
fn client(request: &Request, limit: Duration) -> Result<Client, String> {
    Client::builder()
        .dns_resolver(Arc::new(Fixed(request.addresses.clone())))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls(request.any_certificate)?)
        // Shared out among the addresses, so that one that swallows packets does not hide the next.
        .connect_timeout(limit)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("kymaros-runner/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| text::network(&error))
}

/// Answers every name with the same addresses.
struct Fixed(Vec<SocketAddr>);

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// TLS with the publicly trusted authorities, or with none asked at all.
fn tls(any_certificate: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(if any_certificate {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth()
    } else {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        builder.with_root_certificates(roots).with_no_client_auth()
    })
}

/// Accepts every certificate, as `insecureSkipVerify` asks; only that the server holds its key is still verified.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
