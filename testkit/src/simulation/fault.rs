//! What goes wrong, and how often it did.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::kinds::kinds;
use super::world::World;

kinds! {
    /// A kind of fault, or of event that a fault leads to. Each must be reached.
    Fault {
        /// A process crashes at a call or is killed.
        Crash = "crash",
        /// A process is asked to end.
        Restart = "restart",
        /// A process stands still for longer than its leases last, and its timers go on.
        Frozen = "frozen",
        /// A machine is suspended after a claim, and the clock of its timers stands still.
        Suspended = "suspended",
        /// A call of the store fails and has no effect.
        StoreFails = "store_fails",
        /// A call of the store takes effect and says that it failed.
        StoreUnanswered = "store_unanswered",
        /// A call of the store says that it failed and takes effect later.
        StoreLate = "store_late",
        /// A call of the store takes seconds, before or after its effect.
        StoreSlow = "store_slow",
        /// A call of the store takes effect later, by the server's clock of when it was received.
        StoreOldNow = "store_old_now",
        /// The store is farther away in one direction than in the other.
        StoreLopsided = "store_lopsided",
        /// A process crashes at a call of the store, which takes effect or not, now or later.
        StoreCrash = "store_crash",
        /// A reading ends before its end.
        StoreCut = "store_cut",
        /// The store is away for all.
        StoreOutage = "store_outage",
        /// The broker is away for all.
        BrokerOutage = "broker_outage",
        /// One process cannot reach the store, or the broker, or both.
        Partition = "partition",
        /// A call of the broker fails and has no effect.
        QueueFails = "queue_fails",
        /// A message is in its queue, and its confirm does not come.
        QueueUnanswered = "queue_unanswered",
        /// A call of the broker takes seconds.
        QueueSlow = "queue_slow",
        /// A process crashes at a call of the broker.
        QueueCrash = "queue_crash",
        /// A message is confirmed and lost.
        MessageLost = "message_lost",
        /// A message is delivered twice.
        MessageDoubled = "message_doubled",
        /// A message is delivered late.
        MessageLate = "message_late",
        /// Messages come in another order.
        Reordered = "reordered",
        /// A consumer ends at a delivery.
        ConsumerLost = "consumer_lost",
        /// An acknowledgement is lost.
        AckLost = "ack_lost",
        /// The provider cannot be reached.
        NotSent = "not_sent",
        /// The provider throttles everybody for a while.
        ThrottledAll = "throttled_all",
        /// The provider calls every grant dead for a while, and none is.
        DeadAll = "dead_all",
        /// The provider refuses the client from the start, and takes it later.
        WrongClient = "wrong_client",
        /// The provider's successes come in a form that nobody can read, for a while.
        Unreadable = "unreadable",
        /// The provider calls a grant dead that lives, once.
        DeadForOnce = "dead_for_once",
        /// A grant has an absolute end that the provider does not keep to.
        EndUntrue = "end_untrue",
        /// A grant has an absolute end.
        EndTrue = "end_true",
        /// The store refuses to claim a document, for good.
        ClaimRefused = "claim_refused",
        /// The store refuses to write an outcome into a document, for good.
        CommitRefused = "commit_refused",
        /// The store refuses to mark a document as queued, for good.
        MarkRefused = "mark_refused",
        /// The store refuses to adopt a document, for good.
        AdoptRefused = "adopt_refused",
        /// The store refuses to take a document up again whose user has signed in, for good.
        ReviveRefused = "revive_refused",
        /// The provider answers one user with a client error, for good.
        RejectedOne = "rejected_one",
        /// The provider throttles one user, for good.
        ThrottledOne = "throttled_one",
        /// A document is of a second provider.
        SecondProvider = "second_provider",
        /// A user signs in again.
        SignIn = "sign_in",
        /// The provider revokes a grant.
        Revocation = "revocation",
        /// Someone writes nonsense in place of a token.
        TokenSpoilt = "token_spoilt",
        /// The application writes its own fields.
        NoteEdited = "note_edited",
        /// Someone makes a grant due.
        DueEdited = "due_edited",
        /// Someone takes away the mark that a job is under way.
        MarkEdited = "mark_edited",
        /// An operator pauses a grant, and resumes it.
        Paused = "paused",
        /// An operator takes the state of a grant away, and it is adopted anew.
        Forgotten = "forgotten",
        /// An operator imports an old copy of a document.
        Imported = "imported",
        /// An operator discards a dead letter.
        Discarded = "discarded",
        /// A worker without its key is given an answer.
        ForeignAnswer = "foreign_answer",
        /// Workers have two settings of the client at once.
        TwoClients = "two_clients",
        /// A journal does not take an answer.
        JournalAppendFails = "journal_append_fails",
        /// The journals of dead workers cannot be read.
        JournalInheritFails = "journal_inherit_fails",
        /// A lease is taken over from a worker that has died.
        Takeover = "takeover",
        /// An answer is put into the rescue queue.
        Rescue = "rescue",
        /// A worker finds what a dead one's journal holds.
        Inheritance = "inheritance",
    }
}

/// How often something happened, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventTally(pub BTreeMap<String, u64>);

impl EventTally {
    /// One more.
    pub(crate) fn count(&mut self, name: &str) {
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    /// How often this happened.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

impl AddAssign<&Self> for EventTally {
    fn add_assign(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }
}

impl World {
    /// A fault has come to pass.
    pub(crate) fn reached(&self, fault: Fault) {
        self.with(|state| state.reached.count(fault.as_str()));
    }
}
