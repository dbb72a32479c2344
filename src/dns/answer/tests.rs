//! The server against a cluster's DNS of a few names.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::A;
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::build::names::Rewrites;
use crate::dns::{outside_names, serve};

const SANDBOX: &str = "sb-shop-kymaros-abc123.svc.cluster.local.";

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn a(owner: &str, last: u8) -> Record {
    Record::from_rdata(name(owner), 5, RData::A(A::new(10, 96, 0, last)))
}

fn alias(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 5, RData::CNAME(CNAME(name(target))))
}

/// What the cluster's DNS knows.
fn known(asked: &Query) -> Vec<Record> {
    let of = |service: &str| format!("{service}.{SANDBOX}");
    let asked_name = asked.name.to_lowercase().to_ascii();
    let is = |service: &str| asked_name == of(service);
    if is("db") && asked.query_type == RecordType::A {
        vec![a(&of("db"), 7)]
    } else if is("_sql._tcp.db") {
        let target = name(&of("db-0.db"));
        vec![Record::from_rdata(
            asked.name.clone(),
            5,
            RData::SRV(SRV::new(0, 1, 5432, target)),
        )]
    } else if is("to-rates") {
        // As the cluster's DNS would follow it: into production.
        vec![
            alias(&of("to-rates"), "eur.rates.svc.cluster.local."),
            a("eur.rates.svc.cluster.local.", 66),
        ]
    } else if asked_name == "eur.sb-rates-kymaros-abc123.svc.cluster.local." {
        vec![a(&asked_name, 8)]
    } else if is("to-outside") {
        vec![
            alias(&of("to-outside"), "db.production.example."),
            a("db.production.example.", 67),
        ]
    } else if is("many") {
        (0..200).map(|n| a(&of("many"), n)).collect()
    } else if asked_name == "7.0.96.10.in-addr.arpa." {
        vec![Record::from_rdata(
            asked.name.clone(),
            5,
            RData::PTR(PTR(name(&of("db")))),
        )]
    } else if asked_name == "9.0.96.10.in-addr.arpa." {
        let production = RData::PTR(PTR(name("db.shop.svc.cluster.local.")));
        vec![Record::from_rdata(asked.name.clone(), 5, production)]
    } else {
        Vec::new()
    }
}

/// A cluster's DNS; a name that is not its own is a test that fails.
async fn cluster_dns() -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    let reply = |bytes: &[u8]| {
        let question = Message::from_vec(bytes).unwrap();
        let query = question.queries[0].clone();
        let asked = query.name.to_ascii();
        assert!(
            asked.contains("-kymaros-abc123.svc.") || asked.ends_with(".arpa."),
            "{asked} was let out"
        );
        let records = known(&query);
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.add_query(query);
        if records.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer.add_answers(records);
        answer
    };
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let bytes = crate::dns::upstream::read_message(&mut stream).await.unwrap();
            let bytes = reply(&bytes).to_vec().unwrap();
            crate::dns::upstream::write_message(&mut stream, &bytes).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
            let answer = reply(&buffer[..length]);
            let mut bytes = answer.to_vec().unwrap();
            if bytes.len() > 1232 {
                bytes = answer.truncate().to_vec().unwrap();
            }
            udp.send_to(&bytes, from).await.unwrap();
        }
    });
    address
}

async fn server() -> Server {
    let rewrites = Rewrites {
        domain: "cluster.local".to_owned(),
        pairs: [("shop", "sb-shop-kymaros-abc123"), ("rates", "sb-rates-kymaros-abc123")]
            .map(|(source, sandbox)| (source.to_owned(), sandbox.to_owned()))
            .into(),
    };
    Server::new(Zones::new(&rewrites).unwrap(), Upstream::new(vec![cluster_dns().await]))
}

fn question(text: &str, kind: RecordType) -> Message {
    let mut question = Message::query();
    question.add_query(Query::query(name(text), kind));
    question
}

async fn ask(server: &Server, text: &str, kind: RecordType) -> Message {
    let question = question(text, kind);
    let answer = server.answer(&question, false).await.unwrap();
    assert_eq!(
        (answer.metadata.id, &answer.queries),
        (question.metadata.id, &question.queries)
    );
    answer
}

#[tokio::test]
async fn the_copy_answers_under_the_name_that_was_asked_for() {
    let server = server().await;
    for asked in ["db.shop.svc.cluster.local.", "dB.SHOP.svc.cluster.local."] {
        let answer = ask(&server, asked, RecordType::A).await;
        let [record] = &answer.answers[..] else {
            panic!("{answer:?}")
        };
        assert!(record.name.eq_case(&name(asked)), "{record:?}");
        assert_eq!(record.data, a(asked, 7).data);
    }
    let own = format!("db.{SANDBOX}");
    assert_eq!(ask(&server, &own, RecordType::A).await.answers, [a(&own, 7)]);
    let missing = ask(&server, "nobody.shop.svc.cluster.local.", RecordType::A).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert!(
        server.outside().names().next().is_none(),
        "names of the run are not outside"
    );
}

