//! What every Evergrant process speaks.
//!
//! * [`domain`]: pure. What a grant, a job and an outcome are, and every decision about them.
//! * [`ports`]: the two traits that keep I/O at the edges, [`ports::TokenStore`] and
//!   [`ports::JobQueue`].

pub mod domain;
pub mod ports;
