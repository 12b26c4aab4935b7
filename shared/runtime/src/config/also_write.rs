//! What a refresh writes beside the tokens, as the settings say it.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use evergrant_document::paths::overlap;
use evergrant_domain::also_write::FieldSources;
use evergrant_settings::ConfigError;
use serde::Deserialize;

use super::store::{StoreSettings, check_path};

/// Whether the application's own expiry is kept true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryUpkeep {
    Auto,
    Off,
}

impl StoreSettings {
    /// That what a refresh writes beside the tokens has places of its own. `setting` is the table's name, and
    /// `client` the field that names a document's client.
    pub(super) fn check_also_written(
        &self,
        setting: &str,
        also: &FieldSources,
        client: Option<&str>,
    ) -> Result<(), ConfigError> {
        let fields = [
            ("the _id", Some("_id")),
            ("store.fields.access_token", Some(self.fields.access_token.as_str())),
            ("store.fields.refresh_token", Some(&self.fields.refresh_token)),
            ("store.fields.user_id", Some(&self.fields.user_id)),
            ("store.fields.email", Some(&self.fields.email)),
            ("the field that names the client", client),
            ("store.state_field", Some(&self.state_field)),
            ("store.provider_field", self.provider_field.as_deref()),
        ];
        for path in also.keys() {
            let setting = format!("{setting}.{path}");
            check_path(&setting, path)?;
            let others = also.keys().filter(|other| *other != path);
            let others = others.map(|other| ("another of the table", Some(other.as_str())));
            for (what, other) in fields.into_iter().chain(others) {
                if other.is_some_and(|other| overlap(path, other)) {
                    let reason = format!(
                        "it must be a place of its own, not {what}, nor within that or around it"
                    );
                    return Err(ConfigError::invalid(&setting, reason));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn refused(settings: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("evergrant.toml");
        let provider = "[providers.p]\npreset = \"autodesk\"\nclient_id = \"c\"\n";
        std::fs::write(&file, format!("{provider}{settings}")).unwrap();
        match Config::from_parts(Some(&file), [], &[]) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_written_beside_the_tokens_has_places_of_its_own() {
        for (settings, told) in [
            ("[store.also_write]\nscope = \"scope\"\n\"a.b\" = \"b\"", ""),
            ("[store]\nexpiry = \"off\"", ""),
            ("[store.also_write]\nrefresh_token = \"x\"", "store.fields.refresh_token"),
            ("[store.also_write]\n\"evergrant.status\" = \"x\"", "store.state_field"),
            ("[store.also_write]\nemail = \"x\"", "store.fields.email"),
            (
                "client_field = \"t\"\nclients.a.client_id = \"i\"\n[store.also_write]\nt = \"x\"",
                "names the client",
            ),
            ("[store.also_write]\n_id = \"x\"", "the _id"),
            ("[store.also_write]\na = \"x\"\n\"a.b\" = \"x\"", "another of the table"),
            ("[store.also_write]\na = { end_of = \"session\", as = \"date\" }", "access_token"),
            ("[store.also_write]\na.b = \"x\"", "end_of"),
            ("[store]\nexpiry = \"yes\"", "auto"),
            ("[providers.p.also_write]\naccess_token = \"x\"", "providers.p.also_write"),
        ] {
            let refused = refused(settings);
            assert_eq!(refused.is_empty(), told.is_empty(), "{settings}: {refused}");
            assert!(refused.contains(told), "{settings}: {refused}");
        }
    }
}
