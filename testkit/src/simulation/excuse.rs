//! Excuses: why an apparent violation is none. Each use is counted.

use super::kinds::kinds;
use super::world::World;

kinds! {
    /// A reason why an invariant only seems to be violated.
    Excuse {
        /// A token is sent again; the reply to its rotation was lost, or such a loss has killed its
        /// sign-in.
        ReplyLost = "reply_lost",
        /// A token is sent that another worker's answer has replaced since the claim.
        AnsweredLate = "answered_late",
        /// A token is sent again whose answer is with a worker that reaches neither store nor
        /// broker, and that has no journal which others could read.
        HolderCutOff = "holder_cut_off",
        /// A token is sent again whose answer was with a worker that has ended, in a journal that
        /// no living worker had the time to read.
        JournalUnread = "journal_unread",
        /// A token is sent again whose answer is in a message of the rescue queue at a dead worker,
        /// which the broker has not noticed, or has noticed just now.
        HolderUnnoticed = "holder_unnoticed",
        /// A token is sent again whose answer is with a suspended process.
        HolderFrozen = "holder_frozen",
        /// A document is lost whose new token came in an unreadable answer.
        Unread = "unread",
        /// A document is lost whose last reply was lost, and the provider's grace was over.
        GraceOver = "grace_over",
        /// A document is lost because an excused reuse has killed the sign-in of its token.
        Forsaken = "forsaken",
        /// A document holds a token that was never issued, because someone has written it there.
        MadeUp = "made_up",
        /// A document has no letter, because the broker has lost its job.
        JobLost = "job_lost",
    }
}

impl World {
    /// Counts an excuse.
    pub(crate) fn excused(&self, excuse: Excuse) {
        self.with(|state| state.excuses.count(excuse.as_str()));
    }
}
