//! The journals of each machine, which outlive its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evergrant_domain::{DocumentId, DocumentWrite, SealedAnswer};
use evergrant_rescue::{AnswerJournal, JournalEntry, OpenedAnswer, OrphanedAnswer, PeerJournal};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::process::Process;
use super::world::World;
use super::{Fault, Sabotage};

/// The content of journals, by machine and entry.
#[derive(Default)]
pub(crate) struct Disks {
    lines: Mutex<BTreeMap<(usize, u64), Line>>,
    /// Processes whose journals show when they have died, by machine.
    names: Mutex<BTreeSet<(usize, String)>>,
    /// Processes whose answers went to the rescue queue, by machine.
    handed_on: Mutex<BTreeSet<(usize, String)>>,
    last: AtomicU64,
    late: Mutex<Vec<LateLine>>,
}

/// A line that is written too late.
struct LateLine {
    process: Arc<Process>,
    entry: JournalEntry,
    answer: SealedAnswer,
}

/// A line of a journal.
struct Line {
    /// The process that received the answer.
    origin: String,
    /// The process that owns the journal.
    owner: String,
    /// Since when it has been there.
    since: Instant,
    /// The encoded answer.
    bytes: Vec<u8>,
    /// The new token in it.
    token: Option<String>,
}

impl Disks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(usize, u64), Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> MutexGuard<'_, Vec<LateLine>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, process: &Process, JournalEntry(number): JournalEntry, answer: &SealedAnswer) {
        let bytes = answer.encode();
        let token = process.world.sealed_token(&bytes);
        if let Some(token) = token.clone() {
            process.world.with(|state| state.tokens.journalled.add(token));
        }
        let (origin, owner) = (process.name.clone(), process.name.clone());
        let line = Line { origin, owner, since: Instant::now(), bytes, token };
        self.lock().insert((process.host, number), line);
    }

    /// Notes that a document was written: a build that is broken in this way writes its journal
    /// now.
    pub(crate) fn written(&self, id: &DocumentId) {
        let mut late = self.late();
        let (now, later) = std::mem::take(&mut *late).into_iter().partition(|l| l.answer.id == *id);
        *late = later;
        let now: Vec<LateLine> = now;
        now.iter().filter(|late| !late.process.is_dead()).for_each(|late| {
            self.add(&late.process, late.entry, &late.answer);
        });
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<(usize, String)>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handed_on(&self) -> MutexGuard<'_, BTreeSet<(usize, String)>> {
        self.handed_on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes on these machines whose journals hold a new token, and since when.
    pub(crate) fn holders_of(
        &self,
        token: &str,
        hosts: &BTreeSet<usize>,
    ) -> Vec<(String, Instant)> {
        let disks = self.lock();
        let lines = disks.iter().filter(|((host, _), _)| hosts.contains(host));
        let holding = lines.filter(|(_, line)| line.token.as_deref() == Some(token));
        holding.map(|(_, line)| (line.owner.clone(), line.since)).collect()
    }
}

/// A process's journal on its machine.
pub(crate) struct HostJournal {
    process: Arc<Process>,
    /// Whether the last call could not read it.
    failed: AtomicBool,
}

impl HostJournal {
    pub(crate) fn open(process: &Arc<Process>) -> Self {
        process.world.disks.names().insert((process.host, process.name.clone()));
        Self { process: Arc::clone(process), failed: AtomicBool::new(false) }
    }
}

impl AnswerJournal for HostJournal {
    fn append(&self, answer: &SealedAnswer) -> std::io::Result<JournalEntry> {
        let (process, world) = (&self.process, &self.process.world);
        if process.is_dead() {
            return Err(std::io::Error::other("the process is dead"));
        }
        if world.chance(world.plan.rates.journal_fails) {
            world.reached(Fault::JournalAppendFails);
            world.disks.names().remove(&(process.host, process.name.clone()));
            let token = world.sealed_token(&answer.encode());
            world.with(|state| state.tokens.unjournalled.extend(token));
            return Err(std::io::Error::other("there is no room"));
        }
        let entry = JournalEntry(world.disks.last.fetch_add(1, Ordering::Relaxed));
        match world.options.sabotage {
            Some(Sabotage::NoJournalLine) => {}
            Some(Sabotage::JournalAfterCommit) => {
                let late = LateLine { process: Arc::clone(process), entry, answer: answer.clone() };
                world.disks.late().push(late);
            }
            _ => world.disks.add(process, entry, answer),
        }
        if world.chance(world.plan.rates.crash) {
            process.crash();
        }
        Ok(entry)
    }

