//! What a replica knows of a provider, who waits for it, and which places it has. Without I/O; all
//! times are by the clock of this process.

use std::collections::VecDeque;
use std::time::Duration;

use evergrant_domain::cell::{Ask, LONGEST_LEAD, Reservation};
use evergrant_domain::clock_offset::ClockOffset;
use evergrant_domain::limit::Limit;
use evergrant_domain::provider_state::{SlowStore, Turn};
use evergrant_domain::punctuality::Punctuality;
use evergrant_domain::weigh::Evidence;
use evergrant_domain::{Moment, ProviderState, Signal, Timestamp};
use evergrant_ports::Versioned;

/// What a replica knows.
#[derive(Debug)]
pub(super) struct Board {
    /// The limits of the settings.
    configured: Vec<Limit>,
    /// What stands for the settings of our client.
    client: String,
    /// The store knows them.
    introduced: bool,
    /// The provider as it was when it was read last, and what was noted since.
    state: ProviderState,
    clock: Option<ClockOffset>,
    places: VecDeque<Place>,
    /// Without limits: until when requests may be sent without another look.
    free_until: Duration,
    /// At the last look there was less room than was wanted: replicas have to share it.
    contended: bool,
    pub(super) punctuality: Punctuality,
    /// How many wait for a permit.
    pub(super) waiting: u32,
    /// What is not in the store yet.
    signals: Vec<(Signal, Timestamp)>,
    /// When somebody wanted to know something last.
    asked_at: Option<Duration>,
    /// When to look next, unless there is reason to look sooner.
    next_look: Duration,
    /// When the last look was.
    looked_at: Duration,
    /// How long it takes until a reservation is in the store.
    lead: Duration,
    /// Places that were over before they were known to be in the store, and are not told yet.
    missed: u64,
}

/// A place that is this replica's own.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: Duration,
    spacing: Duration,
    tolerance: Duration,
    probe: bool,
}

/// What a waiter does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Send. The number is for [`Punctuality::answered`]; None where nothing is to be watched.
    Go(Option<u64>),
    /// Come again then.
    At(Duration),
    /// Wait for news.
    News,
}

/// What came of a look, to be carried out once it is in the store.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) version: u64,
    pub(super) state: ProviderState,
    /// Whether there is anything to write.
    pub(super) changed: bool,
    /// How wrong what is known of the store's time may be, to either side.
    pub(super) unsure: Duration,
    turn: Turn,
    wanted: u32,
    debt: Duration,
    signals: Vec<(Signal, Timestamp)>,
    read_at: Duration,
}

/// For so long after somebody asked, the state is kept fresh.
const INTEREST: Duration = Duration::from_millis(500);
/// The time between two looks while there is interest: what another replica writes is known by
/// then. Each look varies it by a fifth, so that replicas don't meet.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The same while no place is to be had for longer than that: then only a new limit is news.
const LOOK_RARELY: Duration = Duration::from_millis(700);
/// Where there is room for all, those who wait need not wait for that, but the store must not be asked
/// all the time either.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Without limits, nothing is sent on a state that is older than this, unless reading it takes long.
const FRESH: Duration = Duration::from_millis(500);
/// A reservation is expected to take no less than this.
const LEAST_LEAD: Duration = Duration::from_millis(5);
/// A reservation that takes longer than this is told: it makes places rarer.
pub(super) const SLOW: Duration = Duration::from_millis(200);
/// A pause whose end only an operator knows.
const OPEN_END: Duration = Duration::from_secs(86_400);

impl Board {
    pub(super) fn new(configured: Vec<Limit>, client: String) -> Self {
        Self {
            configured,
            client,
            introduced: false,
            state: ProviderState::default(),
            clock: None,
            places: VecDeque::new(),
            free_until: Duration::ZERO,
            contended: false,
            punctuality: Punctuality::default(),
            waiting: 0,
            signals: Vec::new(),
            asked_at: None,
            next_look: Duration::ZERO,
            looked_at: Duration::ZERO,
            lead: LEAST_LEAD * 4,
            missed: 0,
        }
    }

