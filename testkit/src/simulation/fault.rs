//! Faults, and how often each occurred.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::kinds::kinds;
use super::world::World;

kinds! {
    /// A kind of fault, or of an event that follows from one. Each must occur.
    Fault {
        /// A process crashes at a call or is killed.
        Crash = "crash",
        /// A process is stopped.
        Restart = "restart",
        /// A process is suspended for longer than its leases, and its timers advance.
        Frozen = "frozen",
        /// A machine is suspended after a claim, and the clock of its timers stops.
        Suspended = "suspended",
        /// A store call fails without an effect.
        StoreFails = "store_fails",
        /// A store call takes effect and reports a failure.
        StoreUnanswered = "store_unanswered",
        /// A store call reports a failure and takes effect later.
        StoreLate = "store_late",
        /// A store call takes seconds, before or after its effect.
        StoreSlow = "store_slow",
        /// A store call takes effect later, by the server's clock at its receipt.
        StoreOldNow = "store_old_now",
        /// The latency to the store differs between the directions.
        StoreLopsided = "store_lopsided",
        /// A process crashes at a store call, which takes effect or not, now or later.
        StoreCrash = "store_crash",
        /// A cursor ends early.
        StoreCut = "store_cut",
        /// The store is unavailable for all.
        StoreOutage = "store_outage",
        /// The broker is unavailable for all.
        BrokerOutage = "broker_outage",
        /// One process cannot reach the store, or the broker, or both.
        Partition = "partition",
        /// A broker call fails without an effect.
        QueueFails = "queue_fails",
        /// A message is in its queue, but its confirm is lost.
        QueueUnanswered = "queue_unanswered",
        /// A broker call takes seconds.
        QueueSlow = "queue_slow",
        /// A process crashes at a broker call.
        QueueCrash = "queue_crash",
        /// A message is confirmed and lost.
        MessageLost = "message_lost",
        /// A message is delivered twice.
        MessageDoubled = "message_doubled",
        /// A message is delivered late.
        MessageLate = "message_late",
        /// Messages are reordered.
        Reordered = "reordered",
        /// A consumer ends at a delivery.
        ConsumerLost = "consumer_lost",
        /// An acknowledgement is lost.
        AckLost = "ack_lost",
        /// The provider is unreachable.
        NotSent = "not_sent",
        /// The provider throttles all requests for a while.
        ThrottledAll = "throttled_all",
        /// The provider reports every grant as dead for a while, wrongly.
        DeadAll = "dead_all",
        /// The provider rejects the client at first, and accepts it later.
        WrongClient = "wrong_client",
        /// The provider's successes are unreadable for a while.
        Unreadable = "unreadable",
        /// The provider reports a valid grant as dead, once.
        DeadForOnce = "dead_for_once",
        /// A grant has an absolute end that the provider does not enforce.
        EndUntrue = "end_untrue",
        /// A grant has an absolute end.
        EndTrue = "end_true",
        /// The store permanently refuses to claim a document.
        ClaimRefused = "claim_refused",
        /// The store permanently refuses to write an outcome into a document.
        CommitRefused = "commit_refused",
        /// The store permanently refuses to mark a document as queued.
        MarkRefused = "mark_refused",
        /// The store permanently refuses to adopt a document.
        AdoptRefused = "adopt_refused",
        /// The store permanently refuses to revive a document whose user has signed in.
        ReviveRefused = "revive_refused",
        /// The provider permanently answers one user with a client error.
        RejectedOne = "rejected_one",
        /// The provider permanently throttles one user.
        ThrottledOne = "throttled_one",
        /// A document belongs to a second provider.
        SecondProvider = "second_provider",
        /// A user signs in again.
        SignIn = "sign_in",
        /// The provider revokes a grant.
        Revocation = "revocation",
        /// Someone overwrites a token with nonsense.
        TokenSpoilt = "token_spoilt",
        /// The application writes its own fields.
        NoteEdited = "note_edited",
        /// Someone makes a grant due.
        DueEdited = "due_edited",
        /// Someone removes the mark that a job is under way.
        MarkEdited = "mark_edited",
        /// An operator pauses a grant, and resumes it.
        Paused = "paused",
        /// An operator forgets a grant, and it is adopted again.
        Forgotten = "forgotten",
        /// An operator imports an old copy of a document.
        Imported = "imported",
        /// An operator discards a dead letter.
        Discarded = "discarded",
        /// A worker without the key gets an answer.
        ForeignAnswer = "foreign_answer",
        /// Workers have two different client settings.
        TwoClients = "two_clients",
        /// A journal refuses an answer.
        JournalAppendFails = "journal_append_fails",
        /// The journals of dead workers cannot be read.
        JournalInheritFails = "journal_inherit_fails",
        /// A lease is taken over from a worker that has died.
        Takeover = "takeover",
        /// An answer is put into the rescue queue.
        Rescue = "rescue",
        /// A worker adopts the journal of a dead one.
        Inheritance = "inheritance",
    }
}

/// How often each event occurred, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventTally(pub BTreeMap<String, u64>);

impl EventTally {
    /// Counts one more.
    pub(crate) fn count(&mut self, name: &str) {
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    /// How often this occurred.
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
    /// Counts a fault that has occurred.
    pub(crate) fn reached(&self, fault: Fault) {
        self.with(|state| state.reached.count(fault.as_str()));
    }
}