#[tokio::test]
async fn names_in_answers_are_the_sources_if_the_question_was() {
    let server = server().await;
    let asked = |answer: Message| match answer.answers[0].data.clone() {
        RData::SRV(record) => record.target.to_ascii(),
        RData::PTR(PTR(target)) => target.to_ascii(),
        other => panic!("{other:?}"),
    };
    let of_source = ask(&server, "_sql._tcp.db.shop.svc.cluster.local.", RecordType::SRV).await;
    assert_eq!(asked(of_source), "db-0.db.shop.svc.cluster.local.");
    let of_sandbox = ask(&server, &format!("_sql._tcp.db.{SANDBOX}"), RecordType::SRV).await;
    assert_eq!(asked(of_sandbox), format!("db-0.db.{SANDBOX}"));
    let reverse = ask(&server, "7.0.96.10.in-addr.arpa.", RecordType::PTR).await;
    assert_eq!(asked(reverse), "db.shop.svc.cluster.local.");
    // Production's.
    let reverse = ask(&server, "9.0.96.10.in-addr.arpa.", RecordType::PTR).await;
    assert_eq!(reverse.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn aliases_lead_into_the_run_or_nowhere() {
    let server = server().await;
    for asked in [
        "to-rates.shop.svc.cluster.local.".to_owned(),
        format!("to-rates.{SANDBOX}"),
    ] {
        let answer = ask(&server, &asked, RecordType::A).await;
        let expected = [
            alias(&asked, "eur.rates.svc.cluster.local."),
            a("eur.rates.svc.cluster.local.", 8),
        ];
        assert_eq!(answer.answers, expected, "{asked}");
    }
    let answer = ask(&server, "to-outside.shop.svc.cluster.local.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert!(answer.answers.is_empty());
    assert_eq!(server.outside().names().collect::<Vec<_>>(), ["db.production.example"]);
}

#[tokio::test]
async fn outside_names_are_refused_kept_and_told_by_tcp() {
    let server = Arc::new(server().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve::connections(listener, Arc::clone(&server)));
    assert!(outside_names(address).await.unwrap().is_empty());
    for asked in [
        "Registry.production.example.",
        "api.other.svc.cluster.local.",
        "api.other.",
    ] {
        let answer = ask(&server, asked, RecordType::AAAA).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    }
    assert_eq!(
        outside_names(address).await.unwrap(),
        ["api.other", "registry.production.example"]
    );
    let by_udp = ask(&server, OUTSIDE_NAMES, RecordType::TXT).await;
    assert!(by_udp.answers.is_empty());
}

#[tokio::test]
async fn what_does_not_fit_into_a_packet_comes_by_tcp() {
    let server = Arc::new(server().await);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(serve::datagrams(socket, Arc::clone(&server)));
    tokio::spawn(serve::connections(listener, server));
    let upstream = Upstream::new(vec![address]);
    // The same client asks the cluster's DNS for us: by UDP first, then by TCP.
    let answer = upstream
        .ask(&name("many.shop.svc.cluster.local."), RecordType::A)
        .await
        .unwrap();
    assert_eq!(answer.answers.len(), 200);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    let question = question("many.shop.svc.cluster.local.", RecordType::A);
    client.send(&question.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 4096];
    let length = client.recv(&mut buffer).await.unwrap();
    assert!(length <= 512, "more than a resolver without EDNS can take: {length}");
    assert!(Message::from_vec(&buffer[..length]).unwrap().metadata.truncation);
}

#[tokio::test]
async fn what_is_no_question_gets_no_answer_or_an_error() {
    let server = server().await;
    let mut answer = question("db.shop.svc.cluster.local.", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    assert!(
        server.answer(&answer, false).await.is_none(),
        "or two servers would talk for ever"
    );
    let code = async |question: &Message| server.answer(question, false).await.unwrap().metadata.response_code;
    let mut update = question("db.shop.svc.cluster.local.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update).await, ResponseCode::NotImp);
    assert_eq!(code(&Message::query()).await, ResponseCode::FormErr);
    let silent = Server::new(server.zones.clone(), Upstream::new(Vec::new()));
    let question = question("db.shop.svc.cluster.local.", RecordType::A);
    let answer = silent.answer(&question, false).await.unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}
