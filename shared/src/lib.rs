//! What every Evergrant process speaks.
//!
//! * [`domain`]: pure. What a grant, a job and an outcome are, and every decision about them.
//! * [`ports`]: the two traits that keep I/O at the edges, [`ports::TokenStore`] and
//!   [`ports::JobQueue`].
//! * [`operators`]: what operators need of a store beside [`ports::TokenStore`].
//! * [`mongo`] and [`rabbitmq`]: adapters for a fleet; [`sqlite`]: both ports in one file;
//!   [`memory`]: both without a server, for simulation.
//! * [`adoption`]: which documents are taken up, and by which provider.
//! * [`connect`]: which adapter a URL means.
//! * [`provider`]: the client of a token endpoint, and presets of known providers.
//! * [`rescue`]: the nets under an answer that is not committed yet.
//! * [`reports`]: what a process tells operators of itself.
//! * [`budget`]: when a request may be sent to a provider.
//! * [`config`] and [`telemetry`]: settings, logs, metrics and health.
//! * [`http_server`]: what serves them, and the web console.
//! * [`private_file`]: files that hold secrets; [`printable`]: text of others where people read it.
//! * [`startup`], [`process`] and [`backoff`]: how a process begins, ends and waits.

pub mod adoption;
pub mod backoff;
pub mod budget;
pub mod config;
pub mod connect;
pub mod document;
pub mod domain;
pub mod http_server;
pub mod memory;
pub mod mongo;
pub mod operators;
pub mod ports;
pub mod printable;
pub mod private_file;
pub mod process;
mod process_file;
pub mod provider;
pub mod rabbitmq;
pub mod reports;
pub mod rescue;
pub mod sqlite;
pub mod startup;
pub mod telemetry;
