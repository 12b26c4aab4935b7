//! The safeguards under the window between a provider's answer and its durable commit.
//!
//! An answer with new tokens exists nowhere but in the worker until its document is written. So it
//! is sealed ([`AnswerSealer`]) and appended to a local [`AnswerJournal`] before anything else is done with it,
//! and if the store does not take the commit within seconds it goes to the rescue queue
//! ([`evergrant_ports::WorkQueue::rescue`]), where any worker finds it. Whoever opens it makes the same
//! conditional commit, so that it takes effect once however many try.

mod answer;
mod file;
mod journal;
mod keys;
mod own_file;
mod own_key;
mod plain_field;
mod plain_secret;
mod settings;
mod unread;
mod unsealable;

pub use answer::{AnswerSealer, OpenedAnswer};
pub use file::FileJournal;
pub use journal::{AnswerJournal, JournalEntry, OrphanedAnswer, PeerJournal};
pub use keys::{InvalidKey, SealingKeys};
pub use settings::RescueSettings;
pub use unread::UnreadAnswer;
pub use unsealable::UnsealableAnswer;
