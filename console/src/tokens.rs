//! `evergrant tokens`: grants, without their tokens.

use evergrant_shared::domain::DocumentId;
use evergrant_shared::ports::{GrantFilter, GrantView, StoreError, TokenStore};
use futures::TryStreamExt;

use crate::exit::Exit;
use crate::output::{Output, or_dash};

/// Rows of a table whose columns are as wide as they need to be.
const ROWS_AT_ONCE: usize = 1_000;

/// Lists grants that match.
pub(crate) async fn list(
    store: &dyn TokenStore,
    filter: GrantFilter,
    output: &Output,
) -> Result<Exit, StoreError> {
    let mut grants = store.list(filter).try_chunks(ROWS_AT_ONCE);
    let mut found = false;
    while let Some(chunk) = grants.try_next().await.map_err(|error| error.1)? {
        found = true;
        if output.json {
            chunk.iter().for_each(|grant| output.json(grant));
        } else {
            let header = ["ID", "USER", "EMAIL", "PROVIDER", "STATUS", "REFRESHED", "DUE", "ERROR"];
            output.table(&header, chunk.iter().map(row));
        }
    }
    if found {
        return Ok(Exit::Done);
    }
    output.message("no grant matches");
    Ok(Exit::Nothing)
}

fn row(grant: &GrantView) -> Vec<String> {
    vec![
        grant.id.to_string(),
        or_dash(grant.user.as_ref()),
        or_dash(grant.email.as_ref()),
        or_dash(grant.provider.as_ref()),
        or_dash(grant.status),
        or_dash(grant.refreshed_at),
        or_dash(grant.next_refresh_at),
        or_dash(grant.last_error.as_ref().map(|error| error.reason.as_str())),
    ]
}

/// Shows one grant.
pub(crate) async fn show(
    store: &dyn TokenStore,
    id: &DocumentId,
    output: &Output,
) -> Result<Exit, StoreError> {
    let Some(grant) = store.get(id).await? else {
        output.message(&format!("there is no document with the _id {id}"));
        return Ok(Exit::Nothing);
    };
    if output.json {
        output.json(&grant);
    } else {
        let rows = details(&grant).into_iter().map(|(name, value)| vec![name.to_owned(), value]);
        output.table(&["FIELD", "VALUE"], rows);
    }
    Ok(Exit::Done)
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
        ("an answer may be lost", grant.in_doubt.to_string()),
        ("last error", or_dash(error.map(|error| error.reason.as_str()))),
        ("HTTP status", or_dash(error.and_then(|error| error.http_status))),
        ("error code", or_dash(error.and_then(|error| error.code.as_ref()))),
        ("description", or_dash(error.and_then(|error| error.description.as_ref()))),
        ("failed at", or_dash(error.map(|error| error.at))),
    ]
}
