//! Counters of what was asked and answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::faults::{ALL, Fault, FaultRates};

/// What a request was answered with. Each request counts as one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    Refreshed,
    Throttled,
    InvalidGrant,
    InvalidClient,
    InvalidRequest,
    ServerError,
    Unanswered,
}

/// Requests by what they were answered with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerCounts {
    /// 200 with an access token.
    pub refreshed: u64,
    /// 429, by a limit or a fault.
    pub throttled: u64,
    /// The refresh token was refused, in whatever shape.
    pub invalid_grant: u64,
    /// 401, by a wrong client or a fault.
    pub invalid_client: u64,
    /// Not a sound request to a token endpoint.
    pub invalid_request: u64,
    /// 500, 502 or 503, all by a fault.
    pub server_error: u64,
    /// Reset, silence or half a body, all by a fault.
    pub unanswered: u64,
}

/// What has happened since the start or the last reset, as `GET /stats` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SimulatorStats {
    /// Requests to the token endpoint. Those in the midst of being read have no answer yet.
    pub requests: u64,
    /// Requests by what they were answered with.
    pub answers: AnswerCounts,
    /// Faults that were drawn, by name.
    pub faults: BTreeMap<String, u64>,
    /// Tokens exchanged, whether or not the reply got through.
    pub exchanges: u64,
    /// Tokens presented after they had been rotated away and their grace was over.
    pub reused: u64,
    /// Exchanges of a token that had been exchanged before, within its grace.
    pub double_exchanges: u64,
    /// Requests whose client went away before the reply.
    pub client_gone: u64,
    /// Requests being answered now.
    pub in_flight: u64,
    /// The most at once.
    pub in_flight_max: u64,
    /// The most requests that arrived in any sliding second, refused ones included.
    pub max_in_1s: u64,
    /// The most requests that arrived in any sliding minute, refused ones included.
    pub max_in_60s: u64,
    /// All grants in the ledger.
    pub grants: u64,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    answers: [AtomicU64; 7],
    faults: [AtomicU64; 15],
    exchanges: AtomicU64,
    reused: AtomicU64,
    double_exchanges: AtomicU64,
    client_gone: AtomicU64,
    in_flight: AtomicU64,
    in_flight_max: AtomicU64,
}

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a> {
    counters: &'a Counters,
    answered: bool,
}

impl Counters {
    /// A request has arrived.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        add(&self.requests);
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.in_flight_max.fetch_max(now, Ordering::Relaxed);
        InFlight { counters: self, answered: false }
    }

    pub(crate) fn answered(&self, kind: AnswerKind) {
        add(&self.answers[kind as usize]);
    }

    pub(crate) fn faulted(&self, fault: Fault) {
        add(&self.faults[fault as usize]);
    }

    pub(crate) fn exchanged(&self, in_grace: bool) {
        add(&self.exchanges);
        if in_grace {
            add(&self.double_exchanges);
        }
    }

    pub(crate) fn reused(&self) {
        add(&self.reused);
    }

    /// All counters, without what the gate and the ledger know.
    pub(crate) fn snapshot(&self) -> SimulatorStats {
        let answer = |kind: AnswerKind| get(&self.answers[kind as usize]);
        let names = FaultRates::default().named().map(|(name, _)| name.to_owned());
        let counts = ALL.map(|fault| get(&self.faults[fault as usize]));
        SimulatorStats {
            requests: get(&self.requests),
            answers: AnswerCounts {
                refreshed: answer(AnswerKind::Refreshed),
                throttled: answer(AnswerKind::Throttled),
                invalid_grant: answer(AnswerKind::InvalidGrant),
                invalid_client: answer(AnswerKind::InvalidClient),
                invalid_request: answer(AnswerKind::InvalidRequest),
                server_error: answer(AnswerKind::ServerError),
                unanswered: answer(AnswerKind::Unanswered),
            },
            faults: names.into_iter().zip(counts).collect(),
            exchanges: get(&self.exchanges),
            reused: get(&self.reused),
            double_exchanges: get(&self.double_exchanges),
            client_gone: get(&self.client_gone),
            in_flight: get(&self.in_flight),
            in_flight_max: get(&self.in_flight_max),
            ..SimulatorStats::default()
        }
    }

    /// Sets every counter to zero, but for what is in flight.
    pub(crate) fn reset(&self) {
        let singles = [
            &self.requests,
            &self.exchanges,
            &self.reused,
            &self.double_exchanges,
            &self.client_gone,
        ];
        for counter in singles.into_iter().chain(&self.answers).chain(&self.faults) {
            counter.store(0, Ordering::Relaxed);
        }
        self.in_flight_max.store(get(&self.in_flight), Ordering::Relaxed);
    }
}

impl InFlight<'_> {
    /// The reply is on its way. Without this the client is taken to have gone.
    pub(crate) fn finish(mut self) {
        self.answered = true;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            add(&self.counters.client_gone);
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
