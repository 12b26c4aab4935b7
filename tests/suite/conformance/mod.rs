//! One suite for each port. The tests are functions of a port, so that every adapter is held to the
//! same; each adapter's part only says how to get one.

mod mongodb;
mod mongodb_errors;
mod queue;
mod store;
