//! `store.filter`: a condition on the application's fields.

use bson::{Bson, Document};

use super::condition::AdoptionCondition;

/// What must hold for a document to be taken up: a query of MongoDB, as extended JSON.
#[derive(Debug, Clone)]
pub struct AdoptionFilter {
    query: Document,
    condition: Result<AdoptionCondition, String>,
}

impl AdoptionFilter {
    /// Reads a query. `state_field` is the sub-document of Evergrant's state, which it may not be about.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(text: &str, state_field: &str) -> Result<Self, String> {
        let json: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let query = match Bson::try_from(json) {
            Ok(Bson::Document(query)) => query,
            Ok(_) => {
                return Err("it must be a JSON object, such as {\"kind\": \"oauth\"}".to_owned());
            }
            Err(_) => return Err("it is not extended JSON".to_owned()),
        };
        if touches(&Bson::Document(query.clone()), state_field) {
            return Err(format!("it must not be about {state_field}, which is Evergrant's own"));
        }
        let condition = AdoptionCondition::read(&query);
        Ok(Self { query, condition })
    }

    /// Whether every store can evaluate it, not only MongoDB.
    ///
    /// # Errors
    /// Names the operator that keeps it from that.
    pub fn check_portable(&self) -> Result<(), String> {
        self.condition.as_ref().map(drop).map_err(Clone::clone)
    }

    /// The query, for MongoDB.
    pub const fn query(&self) -> &Document {
        &self.query
    }

    /// Whether a document fulfils it. One that cannot be evaluated here is fulfilled by none.
    pub fn holds(&self, document: &Document) -> bool {
        self.condition.as_ref().is_ok_and(|condition| condition.holds(document))
    }
}

/// Whether a query has a path that is within `state`, or `state` within it, as a name or in an expression.
fn touches(query: &Bson, state: &str) -> bool {
    let is_within = |path: &str, outer: &str| {
        path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let is_state = |path: &str| is_within(path, state) || is_within(state, path);
    match query {
        Bson::Document(document) => {
            document.iter().any(|(name, value)| is_state(name) || touches(value, state))
        }
        Bson::Array(values) => values.iter().any(|value| touches(value, state)),
        Bson::String(text) => text.strip_prefix('$').is_some_and(is_state),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_query_is_extended_json() {
        let query = r#"{"owner": {"$oid": "65f0c0ffee65f0c0ffee65f0"}, "n": {"$gt": 1}}"#;
        let filter = AdoptionFilter::read(query, "evergrant").unwrap();
        let id = bson::oid::ObjectId::parse_str("65f0c0ffee65f0c0ffee65f0").unwrap();
        assert!(filter.holds(&doc! { "owner": id, "n": 2 }));
        assert!(!filter.holds(&doc! { "owner": "65f0c0ffee65f0c0ffee65f0", "n": 2 }));
        assert_eq!(filter.query().get_object_id("owner").unwrap(), id);
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for (text, word) in [("{", "JSON"), ("[1]", "object"), ("\"kind\"", "object")] {
            let error = AdoptionFilter::read(text, "evergrant").unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn the_state_is_not_to_be_asked_about() {
        for query in [
            r#"{"evergrant": null}"#,
            r#"{"evergrant.status": "failed"}"#,
            r#"{"$or": [{"a": 1}, {"evergrant.attempts": {"$gt": 1}}]}"#,
            r#"{"$expr": {"$eq": ["$evergrant.status", "failed"]}}"#,
        ] {
            let error = AdoptionFilter::read(query, "evergrant").unwrap_err();
            assert!(error.contains("evergrant"), "{query}: {error}");
        }
        assert!(AdoptionFilter::read(r#"{"evergrants": 1}"#, "evergrant").is_ok());
        assert!(AdoptionFilter::read(r#"{"meta": 1}"#, "meta.evergrant").is_err());
    }

    #[test]
    fn an_operator_of_mongodb_alone_is_not_portable() {
        let filter = AdoptionFilter::read(r#"{"a": {"$regex": "x"}}"#, "evergrant").unwrap();
        assert!(filter.check_portable().unwrap_err().contains("$regex"));
        assert!(!filter.holds(&doc! { "a": "x" }));
    }
}
