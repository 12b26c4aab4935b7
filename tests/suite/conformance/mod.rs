//! One conformance suite for each port. Its tests are functions of a port, so all adapters are held
//! to the same rules; `adapters` lists them, and each adapter's module has only what is specific to
//! it.

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
mod store_gateway;
mod store_import;
mod store_listing;
mod store_operators;
mod store_revival;
mod store_twins;
mod store_withheld;
mod transitions;
