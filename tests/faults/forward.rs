//! One request: its fault, the API server's answer, and what becomes of that on its way back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

use crate::draw::{Asked, Draw, Fault, Kind, Sort};
use crate::journal::{Entry, Journal};
use crate::options::Outage;
use crate::{answers, at};

/// What is wrong with a connection; nobody but hyper sees it, and ends the connection.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;

/// All that the requests of one run share.
pub(crate) struct Proxy {
    pub(crate) journal: Journal,
    pub(crate) upstream: SocketAddr,
    pub(crate) connector: TlsConnector,
    pub(crate) draw: Draw,
    pub(crate) outage: Option<Outage>,
    pub(crate) away_until: watch::Sender<Option<Instant>>,
    pub(crate) away: watch::Receiver<bool>,
}

impl Proxy {
    /// An error ends the connection without an answer.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let asked = Asked::of(request.method(), request.uri());
        let (nth, fault) = self.draw.fault(&asked);
        let entry = self.journal.asked(request.method(), request.uri(), &asked, nth, fault);
        if let Some(outage) = self
            .outage
            .as_ref()
            .filter(|outage| outage.begins(&asked.words, &entry.number()))
        {
            return Err(self.strike(outage, request, entry).await);
        }
        let Some(fault) = fault else {
            return self.pass(request, entry, &asked, None).await;
        };
        if let Some(answer) = answers::of(fault) {
            self.journal.done(entry, answer.status().as_u16());
            return Ok(answer);
        }
        match fault.kind {
            Kind::Close => {
                self.journal.done(entry, "closed");
                Err("closed".into())
            }
            Kind::Hang => {
                self.journal.done(entry, "hung");
                std::future::pending().await
            }
            Kind::Delay => {
                sleep(fault.between(200, 4000)).await;
                self.pass(request, entry, &asked, None).await
            }
            Kind::Lost => {
                let answer = self.ask(request).await;
                let status = answer.map_or(0, |answer| answer.status().as_u16());
                self.journal.done(entry, format!("lost {status}"));
                Err("lost".into())
            }
            _ => self.pass(request, entry, &asked, Some(fault)).await,
        }
    }

    /// The API server does what it is asked, and is gone before it can say so.
    async fn strike(&self, outage: &Outage, request: Request<Incoming>, entry: Entry) -> Broken {
        let answer = self.ask(request).await;
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        self.away_until.send_replace(Some(Instant::now() + outage.lasts));
        self.journal.done(entry, format!("went away after {status}"));
        "went away".into()
    }

    /// Hands a request on and its answer back, with what `fault` does to a stream.
    async fn pass(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        entry: Entry,
        asked: &Asked,
        fault: Option<Fault>,
    ) -> Result<Response<Body>, Broken> {
        let caller = (asked.sort == Sort::Session).then(|| hyper::upgrade::on(&mut request));
        let mut answer = match self.ask(request).await {
            Ok(answered) => answered,
            Err(error) => {
                self.journal.done(entry, error.to_string());
                return Err(error);
            }
        };
        self.journal.done(entry, answer.status().as_u16());
        if let Some(caller) = caller.filter(|_| answer.status() == StatusCode::SWITCHING_PROTOCOLS) {
            let server = hyper::upgrade::on(&mut answer);
            tokio::spawn(session(
                caller,
                server,
                fault.map(|fault| fault.between(0, 3000)),
                self.away.clone(),
            ));
            let (head, _) = answer.into_parts();
            return Ok(Response::from_parts(
                head,
                http_body_util::Empty::new()
                    .map_err(|never| match never {})
                    .boxed_unsync(),
            ));
        }
        let (head, body) = answer.into_parts();
        let body = match fault {
            Some(fault) if fault.kind == Kind::Truncated => broken_off(body).await,
            Some(fault) => watched(body, fault),
            None => body.map_err(Broken::from).boxed_unsync(),
        };
        Ok(Response::from_parts(head, body))
    }

    /// A connection for each request: what happens to one must not touch another.
    async fn ask(&self, request: Request<Incoming>) -> Result<Response<Incoming>, Broken> {
        let stream = TcpStream::connect(self.upstream).await?;
        let name = ServerName::IpAddress(self.upstream.ip().into());
        let stream = self.connector.connect(name, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }
}

/// Carries a session in a pod to its end, or until it is cut.
async fn session(
    caller: hyper::upgrade::OnUpgrade,
    server: hyper::upgrade::OnUpgrade,
    cut: Option<Duration>,
    mut away: watch::Receiver<bool>,
) {
    let (Ok(caller), Ok(server)) = tokio::join!(caller, server) else {
        return;
    };
    let (mut caller, mut server) = (TokioIo::new(caller), TokioIo::new(server));
    tokio::select! {
        _ = copy_bidirectional(&mut caller, &mut server) => {}
        () = at(cut.map(|cut| Instant::now() + cut)) => {}
        _ = away.wait_for(|away| *away) => {}
    }
}

/// The first half of a body, and then the connection ends.
async fn broken_off(body: Incoming) -> Body {
    let whole = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    let pieces: [Result<Frame<Bytes>, Broken>; 2] = [Ok(Frame::data(half)), Err("broken off".into())];
    // The pause lets the first half leave.
    let pieces = futures::stream::iter(pieces).then(async |piece| {
        sleep(Duration::from_millis(20)).await;
        piece
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// A watch that is cut, or falls silent.
fn watched(mut body: Incoming, fault: Fault) -> Body {
    let (pieces, sent) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut trouble = Some(Instant::now() + fault.between(100, 6000));
        loop {
            tokio::select! {
                piece = body.frame() => {
                    let Some(piece) = piece else { return };
                    if pieces.send(piece.map_err(Broken::from)).await.is_err() {
                        return;
                    }
                }
                () = at(trouble) => {
                    trouble = None;
                    match fault.kind {
                        // In good order, or not.
                        Kind::Cut if fault.coin() => return,
                        Kind::Cut => {
                            drop(pieces.send(Err("cut".into())).await);
                            return;
                        }
                        Kind::Dead => return pieces.closed().await,
                        _ => sleep(fault.between(3000, 10_000)).await,
                    }
                }
                () = pieces.closed() => return,
            }
        }
    });
    let pieces = futures::stream::unfold(sent, async |mut sent| Some((sent.recv().await?, sent)));
    StreamBody::new(pieces).boxed_unsync()
}
