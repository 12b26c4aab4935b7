//! What a process tells operators: that it lives, what it is doing, and what it has done; and how many
//! workers it hears of. No grant depends on it; when the store is away it is told later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::process;
use evergrant_domain::heartbeat::{
    self, BEAT_INTERVAL, Heartbeat, LaneReport, ProcessProblem, ProcessRole, RATE_INTERVAL,
};
use evergrant_domain::statistics::ProviderCounts;
use evergrant_domain::{ProviderId, Timestamp};
use evergrant_ports::OperationsLog;
use evergrant_ports::{StoreError, wall_clock};

/// How long the last words of a process may take.
const FINAL_REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// A worker looks who else lives so long after its beat: those have beaten by then that were started
/// with it.
const FIRST_READ_DELAY: Duration = Duration::from_secs(1);

/// What a process has to tell, and what it hears. A clone is another handle of it.
#[derive(Clone, Default)]
pub struct ProcessReporter {
    told: Arc<Mutex<ReporterState>>,
    workers: Arc<watch::Sender<usize>>,
}

#[derive(Default)]
struct ReporterState {
    lanes: BTreeMap<ProviderId, Lane>,
    leads: bool,
    /// What does not work, by what it is about.
    problems: BTreeMap<String, String>,
}

/// Problems that a process tells at most.
const PROBLEMS_MAX: usize = 100;

/// What a process does at one provider.
#[derive(Default)]
struct Lane {
    /// What is not told yet.
    counts: ProviderCounts,
    refreshed: u64,
    failed: u64,
    in_flight: u32,
    /// How much had been refreshed at the beats of late.
    lately: VecDeque<(Instant, u64)>,
}

