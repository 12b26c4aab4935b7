//! From a document to the domain. What is wrong is told in words that name the field and the type
//! that is there, and never with a value.

use bson::spec::BinarySubtype;
use bson::{Bson, DateTime, Document};
use secrecy::{ExposeSecret, SecretString};

use super::app_time;
use super::document_update::ENDS_OF;
use super::field_paths::FieldPaths;
use super::ids;
use super::numbers::number;
use super::paths::{array_on_the_way, at};
use super::state::marks;
use evergrant_domain::fingerprint::fingerprint;
use evergrant_domain::marks::mark;
use evergrant_domain::schedule::KnownEnds;
use evergrant_domain::sealed_token::{SEALED_REMEDY, SealedForm, holds_ciphertext};
use evergrant_domain::twins::FirstHolder;
use evergrant_domain::{
    ClaimNote, ClaimedDocument, DocumentFields, EndedDocument, Grant, GrantStatus, LastError,
    Lease, NO_TEXT, PreviousOwner, ProviderId, StoredToken, Timestamp,
};
use evergrant_ports::{DueGrant, GrantView};

/// Longer than any refresh token; a document with such a thing is not sent to a provider.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// A document as a claim finds it.
pub fn row(names: &FieldPaths, document: &Document, owner: &str) -> ClaimedDocument {
    let state = State { names, document };
    // Nobody has adopted it, or it was forgotten since the job was made.
    if state.get("status").is_none() {
        return ClaimedDocument::Absent;
    }
    // Read leniently: whatever else is wrong, whether this claim holds the lease must be told.
    let lease = state.lease().map(Box::new);
    let owned = lease.as_ref().is_some_and(|lease| lease.owner == owner);
    let token = refresh_token(&state);
    if matches!(token, Ok(None)) {
        return ClaimedDocument::NoToken { owned };
    }
    let known = token.as_ref().ok().cloned().flatten();
    match token.and_then(|token| grant(&state, token)) {
        Ok(grant) if names.rules.is_anothers(document, &grant.provider) => {
            ClaimedDocument::OfAnother { owned }
        }
        Ok(grant) => ClaimedDocument::Present { grant, lease, owned },
        Err(what) => {
            ClaimedDocument::Malformed { what, fingerprint: known.as_ref().map(fingerprint), owned }
        }
    }
}

/// A document as a sweep finds it. None if its status cannot be read.
pub fn ended(names: &FieldPaths, document: &Document) -> Option<EndedDocument> {
    let state = State { names, document };
    let token = refresh_token(&state).ok().flatten();
    Some(EndedDocument {
        status: state.text("status").ok()??.parse().ok()?,
        reason: state.last_error().map(|error| error.reason),
        ended_with: state.text("dead_fingerprint").ok().flatten().map(str::to_owned),
        holds: token.as_ref().map(fingerprint),
        is_readable: grant(&state, token).is_ok(),
    })
}

/// A document that had a token first, as it is now.
pub fn first_holder(names: &FieldPaths, document: &Document) -> FirstHolder {
    let state = State { names, document };
    FirstHolder {
        generation: state.whole("generation").ok().flatten().unwrap_or_default(),
        holds: refresh_token(&state).ok().flatten().as_ref().map(fingerprint),
    }
}

/// The status of a document that is adopted.
pub fn adopted_as(names: &FieldPaths, document: &Document) -> GrantStatus {
    match refresh_token(&State { names, document }) {
        Ok(None) => GrantStatus::NoToken,
        Ok(Some(_)) | Err(_) => GrantStatus::Active,
    }
}

fn grant(state: &State<'_>, token: Option<SecretString>) -> Result<Grant, String> {
    let field = &state.names.fields.refresh_token;
    let refresh_token = token.ok_or_else(|| format!("{field} is missing, null or empty"))?;
    let provider: ProviderId = state.required("provider", state.text("provider")?)?;
    let status: GrantStatus = state.required("status", state.text("status")?)?;
    let attempts = state.whole("attempts")?.unwrap_or_default();
    let generation = state.whole("generation")?.unwrap_or_default();
    let sealed = sealed_form(state, generation, &refresh_token);
    Ok(Grant {
        id: state.id(),
        provider,
        status,
        generation,
        ends: ends(state, &refresh_token)?,
        // A grant without a due time is due.
        next_refresh_at: state.time("next_refresh_at")?.unwrap_or_default(),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        failing_since: state.time("failing_since")?,
        in_doubt: state.is_of("in_doubt", &refresh_token)?,
        questioned: state.is_of("questioned", &refresh_token)?,
        note: ClaimNote::default(),
        refresh_token,
        last_error: state.last_error(),
        signed_in_until: signed_in_until(state),
        sealed,
        fields: fields(state),
    })
}

