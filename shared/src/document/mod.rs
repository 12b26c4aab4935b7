//! The token document: where each thing is in it, what it says, and what a write makes of it. Nothing here
//! asks a server: every store keeps documents of this form.

pub(crate) mod change;
pub(crate) mod condition;
pub(crate) mod decode;
pub(crate) mod extended_json;
mod fields;
pub(crate) mod ids;
pub(crate) mod import;
pub(crate) mod names;
pub(crate) mod numbers;
pub(crate) mod owner;
pub(crate) mod paths;
pub(crate) mod state;

pub use fields::Fields;
pub use ids::canonical as canonical_id;
