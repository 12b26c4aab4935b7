#![doc = include_str!("../README.md")]

pub mod config;
pub mod connect;
pub mod process;
pub mod process_reporter;
mod startup;

pub use startup::{Process, ProcessStart, StartError};
