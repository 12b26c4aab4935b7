//! What the MongoDB adapter needs to know.

use std::time::Duration;

use secrecy::SecretString;

use crate::adoption::AdoptionRules;

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
    pub fields: Fields,
    /// The sub-document of Evergrant's state.
    pub state_field: String,
    /// Which documents are taken up, and by which provider.
    pub adoption: AdoptionRules,
    /// How long to look for a server that can take a request.
    pub selection_timeout: Duration,
}

/// The application's own names of its fields. A dot leads into a sub-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The user's id.
    pub user_id: String,
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// The user's email address.
    pub email: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            user_id: "userId".to_owned(),
            access_token: "access_token".to_owned(),
            refresh_token: "refresh_token".to_owned(),
            email: "email".to_owned(),
        }
    }
}
