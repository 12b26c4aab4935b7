//! `evergrant doctor`: what can be reached, whether it is as it should be, and what to do.

pub(crate) mod client;
mod letters;
mod provider;
pub(crate) mod row;
mod running;

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::ProviderId;
use evergrant_ports::{DOCUMENTS_OF, InspectionFinding, JobQueue, Store};
use evergrant_provider::Provider;
use evergrant_runtime::config::{Config, ConfigWeakness};
use futures::future::join_all;
use tokio::net::TcpStream;

use crate::copies;
use crate::exit::Exit;
use crate::output::Output;
use evergrant_web::{ConsoleSettings, oidc_of};
use row::{DoctorRow, Level};

/// What a look takes.
pub(crate) struct Doctor<'a> {
    pub(crate) config: &'a Config,
    pub(crate) console: ConsoleSettings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) providers: Vec<Provider>,
    /// Whether each token endpoint is sent one request with a made-up token.
    pub(crate) try_client: bool,
}

impl Doctor<'_> {
    /// Looks at everything, and says what is not as it should be and what to do. Partly done is said if
    /// there is such a thing.
    pub(crate) async fn examine(&self, output: &Output) -> Exit {
        let rows = self.rows().await;
        if output.json {
            output.json_list(&rows);
        } else {
            output.table(&["", "WHAT", "FOUND"], rows.iter().map(DoctorRow::cells));
        }
        if rows.iter().all(DoctorRow::is_ok) { Exit::Done } else { Exit::Partial }
    }

    async fn rows(&self) -> Vec<DoctorRow> {
        let sections = self.providers.len();
        let mut rows = vec![DoctorRow::new(
            Level::Ok,
            "configuration",
            format!("valid; {sections} providers"),
        )];
        rows.extend(self.weaknesses());
        let (stored, queued) = tokio::join!(self.store.inspect(), self.queue.inspect());
        let stored = stored.unwrap_or_else(|error| vec![failed("token store", &error)]);
        for finding in stored {
            rows.push(self.of_documents(finding).await);
        }
        let copies = copies::find(&*self.store).await;
        rows.push(copies.unwrap_or_else(|error| failed("refresh tokens", &error)).into());
        let queued = queued.unwrap_or_else(|error| vec![failed("job queue", &error)]);
        rows.extend(queued.into_iter().map(DoctorRow::from));
        rows.extend(join_all(self.providers.iter().map(reach)).await);
        if self.try_client {
            let tried = join_all(self.providers.iter().map(client::try_clients)).await;
            rows.extend(tried.into_iter().flatten());
        }
        rows.extend(openid_provider(&self.console).await);
        rows.extend(provider::rows(&self.store, &self.providers).await);
        rows.extend(letters::rows(&self.store, &self.queue, &self.providers).await);
        rows.extend(running::rows(&*self.store).await);
        rows
    }

    /// Settings that work and are not safe, and what workers would lack.
    fn weaknesses(&self) -> Vec<DoctorRow> {
        let row = |ConfigWeakness { setting, detail, is_note }| {
            let level = if is_note { Level::Note } else { Level::Warning };
            DoctorRow::new(level, setting, detail)
        };
        let secrets = self.providers.iter().filter_map(|provider| {
            let missing = provider.require_secret().err()?;
            let what = format!("client secret of {}", provider.id);
            Some(DoctorRow::new(Level::Warning, what, format!("workers need it: {missing}")))
        });
        match self.config.weaknesses() {
            Ok(found) => secrets.chain(found.into_iter().map(row)).collect(),
            Err(error) => vec![DoctorRow::new(Level::Wrong, "configuration", error.to_string())],
        }
    }

    /// Documents of a provider that is not in the settings are none of ours, unless jobs of theirs wait.
    async fn of_documents(&self, finding: InspectionFinding) -> DoctorRow {
        let row = DoctorRow::from(finding);
        let Some(name) = row.what.strip_prefix(DOCUMENTS_OF) else { return row };
        let Ok(provider) = name.parse::<ProviderId>() else { return row };
        if self.config.providers.contains_key(&provider) {
            return row;
        }
        let jobs = self.queue.depth(&provider).await.unwrap_or_default();
        let (counted, section) = (&row.detail, format!("providers.{name}"));
        if jobs > 0 {
            let detail = format!(
                "{counted}, and {jobs} jobs wait in its queues, but the settings have no section \
                 {section}, so nobody refreshes them: add the section, or delete the queues"
            );
            return DoctorRow::new(Level::Warning, row.what, detail);
        }
        let detail = format!(
            "{counted} of a provider that the settings do not name: they are left alone. If they are \
             ours, add the section {section}"
        );
        DoctorRow::new(Level::Note, row.what, detail)
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> InspectionFinding {
    InspectionFinding { what: what.to_owned(), ok: false, detail: error.to_string() }
}

/// The OpenID provider of the web console, if people log in by one.
async fn openid_provider(config: &ConsoleSettings) -> Option<DoctorRow> {
    let issuer = &config.oidc.as_ref()?.issuer;
    let found = match oidc_of(config) {
        Ok(oidc) => oidc?.try_out().await,
        Err(error) => Err(error.to_string()),
    };
    let what = "logins to the web console";
    Some(match found {
        Ok(()) => DoctorRow::new(Level::Ok, what, format!("{issuer} says how to log in")),
        Err(error) => {
            DoctorRow::new(Level::Wrong, what, format!("nobody can log in by {issuer}: {error}"))
        }
    })
}

/// A connection and no more: a request would count toward the provider's limit.
async fn reach(provider: &Provider) -> DoctorRow {
    let what = format!("token endpoint of {}", provider.id);
    let Some(url) = provider.token_url.fixed() else {
        let detail = "its address depends on each document, so none was tried".to_owned();
        return DoctorRow::new(Level::Note, what, detail);
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let connecting = TcpStream::connect((host.as_str(), port));
    let (level, detail) = match tokio::time::timeout(Duration::from_secs(5), connecting).await {
        Ok(Ok(_)) => (Level::Ok, format!("{host}:{port} takes connections")),
        Ok(Err(error)) => {
            (Level::Wrong, format!("{host}:{port}: {error}; check token_url and the network"))
        }
        Err(_) => (
            Level::Wrong,
            format!("{host}:{port} does not answer; check token_url and the network"),
        ),
    };
    DoctorRow::new(level, what, detail)
}