/// How the application has sealed the refresh token. One that the provider took or gave is none of those.
fn sealed_form(state: &State<'_>, generation: u64, token: &SecretString) -> Option<SealedForm> {
    let access_token = at(state.document, &state.names.fields.access_token);
    let form = SealedForm::of(token.expose_secret(), access_token.and_then(Bson::as_str))?;
    let is_providers = || marks(state.names, state.document).contains(&mark(Some(token)));
    (generation == 0 || !is_providers()).then_some(form)
}

/// What the providers' addresses and requests need, and what names our client.
fn fields(state: &State<'_>) -> DocumentFields {
    let text = |path: &String| match at(state.document, path) {
        Some(value) => Some((path.clone(), text_of(value))),
        None => array_on_the_way(state.document, path).map(|_| (path.clone(), NO_TEXT.to_owned())),
    };
    state.names.fields.needed.iter().filter_map(text).collect()
}

/// A value as text, if it is one that names something.
fn text_of(value: &Bson) -> String {
    match value {
        Bson::String(text) => text.clone(),
        Bson::ObjectId(id) => id.to_hex(),
        Bson::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
            binary.to_uuid().map_or_else(|_| NO_TEXT.to_owned(), |uuid| uuid.to_string())
        }
        value => number(value).map_or_else(|| NO_TEXT.to_owned(), |number| number.to_string()),
    }
}

/// What the application says of the access token's end, where Evergrant has said nothing yet.
fn signed_in_until(state: &State<'_>) -> Option<Timestamp> {
    let is_new = ["refreshed_at", "access_expires_at"].iter().all(|part| state.get(part).is_none());
    if !is_new {
        return None;
    }
    let mut paths = state.names.expiry_paths();
    paths.find_map(|path| app_time::read(at(state.document, path)?))
}

/// The ends of the tokens. Those of a token that others have replaced meanwhile are none of this one's.
fn ends(state: &State<'_>, refresh_token: &SecretString) -> Result<KnownEnds, String> {
    let known = KnownEnds {
        access: state.time("access_expires_at")?,
        idle: state.time("refresh_idle_until")?,
        absolute: state.time("refresh_absolute_until")?,
    };
    let of_this = state.text(ENDS_OF)?.is_none_or(|of| of == fingerprint(refresh_token));
    Ok(if of_this { known } else { KnownEnds::default() })
}

/// The refresh token, if the document holds one.
fn refresh_token(state: &State<'_>) -> Result<Option<SecretString>, String> {
    let field = &state.names.fields.refresh_token;
    match at(state.document, field) {
        None => match array_on_the_way(state.document, field) {
            Some(array) => Err(format!("{array} is an array, and arrays are not supported")),
            None => Ok(None),
        },
        Some(Bson::String(token)) if token.is_empty() => Ok(None),
        Some(Bson::String(token)) if token.len() > TOKEN_BYTES_MAX => {
            Err(format!("{field} is longer than {TOKEN_BYTES_MAX} bytes"))
        }
        Some(Bson::String(token)) => Ok(Some(SecretString::from(token.as_str()))),
        Some(Bson::Document(object)) if holds_ciphertext(object.keys().map(String::as_str)) => {
            Err(format!("{field} is an object with a ciphertext: {SEALED_REMEDY}"))
        }
        Some(Bson::Binary(binary)) if binary.subtype == BinarySubtype::Encrypted => {
            Err(format!("{field} is encrypted by a driver of MongoDB: {SEALED_REMEDY}"))
        }
        Some(other) => Err(format!("{field} is {}, not a string", kind(other))),
    }
}

