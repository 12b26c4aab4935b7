//! Providers as the settings describe them: every preset's answers, and every form of request.

#![allow(clippy::unwrap_used, reason = "tests")]

mod kinds;
mod presets;
mod requests;
mod wire;
