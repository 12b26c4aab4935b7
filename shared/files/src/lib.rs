#![doc = include_str!("../README.md")]

pub mod private_file;
pub mod process_file;
