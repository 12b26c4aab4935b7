//! Sending dead letters back, or removing them.

use std::time::Duration;

use evergrant_shared::domain::job::JOB_VERSION;
use evergrant_shared::domain::{DeadLetter, DeadReason, Job, SealedAnswer, Timestamp};
use evergrant_shared::ports::DueGrant;

use super::{Dlq, DlqError, LetterFilter};
use crate::args::Bulk;
use crate::exit::Exit;

/// What is done to each letter that matches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    /// Its grant becomes active and gets a job.
    Redrive {
        /// How long the job is taken to be under way.
        queued_for: Duration,
    },
    /// It is removed.
    Discard,
}

/// What was done.
#[derive(Debug, Default, serde::Serialize)]
struct Tally {
    /// Letters that matched.
    matched: u64,
    /// Letters that were sent back or removed.
    done: u64,
    /// Letters that stay: their document is gone or paused.
    left_no_document: u64,
    /// Letters that stay: they hold no job to send back.
    left_no_job: u64,
}

impl Action {
    const fn verb(self) -> &'static str {
        match self {
            Self::Redrive { .. } => "redrive",
            Self::Discard => "discard",
        }
    }
}

impl Dlq<'_> {
    /// Does `action` to the letters that match.
    pub(crate) async fn bulk(&self, action: Action, bulk: Bulk) -> Result<Exit, DlqError> {
        let Bulk { filter, all, dry_run, limit, yes } = bulk;
        let filter = LetterFilter::from(filter);
        let verb = action.verb();
        if filter.is_empty() && !all {
            self.output.message(&format!("{verb} which? Give a filter, or --all for all of them"));
            return Ok(Exit::Usage);
        }
        let limit = limit.unwrap_or(u64::MAX);
        if dry_run || !yes {
            let matched = self.each(&filter, limit, None).await?.matched;
            if matched == 0 {
                return Ok(self.found(false));
            }
            if dry_run {
                self.say(&Tally { matched, ..Tally::default() }, &format!("would {verb}"));
                return Ok(Exit::Done);
            }
            match self.output.confirm(&format!("{verb} {matched} dead letters?")) {
                Some(true) => {}
                Some(false) => return Ok(Exit::Nothing),
                None => {
                    let words =
                        format!("{verb} {matched} dead letters? Nobody can answer: give --yes");
                    self.output.message(&words);
                    return Ok(Exit::Usage);
                }
            }
        }
        let tally = self.each(&filter, limit, Some(action)).await?;
        if tally.matched == 0 {
            return Ok(self.found(false));
        }
        self.say(&tally, verb);
        Ok(if tally.done == tally.matched { Exit::Done } else { Exit::Partial })
    }

    /// Does `action` to the letters of `filter` without asking, and says how many there were.
    pub(crate) async fn send_back_all(
        &self,
        filter: &LetterFilter,
        action: Action,
    ) -> Result<u64, DlqError> {
        let tally = self.each(filter, u64::MAX, Some(action)).await?;
        self.say(&tally, action.verb());
        Ok(tally.done)
    }

    fn say(&self, tally: &Tally, verb: &str) {
        if self.output.json {
            return self.output.json(tally);
        }
        let Tally { matched, done, left_no_document, left_no_job } = tally;
        if verb.starts_with("would") {
            return self.output.line(&format!("{verb} {matched} dead letters"));
        }
        self.output.line(&format!("{verb}: {done} of {matched} dead letters"));
        if *left_no_document > 0 {
            self.output.message(&format!(
                "{left_no_document} stay: their documents are gone or paused; discard them"
            ));
        }
        if *left_no_job > 0 {
            self.output.message(&format!("{left_no_job} stay: they are no jobs; discard them"));
        }
    }

    /// Goes through the letters up to the cut-off that each look takes first, and does `action` to
    /// those that match; without an action it only counts.
    async fn each(
        &self,
        filter: &LetterFilter,
        limit: u64,
        action: Option<Action>,
    ) -> Result<Tally, DlqError> {
        let mut tally = Tally::default();
        let progress = self.output.counter("dead letters");
        for provider in self.providers(filter.provider.as_ref())? {
            let mut letters = self.queue.dead_letters(&provider).await?;
            while tally.matched < limit
                && let Some(letter) = letters.next().await?
            {
                if !self.matches(filter, &letter).await? {
                    continue;
                }
                tally.matched += 1;
                progress.set_position(tally.matched);
                let settled = match action {
                    None => false,
                    Some(Action::Discard) => true,
                    Some(Action::Redrive { queued_for }) => {
                        self.send_back(&letter, queued_for, &mut tally).await?
                    }
                };
                // Last: a crash before this leaves the letter, and a second redrive finds nothing
                // to do.
                if settled {
                    letters.remove().await?;
                    tally.done += 1;
                }
            }
            letters.close().await?;
        }
        progress.finish_and_clear();
        Ok(tally)
    }

    /// The document first, since it is the truth: should the job be lost, the producer makes
    /// another.
    async fn send_back(
        &self,
        letter: &DeadLetter,
        queued_for: Duration,
        tally: &mut Tally,
    ) -> Result<bool, DlqError> {
        if letter.reason == DeadReason::UncommittedAnswer
            && let Ok(answer) = SealedAnswer::decode(&letter.body)
        {
            self.queue.rescue(&answer).await?;
            return Ok(true);
        }
        let id = letter.id.as_ref().filter(|_| letter.reason != DeadReason::MalformedJob);
        let Some(id) = id else {
            tally.left_no_job += 1;
            return Ok(false);
        };
        let Some(grant) = self.store.reactivate(id, queued_for).await? else {
            tally.left_no_document += 1;
            return Ok(false);
        };
        let job = job(grant, letter.redrive_count);
        self.queue.publish(&[job]).await?;
        Ok(true)
    }
}

fn job(grant: DueGrant, redrive_count: u32) -> Job {
    Job {
        version: JOB_VERSION,
        provider: grant.provider,
        id: grant.id,
        generation: grant.generation,
        force: true,
        redrive_count: redrive_count.saturating_add(1),
        waited: false,
        enqueued_at: Timestamp::of_this_machine(),
    }
}
