//! What operators see and do, as data: for the terminal and for the web console alike.
//!
//! * [`letters`]: dead letters, read without taking them. [`bulk`]: what is done to many of them.
//! * [`operator`]: what is done to a grant or a provider, each with its trace in the audit record.
//! * [`overview`]: how each provider is doing. [`timeline`]: what happened to one grant.
//! * [`about`]: what an entry of the audit record is about.

pub mod bulk;
pub mod letters;
pub mod operator;
pub mod overview;
mod subject;
pub mod timeline;

pub use subject::about;
