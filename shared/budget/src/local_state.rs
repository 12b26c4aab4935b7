//! A replica's state of a provider: what it knows, which requests wait, and which slots it has.
//! Without I/O; all times are by the clock of this process.

use std::collections::VecDeque;
use std::time::Duration;

use evergrant_domain::arrival_lateness::LatenessTracker;
use evergrant_domain::clock_offset::ClockOffset;
use evergrant_domain::limit::RateLimit;
use evergrant_domain::provider_state::{SendDecision, SlowStore};
use evergrant_domain::rate_schedule::{RESERVATION_LATENCY_MAX, SlotRequest, SlotReservation};
use evergrant_domain::weigh::DeathEvidence;
use evergrant_domain::{BudgetSignal, PreciseTimestamp, ProviderState, Timestamp};
use evergrant_ports::VersionedValue;

/// A replica's state of a provider.
#[derive(Debug)]
pub(super) struct LocalBudget {
    /// The limits of the settings.
    configured: Vec<RateLimit>,
    /// The fingerprint of the client settings.
    client: String,
    /// Whether the store has the fingerprint.
    introduced: bool,
    /// The provider's state at the last read, with what was noted since.
    state: ProviderState,
    clock: Option<ClockOffset>,
    slots: VecDeque<LocalSlot>,
    /// Without limits: until when requests may be sent without another read.
    free_until: Duration,
    /// Whether the last read found fewer free slots than wanted, so that replicas have to share.
    contended: bool,
    pub(super) lateness_tracker: LatenessTracker,
    /// How many requests wait for a permit.
    pub(super) waiting: u32,
    /// Signals that are not in the store yet.
    signals: Vec<(BudgetSignal, Timestamp)>,
    /// When this state was last used.
    asked_at: Option<Duration>,
    /// When to read the store next, unless there is a reason to do it sooner.
    next_refresh: Duration,
    /// When the store was last read.
    refreshed_at: Duration,
    /// How long a reservation takes.
    lead: Duration,
    /// Slots that passed before they were known to be in the store, and that are not reported yet.
    missed: u64,
}

/// A slot that this replica has reserved.
#[derive(Debug, Clone, Copy)]
struct LocalSlot {
    at: Duration,
    spacing: Duration,
    tolerance: Duration,
    probe: bool,
}

/// What a waiting request does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextStep {
    /// It is sent. The number is for [`LatenessTracker::answered`]; None if its lateness is not
    /// tracked.
    Go(Option<u64>),
    /// It waits until then.
    At(Duration),
    /// It waits for a change.
    News,
}

/// The result of a refresh, to be carried out once it is in the store.
#[derive(Debug)]
pub(super) struct SyncPlan {
    pub(super) version: u64,
    pub(super) state: ProviderState,
    /// Whether there is anything to write.
    pub(super) changed: bool,
    /// The possible error of the store's time, in either direction.
    pub(super) unsure: Duration,
    turn: SendDecision,
    wanted: u32,
    debt: Duration,
    signals: Vec<(BudgetSignal, Timestamp)>,
    read_at: Duration,
}

/// How long after a use the state is kept fresh.
const INTEREST_TTL: Duration = Duration::from_millis(500);
/// The time between two refreshes while the state is used: within it, changes of other replicas are
/// known. Each refresh varies it by a fifth, so that replicas do not synchronize.
const REFRESH_INTERVAL: Duration = Duration::from_millis(200);
/// The same while no slot is free for longer than that: then only a new limit would be a change.
const IDLE_REFRESH_INTERVAL: Duration = Duration::from_millis(700);
/// If there is room for all, waiting requests do not wait that long, but the store is not asked all
/// the time either.
const EARLY_REFRESH_DELAY: Duration = Duration::from_millis(20);
/// Without limits, nothing is sent on a state older than this, unless reading takes long.
const STATE_TTL: Duration = Duration::from_millis(500);
/// The shortest expected duration of a reservation.
const RESERVATION_LATENCY_MIN: Duration = Duration::from_millis(5);
/// A reservation that takes longer is reported, because it makes slots rarer.
pub(super) const SLOW_RESERVATION_DELAY: Duration = Duration::from_millis(200);
/// The wait for an end that only an operator decides.
const UNKNOWN_END_DELAY: Duration = Duration::from_secs(86_400);

