//! What becomes of a document when another is laid over it, and what it remembers of its tokens.

use bson::{Bson, Document, RawDocumentBuf};
use secrecy::SecretString;

use super::field_paths::FieldPaths;
use super::ids;
use super::paths::{at, first, remove};
use super::state::{generation, marks};
use evergrant_domain::GrantStatus;
use evergrant_domain::import::{ExistingTokens, ImportAge, ImportedTokens, age};
use evergrant_domain::marks::{BEGINNING, mark, remembered};
use evergrant_ports::{HeldTokens, ImportDocument, ImportMode, ImportResult};

/// The `_id` of a document to import, and its other fields.
pub fn id_and_fields(document: ImportDocument) -> Result<(Bson, Document), &'static str> {
    // The reasons of the conversion quote the document.
    let document = match Bson::try_from(serde_json::Value::Object(document.0)) {
        Ok(Bson::Document(document)) => document,
        Ok(_) => return Err("it is a value in extended JSON, not a document"),
        Err(_) => return Err("it is not valid as MongoDB's extended JSON"),
    };
    let mut fields: Document = document;
    let id = fields.remove("_id").ok_or("it has no _id")?;
    if !ids::can_be_id(&id) {
        return Err("its _id is of a type that no _id can have");
    }
    Ok((id, fields))
}

/// Whether a document can be imported, and if not, why: before it is put together with others, so that it
/// alone is refused.
///
/// # Errors
/// If it is no document of MongoDB, in words that hold nothing of it.
pub fn check(document: &ImportDocument) -> Result<(), &'static str> {
    let (_, fields) = id_and_fields(ImportDocument(document.0.clone()))?;
    RawDocumentBuf::try_from(&fields).map_err(|_| "a name in it holds a NUL")?;
    Ok(())
}

/// Fields as they are laid over a document, or inserted: what they say of a job or of a lease is of
/// another installation, or of before. While the document has a lease its state stays.
pub fn prepared(
    names: &FieldPaths,
    document: Option<&Document>,
    mut fields: Document,
    mode: ImportMode,
) -> Document {
    if mode == ImportMode::Copy {
        return fields;
    }
    if document.is_some_and(|document| at(document, &names.path("lease")).is_some()) {
        fields.remove(first(&names.state));
    }
    for part in ["lease", "queued_until"] {
        remove(&mut fields, &names.path(part));
    }
    fields
}

/// Why fields are not laid over a document, if so.
pub fn kept(
    names: &FieldPaths,
    document: &Document,
    fields: &Document,
    mode: ImportMode,
) -> Option<ImportResult> {
    if mode != ImportMode::KeepNewer {
        return None;
    }
    match age(&held(names, document)?, brought(names, document, fields)) {
        ImportAge::Newer => None,
        ImportAge::Older => Some(ImportResult::Kept),
        ImportAge::Unknown => Some(ImportResult::KeptUnknown),
    }
}

/// What a document remembers once fields are laid over it, if that changes: the token that they
/// replace. Fields that bring a state of their own bring what they remember.
pub fn marks_after(names: &FieldPaths, document: &Document, fields: &Document) -> Option<Bson> {
    let adopted = at(document, &names.path("status")).is_some();
    if !adopted || fields.contains_key(first(&names.state)) {
        return None;
    }
    brought(names, document, fields).other_token?;
    let replaced = mark(token(document, &names.fields.refresh_token).as_ref());
    let (held, generation) = (marks(names, document), generation(names, document));
    Some(remembered(&held, generation, replaced, None).into())
}

/// Which refresh tokens a document holds and held.
pub fn held_tokens(names: &FieldPaths, document: &Document) -> HeldTokens {
    let held = token(document, &names.fields.refresh_token).map(|token| mark(Some(&token)));
    let is_before = |mark: &i64| *mark != BEGINNING && Some(*mark) != held;
    HeldTokens {
        id: ids::from_bson(document.get("_id").unwrap_or(&Bson::Null)),
        held,
        before: marks(names, document).into_iter().filter(is_before).collect(),
    }
}

/// An adopted document as it is judged.
fn held(names: &FieldPaths, document: &Document) -> Option<ExistingTokens> {
    let status = at(document, &names.path("status"))?.as_str();
    Some(ExistingTokens {
        generation: generation(names, document).unwrap_or_default(),
        has_ended: ![GrantStatus::Active, GrantStatus::Paused]
            .iter()
            .any(|of| Some(of.as_str()) == status),
        marks: marks(names, document),
    })
}

/// What fields bring, beside a document.
fn brought(names: &FieldPaths, document: &Document, fields: &Document) -> ImportedTokens {
    let brings = |path: &str| fields.contains_key(first(path));
    let (refresh, access) = (&names.fields.refresh_token, &names.fields.access_token);
    let brought = token(fields, refresh);
    let is_other = || {
        let text = |document| at(document, refresh).and_then(Bson::as_str).unwrap_or_default();
        text(fields) != text(document)
    };
    ImportedTokens {
        other_token: (brings(refresh) && is_other()).then(|| mark(brought.as_ref())),
        other_access_token: brings(access) && at(fields, access) != at(document, access),
        generation: generation(names, fields),
    }
}

/// The refresh token; None where there is none that could be exchanged.
fn token(document: &Document, path: &str) -> Option<SecretString> {
    let text = at(document, path).and_then(Bson::as_str).filter(|text| !text.is_empty());
    text.map(SecretString::from)
}
