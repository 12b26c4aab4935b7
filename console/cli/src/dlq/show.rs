//! Dead letters one by one.

use std::ops::ControlFlow;

use super::Dlq;
use crate::exit::Exit;
use crate::output::or_dash;
use evergrant_operations::letters::{LetterFilter, LetterView, LettersError};

impl Dlq<'_> {
    /// Shows the dead letters that match, each with its whole history.
    pub(crate) async fn show(
        &self,
        filter: &LetterFilter,
        limit: u64,
    ) -> Result<Exit, LettersError> {
        let (mut letters, mut more) = (Vec::new(), false);
        let looked = self.bulk.letters.each(filter, |letter| {
            if letters.len() as u64 >= limit {
                more = true;
                return ControlFlow::Break(());
            }
            letters.push(letter);
            ControlFlow::Continue(())
        });
        let left_out = looked.await?;
        self.say_left_out(left_out);
        let mut stream = self.output.json_stream();
        // Their documents are looked up while no look is open.
        for letter in &letters {
            let view = self.bulk.letters.view(letter).await?;
            if self.output.json {
                stream.push(&view);
            } else {
                self.output.table(&["FIELD", "VALUE"], rows(&view));
                self.output.line("");
            }
        }
        if more {
            self.output.message(&format!("there are more than these {limit}: raise --limit"));
        }
        if self.output.json {
            stream.end();
        }
        self.found(!letters.is_empty()).await
    }
}

fn grant_now(view: &LetterView) -> String {
    let status = or_dash(view.status);
    if view.revived { format!("{status}: it lives again, nothing is to be done") } else { status }
}

fn rows(view: &LetterView) -> Vec<Vec<String>> {
    let rows = [
        ("provider", view.provider.to_string()),
        ("id", or_dash(view.id.as_ref())),
        ("user", or_dash(view.user.as_ref())),
        ("email", or_dash(view.email.as_ref())),
        ("grant now", grant_now(view)),
        ("reason", view.reason.to_string()),
        ("what to do", view.remedy.to_owned()),
        ("HTTP status", or_dash(view.http_status)),
        ("error code", or_dash(view.code.as_ref())),
        ("description", or_dash(view.description.as_ref())),
        ("attempts", view.attempts.to_string()),
        ("first failed", view.first_failed_at.to_string()),
        ("last failed", view.last_failed_at.to_string()),
        ("redriven", view.redrive_count.to_string()),
        ("worker", or_dash(view.worker.as_ref())),
    ];
    rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect()
}