    fn forget(&self, entry: JournalEntry) {
        let (process, world) = (&self.process, &self.process.world);
        if process.is_dead() {
            return;
        }
        let forgotten = world.disks.lock().remove(&(process.host, entry.0));
        if let Some(line) = forgotten {
            if let Some(token) = line.token {
                world.with(|state| state.tokens.journalled.remove(&token));
            }
            world.check_answers();
        }
    }

    fn adopt_orphans(&self) -> std::io::Result<Vec<OrphanedAnswer>> {
        let (process, world) = (&self.process, &self.process.world);
        let may_fail = !self.failed.swap(false, Ordering::Relaxed);
        if may_fail && world.chance(world.plan.rates.journal_fails) {
            world.reached(Fault::JournalInheritFails);
            self.failed.store(true, Ordering::Relaxed);
            return Err(std::io::Error::other("a folder cannot be read"));
        }
        if world.is_broken_by(Sabotage::InheritanceDropped) {
            self.drop_inheritance();
        }
        let mut left = Vec::new();
        for ((host, number), line) in world.disks.lock().iter_mut() {
            let orphaned = world.with(|state| !state.alive.contains_key(&line.owner));
            if *host == process.host && orphaned {
                line.owner.clone_from(&process.name);
                line.since = Instant::now();
                left.push(OrphanedAnswer {
                    entry: JournalEntry(*number),
                    line: line.bytes.clone(),
                });
            }
        }
        if !left.is_empty() {
            world.reached(Fault::Inheritance);
        }
        Ok(left)
    }

    fn forward(&self, entry: JournalEntry) {
        let process = &self.process;
        let origin = process
            .world
            .disks
            .lock()
            .get(&(process.host, entry.0))
            .map(|line| line.origin.clone());
        if let Some(origin) = origin.filter(|_| !process.is_dead()) {
            let died = (process.host, origin);
            // A journal that missed an answer proves nothing.
            if process.world.disks.names().remove(&died) {
                process.world.disks.handed_on().insert(died);
            }
        }
        self.forget(entry);
    }

    fn peer_journal(&self, process: &str) -> PeerJournal {
        let Process { host, world, name, .. } = &*self.process;
        if world.is_broken_by(Sabotage::NoTakeoverWait) && process != name {
            return PeerJournal::Drained;
        }
        let asked = (*host, process.to_owned());
        let is_known = world.disks.names().contains(&asked);
        let is_handed_on = world.disks.handed_on().contains(&asked);
        let is_told_of = is_known || is_handed_on;
        if !is_told_of || world.with(|state| state.alive.contains_key(process)) {
            return PeerJournal::Unknown;
        }
        let is_open = world.disks.lock().values().any(|line| line.origin == process);
        match (is_open, is_handed_on) {
            (true, _) => PeerJournal::Recovering,
            (false, true) => PeerJournal::Forwarded,
            (false, false) => PeerJournal::Drained,
        }
    }
}

impl HostJournal {
    /// Drops the journals of dead processes.
    fn drop_inheritance(&self) {
        let (process, world) = (&self.process, &self.process.world);
        let is_left = |host: usize, line: &Line| {
            host == process.host && world.with(|state| !state.alive.contains_key(&line.owner))
        };
        let mut tokens = Vec::new();
        world.disks.lock().retain(|(host, _), line| {
            let is_left = is_left(*host, line);
            tokens.extend(line.token.clone().filter(|_| is_left));
            !is_left
        });
        for token in tokens {
            world.with(|state| state.tokens.journalled.remove(&token));
        }
        world.check_answers();
    }
}

impl World {
    /// The new token of a sealed answer.
    pub(crate) fn sealed_token(&self, line: &[u8]) -> Option<String> {
        let opened = self.sealer.open(&SealedAnswer::decode(line).ok()?).ok()?;
        let OpenedAnswer::Tokens(commit) = opened else { return None };
        let DocumentWrite::Refresh { refresh_token, .. } = commit.write else { return None };
        Some(refresh_token?.expose_secret().to_owned())
    }
}
