//! Fault plans.

use std::time::Duration;

use fastrand::Rng;

/// The server that becomes unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageTarget {
    /// RabbitMQ.
    Broker,
    /// MongoDB.
    Database,
}

/// How a server becomes unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageKind {
    /// Killed, and started again.
    Killed,
    /// Paused, and resumed.
    Paused,
    /// Unreachable for the workers, without an error. Afterwards, their connections are reset.
    CutOff,
    /// The same, but afterwards everything that was sent arrives.
    Delayed,
}

/// An outage of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerOutage {
    /// Which one.
    pub target: OutageTarget,
    /// How.
    pub how: OutageKind,
    /// The duration. A killed server also needs its starting time.
    pub away: Duration,
    /// Whether a worker is killed meanwhile.
    pub kills_worker: bool,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChaosFault {
    /// A worker is killed, and another one started.
    KillWorker,
    /// A producer is killed, and another one started.
    KillProducer,
    /// A server is unavailable for a while.
    Outage(ServerOutage),
}

/// The numbers of faults in a run.
#[derive(Debug, Clone, Copy)]
pub struct FaultCounts {
    /// Killed workers. One of them is killed in each pause of the database and in each cut from it.
    pub worker_kills: u32,
    /// Producers killed.
    pub producer_kills: u32,
    /// Kills of the broker.
    pub broker_kills: u32,
    /// Kills of the database.
    pub database_kills: u32,
    /// Pauses of the broker.
    pub broker_pauses: u32,
    /// Pauses of the database.
    pub database_pauses: u32,
    /// Cuts between workers and broker, and as many between workers and database.
    pub cuts: u32,
    /// How long a pause is.
    pub pause: Duration,
    /// How long a cut is.
    pub cut: Duration,
}

/// How long a killed server stays down before it is started.
const DOWN: Duration = Duration::from_secs(2);

/// Faults in the order in which they come.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    /// The seed.
    pub seed: u64,
    /// Each fault, with the number of exchanges after which it comes.
    pub steps: Vec<(u64, ChaosFault)>,
}

impl FaultPlan {
    /// A plan for this many grants.
    ///
    /// # Panics
    /// If `EVERGRANT_TEST_SEED` is not a number.
    pub fn draw(counts: &FaultCounts, grants: u64) -> Self {
        let given = std::env::var("EVERGRANT_TEST_SEED").ok();
        let given = given.map(|seed| seed.parse().expect("EVERGRANT_TEST_SEED is not a number"));
        Self::of_seed(given.unwrap_or_else(|| fastrand::u64(0..1_000_000)), counts, grants)
    }

    /// The plan of a seed.
    pub fn of_seed(seed: u64, counts: &FaultCounts, grants: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut faults = faults(counts, &mut random);
        random.shuffle(&mut faults);
        // Evenly over the run, each at a random place of its part; not in the last third, so that
        // late faults still find work.
        let part = grants * 2 / 3 / (faults.len() as u64).max(1);
        let begin = |number: usize| part * number as u64;
        let place = |number| begin(number) + random.u64(part / 4..=part.max(1));
        let places: Vec<u64> = (0..faults.len()).map(place).collect();
        Self { seed, steps: places.into_iter().zip(faults).collect() }
    }
}

fn faults(counts: &FaultCounts, random: &mut Rng) -> Vec<ChaosFault> {
    let outage = |target, how, away, kills_worker| ServerOutage { target, how, away, kills_worker };
    let mut outages = Vec::new();
    let mut add = |count, outage| (0..count).for_each(|_| outages.push(outage));
    add(counts.broker_kills, outage(OutageTarget::Broker, OutageKind::Killed, DOWN, false));
    add(counts.database_kills, outage(OutageTarget::Database, OutageKind::Killed, DOWN, false));
    add(
        counts.broker_pauses,
        outage(OutageTarget::Broker, OutageKind::Paused, counts.pause, false),
    );
    add(
        counts.database_pauses,
        outage(OutageTarget::Database, OutageKind::Paused, counts.pause, true),
    );
    for target in [OutageTarget::Broker, OutageTarget::Database] {
        for _ in 0..counts.cuts {
            let how = if random.bool() { OutageKind::CutOff } else { OutageKind::Delayed };
            add(1, outage(target, how, counts.cut, target == OutageTarget::Database));
        }
    }
    let meanwhile = outages.iter().filter(|outage| outage.kills_worker).count();
    let alone = (counts.worker_kills as usize).saturating_sub(meanwhile);
    let mut faults: Vec<ChaosFault> = outages.into_iter().map(ChaosFault::Outage).collect();
    faults.extend(std::iter::repeat_n(ChaosFault::KillWorker, alone));
    faults.extend(std::iter::repeat_n(ChaosFault::KillProducer, counts.producer_kills as usize));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: FaultCounts = FaultCounts {
        worker_kills: 20,
        producer_kills: 3,
        broker_kills: 3,
        database_kills: 3,
        broker_pauses: 2,
        database_pauses: 2,
        cuts: 1,
        pause: Duration::from_secs(30),
        cut: Duration::from_secs(10),
    };

    #[test]
    fn a_seed_determines_its_plan() {
        let steps = |seed| FaultPlan::of_seed(seed, &COUNTS, 5_000).steps;
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn a_plan_has_the_requested_faults_in_order() {
        let steps = FaultPlan::of_seed(1, &COUNTS, 5_000).steps;
        assert!(steps.is_sorted_by_key(|(at, _)| *at), "{steps:?}");
        assert!(steps.iter().all(|(at, _)| *at < 3_500), "{steps:?}");
        let kills = |(_, fault): &&(u64, ChaosFault)| match fault {
            ChaosFault::KillWorker => true,
            ChaosFault::KillProducer => false,
            ChaosFault::Outage(outage) => outage.kills_worker,
        };
        assert_eq!(steps.iter().filter(kills).count(), 20);
        let outages = steps.iter().filter(|(_, fault)| matches!(fault, ChaosFault::Outage(_)));
        assert_eq!(outages.count(), 3 + 3 + 2 + 2 + 2);
    }
}
