//! Why something that looks like a violation is none. Each use is counted.

use super::kinds::kinds;
use super::world::World;

kinds! {
    /// A reason why an invariant may seem to be violated.
    Excuse {
        /// A token is sent again, and the reply to its rotation was lost, or it is of a sign-in that
        /// such a loss has killed.
        ReplyLost = "reply_lost",
        /// A token is sent that another worker's answer has replaced since it was claimed.
        AnsweredLate = "answered_late",
        /// A token is sent again whose answer is with a worker that reaches neither store nor broker, and
        /// has no net that others could look into.
        HolderCutOff = "holder_cut_off",
        /// A token is sent again whose answer was with a worker that is gone, in a journal that no living
        /// worker has had the time to read.
        JournalUnread = "journal_unread",
        /// A token is sent again whose answer is in a message of the rescue queue that a dead worker has,
        /// which the broker has not noticed, or had until just now.
        HolderUnnoticed = "holder_unnoticed",
        /// A token is sent again whose answer is with a process that stands still.
        HolderFrozen = "holder_frozen",
        /// A document is lost whose new token came in an answer that nobody can read.
        Unread = "unread",
        /// A document is lost whose last reply was lost, once the provider's grace was over.
        GraceOver = "grace_over",
        /// A document is lost because an excused reuse has killed the sign-in that its token is of.
        Forsaken = "forsaken",
        /// A document holds a token that nobody has issued, because someone has written it there.
        MadeUp = "made_up",
        /// A letter is missing of a document of which the broker has lost a job.
        JobLost = "job_lost",
    }
}

impl World {
    /// Something is excused.
    pub(crate) fn excused(&self, excuse: Excuse) {
        self.with(|state| state.excuses.count(excuse.as_str()));
    }
}
