//! The journals of a machine, which outlive its processes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evergrant_shared::domain::{SealedAnswer, Write};
use evergrant_shared::rescue::{Entry, Journal, Left};
use secrecy::ExposeSecret;

use super::process::Process;
use super::world::{State, World};

/// What is in the journals: by machine and entry, whose it is and the line.
#[derive(Default)]
pub(crate) struct Disks(Mutex<Entries>);

/// By host and number: whose it is, and the line.
type Entries = BTreeMap<(usize, u64), (String, Vec<u8>)>;

impl Disks {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a new token is in a journal of a machine where a worker lives.
    pub(crate) fn is_within_reach(&self, token: &str, state: &State) -> bool {
        let workers = || state.alive.values().filter(|process| process.is_worker());
        self.lock().iter().any(|((host, _), (_, line))| {
            workers().any(|worker| {
                let holds = worker.host == *host;
                holds && worker.world.sealed_token(line).as_deref() == Some(token)
            })
        })
    }
}

/// A process's journal on its machine.
pub(crate) struct HostJournal(pub(crate) Arc<Process>);

impl Journal for HostJournal {
    fn append(&self, answer: &SealedAnswer) -> std::io::Result<Entry> {
        let (process, world) = (&self.0, &self.0.world);
        if process.is_dead() {
            return Err(std::io::Error::other("the process is dead"));
        }
        let line = answer.encode();
        if let Some(token) = world.sealed_token(&line) {
            world.with(|state| state.tokens.journalled.add(token));
        }
        let mut disks = world.disks.lock();
        let number = disks.keys().map(|(_, number)| *number).max().unwrap_or(0) + 1;
        disks.insert((process.host, number), (process.name.clone(), line));
        Ok(Entry(number))
    }

    fn forget(&self, entry: Entry) {
        let (process, world) = (&self.0, &self.0.world);
        if process.is_dead() {
            return;
        }
        let forgotten = world.disks.lock().remove(&(process.host, entry.0));
        if let Some((_, line)) = forgotten {
            if let Some(token) = world.sealed_token(&line) {
                world.with(|state| state.tokens.journalled.remove(&token));
            }
            world.check_answers();
        }
    }

    fn inherit(&self) -> std::io::Result<Vec<Left>> {
        let (process, world) = (&self.0, &self.0.world);
        let mut left = Vec::new();
        for ((host, number), (owner, line)) in world.disks.lock().iter_mut() {
            let orphaned = world.with(|state| !state.alive.contains_key(owner));
            if *host == process.host && orphaned {
                owner.clone_from(&process.name);
                left.push(Left { entry: Entry(*number), line: line.clone() });
            }
        }
        Ok(left)
    }
}

impl World {
    /// The new token of a sealed answer.
    pub(crate) fn sealed_token(&self, line: &[u8]) -> Option<String> {
        let opened = self.sealer.open(&SealedAnswer::decode(line).ok()?).ok()?;
        let Write::Refresh { refresh_token, .. } = opened.commit.write else { return None };
        Some(refresh_token?.expose_secret().to_owned())
    }
}
