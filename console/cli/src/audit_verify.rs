//! `evergrant audit verify`: whether an entry of the audit record was changed or removed.

use evergrant_domain::audit_chain::{ChainCheck, ChainFlaw};
use evergrant_ports::{OperationsLog, StoreError};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::Output;

/// Entries read at once.
const PAGE: u32 = 500;

#[derive(Serialize)]
struct Report<'a> {
    entries: u64,
    last_number: Option<u64>,
    last_hash: Option<&'a str>,
    /// Whether the hash that was known is there. None if none was given.
    known_is_there: Option<bool>,
    flaws: &'a [ChainFlaw],
}

/// Follows the chain from its beginning to its end.
pub(crate) async fn verify(
    store: &dyn OperationsLog,
    known: Option<&str>,
    output: &Output,
) -> Result<Exit, StoreError> {
    let (mut check, mut number, mut is_there) = (ChainCheck::default(), 0, false);
    loop {
        let page = store.audit_chain(number, PAGE).await?;
        for entry in &page {
            check.add(entry);
            let hash = entry.link.as_ref().map(|link| link.hash.as_str());
            is_there |= known.is_some() && hash == known;
        }
        match page.last().and_then(|entry| entry.link.as_ref()) {
            Some(last) => number = last.number,
            None => break,
        }
    }
    let known_is_there = known.map(|_| is_there);
    report(&check, known_is_there, output);
    let is_whole = check.flaws().is_empty() && known_is_there != Some(false);
    Ok(match check.entries() {
        _ if !is_whole => Exit::Partial,
        0 => Exit::Nothing,
        _ => Exit::Done,
    })
}

fn report(check: &ChainCheck, known_is_there: Option<bool>, output: &Output) {
    let (entries, last, flaws) = (check.entries(), check.last(), check.flaws());
    if output.json {
        let last_number = last.map(|last| last.number);
        let last_hash = last.map(|last| last.hash.as_str());
        return output.json(&Report { entries, last_number, last_hash, known_is_there, flaws });
    }
    flaws.iter().for_each(|flaw| output.line(&flaw.to_string()));
    if known_is_there == Some(false) {
        output.line("the known hash is not in the record: entries were removed or made anew");
    }
    match last {
        None => output.message("the audit record has no entries with a hash"),
        Some(last) => output.message(&format!(
            "{entries} entries looked at; the last is number {}, {}. Keep that elsewhere: audit verify \
             --known {} tells later whether the record was made anew",
            last.number, last.hash, last.hash
        )),
    }
}
