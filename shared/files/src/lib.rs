//! Files of this machine that need care: [`private_file`] holds secrets, [`process_file`] tells by its lock
//! whether its process lives.

pub mod private_file;
pub mod process_file;
