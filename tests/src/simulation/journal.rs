//! The journals of a machine, which outlive its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evergrant_shared::domain::{SealedAnswer, Write};
use evergrant_shared::rescue::{Entry, Estate, Journal, Left, Opened};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::process::Process;
use super::world::World;

/// What is in the journals, by machine and entry.
#[derive(Default)]
pub(crate) struct Disks {
    lines: Mutex<BTreeMap<(usize, u64), Line>>,
    /// The processes whose journals tell when they have died, by machine.
    names: Mutex<BTreeSet<(usize, String)>>,
}

/// A line of a journal.
struct Line {
    /// The process that received it.
    origin: String,
    /// The process whose journal it is in.
    owner: String,
    /// Since when that process has it.
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

    fn names(&self) -> MutexGuard<'_, BTreeSet<(usize, String)>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes in whose journals, on these machines, a new token is, and since when.
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
pub(crate) struct HostJournal(Arc<Process>);

impl HostJournal {
    pub(crate) fn open(process: &Arc<Process>) -> Self {
        process.world.disks.names().insert((process.host, process.name.clone()));
        Self(Arc::clone(process))
    }
}

impl Journal for HostJournal {
    fn append(&self, answer: &SealedAnswer) -> std::io::Result<Entry> {
        let (process, world) = (&self.0, &self.0.world);
        if process.is_dead() {
            return Err(std::io::Error::other("the process is dead"));
        }
        let bytes = answer.encode();
        let token = world.sealed_token(&bytes);
        if let Some(token) = token.clone() {
            world.with(|state| state.tokens.journalled.add(token));
        }
        let mut disks = world.disks.lock();
        let number = disks.keys().map(|(_, number)| *number).max().unwrap_or(0) + 1;
        let (origin, owner) = (process.name.clone(), process.name.clone());
        let line = Line { origin, owner, since: Instant::now(), bytes, token };
        disks.insert((process.host, number), line);
        Ok(Entry(number))
    }

    fn forget(&self, entry: Entry) {
        let (process, world) = (&self.0, &self.0.world);
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

    fn inherit(&self) -> std::io::Result<Vec<Left>> {
        let (process, world) = (&self.0, &self.0.world);
        let mut left = Vec::new();
        for ((host, number), line) in world.disks.lock().iter_mut() {
            let orphaned = world.with(|state| !state.alive.contains_key(&line.owner));
            if *host == process.host && orphaned {
                line.owner.clone_from(&process.name);
                line.since = Instant::now();
                left.push(Left { entry: Entry(*number), line: line.bytes.clone() });
            }
        }
        Ok(left)
    }

    fn hand_on(&self, entry: Entry) {
        let process = &self.0;
        let origin = process
            .world
            .disks
            .lock()
            .get(&(process.host, entry.0))
            .map(|line| line.origin.clone());
        if let Some(origin) = origin.filter(|_| !process.is_dead()) {
            process.world.disks.names().remove(&(process.host, origin));
        }
        self.forget(entry);
    }

    fn estate_of(&self, process: &str) -> Estate {
        let Process { host, world, .. } = &*self.0;
        let known = world.disks.names().contains(&(*host, process.to_owned()));
        if !known || world.with(|state| state.alive.contains_key(process)) {
            return Estate::None;
        }
        let open = world.disks.lock().values().any(|line| line.origin == process);
        if open { Estate::Open } else { Estate::Settled }
    }
}

impl World {
    /// The new token of a sealed answer.
    pub(crate) fn sealed_token(&self, line: &[u8]) -> Option<String> {
        let opened = self.sealer.open(&SealedAnswer::decode(line).ok()?).ok()?;
        let Opened::Tokens(commit) = opened else { return None };
        let Write::Refresh { refresh_token, .. } = commit.write else { return None };
        Some(refresh_token?.expose_secret().to_owned())
    }
}
