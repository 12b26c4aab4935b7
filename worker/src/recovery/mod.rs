//! The safeguards of answers that are not committed yet, and the recovery of answers that others
//! left.

pub(crate) mod answer_letter;
pub(crate) mod answer_log;
pub(crate) mod answer_recovery;
pub(crate) mod orphaned_answer;
pub(crate) mod recovered_answers;
pub(crate) mod revive_deaths;
pub(crate) mod unread;
pub(crate) mod withhold;
