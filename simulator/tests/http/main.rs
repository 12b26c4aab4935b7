//! The simulator over real sockets.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod admin;
mod faults;
mod revoke;
mod shutdown;
mod support;
mod tls;
mod token;