impl ProcessReporter {
    /// Serves these providers: they are listed before anything happens there.
    pub fn serve<'a>(&self, providers: impl IntoIterator<Item = &'a ProviderId>) {
        let mut told = self.lock();
        for provider in providers {
            told.lanes.entry(provider.clone()).or_default();
        }
    }

    /// Something happened at a provider.
    pub fn count(&self, provider: &ProviderId, happened: &ProviderCounts) {
        let mut told = self.lock();
        let lane = told.lane(provider);
        lane.refreshed += happened.refreshed;
        lane.failed += happened.failures();
        lane.counts.add(happened);
    }

    /// A request is on its way.
    pub fn sent(&self, provider: &ProviderId) {
        self.lock().lane(provider).in_flight += 1;
    }

    /// A request was answered, or was given up.
    pub fn answered(&self, provider: &ProviderId) {
        let mut told = self.lock();
        let lane = told.lane(provider);
        lane.in_flight = lane.in_flight.saturating_sub(1);
    }

    /// A producer leads, or does not any more.
    pub fn set_leads(&self, leads: bool) {
        self.lock().leads = leads;
    }

    /// Says what is wrong with something and what to do, or (None) that it works. True if that is news.
    pub fn set_problem(&self, what: &str, detail: Option<String>) -> bool {
        let mut told = self.lock();
        match detail {
            None => told.problems.remove(what).is_some(),
            Some(detail)
                if told.problems.contains_key(what) || told.problems.len() < PROBLEMS_MAX =>
            {
                let before = told.problems.insert(what.to_owned(), detail.clone());
                before.is_none_or(|before| before != detail)
            }
            Some(_) => true,
        }
    }

    /// How many workers live, or 0 before that is known. It is looked up every few seconds while this
    /// process tells that it lives.
    pub fn workers(&self) -> watch::Receiver<usize> {
        self.workers.subscribe()
    }

    /// Begins to tell `store` every few seconds, as the process named `name`.
    pub fn start_telling(
        &self,
        store: Arc<dyn OperationsLog>,
        role: ProcessRole,
        name: String,
    ) -> ReporterTask {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.clone().keep_telling(store, role, name, stop.clone()));
        ReporterTask { stop: stop.drop_guard(), task }
    }

    async fn keep_telling(
        self,
        store: Arc<dyn OperationsLog>,
        role: ProcessRole,
        name: String,
        stop: CancellationToken,
    ) {
        let first = Heartbeat {
            name,
            role,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: process::host(),
            pid: std::process::id(),
            started_at: wall_clock(),
            beat_at: Timestamp::default(),
            leads: false,
            lanes: Vec::new(),
            problems: Vec::new(),
        };
        let telling = async {
            loop {
                if let Err(error) = self.tell(&*store, &first).await {
                    tracing::debug!(%error, "operators are told later");
                }
                tokio::time::sleep(FIRST_READ_DELAY).await;
                if role == ProcessRole::Worker
                    && let Err(error) = self.look(&*store).await
                {
                    tracing::debug!(%error, "other workers are counted later");
                }
                tokio::time::sleep(BEAT_INTERVAL - FIRST_READ_DELAY).await;
            }
        };
        stop.run_until_cancelled(telling).await;
        let last_words = async {
            let _ = self.tell_counts(&*store).await;
            let _ = store.end_beat(&first.name).await;
        };
        // If the store is away, it will find the process gone by its silence.
        let _ = tokio::time::timeout(FINAL_REPORT_TIMEOUT, last_words).await;
    }

    async fn tell(&self, store: &dyn OperationsLog, first: &Heartbeat) -> Result<(), StoreError> {
        let (leads, lanes) = self.lock().beat();
        let problems = self.lock().problems();
        store.beat(&Heartbeat { leads, lanes, problems, ..first.clone() }).await?;
        self.tell_counts(store).await
    }

    /// Looks how many workers live.
    async fn look(&self, store: &dyn OperationsLog) -> Result<(), StoreError> {
        let workers = heartbeat::workers(&store.processes().await?);
        self.workers.send_if_modified(|known| std::mem::replace(known, workers) != workers);
        Ok(())
    }

    async fn tell_counts(&self, store: &dyn OperationsLog) -> Result<(), StoreError> {
        let untold = self.lock().take();
        if untold.is_empty() {
            return Ok(());
        }
        let told = store.add_statistics(&untold).await;
        if told.is_err() {
            self.lock().put_back(&untold);
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, ReporterState> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that tells what it does. Dropped, it ends its telling without being waited for.
pub struct ReporterTask {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl ReporterTask {
    /// Tells the rest, and that the process ends.
    pub async fn end(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

impl ReporterState {
    fn lane(&mut self, provider: &ProviderId) -> &mut Lane {
        self.lanes.entry(provider.clone()).or_default()
    }

    fn beat(&mut self) -> (bool, Vec<LaneReport>) {
        let now = Instant::now();
        let report = |(provider, lane): (&ProviderId, &mut Lane)| LaneReport {
            provider: provider.clone(),
            in_flight: lane.in_flight,
            refreshed: lane.refreshed,
            failed: lane.failed,
            refreshed_lately: lane.refreshed_lately(now),
        };
        (self.leads, self.lanes.iter_mut().map(report).collect())
    }

    fn problems(&self) -> Vec<ProcessProblem> {
        let problem = |(what, detail): (&String, &String)| ProcessProblem {
            what: what.clone(),
            detail: detail.clone(),
        };
        self.problems.iter().map(problem).collect()
    }

    fn take(&mut self) -> Vec<(ProviderId, ProviderCounts)> {
        let counts = self
            .lanes
            .iter_mut()
            .map(|(provider, lane)| (provider.clone(), std::mem::take(&mut lane.counts)));
        counts.filter(|(_, counts)| !counts.is_empty()).collect()
    }

    fn put_back(&mut self, untold: &[(ProviderId, ProviderCounts)]) {
        for (provider, counts) in untold {
            self.lane(provider).counts.add(counts);
        }
    }
}

impl Lane {
    /// What was refreshed within [`RATE_INTERVAL`].
    fn refreshed_lately(&mut self, now: Instant) -> u64 {
        self.lately.push_back((now, self.refreshed));
        while self.lately.len() > 1
            && self.lately.get(1).is_some_and(|(at, _)| now - *at >= RATE_INTERVAL)
        {
            self.lately.pop_front();
        }
        let before = match self.lately.front() {
            // All of it is within.
            Some((at, _)) if now - *at < RATE_INTERVAL => 0,
            Some((_, before)) => *before,
            None => 0,
        };
        self.refreshed - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergrant_domain::statistics::minute_of;
    use evergrant_memory::{MemoryClock, MemoryStore};

    fn provider() -> ProviderId {
        "p".parse().unwrap()
    }

    fn refreshed(n: u64) -> ProviderCounts {
        ProviderCounts { refreshed: n, ..ProviderCounts::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_tells_what_it_does_until_it_ends() {
        let clock = MemoryClock::starting_at(Timestamp::from_unix_ms(1_700_000_000_000));
        let store = Arc::new(MemoryStore::new(clock, None));
        let reports = ProcessReporter::default();
        reports.serve([&provider()]);
        let teller = reports.start_telling(store.clone(), ProcessRole::Worker, "w".to_owned());
        reports.sent(&provider());
        reports.count(&provider(), &refreshed(50));
        tokio::time::sleep(BEAT_INTERVAL * 2).await;
        let now = Timestamp::from_unix_ms(1_700_000_000_000).plus(BEAT_INTERVAL * 2);
        let told = store.processes().await.unwrap();
        assert_eq!((told[0].in_flight(), told[0].lanes[0].refreshed), (1, 50));
        assert!(!told[0].is_gone(now) && told[0].is_gone(now.plus(BEAT_INTERVAL * 5)));
        reports.answered(&provider());
        reports.count(&provider(), &refreshed(1));
        teller.end().await;
        assert!(store.processes().await.unwrap().is_empty());
        let minutes = store.statistics(minute_of(now)).await.unwrap();
        assert_eq!(minutes.iter().map(|minute| minute.counts.refreshed).sum::<u64>(), 51);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_hears_how_many_there_are() {
        let clock = MemoryClock::starting_at(Timestamp::from_unix_ms(1_700_000_000_000));
        let store = Arc::new(MemoryStore::new(clock, None));
        let tell = |role, name: &str| {
            let reports = ProcessReporter::default();
            (reports.workers(), reports.start_telling(store.clone(), role, name.to_owned()))
        };
        let (mut first, _telling) = tell(ProcessRole::Worker, "a");
        let (no_worker, _producing) = tell(ProcessRole::Producer, "p");
        let heard = |heard: &watch::Receiver<usize>| *heard.borrow();
        assert_eq!(heard(&first), 0, "not known yet");
        first.changed().await.unwrap();
        assert_eq!(heard(&first), 1);
        let (second, telling) = tell(ProcessRole::Worker, "b");
        first.changed().await.unwrap();
        assert_eq!((heard(&first), heard(&second), heard(&no_worker)), (2, 2, 0));
        telling.end().await;
        first.changed().await.unwrap();
        assert_eq!(heard(&first), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_of_the_last_half_minute() {
        let mut told = ReporterState::default();
        for beat in 0..20 {
            told.lane(&provider()).refreshed += 10;
            let (_, lanes) = told.beat();
            let expected = if beat < 6 { 10 * (beat + 1) } else { 60 };
            assert_eq!(lanes[0].refreshed_lately, expected, "beat {beat}");
            tokio::time::advance(BEAT_INTERVAL).await;
        }
    }

    #[test]
    fn a_problem_is_news_when_it_begins_changes_and_ends() {
        let reports = ProcessReporter::default();
        let told = |detail: Option<&str>| reports.set_problem("a", detail.map(str::to_owned));
        assert!(!told(None));
        assert!(told(Some("one")) && !told(Some("one")) && told(Some("two")));
        assert_eq!(reports.lock().problems()[0].detail, "two");
        assert!(told(None) && reports.lock().problems().is_empty());
    }

    #[test]
    fn what_could_not_be_told_is_told_later() {
        let mut told = ReporterState::default();
        told.lane(&provider()).counts.add(&refreshed(5));
        let untold = told.take();
        assert!(told.take().is_empty());
        told.put_back(&untold);
        assert_eq!(told.take(), [(provider(), refreshed(5))]);
    }
}
