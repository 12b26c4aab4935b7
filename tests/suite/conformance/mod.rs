//! One suite for each port. The tests are functions of a port, so that every adapter is held to the
//! same; `adapters` says which there are, and each adapter's part only what holds for it alone.

mod adapters;
mod memory;
mod mongodb;
mod mongodb_errors;
mod mongodb_faults;
pub(crate) mod queue;
mod queue_rescue;
pub(crate) mod sqlite;
pub(crate) mod store;
mod store_adoption;
mod store_also_written;
mod store_coordination;
mod store_import;
mod store_listing;
mod store_operators;
mod store_revival;
mod store_twins;
mod store_withheld;
mod transitions;