impl LocalBudget {
    pub(super) fn new(configured: Vec<RateLimit>, client: String) -> Self {
        Self {
            configured,
            client,
            introduced: false,
            state: ProviderState::default(),
            clock: None,
            slots: VecDeque::new(),
            free_until: Duration::ZERO,
            contended: false,
            lateness_tracker: LatenessTracker::default(),
            waiting: 0,
            signals: Vec::new(),
            asked_at: None,
            next_refresh: Duration::ZERO,
            refreshed_at: Duration::ZERO,
            lead: RESERVATION_LATENCY_MIN * 4,
            missed: 0,
        }
    }

    /// What the first waiting request does next.
    pub(super) fn next(&mut self, now: Duration) -> NextStep {
        self.asked_at = Some(now);
        while self.slots.front().is_some_and(|slot| slot.is_missed(now)) {
            self.slots.pop_front();
        }
        let shut = self.shut_for(now).is_some();
        let tripped = self.state.gate.tripped().is_some();
        match self.slots.front() {
            // The circuit waits for the probe's answer.
            Some(slot) if (shut || tripped) && !slot.probe => NextStep::News,
            Some(slot) if slot.at > now => NextStep::At(slot.at),
            Some(&LocalSlot { at, spacing, tolerance, .. }) => {
                self.slots.pop_front();
                NextStep::Go(Some(self.lateness_tracker.sent(at, spacing, tolerance)))
            }
            None if !shut && !tripped && now < self.free_until => NextStep::Go(None),
            None => NextStep::News,
        }
    }

    /// How many waiting requests have no slot.
    pub(super) fn wanted(&self, now: Duration) -> u32 {
        if now < self.free_until {
            return 0;
        }
        self.waiting.saturating_sub(u32::try_from(self.slots.len()).unwrap_or(u32::MAX))
    }

    /// Observes an answer. True if the store has to know it.
    pub(super) fn note(&mut self, signal: &BudgetSignal, now: Duration) -> bool {
        let at = self.server(now).timestamp();
        let before = self.state.clone();
        self.state.note(signal, &self.client, at);
        let news = self.state != before;
        if news {
            self.signals.push((signal.clone(), at));
        }
        news
    }

    /// For how long nothing may be sent or reserved.
    pub(super) fn closed_for(&mut self, now: Duration) -> Option<Duration> {
        let closed = self.shut_for(now).or_else(|| self.full_for(now));
        if closed.is_some() {
            self.asked_at = Some(now);
        }
        closed
    }

    /// What is known about deaths before an answer is weighed.
    pub(super) fn evidence(&self, now: Duration) -> DeathEvidence {
        self.state.evidence(self.server(now).timestamp())
    }

    pub(super) fn spacing(&self) -> Option<Duration> {
        self.state.cell.spacing(self.state.limits(&self.configured))
    }

    fn shut_for(&self, now: Duration) -> Option<Duration> {
        let at = self.server(now).timestamp();
        let until = self.state.shut_until(at)?;
        Some(until.map_or(UNKNOWN_END_DELAY, |until| until.since(at)))
    }

    fn full_for(&self, now: Duration) -> Option<Duration> {
        self.clock?;
        let limits = self.state.limits(&self.configured);
        let full = self.state.cell.full_for(limits, self.server(now), self.lead);
        (!full.is_zero()).then_some(full)
    }

