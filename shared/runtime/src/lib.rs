//! How a process of Evergrant begins, what it is set to, and how it ends.
//!
//! * [`config`]: the settings. It composes what each crate wants to know.
//! * [`connect`]: which adapter a URL means.
//! * [`Process`]: the start of a process. [`process`]: its name and its end.
//! * [`process_reporter`]: what a process tells operators of itself.

pub mod config;
pub mod connect;
pub mod process;
pub mod process_reporter;
mod startup;

pub use startup::{Process, ProcessStart, StartError};
