//! What a broken build would do.

use super::kinds::kinds;
use super::world::World;

kinds! {
    /// A build that is broken on purpose. Each is a switch in a wrapper of a port, so that the code
    /// under test stays as it is.
    Sabotage {
        /// Jobs are acknowledged when they arrive, before anything is written.
        AckBeforeCommit = "ack_before_commit",
        /// Every claim owns what it finds, whoever holds the lease.
        NoLease = "no_lease",
        /// Leases are shorter than a request takes.
        ShortLease = "short_lease",
        /// A claim does not notice that the holder before it has died.
        TakeoverUnnoticed = "takeover_unnoticed",
        /// A takeover does not wait for what a dead worker's journal holds.
        NoTakeoverWait = "no_takeover_wait",
        /// A claim that the store refuses is tried again for ever.
        RefusedClaimRetried = "refused_claim_retried",
        /// A commit looks neither at the token that was sent nor at the generation nor at the lease.
        UnconditionalCommit = "unconditional_commit",
        /// A commit does not look at the generation.
        CommitWithoutGeneration = "commit_without_generation",
        /// A commit says that it is written and writes nothing.
        CommitNotWritten = "commit_not_written",
        /// A grant is given up without a look at whether its document still holds the token that died.
        NoReread = "no_reread",
        /// An answer is written to the journal only after its commit.
        JournalAfterCommit = "journal_after_commit",
        /// An answer is never written to the journal.
        NoJournalLine = "no_journal_line",
        /// An answer of the rescue queue is acknowledged when it arrives, before it is written.
        RescueAckedBeforeWritten = "rescue_acked_before_written",
        /// What a dead worker's journal holds is read and forgotten.
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
        /// Each sweep makes every dead grant active, whether or not its token has changed.
        ReviveWithoutComparing = "revive_without_comparing",
        /// Adoption begins anew with documents that it adopted before.
        AdoptionStartsOver = "adoption_starts_over",
        /// Adoption gives every new document to the default provider.
        AdoptionToWrongProvider = "adoption_to_wrong_provider",
        /// A provider's state is written without a look at whether another has written it.
        BudgetWithoutCompareAndSwap = "budget_without_compare_and_swap",
        /// A worker does not slow down when the provider asks for it.
        ThrottleIgnored = "throttle_ignored",
        /// A worker sends requests though the circuit is open.
        CircuitIgnored = "circuit_ignored",
        /// A success that cannot be read does not stop the provider.
        UnreadableGoesOn = "unreadable_goes_on",
        /// A throttle burns an attempt of its grant.
        ThrottleBurns = "throttle_burns",
        /// A worker believes a clock that stood still while its machine was suspended.
        FrozenClockBelieved = "frozen_clock_believed",
        /// An import lays an old copy over whatever is there.
        ImportUnconditional = "import_unconditional",
        /// A death is believed without a second look.
        SecondLookSkipped = "second_look_skipped",
        /// Every death is believed, however many grants die at once.
        NoDeathWatch = "no_death_watch",
        /// The provider's client sends a request again when no answer comes.
        HiddenResend = "hidden_resend",
    }
}

impl World {
    /// Whether the build is broken in this way.
    pub(crate) fn is_broken_by(&self, sabotage: Sabotage) -> bool {
        self.options.sabotage == Some(sabotage)
    }
}
