//! One grant, with what is known of its life.

use evergrant_domain::DocumentId;
use evergrant_domain::audit::AuditFilter;
use evergrant_ports::{GrantView, StoreError};
use serde::Serialize;

use super::Tokens;
use crate::exit::Exit;
use crate::output::or_dash;
use evergrant_operations::timeline::{TimelineEvent, timeline};

/// What operators did to the grant: the last so many times.
const ACTIONS: u32 = 50;

#[derive(Serialize)]
struct ShownToken {
    #[serde(flatten)]
    grant: GrantView,
    timeline: Vec<TimelineEvent>,
}

impl Tokens<'_> {
    /// Shows one grant.
    pub(crate) async fn show(&self, id: &DocumentId) -> Result<Exit, StoreError> {
        let Some(grant) = self.store.get(id).await? else {
            self.say_absent(id);
            return Ok(Exit::Nothing);
        };
        let about = AuditFilter {
            document: Some(grant.id.clone()),
            limit: ACTIONS,
            ..AuditFilter::default()
        };
        let (audit, now) = (self.store.audit(&about).await?, self.store.now().await?);
        let timeline = timeline(&grant, &audit, now);
        if self.output.json {
            self.output.json(&ShownToken { grant, timeline });
            return Ok(Exit::Done);
        }
        let rows = details(&grant).into_iter().map(|(name, value)| vec![name.to_owned(), value]);
        self.output.table(&["FIELD", "VALUE"], rows);
        self.output.line("");
        let rows = timeline.into_iter().map(|event| vec![event.at.to_string(), event.what]);
        self.output.table(&["WHEN", "WHAT"], rows);
        Ok(Exit::Done)
    }

    pub(super) fn say_absent(&self, id: &DocumentId) {
        self.output.message(&format!(
            "there is no document with the _id {id}; `evergrant tokens list` finds one by its user \
             or email"
        ));
    }
}

fn details(grant: &GrantView) -> Vec<(&'static str, String)> {
    let error = grant.last_error.as_ref();
    vec![
        ("id", grant.id.to_string()),
        ("user", or_dash(grant.user.as_ref())),
        ("email", or_dash(grant.email.as_ref())),
        ("provider", or_dash(grant.provider.as_ref())),
        ("status", or_dash(grant.status)),
        ("refreshes", grant.generation.to_string()),
        ("refreshed", or_dash(grant.refreshed_at)),
        ("access token expires", or_dash(grant.access_expires_at)),
        ("refresh token dies unused", or_dash(grant.refresh_idle_until)),
        ("grant ends", or_dash(grant.refresh_absolute_until)),
        ("due", or_dash(grant.next_refresh_at)),
        ("job under way until", or_dash(grant.queued_until)),
        ("leased until", or_dash(grant.leased_until)),
        ("failed attempts", grant.attempts.to_string()),
        ("failing since", or_dash(grant.failing_since)),
        ("an answer may be lost", grant.in_doubt.to_string()),
        ("last error", or_dash(error.map(|error| error.reason.as_str()))),
        ("HTTP status", or_dash(error.and_then(|error| error.http_status))),
        ("error code", or_dash(error.and_then(|error| error.code.as_ref()))),
        ("description", or_dash(error.and_then(|error| error.description.as_ref()))),
        ("failed at", or_dash(error.map(|error| error.at))),
    ]
}
