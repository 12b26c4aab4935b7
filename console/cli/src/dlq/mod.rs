//! `evergrant dlq`: dead letters in the terminal, grouped, shown, sent back or removed.

mod bulk;
mod show;

use evergrant_domain::audit::AuditEntry;
use evergrant_ports::StoreError;

use crate::exit::Exit;
use crate::output::Output;
use evergrant_operations::bulk::BulkActions;
use evergrant_operations::letters::{LetterFilter, LetterGroup, LetterGroups, LettersError};

pub(crate) use bulk::BulkWish;

/// What the commands need.
pub(crate) struct Dlq<'a> {
    pub(crate) bulk: BulkActions,
    pub(crate) output: &'a Output,
}

impl Dlq<'_> {
    /// Counts dead letters by provider and reason.
    pub(crate) async fn list(&self, filter: &LetterFilter) -> Result<Exit, LettersError> {
        let LetterGroups { groups, left_out } = self.bulk.letters.groups(filter).await?;
        self.say_left_out(left_out);
        if self.output.json {
            self.output.json_list(&groups);
        } else if !groups.is_empty() {
            let header = ["PROVIDER", "REASON", "COUNT", "REDRIVEN", "FIRST", "LAST", "WHAT TO DO"];
            self.output.table(&header, groups.iter().map(row));
        }
        self.found(!groups.is_empty()).await
    }

    /// Letters of grants that live again are not shown, but not kept secret either.
    fn say_left_out(&self, left_out: u64) {
        if left_out > 0 {
            self.output.message(&format!(
                "left out: {left_out} of grants that live again; see them with --revived, remove them with \
                 `evergrant dlq discard --revived`"
            ));
        }
    }

    /// Nothing is an answer too: an action that is under way has letters in hand.
    async fn found(&self, found: bool) -> Result<Exit, LettersError> {
        if found {
            return Ok(Exit::Done);
        }
        match self.bulk.letters.under_way().await? {
            None => self.output.message("no dead letter matches"),
            Some(entry) => self.output.message(&in_hand(&entry)),
        }
        Ok(Exit::Nothing)
    }

    /// That jobs wait where a provider is shut.
    async fn say_what_waits(
        &self,
        providers: impl Iterator<Item = &evergrant_domain::ProviderId>,
    ) -> Result<(), StoreError> {
        let store = &self.bulk.letters.store;
        for provider in providers {
            let read = store.provider_state(provider).await?;
            if let Some(until) = read.value.shut_until(read.now) {
                let standing = read.value.standing(read.now);
                let until = until.map_or_else(
                    || format!("until `evergrant providers resume {provider}`"),
                    |until| format!("until {until}"),
                );
                self.output.message(&format!(
                    "{provider} is {}: what is sent back there is queued and waits {until}",
                    standing.as_str()
                ));
            }
        }
        Ok(())
    }
}

fn in_hand(entry: &AuditEntry) -> String {
    format!(
        "no dead letter matches; but a {} by {} is under way, and what it has in hand is not seen \
         meanwhile: see `evergrant audit`",
        entry.action, entry.who
    )
}

fn row(group: &LetterGroup) -> Vec<String> {
    vec![
        group.provider.to_string(),
        group.reason.to_string(),
        group.count.to_string(),
        group.redriven.to_string(),
        group.first_at.to_string(),
        group.last_at.to_string(),
        group.remedy.to_owned(),
    ]
}