    /// When to read the store next; None while the state is not used.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        if !self.signals.is_empty() || self.lateness_tracker.owes() {
            return Some(self.refreshed_at);
        }
        let wanted = self.wanted(now) > 0;
        let asked = self.asked_at.is_some_and(|at| now < at + INTEREST_TTL);
        if !wanted && !asked && self.waiting == 0 && self.lateness_tracker.under_way() == 0 {
            return None;
        }
        let soon = match self.shut_for(now) {
            Some(shut) => now + shut,
            None if self.contended || !wanted => self.next_refresh,
            // Before the last reserved slot is used.
            None => match self.slots.back() {
                Some(last) => last
                    .at
                    .saturating_sub(self.lead + EARLY_REFRESH_DELAY)
                    .max(self.refreshed_at + EARLY_REFRESH_DELAY),
                None => self.refreshed_at,
            },
        };
        Some(soon.min(self.next_refresh))
    }

    /// Plans what to write for the state that was just read: asked for at `sent`, received by now.
    pub(super) fn plan(
        &mut self,
        read: VersionedValue<ProviderState>,
        sent: Duration,
        now: Duration,
    ) -> SyncPlan {
        let latest = match read.now_error {
            Some(error) => ClockOffset::estimated(read.now, error, now),
            None => ClockOffset::from_round_trip(read.now, sent, now),
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
        let ask = SlotRequest {
            now: self.server(now),
            lead: self.lead,
            wanted: self.wanted(now),
            debt: self.lateness_tracker.settle(now),
            lateness: self.lateness_tracker.lateness(window),
            unsure,
        };
        let turn = state.take_turn(&self.configured, &ask);
        if matches!(turn, SendDecision::Slice(_)) {
            let now = ask.now.timestamp();
            state.note_reservation(self.slow_store(now), now);
        }
        let changed = state != read.value;
        let (version, debt, wanted) = (read.version, ask.debt, ask.wanted);
        SyncPlan { version, state, changed, unsure, turn, wanted, debt, signals, read_at: sent }
    }

    /// Applies a plan that is in the store. `vary` is about 1.
    pub(super) fn carry_out(&mut self, plan: SyncPlan, now: Duration, vary: f64) {
        self.state = plan.state;
        self.introduced = true;
        for (signal, at) in &self.signals {
            self.state.note(signal, &self.client, *at);
        }
        self.refreshed_at = now;
        let far = self.full_for(now).is_some_and(|full| full > IDLE_REFRESH_INTERVAL * 2);
        self.next_refresh =
            now + if far { IDLE_REFRESH_INTERVAL } else { REFRESH_INTERVAL }.mul_f64(vary);
        let took = now.saturating_sub(plan.read_at);
        if plan.changed {
            self.lead = (took * 3 / 2)
                .max(self.lead * 4 / 5)
                .clamp(RESERVATION_LATENCY_MIN, RESERVATION_LATENCY_MAX);
        }
        self.free_until = match plan.turn {
            SendDecision::Free => plan.read_at + STATE_TTL.max(took * 2 + REFRESH_INTERVAL * 3 / 2),
            _ => Duration::ZERO,
        };
        self.contended = match plan.turn {
            SendDecision::Slice(slice) => slice.count < plan.wanted,
            SendDecision::Full => plan.wanted > 0,
            SendDecision::Free | SendDecision::Probe(_) | SendDecision::Shut(_) => false,
        };
        match plan.turn {
            SendDecision::Slice(slice) => self.add_places(&slice, false, now),
            SendDecision::Probe(slice) => self.add_places(&slice, true, now),
            SendDecision::Free | SendDecision::Full | SendDecision::Shut(_) => {}
        }
    }

    /// Discards a plan that is not carried out: another replica was faster, the store is
    /// unavailable, or its time is not known. Its signals are sent next time.
    pub(super) fn put_back(&mut self, plan: SyncPlan) {
        self.lateness_tracker.owe(plan.debt);
        self.signals.splice(0..0, plan.signals);
    }

    fn add_places(&mut self, slice: &SlotReservation, probe: bool, now: Duration) {
        let Some(clock) = self.clock else { return };
        let (spacing, tolerance) = (slice.spacing, slice.tolerance);
        let slots = slice.slots().map(|slot| clock.local(slot) + slice.shift);
        for slot in slots.map(|at| LocalSlot { at, spacing, tolerance, probe }) {
            match slot.is_missed(now) {
                true => self.missed += 1,
                false => self.slots.push_back(slot),
            }
        }
    }

    /// The duration of a reservation, if it is so long that it lowers the rate.
    pub(super) fn slow_store(&self, now: Timestamp) -> Option<SlowStore> {
        let took = self.lead * 2 / 3;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        (took > SLOW_RESERVATION_DELAY).then_some(SlowStore { took_ms, at: now })
    }

    /// The expected duration of a reservation.
    pub(super) const fn lead(&self) -> Duration {
        self.lead
    }

    /// How many slots passed before they were known to be in the store, since the last call.
    pub(super) const fn take_missed(&mut self) -> u64 {
        std::mem::replace(&mut self.missed, 0)
    }

    /// The store's time. Before the first read it is the beginning of time, at which nothing is
    /// closed.
    fn server(&self, now: Duration) -> PreciseTimestamp {
        self.clock.map_or(PreciseTimestamp::default(), |clock| clock.server(now))
    }
}

impl SyncPlan {
    /// Whether this replica reserves slots.
    pub(super) const fn reserves(&self) -> bool {
        matches!(self.turn, SendDecision::Slice(_) | SendDecision::Probe(_))
    }
}

impl LocalSlot {
    /// Whether the slot is too late to be used: beyond the tolerance of its spacing, its request
    /// could be one too many in some window.
    fn is_missed(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) > self.tolerance
    }
}
