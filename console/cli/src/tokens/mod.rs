//! `evergrant tokens`: grants, without their tokens.

mod act;
mod revoke;
mod show;

use std::sync::Arc;

use evergrant_ports::{GrantFilter, GrantPlace, GrantView, Store, StoreError};
use futures::TryStreamExt;

pub(crate) use self::act::ActCommand;
use crate::exit::Exit;
use crate::output::{Output, or_dash};

/// Rows of a table whose columns are as wide as they need to be.
const ROWS_AT_ONCE: usize = 1_000;

/// What the commands need.
pub(crate) struct Tokens<'a> {
    pub(crate) store: &'a Arc<dyn Store>,
    pub(crate) output: &'a Output,
}

impl Tokens<'_> {
    /// Lists grants that match.
    pub(crate) async fn list(&self, filter: GrantFilter) -> Result<Exit, StoreError> {
        let (limit, order) = (filter.limit, filter.order());
        let mut grants = self.store.list(filter).try_chunks(ROWS_AT_ONCE);
        let mut stream = self.output.json_stream();
        let (mut found, mut last) = (0, None);
        while let Some(chunk) = grants.try_next().await.map_err(|error| error.1)? {
            found += chunk.len() as u64;
            if self.output.json {
                chunk.iter().for_each(|grant| stream.push(grant));
            } else {
                self.output.table(&HEADER, chunk.iter().map(row));
            }
            last = chunk.last().map(|grant| GrantPlace::from_grant(grant, order));
        }
        if self.output.json {
            stream.end();
        }
        if found == 0 {
            self.output.message("no grant matches");
            return Ok(Exit::Nothing);
        }
        if let Some(last) = last.filter(|_| limit == Some(found)) {
            self.output.message(&format!("there may be more: --after '{last}'"));
        }
        Ok(Exit::Done)
    }

    /// Counts grants by provider and status.
    pub(crate) async fn count(&self) -> Result<Exit, StoreError> {
        let counts = self.store.count_grants().await?;
        if self.output.json {
            self.output.json_list(&counts);
        } else if !counts.is_empty() {
            let rows = counts.iter().map(|count| {
                let status =
                    count.status.map_or_else(|| "not adopted yet".to_owned(), |s| s.to_string());
                vec![or_dash(count.provider.as_ref()), status, count.count.to_string()]
            });
            self.output.table(&["PROVIDER", "STATUS", "COUNT"], rows);
        }
        if counts.is_empty() {
            self.output.message("there are no documents: `evergrant import` brings some");
            return Ok(Exit::Nothing);
        }
        Ok(Exit::Done)
    }
}

const HEADER: [&str; 8] =
    ["ID", "USER", "EMAIL", "PROVIDER", "STATUS", "REFRESHED", "DUE", "ERROR"];

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
