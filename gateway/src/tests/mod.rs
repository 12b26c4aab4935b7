//! The gateway over a store and a broker in memory, on paused time.

mod callers;
mod scene;
mod tokens;
