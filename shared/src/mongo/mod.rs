//! Token documents in MongoDB.

mod settings;

pub use settings::{Fields, MongoSettings};
