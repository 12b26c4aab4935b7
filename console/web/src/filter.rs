//! Filters of dead letters in an address or a form.

use std::collections::BTreeSet;

use evergrant_domain::DocumentId;

use super::Web;
use super::fields::Fields;
use super::letters::{Letter, LetterSnapshot};
use super::pages::typed;
use super::problem::Problem;
use evergrant_operations::bulk::{BulkRequest, BulkTally};
use evergrant_operations::letters::LetterFilter;

/// The fields of a filter.
pub(super) const NAMES: [&str; 8] =
    ["provider", "reason", "user", "email", "id", "since", "until", "revived"];
/// The field that is ticked, once for each document.
pub(super) const PICK: &str = "pick";

/// Reads a filter of dead letters.
///
/// # Errors
/// What is wrong, with the field's name.
pub(super) fn read(fields: &Fields) -> Result<LetterFilter, String> {
    let text = |name| fields.get(name).map(str::trim).filter(|text| !text.is_empty());
    Ok(LetterFilter {
        provider: fields.read("provider")?,
        reason: fields.read("reason")?,
        user: text("user").map(str::to_owned),
        email: text("email").map(str::to_owned),
        id: fields.read("id")?,
        since: fields.read("since")?,
        until: fields.read("until")?,
        revived: text("revived").is_some(),
    })
}

/// The documents that are ticked.
///
/// # Errors
/// If a value is not an id.
pub(super) fn picked(fields: &Fields) -> Result<BTreeSet<DocumentId>, String> {
    let read = |text: &str| text.parse().map_err(|error| format!("{PICK}: {error}"));
    fields.all(PICK).map(read).collect()
}

/// The letters of a snapshot that match. Users are looked up by the store's index.
pub(super) async fn matching<'a>(
    web: &Web,
    taken: &'a LetterSnapshot,
    filter: &LetterFilter,
    picked: &BTreeSet<DocumentId>,
) -> Result<Vec<&'a Letter>, Problem> {
    let (letters, filter, revived) = (web.engine().letters, filter.clone(), filter.revived);
    let wanted = match &filter {
        // Letters hold all of the filter's fields.
        LetterFilter { user: None, email: None, .. } => letters.wanted(&filter).await?,
        _ => web.ask(|_| async move { letters.wanted(&filter).await }).await?,
    };
    let is_picked = |letter: &Letter| {
        let among = |id| picked.contains(id);
        picked.is_empty() || letter.letter.id.as_ref().is_some_and(among)
    };
    let letters = taken.letters.iter();
    let is_meant = |letter: &&Letter| {
        letter.revived == revived && is_picked(letter) && wanted.matches(&letter.letter)
    };
    Ok(letters.filter(is_meant).collect())
}

/// How many of these letters an action includes, and which stay.
pub(super) fn meant(request: &BulkRequest, matching: &[&Letter]) -> BulkTally {
    let mut tally = BulkTally::default();
    for letter in matching {
        tally.count(request, &letter.letter);
    }
    tally
}

/// The same filter as hidden fields, for a form that continues with it.
pub(super) fn hidden(fields: &Fields, picked: &BTreeSet<DocumentId>) -> Vec<(String, String)> {
    let filter = fields.pairs().filter(|(name, _)| NAMES.contains(name));
    let filter = filter.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let picked = picked.iter().map(|id| (PICK.to_owned(), typed(id)));
    filter.chain(picked).collect()
}

/// A description of a filter.
pub(super) fn words(fields: &Fields, picked: &BTreeSet<DocumentId>) -> String {
    let parts = fields.pairs().filter(|(name, _)| NAMES.contains(name));
    let mut parts: Vec<_> = parts.map(|(name, value)| format!("{name} {value}")).collect();
    if !picked.is_empty() {
        parts.push(format!("{} ticked", picked.len()));
    }
    if parts.is_empty() { "all of them".to_owned() } else { parts.join(", ") }
}
