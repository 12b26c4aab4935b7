//! The token document: where each thing is in it, what it says, and what a write makes of it. Nothing here
//! asks a server: every store keeps documents of this form.

pub mod adoption;
mod also_written;
pub mod app_time;
pub mod condition;
pub mod decode;
pub mod document_update;
pub mod extended_json;
pub mod field_paths;
mod fields;
pub mod ids;
pub mod import;
pub mod numbers;
pub mod owner;
pub mod paths;
pub mod state;
pub mod transition;

pub use fields::FieldNames;
pub use ids::canonical as canonical_id;
pub use import::check as check_import;
