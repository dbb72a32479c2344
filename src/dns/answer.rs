//! One question and its answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, PTR, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::OUTSIDE_NAMES;
use super::outside::Outside;
use super::upstream::{PAYLOAD, Upstream};
use super::zones::{Sort, Zones};

/// Aliases that are followed from one name to the next.
const ALIASES: usize = 8;

/// Answers questions.
#[derive(Debug)]
pub(super) struct Server {
    zones: Zones,
    upstream: Upstream,
    outside: Mutex<Outside>,
}

/// Code and records.
type Found = (ResponseCode, Vec<Record>);

impl Server {
    pub(super) fn new(zones: Zones, upstream: Upstream) -> Self {
        Self {
            zones,
            upstream,
            outside: Mutex::default(),
        }
    }

    /// The answer to a message, `None` if it is no question.
    pub(super) async fn answer(&self, question: &Message, by_tcp: bool) -> Option<Message> {
        let head = &question.metadata;
        if head.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(head.id, head.op_code);
        answer.metadata.recursion_desired = head.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_queries(question.queries.iter().cloned());
        if question.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            answer.set_edns(edns);
        }
        let (code, records) = match question.queries.as_slice() {
            _ if head.op_code != OpCode::Query => (ResponseCode::NotImp, Vec::new()),
            [query] if query.query_class == DNSClass::IN => self.find(query, by_tcp).await,
            [_] => (ResponseCode::Refused, Vec::new()),
            _ => (ResponseCode::FormErr, Vec::new()),
        };
        answer.metadata.response_code = code;
        answer.add_answers(records);
        Some(answer)
    }

    async fn find(&self, query: &Query, by_tcp: bool) -> Found {
        if by_tcp && query.query_type == RecordType::TXT && query.name.to_lowercase().to_ascii() == OUTSIDE_NAMES {
            return (ResponseCode::NoError, self.recorded(&query.name));
        }
        match self.zones.sort(&query.name) {
            Sort::Own(own) => self.own(query, own).await,
            Sort::Reverse => self.reverse(query).await,
            Sort::Noise => none(),
            Sort::Outside => {
                self.record(&query.name);
                none()
            }
        }
    }

    /// A name of the run, with the sandbox's name put back to the one that was asked for.
    async fn own(&self, query: &Query, own: Name) -> Found {
        let as_source = self.zones.is_of_a_source(&query.name);
        let (code, mut records) = self.follow(own.clone(), query.query_type).await;
        for record in &mut records {
            // To the letter: some resolvers vary the case of what they ask and compare it.
            if record.name == own {
                record.name.clone_from(&query.name);
            }
            if as_source {
                self.restore(record);
            }
        }
        (code, records)
    }

    /// Puts the source's names in place of the sandbox's. The drivers of `MongoDB`, for one, take a host from an SRV record only if
    /// it lies in the domain that they have asked.
    fn restore(&self, record: &mut Record) {
        let back = |name: &mut Name| {
            if let Some(source) = self.zones.back(name) {
                *name = source;
            }
        };
        back(&mut record.name);
        match &mut record.data {
            RData::CNAME(CNAME(target)) | RData::PTR(PTR(target)) | RData::SRV(SRV { target, .. }) => back(target),
            _ => {}
        }
    }

    /// Asks the cluster's DNS, and again where an alias (a Service of type `ExternalName`) leads back into the run: the
    /// cluster's DNS has followed it into the source's namespace.
    async fn follow(&self, start: Name, kind: RecordType) -> Found {
        // What is asked for, and the name under which the asker knows it.
        let (mut name, mut known) = (start.clone(), start);
        let mut aliases: Vec<Record> = Vec::new();
        'asked: for _ in 0..ALIASES {
            let mut reply = match self.upstream.ask(&name, kind).await {
                Ok(reply) => reply,
                Err(error) => {
                    tracing::warn!(%error, %name, "the cluster's DNS does not answer");
                    return (ResponseCode::ServFail, Vec::new());
                }
            };
            for record in reply.answers.iter_mut().filter(|record| record.name == name) {
                record.name.clone_from(&known);
            }
            let mut at = known;
            let mut chain = Vec::new();
            while let Some((alias, target)) = alias_of(&reply.answers, &at).filter(|_| kind != RecordType::CNAME) {
                chain.push(alias.clone());
                match self.zones.sort(&target) {
                    Sort::Own(own) if own == target => {}
                    Sort::Own(own) => {
                        aliases.append(&mut chain);
                        (name, known) = (own, target);
                        continue 'asked;
                    }
                    Sort::Reverse | Sort::Noise | Sort::Outside => {
                        self.record(&target);
                        return none();
                    }
                }
                if chain.len() > ALIASES {
                    return (ResponseCode::ServFail, Vec::new());
                }
                at = target;
            }
            aliases.append(&mut reply.answers);
            return (reply.metadata.response_code, aliases);
        }
        (ResponseCode::ServFail, Vec::new())
    }

    /// Who has this address? Only names of the run are told.
    async fn reverse(&self, query: &Query) -> Found {
        let Ok(reply) = self.upstream.ask(&query.name, query.query_type).await else {
            return (ResponseCode::ServFail, Vec::new());
        };
        let is_ours =
            |record: &Record| matches!(&record.data, RData::PTR(PTR(name)) if self.zones.back(name).is_some());
        let mut records: Vec<Record> = reply.answers.into_iter().filter(is_ours).collect();
        if records.is_empty() {
            return none();
        }
        for record in &mut records {
            self.restore(record);
            record.name.clone_from(&query.name);
        }
        (ResponseCode::NoError, records)
    }

    fn record(&self, name: &Name) {
        self.outside().add(name, self.zones.services());
    }

    fn recorded(&self, name: &Name) -> Vec<Record> {
        let text = |outside: &str| Record::from_rdata(name.clone(), 0, RData::TXT(TXT::new(vec![outside.to_owned()])));
        self.outside().names().map(text).collect()
    }

    fn outside(&self) -> MutexGuard<'_, Outside> {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// "There is no such name", at once. Not a refusal: on one, some resolvers ask the next server, wait, or give up instead of
/// going on to the next entry of their search path, and a name that lies behind it would never be found.
fn none() -> Found {
    (ResponseCode::NXDomain, Vec::new())
}

/// The alias of a name among these records, and where it leads.
fn alias_of<'a>(records: &'a [Record], name: &Name) -> Option<(&'a Record, Name)> {
    records.iter().find_map(|record| match &record.data {
        RData::CNAME(CNAME(target)) if record.name == *name => Some((record, target.clone())),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
