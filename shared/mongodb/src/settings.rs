//! What the MongoDB adapter needs to know.

use std::time::Duration;

use secrecy::SecretString;

use evergrant_document::FieldNames;
use evergrant_document::adoption::AdoptionRules;

/// What the MongoDB adapter needs to know.
#[derive(Debug, Clone)]
pub struct MongoSettings {
    /// `mongodb://…` or `mongodb+srv://…`.
    pub url: SecretString,
    /// The application's database.
    pub database: String,
    /// The collection of token documents.
    pub collection: String,
    /// The application's own names of its fields.
    pub fields: FieldNames,
    /// The sub-document of Evergrant's state.
    pub state_field: String,
    /// Which documents are taken up, and by which provider.
    pub adoption: AdoptionRules,
    /// How long to look for a server that can take a request.
    pub selection_timeout: Duration,
}
