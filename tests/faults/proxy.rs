//! A proxy between one runner and the API server that does what networks, load balancers and API servers do on bad days, at
//! seeded random. `tests/safety/README.md` says how it is used.
//!
//! It ends TLS with a certificate of the cluster's own authority and hands each request on with the caller's token, so that the
//! API server sees the runner and nobody else. It lives as long as its standard input is open: whoever started it takes it
//! along when it dies.
#![allow(clippy::print_stdout, reason = "its address goes to whoever started it")]

mod answers;
mod draw;
mod forward;
mod journal;
mod options;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use forward::Proxy;
use journal::Journal;
use options::Options;

/// How soon it is noticed that somebody wants the API server away, or back.
const LOOK: Duration = Duration::from_millis(50);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    kymaros_runner::cluster::install_crypto();
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&options.certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&options.key)?;
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(&options.authority)? {
        roots.add(authority?)?;
    }
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let (listener, address) = first_free(options.listen).await?;
    println!("{address}");
    let (away_until, outage) = watch::channel(None);
    let (away, is_away) = watch::channel(false);
    let proxy = Arc::new(Proxy {
        journal: Journal::open(&options.log)?,
        upstream: options.upstream,
        connector: TlsConnector::from(Arc::new(client)),
        draw: options.draw,
        outage: options.outage,
        away_until,
        away: is_away,
    });
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let gate = Gate {
        file: options.away,
        outage,
        away,
    };
    tokio::select! {
        () = gate.serve(address, listener, &acceptor, &proxy) => {}
        () = end_of_input() => {}
    }
    Ok(())
}

/// The port that is asked for, or the next that nobody has.
async fn first_free(wanted: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let mut address = wanted;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok((listener, address)),
            Err(error) if address.port() >= wanted.port().saturating_add(1000) => return Err(error),
            Err(_) => address.set_port(address.port() + 1),
        }
    }
}

/// Reading the standard input takes a thread, for as long as it is open.
async fn end_of_input() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        let _nobody_waits = ended.send(());
    });
    drop(end.await);
}

/// Lets connections in, unless the API server is away.
struct Gate {
    /// While this file exists, it is away.
    file: PathBuf,
    /// Until then it is away, by its own doing.
    outage: watch::Receiver<Option<Instant>>,
    away: watch::Sender<bool>,
}

impl Gate {
    async fn serve(mut self, address: SocketAddr, listener: TcpListener, acceptor: &TlsAcceptor, proxy: &Arc<Proxy>) {
        let mut listener = Some(listener);
        loop {
            let away = self.file.exists() || self.outage.borrow().is_some_and(|until| until > Instant::now());
            if *self.away.borrow() != away {
                proxy.journal.away(away);
                self.away.send_replace(away);
            }
            if away {
                // Nobody listens: the kernel refuses, as it does for a Service without endpoints.
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(address).await.ok();
            }
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                accepted = accepted => {
                    if let Some((stream, _)) = accepted {
                        tokio::spawn(connection(acceptor.clone(), Arc::clone(proxy), stream));
                    }
                }
                _ = self.outage.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }
}

/// Serves one connection until either side ends it, or the API server goes away.
async fn connection(acceptor: TlsAcceptor, proxy: Arc<Proxy>, stream: TcpStream) {
    let mut away = proxy.away.clone();
    let served = async {
        let Ok(stream) = acceptor.accept(stream).await else {
            return;
        };
        let service = service_fn(|request| Arc::clone(&proxy).answer(request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // How it ended is in the journal, request by request.
        drop(connection.with_upgrades().await);
    };
    tokio::select! {
        () = served => {}
        _ = away.wait_for(|away| *away) => {}
    }
}

/// Sleeps until then, or for ever.
async fn at(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}