    /// What the first of those who wait does next.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        self.asked_at = Some(now);
        while self.places.front().is_some_and(|place| place.is_missed(now)) {
            self.places.pop_front();
        }
        let shut = self.shut_for(now).is_some();
        let tripped = self.state.gate.tripped().is_some();
        match self.places.front() {
            // Its answer is what the circuit waits for.
            Some(place) if (shut || tripped) && !place.probe => Next::News,
            Some(place) if place.at > now => Next::At(place.at),
            Some(&Place { at, spacing, tolerance, .. }) => {
                self.places.pop_front();
                Next::Go(Some(self.punctuality.sent(at, spacing, tolerance)))
            }
            None if !shut && !tripped && now < self.free_until => Next::Go(None),
            None => Next::News,
        }
    }

    /// How many of those who wait have no place.
    pub(super) fn wanted(&self, now: Duration) -> u32 {
        if now < self.free_until {
            return 0;
        }
        self.waiting.saturating_sub(u32::try_from(self.places.len()).unwrap_or(u32::MAX))
    }

    /// Takes note of an answer. Says whether that is news.
    pub(super) fn note(&mut self, signal: &Signal, now: Duration) -> bool {
        let at = self.server(now).timestamp();
        let before = self.state.clone();
        self.state.note(signal, &self.client, at);
        let news = self.state != before;
        if news {
            self.signals.push((signal.clone(), at));
        }
        news
    }

    /// For how long nothing may be sent, or reserved.
    pub(super) fn closed_for(&mut self, now: Duration) -> Option<Duration> {
        let closed = self.shut_for(now).or_else(|| self.full_for(now));
        if closed.is_some() {
            self.asked_at = Some(now);
        }
        closed
    }

    /// What is known beforehand of an answer.
    pub(super) fn evidence(&self, now: Duration) -> Evidence {
        self.state.evidence(self.server(now).timestamp())
    }

    pub(super) fn spacing(&self) -> Option<Duration> {
        self.state.cell.spacing(self.state.limits(&self.configured))
    }

    fn shut_for(&self, now: Duration) -> Option<Duration> {
        let at = self.server(now).timestamp();
        let until = self.state.shut_until(at)?;
        Some(until.map_or(OPEN_END, |until| until.since(at)))
    }

    fn full_for(&self, now: Duration) -> Option<Duration> {
        self.clock?;
        let limits = self.state.limits(&self.configured);
        let full = self.state.cell.full_for(limits, self.server(now), self.lead);
        (!full.is_zero()).then_some(full)
    }

    /// When to look at the store next; None while nobody is interested.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        if !self.signals.is_empty() || self.punctuality.owes() {
            return Some(self.looked_at);
        }
        let wanted = self.wanted(now) > 0;
        let asked = self.asked_at.is_some_and(|at| now < at + INTEREST);
        if !wanted && !asked && self.waiting == 0 && self.punctuality.under_way() == 0 {
            return None;
        }
        let soon = match self.shut_for(now) {
            Some(shut) => now + shut,
            None if self.contended || !wanted => self.next_look,
            // Before the last of our places is used.
            None => match self.places.back() {
                Some(last) => {
                    last.at.saturating_sub(self.lead + LOOK_AGAIN).max(self.looked_at + LOOK_AGAIN)
                }
                None => self.looked_at,
            },
        };
        Some(soon.min(self.next_look))
    }

    /// What to do about the state that was just read: asked for at `sent`, by now received.
    pub(super) fn plan(
        &mut self,
        read: Versioned<ProviderState>,
        sent: Duration,
        now: Duration,
    ) -> Plan {
        let latest = match read.now_error {
            Some(error) => ClockOffset::estimated(read.now, error, now),
            None => ClockOffset::of(read.now, sent, now),
        };
        let clock = self.clock.get_or_insert(latest);
        clock.learn(latest);
        let unsure = clock.uncertainty(now);
        let mut state = read.value.clone();
        let signals = std::mem::take(&mut self.signals);
        for (signal, at) in &signals {
            state.note(signal, &self.client, *at);
        }
        if !self.introduced {
            state.introduce(&self.client, self.server(now).timestamp());
        }
        let window = state.cell.window(state.limits(&self.configured)).unwrap_or_default();
        let ask = Ask {
            now: self.server(now),
            lead: self.lead,
            wanted: self.wanted(now),
            debt: self.punctuality.settle(now),
            lateness: self.punctuality.lateness(window),
            unsure,
        };
        let turn = state.take_turn(&self.configured, &ask);
        if matches!(turn, Turn::Slice(_)) {
            let now = ask.now.timestamp();
            state.note_reservation(self.slow_store(now), now);
        }
        let changed = state != read.value;
        let (version, debt, wanted) = (read.version, ask.debt, ask.wanted);
        Plan { version, state, changed, unsure, turn, wanted, debt, signals, read_at: sent }
    }

    /// The plan is in the store. `vary` is about 1.
    pub(super) fn carry_out(&mut self, plan: Plan, now: Duration, vary: f64) {
        self.state = plan.state;
        self.introduced = true;
        for (signal, at) in &self.signals {
            self.state.note(signal, &self.client, *at);
        }
        self.looked_at = now;
        let far = self.full_for(now).is_some_and(|full| full > LOOK_RARELY * 2);
        self.next_look = now + if far { LOOK_RARELY } else { LOOK_EVERY }.mul_f64(vary);
        let took = now.saturating_sub(plan.read_at);
        if plan.changed {
            self.lead = (took * 3 / 2).max(self.lead * 4 / 5).clamp(LEAST_LEAD, LONGEST_LEAD);
        }
        self.free_until = match plan.turn {
            Turn::Free => plan.read_at + FRESH.max(took * 2 + LOOK_EVERY * 3 / 2),
            _ => Duration::ZERO,
        };
        self.contended = match plan.turn {
            Turn::Slice(slice) => slice.count < plan.wanted,
            Turn::Full => plan.wanted > 0,
            Turn::Free | Turn::Probe(_) | Turn::Shut(_) => false,
        };
        match plan.turn {
            Turn::Slice(slice) => self.add_places(&slice, false, now),
            Turn::Probe(slice) => self.add_places(&slice, true, now),
            Turn::Free | Turn::Full | Turn::Shut(_) => {}
        }
    }

    /// It is not carried out: somebody else was faster, or the store is away, or its time is not known.
    /// What was to be said is said next time.
    pub(super) fn put_back(&mut self, plan: Plan) {
        self.punctuality.owe(plan.debt);
        self.signals.splice(0..0, plan.signals);
    }

    fn add_places(&mut self, slice: &Reservation, probe: bool, now: Duration) {
        let Some(clock) = self.clock else { return };
        let (spacing, tolerance) = (slice.spacing, slice.tolerance);
        let places = slice.places().map(|place| clock.local(place) + slice.shift);
        for place in places.map(|at| Place { at, spacing, tolerance, probe }) {
            match place.is_missed(now) {
                true => self.missed += 1,
                false => self.places.push_back(place),
            }
        }
    }

    /// How long a reservation takes, if that is so long that it lowers the rate.
    pub(super) fn slow_store(&self, now: Timestamp) -> Option<SlowStore> {
        let took = self.lead * 2 / 3;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        (took > SLOW).then_some(SlowStore { took_ms, at: now })
    }

    /// How long a reservation is expected to take.
    pub(super) const fn lead(&self) -> Duration {
        self.lead
    }

    /// How many places were over before they were known to be in the store, since it was asked last.
    pub(super) const fn take_missed(&mut self) -> u64 {
        std::mem::replace(&mut self.missed, 0)
    }

    /// The store's time. Before it was ever told, the beginning of time: nothing is shut then.
    fn server(&self, now: Duration) -> Moment {
        self.clock.map_or(Moment::default(), |clock| clock.server(now))
    }
}

impl Plan {
    /// Whether places are reserved by it.
    pub(super) const fn reserves(&self) -> bool {
        matches!(self.turn, Turn::Slice(_) | Turn::Probe(_))
    }
}

impl Place {
    /// Whether it is too late to use it: later than the spacing allows for, it would be one too many
    /// in some window.
    fn is_missed(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) > self.tolerance
    }
}
