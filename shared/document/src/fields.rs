//! What an application calls the fields of its token documents.

/// The application's own names of its fields. A dot leads into a sub-document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldNames {
    /// The user's id.
    pub user_id: String,
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// The user's email address.
    pub email: String,
    /// Whether the field by which the application tells that the access token has expired is kept true.
    #[serde(skip)]
    pub keeps_expiry: bool,
    /// What else the providers' addresses and requests need.
    #[serde(skip)]
    pub needed: Vec<String>,
    /// Which of that names our client.
    #[serde(skip)]
    pub client: Vec<String>,
}

impl Default for FieldNames {
    fn default() -> Self {
        Self {
            user_id: "userId".to_owned(),
            access_token: "access_token".to_owned(),
            refresh_token: "refresh_token".to_owned(),
            email: "email".to_owned(),
            keeps_expiry: true,
            needed: Vec::new(),
            client: Vec::new(),
        }
    }
}