/// A document as operators see it. What cannot be read is left out.
pub fn view(names: &FieldPaths, document: &Document) -> GrantView {
    let state = State { names, document };
    let time = |part| state.time(part).ok().flatten();
    let attempts = state.whole("attempts").ok().flatten().unwrap_or_default();
    GrantView {
        id: state.id(),
        user: at(document, &names.fields.user_id).and_then(label),
        email: at(document, &names.fields.email).and_then(label),
        provider: state.text("provider").ok().flatten().and_then(|name| name.parse().ok()),
        status: state.text("status").ok().flatten().and_then(|name| name.parse().ok()),
        generation: state.whole("generation").ok().flatten().unwrap_or_default(),
        refreshed_at: time("refreshed_at"),
        access_expires_at: time("access_expires_at"),
        refresh_idle_until: time("refresh_idle_until"),
        refresh_absolute_until: time("refresh_absolute_until"),
        next_refresh_at: time("next_refresh_at"),
        queued_until: time("queued_until"),
        leased_until: state.lease().map(|lease| lease.until),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        failing_since: time("failing_since"),
        in_doubt: state.text("in_doubt").ok().flatten().is_some(),
        last_error: state.last_error(),
    }
}

/// A document as callers of the gateway need it, read at `read_at` by the store's clock. An access token that
/// is no text is none.
pub fn stored_token(names: &FieldPaths, document: &Document, read_at: Timestamp) -> StoredToken {
    let view = view(names, document);
    let access_token = at(document, &names.fields.access_token).and_then(Bson::as_str);
    StoredToken {
        id: view.id,
        user: view.user,
        provider: view.provider,
        status: view.status,
        generation: view.generation,
        access_token: access_token.filter(|token| !token.is_empty()).map(SecretString::from),
        refreshed_at: view.refreshed_at,
        access_expires_at: view.access_expires_at,
        leased_until: view.leased_until.filter(|until| *until > read_at),
        queued_until: view.queued_until,
        next_refresh_at: view.next_refresh_at,
        is_questioned: at(document, &names.path("questioned")).is_some(),
        failing_since: view.failing_since,
        last_error: view.last_error,
        read_at,
    }
}

/// The generation and the due time of a document that wants a job. What cannot be read is as in a
/// new document: the worker that claims it will say what is wrong.
pub fn due(names: &FieldPaths, document: &Document) -> (u64, Option<Timestamp>) {
    let state = State { names, document };
    let generation = state.whole("generation").ok().flatten().unwrap_or_default();
    (generation, state.time("next_refresh_at").ok().flatten())
}

/// A grant that is active, as one that wants a job. None for any other.
pub fn active_grant(names: &FieldPaths, document: &Document) -> Option<DueGrant> {
    let view = view(names, document);
    (view.status == Some(GrantStatus::Active)).then_some(())?;
    Some(DueGrant {
        id: view.id,
        provider: view.provider?,
        generation: view.generation,
        next_refresh_at: view.next_refresh_at.unwrap_or_default(),
    })
}

/// What a user id or an address looks like to people.
fn label(value: &Bson) -> Option<String> {
    match value {
        Bson::Document(_) | Bson::Array(_) => None,
        value => Some(ids::from_bson(value).to_string()),
    }
}

/// Evergrant's part of a document.
struct State<'a> {
    names: &'a FieldPaths,
    document: &'a Document,
}

impl State<'_> {
    fn id(&self) -> evergrant_domain::DocumentId {
        ids::from_bson(self.document.get("_id").unwrap_or(&Bson::Null))
    }

    fn get(&self, part: &str) -> Option<&Bson> {
        at(self.document, &self.names.path(part))
    }

    fn wrong<T>(&self, part: &str, found: &Bson, expected: &str) -> Result<T, String> {
        Err(format!("{} is {}, not {expected}", self.names.path(part), kind(found)))
    }

    fn required<T: std::str::FromStr>(&self, part: &str, text: Option<&str>) -> Result<T, String> {
        let path = self.names.path(part);
        let text = text.ok_or_else(|| format!("{path} is missing"))?;
        text.parse().map_err(|_| format!("{path} is not a valid {part}"))
    }

    fn text(&self, part: &str) -> Result<Option<&str>, String> {
        match self.get(part) {
            None => Ok(None),
            Some(Bson::String(text)) => Ok(Some(text)),
            Some(other) => self.wrong(part, other, "a string"),
        }
    }

    fn whole(&self, part: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.get(part) else { return Ok(None) };
        match number(value).and_then(|number| u64::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => self.wrong(part, value, "a whole number from 0"),
        }
    }

    fn time(&self, part: &str) -> Result<Option<Timestamp>, String> {
        match self.get(part) {
            None => Ok(None),
            Some(Bson::DateTime(time)) => Ok(Some(timestamp(*time))),
            Some(other) => self.wrong(part, other, "a date"),
        }
    }

    fn lease(&self) -> Option<Lease> {
        let owner = self.text("lease.owner").ok()??.to_owned();
        let taken_over = predecessor(self.get("lease.taken_over"));
        Some(Lease { owner, until: self.time("lease.until").ok()??, taken_over })
    }

    /// Whether a part is about this very token.
    fn is_of(&self, part: &str, token: &SecretString) -> Result<bool, String> {
        Ok(self.text(part)?.is_some_and(|about| about == fingerprint(token)))
    }

    /// Nothing depends on it, so what cannot be read is left out.
    fn last_error(&self) -> Option<LastError> {
        let text = |part: &str| self.text(part).ok().flatten().map(str::to_owned);
        let reason = serde_json::Value::String(text("last_error.reason")?);
        let http_status = self.whole("last_error.http_status").ok().flatten();
        Some(LastError {
            reason: serde_json::from_value(reason).ok()?,
            http_status: http_status.and_then(|status| u16::try_from(status).ok()),
            code: text("last_error.code"),
            description: text("last_error.description"),
            at: self.time("last_error.at").ok()??,
        })
    }
}

