//! `evergrant dlq redrive | discard | resume`: counted, confirmed, done, told.

use std::num::NonZeroU32;

use evergrant_domain::audit::{ActionOutcome, AuditEntry};
use evergrant_runtime::process;
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;

use super::Dlq;
use crate::exit::Exit;
use evergrant_operations::bulk::{BulkEnd, BulkKind, BulkRequest, BulkTally, ResumeError};
use evergrant_operations::letters::LetterFilter;
use evergrant_operations::operator::os_user;

/// What somebody wants to be done to many letters.
pub(crate) struct BulkWish {
    pub(crate) kind: BulkKind,
    pub(crate) filter: LetterFilter,
    pub(crate) all: bool,
    pub(crate) dry_run: bool,
    /// Also letters that hold new tokens.
    pub(crate) uncommitted_answers: bool,
    pub(crate) limit: Option<u64>,
    pub(crate) per_second: Option<NonZeroU32>,
    pub(crate) yes: bool,
    pub(crate) why: Option<String>,
}

impl Dlq<'_> {
    /// Does what is wished for, after it was counted and confirmed.
    pub(crate) async fn bulk(&self, wish: BulkWish) -> anyhow::Result<Exit> {
        let verb = wish.kind.verb();
        if wish.filter.is_empty() && !wish.all {
            self.output.error(format!(
                "{verb} which? Give a filter such as --reason, or --all for all of them"
            ));
            return Ok(Exit::Usage);
        }
        let why = wish.why.as_deref().map(str::trim).filter(|why| !why.is_empty());
        let Some(why) = why.or(wish.dry_run.then_some("")) else {
            self.output.error(format!("{verb} why? Give --why \"…\": the audit record keeps it"));
            return Ok(Exit::Usage);
        };
        let request = BulkRequest {
            uncommitted_answers: wish.uncommitted_answers,
            limit: wish.limit,
            per_second: wish.per_second,
            ..BulkRequest::new(wish.kind, wish.filter, self.bulk.cutoff().await?)
        };
        let counted = self.bulk.count(&request).await?;
        if !counted.detail().is_empty() {
            self.output.message(&counted.detail());
        }
        if counted.matched == 0 {
            return Ok(self.found(false).await?);
        }
        if request.kind == BulkKind::Redrive {
            self.say_what_waits(counted.providers.keys()).await?;
        }
        if wish.dry_run {
            self.say_dry(verb, &counted);
            return Ok(Exit::Done);
        }
        if let Some(refused) = self.confirm(verb, counted.matched, wish.yes) {
            return Ok(refused);
        }
        let begun = self.bulk.begin(os_user(), why.to_owned(), &request, Some(counted.matched));
        let entry = begun.await?;
        self.carry_out(&entry, &request, counted.matched).await
    }

    /// Sends back what matches without asking, for a command within another one. How many that were.
    pub(crate) async fn send_back_all(
        &self,
        filter: LetterFilter,
        why: &str,
    ) -> anyhow::Result<u64> {
        let request = BulkRequest::new(BulkKind::Redrive, filter, self.bulk.cutoff().await?);
        let entry = self.bulk.begin(os_user(), why.to_owned(), &request, None).await?;
        let ended = self.bulk.run(&entry, &request, |_| {}, &CancellationToken::new()).await;
        if let Some(error) = ended.error {
            return Err(error.into());
        }
        self.output.line(&format!(
            "redrive: {} of {} dead letters",
            ended.tally.done, ended.tally.matched
        ));
        Ok(ended.tally.done)
    }

    /// Goes on with an action that was cancelled, failed, or whose process died.
    pub(crate) async fn resume(&self, id: &str, yes: bool) -> anyhow::Result<Exit> {
        let (entry, rest) = match self.bulk.rest_of(id).await {
            Ok(found) => found,
            Err(ResumeError::Store(error)) => return Err(error.into()),
            Err(error @ ResumeError::Unknown(_)) => {
                self.output.message(&error.to_string());
                return Ok(Exit::Nothing);
            }
            Err(error) => {
                self.output.error(error);
                return Ok(Exit::Usage);
            }
        };
        let counted = self.bulk.count(&rest).await?;
        if counted.matched == 0 {
            self.output.message("nothing is left of it");
            return Ok(Exit::Nothing);
        }
        if let Some(refused) = self.confirm(rest.kind.verb(), counted.matched, yes) {
            return Ok(refused);
        }
        let why = entry.why.clone();
        let next = self.bulk.begin(os_user(), why, &rest, Some(counted.matched)).await?;
        self.bulk.hand_over(&entry, &next).await?;
        self.carry_out(&next, &rest, counted.matched).await
    }

    /// What to exit with if it is not confirmed.
    fn confirm(&self, verb: &str, matched: u64, yes: bool) -> Option<Exit> {
        if yes {
            return None;
        }
        match self.output.confirm(&format!("{verb} {matched} dead letters?")) {
            Some(true) => None,
            Some(false) => {
                self.output.message("nothing was done");
                Some(Exit::Nothing)
            }
            None => {
                let words = format!("{verb} {matched} dead letters? Nobody can answer: give --yes");
                self.output.error(words);
                Some(Exit::Usage)
            }
        }
    }

    async fn carry_out(
        &self,
        entry: &AuditEntry,
        request: &BulkRequest,
        matched: u64,
    ) -> anyhow::Result<Exit> {
        let shutdown = process::shutdown()?;
        let stop = CancellationToken::new();
        let cancelling = {
            let stop = stop.clone();
            tokio::spawn(async move {
                shutdown.wait().await;
                stop.cancel();
            })
        };
        let bar = self.output.bar(matched, "dead letters");
        let watch = |tally: &BulkTally| show(&bar, tally);
        let ended = self.bulk.run(entry, request, watch, &stop).await;
        cancelling.abort();
        bar.finish_and_clear();
        Ok(self.tell(entry, request, matched, ended))
    }

    fn tell(
        &self,
        entry: &AuditEntry,
        request: &BulkRequest,
        matched: u64,
        ended: BulkEnd,
    ) -> Exit {
        let BulkEnd { tally, outcome, error } = ended;
        let verb = request.kind.verb();
        if self.output.json {
            self.output.json(&serde_json::json!({
                "audit": entry.id,
                "outcome": outcome,
                "matched": tally.matched,
                "done": tally.done,
                "left_no_document": tally.left_no_document,
                "left_no_job": tally.left_no_job,
                "left_uncommitted": tally.left_uncommitted,
                "left_after_cutoff": tally.left_after_cutoff,
            }));
        } else {
            let words = format!("{verb}: {} of {matched} dead letters", tally.done);
            self.output.line(&words);
        }
        if !tally.detail().is_empty() {
            self.output.message(&tally.detail());
        }
        let go_on = format!("go on with: evergrant dlq resume {}", entry.id);
        match (outcome, error) {
            (_, Some(error)) => {
                self.output.error(format!("{error}; what was done stays done, {go_on}"));
                if tally.done > 0 { Exit::Partial } else { Exit::Error }
            }
            (ActionOutcome::Cancelled, None) => {
                self.output.message(&format!("interrupted: {go_on}"));
                Exit::Interrupted
            }
            (ActionOutcome::Nothing, None) => {
                self.output.message("no dead letter matches any more");
                Exit::Nothing
            }
            (ActionOutcome::Partial, None) => Exit::Partial,
            (_, None) => Exit::Done,
        }
    }

    fn say_dry(&self, verb: &str, counted: &BulkTally) {
        if self.output.json {
            return self.output.json(counted);
        }
        self.output.line(&format!("would {verb} {} dead letters", counted.matched));
    }
}

fn show(bar: &ProgressBar, tally: &BulkTally) {
    bar.set_position(tally.matched);
}
