//! The documents of a case, from templates.

use std::collections::HashMap;

use evergrant_simulator::SimulatorHandle;
use serde::Deserialize;
use serde_json::Value;

/// A set of similar documents.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentSet {
    /// The user's name or, with `count`, the prefix of names: `u` gives u1, u2 and so on.
    users: String,
    count: Option<u32>,
    /// The document in extended JSON. `{user}`, `{access_token}` and `{refresh_token}` are
    /// replaced; a user with a token has signed in.
    #[serde(default = "usual_document")]
    document: String,
    /// The size of the document, in bytes of its JSON: a field `pad` fills it up.
    pad_to_bytes: Option<usize>,
}

fn usual_document() -> String {
    r#"{"_id": "{user}", "userId": "{user}", "access_token": "{access_token}", "refresh_token": "{refresh_token}", "email": "{user}@example.org"}"#.to_owned()
}

/// The tokens of each user's first sign-in, so that two documents can hold the same.
#[derive(Default)]
pub(super) struct SignedIn(HashMap<String, (String, String)>);

impl SignedIn {
    /// The tokens of a user: access token and refresh token.
    fn tokens(&mut self, simulator: &SimulatorHandle, user: &str) -> (String, String) {
        let signed_in = || new_tokens(simulator, user);
        self.0.entry(user.to_owned()).or_insert_with(signed_in).clone()
    }

    /// A template with its placeholders replaced.
    fn filled(&mut self, simulator: &SimulatorHandle, template: &str, user: &str) -> String {
        let mut text = template.replace("{user}", user);
        if text.contains("{access_token}") || text.contains("{refresh_token}") {
            let (access, refresh) = self.tokens(simulator, user);
            text = text.replace("{access_token}", &access).replace("{refresh_token}", &refresh);
        }
        text
    }

    /// The documents, one per line.
    ///
    /// # Errors
    /// If one is not valid JSON.
    pub(super) fn lines(
        &mut self,
        simulator: &SimulatorHandle,
        sets: &[DocumentSet],
    ) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        for set in sets {
            for user in set.names() {
                let text = self.filled(simulator, &set.document, &user);
                let mut document: Value = serde_json::from_str(&text)
                    .map_err(|error| format!("the document of {user}: {error}"))?;
                if let Some(bytes) = set.pad_to_bytes {
                    let missing = bytes.saturating_sub(text.len());
                    document["pad"] = "x".repeat(missing).into();
                }
                lines.push(document.to_string());
            }
        }
        Ok(lines)
    }
}

impl DocumentSet {
    fn names(&self) -> Vec<String> {
        match self.count {
            None => vec![self.users.clone()],
            Some(count) => (1..=count).map(|number| format!("{}{number}", self.users)).collect(),
        }
    }
}

/// The document of a user who signs in again.
pub(super) fn signed_in_again(
    simulator: &SimulatorHandle,
    template: Option<&str>,
    user: &str,
) -> String {
    let alone = r#"{"_id": "{user}", "access_token": "{access_token}", "refresh_token": "{refresh_token}"}"#;
    let (access, refresh) = new_tokens(simulator, user);
    let text = template.unwrap_or(alone).replace("{user}", user);
    text.replace("{access_token}", &access).replace("{refresh_token}", &refresh)
}

fn new_tokens(simulator: &SimulatorHandle, user: &str) -> (String, String) {
    let document = simulator.sign_in(user);
    let refresh = document.refresh_token.as_ref().and_then(Value::as_str).unwrap_or_default();
    (document.access_token.clone(), refresh.to_owned())
}