/// Whose lease it was, as `taken_over` in a document has it: false, the owner, or true where there is no
/// telling.
fn predecessor(taken_over: Option<&Bson>) -> Option<PreviousOwner> {
    match taken_over? {
        Bson::Boolean(false) | Bson::Null => None,
        Bson::String(owner) => Some(PreviousOwner::Claim(owner.clone())),
        _ => Some(PreviousOwner::Unknown),
    }
}

/// A date of BSON.
pub fn timestamp(time: DateTime) -> Timestamp {
    Timestamp::from_unix_ms(time.timestamp_millis())
}

/// A type in words.
fn kind(value: &Bson) -> &'static str {
    match value {
        Bson::String(_) => "a string",
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => "a number",
        Bson::Document(_) => "an object",
        Bson::Array(_) => "an array",
        Bson::Boolean(_) => "true or false",
        Bson::DateTime(_) => "a date",
        Bson::Binary(_) => "binary data",
        Bson::ObjectId(_) => "an ObjectId",
        _ => "of another type",
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::FieldNames;

    const SEALED: &str = "enc:v1:YmJi";

    /// The form of the token of a document with this generation and these marks.
    fn form_with(generation: i64, held_before: &[i64]) -> Option<SealedForm> {
        let names = FieldPaths::new("evergrant", FieldNames::default());
        let state = doc! {
            "status": "active", "provider": "p", "generation": generation,
            "held_before": held_before, "lease": { "owner": "me" },
        };
        let document = doc! { "_id": "a", "refresh_token": SEALED, "evergrant": state };
        match row(&names, &document, "me") {
            ClaimedDocument::Present { grant, .. } => grant.sealed,
            row => panic!("not a grant: {row:?}"),
        }
    }

    #[test]
    fn whatever_names_a_client_is_a_text_and_only_what_is_missing_or_null_names_none() {
        let needed = ["tenant".to_owned(), "list.name".to_owned()].into();
        let fields = FieldNames { needed, ..FieldNames::default() };
        let names = FieldPaths::new("evergrant", fields);
        let read = |document: &Document| super::fields(&State { names: &names, document });
        let tenant = |value: Bson| read(&doc! { "tenant": value }).remove("tenant");
        let id = bson::oid::ObjectId::from_bytes([7; 12]);
        let uuid = bson::Uuid::from_bytes([7; 16]);
        assert_eq!(tenant(id.into()).as_deref(), Some("070707070707070707070707"));
        assert_eq!(tenant(uuid.into()).as_deref(), Some("07070707-0707-0707-0707-070707070707"));
        assert_eq!(tenant(5_i64.into()).as_deref(), Some("5"));
        for other in
            [Bson::from(true), Bson::from(1.5), doc! { "a": 1 }.into(), Bson::Array(vec![])]
        {
            assert_eq!(tenant(other.clone()).as_deref(), Some(NO_TEXT), "{other}");
        }
        assert_eq!(read(&doc! { "list": [{ "name": "acme" }] })["list.name"], NO_TEXT);
        assert_eq!(tenant(Bson::Null), None);
        assert!(read(&doc! {}).is_empty());
    }

    #[test]
    fn a_token_that_the_provider_took_or_gave_is_not_sealed() {
        let this = mark(Some(&SEALED.into()));
        assert_eq!(form_with(0, &[]), Some(SealedForm::Envelope));
        assert_eq!(form_with(3, &[0, this + 1]), Some(SealedForm::Envelope));
        assert_eq!(form_with(3, &[0, this]), None);
    }
}
