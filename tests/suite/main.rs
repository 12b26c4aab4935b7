//! Tests on real servers. `tests/run` installs, builds and starts what they need.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "figures, seen with --nocapture and when a test fails")]

mod broker_away;
mod browser;
mod cases;
mod chaos;
mod compose;
mod conformance;
mod end_to_end;
mod image;
mod names;
mod provider;
mod simulation;
mod supply_chain;
mod terminal;
