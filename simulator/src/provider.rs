//! The token endpoint without HTTP: a request in, an answer out.
//!
//! A request is rotated as soon as it is received, and its latency passes afterwards: a client
//! that goes away in between has lost the reply, as with a real provider at its worst.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crate::clock::TimeSource;
use crate::config::SimulatorConfig;
use crate::dialect::{ClientKey, ProviderDialect};
use crate::draw::{self, Purpose};
use crate::faults::{Effect, Fault};
use crate::ledger::{DeathCause, Exchange, Grant, Ledger, Terms, TokenState};
use crate::oauth::{self, Client, Refusal, Reply, TokenRequest};
use crate::request_gate::RequestGate;
use crate::requests::{RefusalLog, RequestLog, RequestRecord};
use crate::script::Play;
use crate::settings::{DeadReply, SimulatorSettings};
use crate::stats::{AnswerKind, Counters};
use crate::sync::{lock, read, write};
use crate::token::{TokenCodec, TokenId};

/// Everything that the simulator is, shared by all requests.
pub(crate) struct Provider {
    pub(crate) client: Client,
    pub(crate) client_key: Option<ClientKey>,
    /// How it wants its requests and words its answers, if not as RFC 6749 does.
    pub(crate) dialect: Option<ProviderDialect>,
    /// Why requests were not taken, in this dialect.
    pub(crate) refusals: RefusalLog,
    pub(crate) scope: String,
    pub(crate) seed: u64,
    pub(crate) codec: TokenCodec,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    pub(crate) clock: Arc<dyn TimeSource>,
    pub(crate) gate: Mutex<RequestGate>,
    /// How many documents were ever seeded.
    pub(crate) seeded: AtomicU64,
    /// How many requests with a token of nobody were answered.
    strangers: AtomicU64,
    settings: RwLock<Arc<SimulatorSettings>>,
    play: RwLock<Option<Arc<Play>>>,
    /// What came while a script was played.
    pub(crate) requests: RequestLog,
}

/// How an answer reaches the client, or fails to.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// As it should.
    Reply(Reply),
    /// Half of the body, then the end of the connection.
    Truncated(Reply),
    /// The connection is reset.
    Reset,
    /// Never. The connection is held for so many seconds at most.
    Silence { hold_s: u64 },
}

/// What a request is answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: AnswerKind,
    pub(crate) delivery: Delivery,
    /// How long the client waits for it, in milliseconds.
    pub(crate) latency_ms: u64,
    /// The grant whose new tokens it brings.
    pub(crate) grant: Option<u32>,
}

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// What stands behind the `?`.
    pub(crate) query: &'a str,
    /// Names in lower case, with their values.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

