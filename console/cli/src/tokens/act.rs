//! What is done to grants, one after the other.

use clap::{Args as ClapArgs, Subcommand};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId};
use evergrant_ports::{ChangeResult, GrantChange, StoreError};
use evergrant_runtime::config::Config;
use serde_json::json;

use super::Tokens;
use crate::exit::Exit;
use evergrant_operations::operator::{ActingOperator, ActionError, RefreshResult, os_user};

#[derive(Debug, Subcommand)]
pub(crate) enum ActCommand {
    /// Refresh grants now, due or not. Grants that were given up are tried again.
    Refresh(TokensWish),
    /// Pause active grants until they are resumed.
    Pause(TokensWish),
    /// End a pause.
    Resume(TokensWish),
    /// Remove Evergrant's state of grants. Their documents stay.
    Forget(ForgetWish),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ForgetWish {
    #[command(flatten)]
    wish: TokensWish,
    /// Revoke the grants at their providers first, within their budgets. Only those that were revoked are
    /// forgotten.
    #[arg(long)]
    revoke: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TokensWish {
    /// The documents' _ids.
    #[arg(required = true)]
    ids: Vec<DocumentId>,
    /// Reason, for the audit record.
    #[arg(long, default_value = "")]
    why: String,
}

impl Tokens<'_> {
    /// Does something to grants.
    pub(crate) async fn act(&self, command: ActCommand, config: &Config) -> anyhow::Result<Exit> {
        Ok(match command {
            ActCommand::Refresh(wish) => self.refresh(&wish, config).await?,
            ActCommand::Pause(wish) => self.change(&wish, GrantChange::Pause).await?,
            ActCommand::Resume(wish) => self.change(&wish, GrantChange::Resume).await?,
            ActCommand::Forget(ForgetWish { wish: TokensWish { ids, why }, revoke: true }) => {
                self.revoke(config.some_providers()?, &ids, &why).await?
            }
            ActCommand::Forget(ForgetWish { wish, .. }) => {
                self.change(&wish, GrantChange::Forget).await?
            }
        })
    }

    /// Has grants refreshed now.
    async fn refresh(&self, wish: &TokensWish, config: &Config) -> anyhow::Result<Exit> {
        let TokensWish { ids, why } = wish;
        let (queue, queued_for) = (crate::queue(config)?, crate::queued_for(config)?);
        let operator = self.operator(why);
        let mut done = 0;
        for id in ids {
            match operator.refresh_grant(&*queue, id, queued_for).await? {
                RefreshResult::Queued(provider) => {
                    done += 1;
                    self.say(id, "queued", "a worker refreshes it");
                    self.say_if_shut(&provider).await?;
                }
                RefreshResult::NotActive(Some(GrantStatus::Paused)) => {
                    self.refuse(id, "it is paused: `evergrant tokens resume` first");
                }
                RefreshResult::NotActive(None) => {
                    self.refuse(id, "it is not adopted yet: the producer does that in a minute");
                }
                RefreshResult::NotActive(Some(status)) => {
                    self.refuse(id, &format!("it became {status} meanwhile: try again"));
                }
                RefreshResult::WaitsForAnswer => self.refuse(id, WAITS_FOR_ANSWER),
                RefreshResult::Absent => self.say_absent(id),
            }
        }
        Ok(exit(done, ids.len()))
    }

    /// Pauses, resumes or forgets grants.
    async fn change(&self, wish: &TokensWish, change: GrantChange) -> Result<Exit, ActionError> {
        let TokensWish { ids, why } = wish;
        let operator = self.operator(why);
        let mut done = 0;
        for id in ids {
            match operator.change_grant(id, change).await? {
                ChangeResult::Applied => {
                    done += 1;
                    let (did, so) = told(change);
                    self.say(id, did, so);
                }
                ChangeResult::NotIn(status) => self.refuse(id, &why_not(change, status)),
                ChangeResult::UnderWay => self.refuse(id, UNDER_WAY),
                ChangeResult::WaitsForAnswer => self.refuse(id, WAITS_FOR_ANSWER),
                ChangeResult::Absent => self.say_absent(id),
            }
        }
        Ok(exit(done, ids.len()))
    }

    pub(super) fn operator(&self, why: &str) -> ActingOperator {
        let store = std::sync::Arc::clone(self.store);
        ActingOperator { store, who: os_user(), why: why.to_owned() }
    }

    pub(super) fn say(&self, id: &DocumentId, did: &str, so: &str) {
        if self.output.json {
            return self.output.json(&json!({ "id": id, "done": did }));
        }
        self.output.line(&crate::output::printable(&format!("{id}: {did}; {so}")));
    }

    pub(super) fn refuse(&self, id: &DocumentId, why: &str) {
        self.output.error(format!("{id}: {why}"));
    }

    async fn say_if_shut(&self, provider: &ProviderId) -> Result<(), StoreError> {
        let read = self.store.provider_state(provider).await?;
        if read.value.shut_until(read.now).is_some() {
            let standing = read.value.standing(read.now);
            self.output.message(&format!("{provider} is {}: it waits", standing.as_str()));
        }
        Ok(())
    }
}

pub(super) const UNDER_WAY: &str = "a refresh of it is under way, or a worker died over it, and its new tokens would be lost: try \
     again in a minute. If it is paused, resume it first";

pub(super) const WAITS_FOR_ANSWER: &str = "its new tokens are not in its document yet, and to send the old one would lose them: see its \
     letter with `evergrant dlq show --reason uncommitted_answer`, cure what it says, then redrive it. If \
     they are lost for good, the user has to sign in again";

pub(super) fn exit(done: usize, wanted: usize) -> Exit {
    match done {
        0 => Exit::Nothing,
        done if done < wanted => Exit::Partial,
        _ => Exit::Done,
    }
}

const fn told(change: GrantChange) -> (&'static str, &'static str) {
    match change {
        GrantChange::Pause => ("paused", "it is left alone until `evergrant tokens resume`"),
        GrantChange::Resume => ("resumed", "it is refreshed when it is due"),
        GrantChange::Forget => (
            "forgotten",
            "while the document is there, the producer takes it up as if its user had just signed in",
        ),
    }
}

fn why_not(change: GrantChange, status: Option<GrantStatus>) -> String {
    let status = status.map_or("not adopted yet", GrantStatus::as_str);
    match change {
        GrantChange::Pause => {
            format!(
                "it is {status}: only an active grant is refreshed, so there is nothing to pause"
            )
        }
        GrantChange::Resume => format!(
            "it is {status}, not paused; `evergrant tokens refresh` has a grant refreshed now"
        ),
        GrantChange::Forget => format!("it is {status}"),
    }
}
