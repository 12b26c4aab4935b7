//! A token document as the application and Evergrant keep it.

use serde::Deserialize;
use serde_json::Value;

/// What the ledger reads of a document. Nothing in it has to be of the right kind.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct LedgerDocument {
    /// The document's id, of any kind, echoed in reports.
    #[serde(rename = "_id")]
    pub id: Value,
    /// Whose grant it holds.
    #[serde(rename = "userId")]
    pub user_id: Value,
    /// The refresh token, if it is a string.
    pub refresh_token: Value,
    /// Evergrant's own state, of which `status` is read.
    pub evergrant: Value,
}

impl LedgerDocument {
    /// Reads a document from JSON. Fields it does not know are passed over.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The user, if it is a string.
    pub fn user(&self) -> Option<&str> {
        self.user_id.as_str()
    }

    /// What Evergrant says of the grant, if it says anything.
    pub fn status(&self) -> Option<&str> {
        self.evergrant.get("status").and_then(Value::as_str)
    }
}

/// Shows no token.
impl std::fmt::Debug for LedgerDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("_id", &self.id)
            .field("userId", &self.user_id)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
