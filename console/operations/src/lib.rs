//! What operators see and do, as data, for the terminal and the web console.
//!
//! * [`letters`]: dead letters, browsed. [`bulk`]: actions on many of them.
//! * [`operator`]: actions on a grant or a provider, each recorded in the audit record.
//! * [`overview`]: the state of each provider. [`timeline`]: the history of one grant.
//! * [`about`]: the subject of an audit entry.

pub mod bulk;
pub mod letters;
pub mod operator;
pub mod overview;
mod subject;
pub mod timeline;

pub use subject::about;
