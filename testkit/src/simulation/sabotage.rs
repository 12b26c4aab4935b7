//! Sabotage: builds that are broken on purpose.

use super::kinds::kinds;
use super::world::World;

kinds! {
    /// A build that is broken on purpose. Each is a switch in a wrapper of a port, so the code
    /// under test is unchanged.
    Sabotage {
        /// Jobs are acknowledged on arrival, before anything is written.
        AckBeforeCommit = "ack_before_commit",
        /// Every claim owns what it finds, whoever holds the lease.
        NoLease = "no_lease",
        /// Leases are shorter than a request takes.
        ShortLease = "short_lease",
        /// A claim does not notice that the holder before it has died.
        TakeoverUnnoticed = "takeover_unnoticed",
        /// A takeover does not wait for a dead worker's journal.
        NoTakeoverWait = "no_takeover_wait",
        /// A refused claim is retried for ever.
        RefusedClaimRetried = "refused_claim_retried",
        /// A commit checks neither the sent token, nor the generation, nor the lease.
        UnconditionalCommit = "unconditional_commit",
        /// A commit does not check the generation.
        CommitWithoutGeneration = "commit_without_generation",
        /// A commit reports success and writes nothing.
        CommitNotWritten = "commit_not_written",
        /// A grant ends although its document holds another token than the one that died.
        NoReread = "no_reread",
        /// An answer is written to the journal only after its commit.
        JournalAfterCommit = "journal_after_commit",
        /// An answer is never written to the journal.
        NoJournalLine = "no_journal_line",
        /// An answer of the rescue queue is acknowledged on arrival, before it is written.
        RescueAckedBeforeWritten = "rescue_acked_before_written",
        /// A dead worker's journal is read and forgotten.
        InheritanceDropped = "inheritance_dropped",
        /// Nobody reads the rescue queue.
        RescueQueueUnread = "rescue_queue_unread",
        /// Documents are marked as queued before their jobs are confirmed.
        MarkBeforeConfirm = "mark_before_confirm",
        /// A job is acknowledged before its retry is confirmed.
        RetryUnconfirmed = "retry_unconfirmed",
        /// A grant ends without a dead letter.
        LetterMissing = "letter_missing",
        /// Some documents are never found to be due.
        DueLeavesOut = "due_leaves_out",
        /// A refreshed grant is due again at once.
        DueAgainAtOnce = "due_again_at_once",
        /// Each sweep activates every dead grant, whether or not its token has changed.
        ReviveWithoutComparing = "revive_without_comparing",
        /// Adoption starts over with adopted documents.
        AdoptionStartsOver = "adoption_starts_over",
        /// Adoption assigns every new document to the default provider.
        AdoptionToWrongProvider = "adoption_to_wrong_provider",
        /// A provider's state is written without optimistic concurrency.
        BudgetWithoutCompareAndSwap = "budget_without_compare_and_swap",
        /// A worker ignores throttles.
        ThrottleIgnored = "throttle_ignored",
        /// A worker sends requests through an open circuit.
        CircuitIgnored = "circuit_ignored",
        /// An unreadable success does not stop the provider.
        UnreadableGoesOn = "unreadable_goes_on",
        /// A throttle counts as an attempt.
        ThrottleBurns = "throttle_burns",
        /// A worker trusts a clock that stopped while its machine was suspended.
        FrozenClockBelieved = "frozen_clock_believed",
        /// An import overwrites everything with an old copy.
        ImportUnconditional = "import_unconditional",
        /// A death is believed without a confirmation.
        SecondLookSkipped = "second_look_skipped",
        /// Every death is believed, however many grants die at once.
        NoDeathWatch = "no_death_watch",
        /// The HTTP client repeats a request without an answer.
        HiddenResend = "hidden_resend",
    }
}

impl World {
    /// Whether the build is broken in this way.
    pub(crate) fn is_broken_by(&self, sabotage: Sabotage) -> bool {
        self.options.sabotage == Some(sabotage)
    }
}
