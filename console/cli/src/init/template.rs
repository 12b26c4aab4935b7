//! The file that `evergrant init` writes.

use std::path::Path;

use evergrant_domain::ProviderId;

use super::recipe::StoreRecipe;
use crate::args::SecretIn;

/// The file of settings.
pub(super) const FILE: &str = "evergrant.toml";
/// The file of the key that seals answers.
pub(super) const RESCUE_KEY: &str = "rescue-key";

/// What was answered.
pub(super) struct Answers {
    pub(super) provider: ProviderId,
    pub(super) preset: String,
    pub(super) token_url: Option<String>,
    pub(super) client_id: String,
    pub(super) client_auth: Option<SecretIn>,
    /// Where documents and jobs are; None for a file beside the settings.
    pub(super) url: Option<String>,
    pub(super) recipe: Option<StoreRecipe>,
}

/// The file of a provider's client secret.
pub(super) fn secret_file(provider: &ProviderId) -> String {
    format!("{provider}-client-secret")
}

/// The settings, which say what each of them means.
pub(super) fn render(answers: &Answers, folder: &Path, has_secret: bool) -> String {
    let Answers { provider, preset, token_url, client_id, client_auth, url, recipe } = answers;
    let store = recipe.map_or("", |recipe| recipe.store);
    let path = |name: &str| quoted(&folder.join(name).display().to_string());
    let file = format!("sqlite:{}", folder.join("evergrant.db").display());
    let url = quoted(url.as_deref().unwrap_or(&file));
    let token_url = token_url.as_deref().map(|url| format!("token_url = {}\n", quoted(url)));
    let token_url = token_url.unwrap_or_default();
    let auth = match client_auth {
        Some(SecretIn::Basic) => "client_auth = \"basic\"",
        Some(SecretIn::Body) => "client_auth = \"body\"",
        None => {
            "# client_auth = \"body\"             # or basic: `evergrant doctor --try-client` tells"
        }
    };
    let secret = match has_secret {
        true => format!("client_secret_file = {}\n{auth}", path(&secret_file(provider))),
        false => "client_auth = \"none\"               # a public client has no secret".to_owned(),
    };
    let (client_id, key, journal) = (quoted(client_id), path(RESCUE_KEY), path(""));
    format!(
        "# Evergrant's settings. All that there are, with their defaults:\n\
         # shared/runtime/src/config/default.toml in the source. The environment overrides this file:\n\
         # EVERGRANT_WORKER__LEASE=30s, EVERGRANT_PROVIDERS__NAME__CLIENT_ID=…\n\
         \n\
         [store]\n\
         # Where the token documents are. For a fleet: mongodb://…, best with url_file = \"…\".\n\
         url = {url}\n\
         {store}\
         \n\
         [queue]\n\
         # Where jobs wait. For a fleet: amqp://…, best with url_file = \"…\".\n\
         url = {url}\n\
         \n\
         [rescue]\n\
         # Answers of the provider are sealed with this key on their way to the document, so that\n\
         # none is lost with a process that dies. Keep it as safe as the tokens.\n\
         key_file = {key}\n\
         journal = {journal}\n\
         \n\
         [providers.{provider}]\n\
         preset = \"{preset}\"\n\
         {token_url}\
         client_id = {client_id}\n\
         {secret}\n\
         # Requests that the provider takes; all limits are kept.\n\
         # limits = [\"450/min\"]\n\
         # keep_alive refreshes before the refresh token dies, keep_fresh before the access token does.\n\
         # keep = \"keep_alive\"\n\
         # How long a refresh token lives unused, where the answer does not tell.\n\
         # refresh_idle_lifetime = \"14days\"\n"
    )
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use evergrant_provider::ClientAuth;
    use evergrant_runtime::config::Config;

    use super::super::recipe::recipe;
    use super::*;

    #[test]
    fn what_is_written_reads_as_settings() {
        let folder = tempfile::tempdir().unwrap();
        let provider: ProviderId = "acme".parse().unwrap();
        for name in [RESCUE_KEY.to_owned(), secret_file(&provider)] {
            let text = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        for (preset, has_secret) in [("oauth2", true), ("autodesk", false)] {
            let token_url = (preset == "oauth2").then(|| "https://a.example/t?\"".to_owned());
            let client_id = "a \"quoted\" \\ id".to_owned();
            let (provider, client_auth) = (provider.clone(), Some(SecretIn::Body));
            let (preset, recipe) = (preset.to_owned(), recipe("meteor").filter(|_| has_secret));
            let answers =
                Answers { provider, preset, token_url, client_id, client_auth, url: None, recipe };
            let file = folder.path().join(FILE);
            std::fs::write(&file, render(&answers, folder.path(), has_secret)).unwrap();
            let config = Config::from_parts(Some(&file), [], &[]).unwrap();
            let providers = config.providers().unwrap();
            let client = providers[0].client.as_ref().unwrap();
            assert_eq!(client.id, "a \"quoted\" \\ id");
            assert_eq!(providers[0].client_auth == ClientAuth::Body, has_secret);
            assert_eq!(config.store.database == "meteor", has_secret);
            assert!(config.rescue.sealer().unwrap().is_some());
        }
    }
}
