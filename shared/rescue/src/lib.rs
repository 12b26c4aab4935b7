#![doc = include_str!("../README.md")]

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