impl<'a> RawRequest<'a> {
    /// A request at the usual place.
    pub(crate) const fn post(headers: &'a [(&'a str, &'a str)], body: &'a [u8]) -> Self {
        Self { method: "POST", path: "/token", query: "", headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// What a presentation came to in the ledger.
pub(crate) struct PresentationResult {
    pub(crate) fault: Option<Fault>,
    pub(crate) exchange: Option<Exchange>,
    /// What the draws of this presentation depend on, beside the seed.
    pub(crate) subject: (u64, u64),
}

impl Provider {
    pub(crate) fn new(mut config: SimulatorConfig, clock: Arc<dyn TimeSource>) -> Self {
        if let Some(dialect) = &config.dialect {
            config.settings.rotate &= dialect.rotates();
        }
        Self {
            client: Client { id: config.client_id, secret: config.client_secret },
            client_key: config.client_key,
            dialect: config.dialect,
            refusals: RefusalLog::default(),
            scope: config.scope,
            seed: config.seed,
            codec: TokenCodec::new(config.seed),
            ledger: Ledger::new(),
            counters: Counters::default(),
            clock,
            gate: Mutex::new(RequestGate::new(&config.settings.limits)),
            seeded: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
            settings: RwLock::new(Arc::new(config.settings)),
            play: RwLock::new(None),
            requests: RequestLog::default(),
        }
    }

    pub(crate) fn settings(&self) -> Arc<SimulatorSettings> {
        read(&self.settings).clone()
    }

    /// Replaces the settings by what `change` makes of them, one change at a time.
    pub(crate) fn change<E>(
        &self,
        change: impl FnOnce(&SimulatorSettings) -> Result<SimulatorSettings, E>,
    ) -> Result<Arc<SimulatorSettings>, E> {
        let mut settings = write(&self.settings);
        let changed = Arc::new(change(&settings)?);
        lock(&self.gate).set_limits(&changed.limits);
        *settings = changed.clone();
        Ok(changed)
    }

    /// Plays another script from the next request on.
    pub(crate) fn play(&self, play: Play) {
        *write(&self.play) = Some(Arc::new(play));
    }

    /// Answers a request and counts the answer.
    pub(crate) fn answer(&self, request: RawRequest<'_>) -> Answer {
        let answer = self.decide(request);
        self.counters.answered(answer.kind);
        answer
    }

    /// The client is still there and is handed its new tokens now.
    pub(crate) fn replied(&self, grant: Option<u32>) {
        let now_ms = self.clock.now_ms();
        if let Some(id) = grant {
            self.ledger.with(id, |grant| grant.replied_at_ms = Some(now_ms));
        }
    }

    fn decide(&self, raw: RawRequest<'_>) -> Answer {
        let settings = self.settings();
        let (now_us, arrival) = {
            let mut gate = lock(&self.gate);
            let now_us = self.clock.now_us();
            (now_us, gate.arrive(now_us))
        };
        if let Err(wait_us) = arrival {
            let reply = self.throttled_reply(&settings, wait_us, now_us);
            return at_once(AnswerKind::Throttled, reply);
        }
        let Some(play) = read(&self.play).clone() else {
            return match self.read_request(raw, &settings, now_us) {
                Ok(request) => self.refresh(&request, &settings, now_us),
                Err(answer) => *answer,
            };
        };
        play.arrived(now_us);
        let request = if play.has_requirements() {
            self.read_as_scripted(&play, raw, now_us)
        } else {
            self.read_request(raw, &settings, now_us).inspect_err(|answer| {
                let state = TokenState::Unknown;
                self.requests.note(RequestRecord::new(now_us, None, state, None, answer));
            })
        };
        match request {
            Ok(request) => self.perform(&play, &request, &settings, now_us),
            Err(answer) => *answer,
        }
    }

    /// Reads a request. `Err` is the answer to one that cannot be taken.
    fn read_request<'a>(
        &'a self,
        raw: RawRequest<'a>,
        settings: &SimulatorSettings,
        now_us: u64,
    ) -> Result<TokenRequest<'a>, Box<Answer>> {
        if let Some(dialect) = &self.dialect {
            return self.read_in(dialect, raw, now_us);
        }
        let (authorization, content_type) =
            (raw.header("authorization"), raw.header("content-type"));
        oauth::parse(
            &self.client,
            settings.client_auth,
            &self.scope,
            authorization,
            content_type,
            raw.body,
        )
        .map_err(|refusal| {
            let unknown_client = matches!(refusal, Refusal::InvalidClient(_));
            let (wrong, bad) = (AnswerKind::InvalidClient, AnswerKind::InvalidRequest);
            let kind = if unknown_client { wrong } else { bad };
            Box::new(at_once(kind, oauth::refused(refusal)))
        })
    }

    /// Answers a presentation by the settings alone.
    pub(crate) fn refresh(
        &self,
        request: &TokenRequest<'_>,
        settings: &SimulatorSettings,
        now_us: u64,
    ) -> Answer {
        let id = self.codec.open_refresh_token(&request.refresh_token);
        let presented = self.present(id, settings, now_us / 1_000);
        self.count(&presented);
        let latency_ms = self.latency_ms(settings, presented.subject);
        let fault = presented.fault;
        let (kind, reply) = match (fault, presented.exchange) {
            (Some(Fault::EchoToken), None) => {
                let reply = oauth::echo(&request.refresh_token, &self.client.secret);
                (AnswerKind::InvalidRequest, reply)
            }
            (Some(fault), None) => self.untouched(fault, settings, now_us),
            (_, Some(Exchange::Rotated { number, .. })) => {
                self.tokens(id, Some(number), fault, request, settings)
            }
            (_, Some(Exchange::Kept)) => self.tokens(id, None, fault, request, settings),
            (Some(Fault::OkWithError), _) => {
                (AnswerKind::InvalidGrant, oauth::dead(DeadReply::Github))
            }
            _ => (AnswerKind::InvalidGrant, self.dead_reply(settings, now_us)),
        };
        let (kind, delivery) = match fault {
            Some(Fault::ResetBefore | Fault::ResetAfter) => {
                (AnswerKind::Unanswered, Delivery::Reset)
            }
            Some(Fault::NoReply) => {
                (AnswerKind::Unanswered, Delivery::Silence { hold_s: settings.no_reply_hold_s })
            }
            Some(Fault::TruncatedBody) => (AnswerKind::Unanswered, Delivery::Truncated(reply)),
            _ => (kind, Delivery::Reply(reply)),
        };
        let grant = id.filter(|_| kind == AnswerKind::Refreshed).map(|id| id.grant);
        Answer { kind, delivery, latency_ms, grant }
    }

    /// Draws the fault and applies it and the exchange to the grant, in one step.
    fn present(
        &self,
        id: Option<TokenId>,
        settings: &SimulatorSettings,
        now_ms: u64,
    ) -> PresentationResult {
        let terms = Terms::from(settings);
        let found = id.and_then(|id| {
            self.ledger.with(id.grant, |grant| {
                let subject = (u64::from(id.grant), u64::from(grant.present()));
                let fault = self.fault(settings, subject);
                let exchange = apply(grant, id.number, fault, now_ms, &terms);
                PresentationResult { fault, exchange, subject }
            })
        });
        found.unwrap_or_else(|| {
            let subject = (u64::MAX, self.strangers.fetch_add(1, Ordering::Relaxed));
            let fault = self.fault(settings, subject);
            let reaches = fault.map_or(Effect::Exchange, Fault::effect) != Effect::Untouched;
            PresentationResult { fault, exchange: reaches.then_some(Exchange::Unknown), subject }
        })
    }

    fn fault(&self, settings: &SimulatorSettings, subject: (u64, u64)) -> Option<Fault> {
        settings.faults.pick(draw::unit(self.seed, Purpose::Fault, subject.0, subject.1))
    }

    pub(crate) fn latency_ms(&self, settings: &SimulatorSettings, subject: (u64, u64)) -> u64 {
        let spread_ms = settings.latency_spread_ms;
        if spread_ms == 0 {
            return settings.latency_ms;
        }
        let draw = draw::bits(self.seed, Purpose::Latency, subject.0, subject.1);
        (settings.latency_ms + draw % (2 * spread_ms + 1)).saturating_sub(spread_ms)
    }

    pub(crate) fn count(&self, presented: &PresentationResult) {
        if let Some(fault) = presented.fault {
            self.counters.faulted(fault);
        }
        match presented.exchange {
            Some(Exchange::Rotated { in_grace, .. }) => self.counters.exchanged(in_grace),
            Some(Exchange::Kept) => self.counters.exchanged(false),
            Some(Exchange::Reused) => self.counters.reused(),
            Some(Exchange::Dead | Exchange::Unknown) | None => {}
        }
    }
}

/// What a presentation does to its grant. None if it does not get so far.
fn apply(
    grant: &mut Grant,
    number: u32,
    fault: Option<Fault>,
    now_ms: u64,
    terms: &Terms,
) -> Option<Exchange> {
    match fault.map_or(Effect::Exchange, Fault::effect) {
        Effect::Untouched => None,
        Effect::Exchange => Some(grant.exchange(number, false, now_ms, terms)),
        Effect::ExchangeAndKeep => Some(grant.exchange(number, true, now_ms, terms)),
        Effect::Kill => {
            // A token that is not good any more is not what kills its grant by a fault.
            if grant.accepts(number, now_ms) {
                grant.kill(DeathCause::Fault, now_ms);
            }
            Some(grant.exchange(number, false, now_ms, terms))
        }
    }
}

fn at_once(kind: AnswerKind, reply: Reply) -> Answer {
    Answer { kind, delivery: Delivery::Reply(reply), latency_ms: 0, grant: None }
}

mod replies;
#[cfg(test)]
mod tests;
