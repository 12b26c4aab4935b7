//! Transitions of the document engine ([`evergrant_document::transition`]) as filters and updates.
//!
//! What is compared with constants is the update's filter. What depends on the clock, or is not the case, is a
//! `$cond` in its pipeline: an `$expr` in a filter keeps SecantusDB, the server of the tests, from finding
//! documents by their `_id`. What sets constants alone is a classic update.

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::UpdateModifications;

use super::MongoStore;
use super::clock::{from_now, is_after, is_over};
use super::errors::driver;
use super::update::{Durability, Statement};
use evergrant_document::transition::{DocumentCondition, DocumentTransition, NewValue};
use evergrant_ports::StoreError;

/// The types of what is not there, such as a lease that nobody holds.
pub(super) const NOTHING: [&str; 3] = ["missing", "null", "undefined"];

impl MongoStore {
    /// Carries out a transition of many documents, by one update.
    pub(super) async fn carry_out(
        &self,
        operation: &'static str,
        ids: &[Bson],
        transition: &DocumentTransition,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let filter = filter(doc! { "$in": ids }.into(), transition);
        let updated = self.collection.update_many(filter, update(transition));
        let updated = updated.write_concern(durability.concern()).await;
        updated.map(drop).map_err(|error| driver(operation, &error))
    }

    /// Carries out a transition of one document. False if it does not hold.
    pub(super) async fn carry_out_one(
        &self,
        operation: &'static str,
        id: Bson,
        transition: &DocumentTransition,
    ) -> Result<bool, StoreError> {
        let updated = self.collection.update_one(filter(id, transition), update(transition)).await;
        updated.map(|it| it.matched_count > 0).map_err(|error| driver(operation, &error))
    }
}

/// A transition of one document, as one of many updates. None if it cannot be written as BSON.
pub(super) fn compiled(id: Bson, transition: &DocumentTransition) -> Option<Statement> {
    let change = match update(transition) {
        UpdateModifications::Document(operators) => Bson::from(operators),
        UpdateModifications::Pipeline(stages) => Bson::from(stages),
        _ => return None,
    };
    Statement::new(filter(id, transition), change)
}

fn filter(ids: Bson, transition: &DocumentTransition) -> Document {
    let mut filter = doc! { "_id": ids };
    filter.extend(transition.when.iter().filter_map(in_filter));
    filter
}

/// A condition as a part of a filter, if it can be one.
pub(super) fn in_filter(condition: &DocumentCondition) -> Option<(String, Bson)> {
    match condition {
        DocumentCondition::OneOf(path, values) => match values.as_slice() {
            [value] => Some((path.clone(), value.clone())),
            // A null is also what is missing.
            values => Some((path.clone(), doc! { "$in": values }.into())),
        },
        DocumentCondition::Present(path) => Some((path.clone(), doc! { "$exists": true }.into())),
        _ => None,
    }
}

fn update(transition: &DocumentTransition) -> UpdateModifications {
    let rest = transition.when.iter().filter(|condition| in_filter(condition).is_none());
    let rest: Vec<_> = rest.map(condition).collect();
    debug_assert!(rest.is_empty() || transition.unset.is_empty(), "{transition:?}");
    let is_constant = |(_, value): &(String, NewValue)| matches!(value, NewValue::Constant(_));
    if rest.is_empty() && transition.set.iter().all(is_constant) {
        return UpdateModifications::Document(operators(transition));
    }
    let new = |(path, new): &(String, NewValue)| {
        let new = match rest.as_slice() {
            [] => value(new),
            [condition] => either(condition.clone(), value(new), at(path)),
            all => either(doc! { "$and": all }.into(), value(new), at(path)),
        };
        (path.clone(), new)
    };
    let mut stages = vec![doc! { "$set": transition.set.iter().map(new).collect::<Document>() }];
    if !transition.unset.is_empty() {
        stages.push(doc! { "$unset": &transition.unset });
    }
    UpdateModifications::Pipeline(stages)
}

/// Constants, as the operators of a classic update.
fn operators(transition: &DocumentTransition) -> Document {
    let constant = |(path, value): &(String, NewValue)| match value {
        NewValue::Constant(value) => Some((path.clone(), value.clone())),
        _ => None,
    };
    let set: Document = transition.set.iter().filter_map(constant).collect();
    let unset: Document =
        transition.unset.iter().map(|path| (path.clone(), Bson::from(""))).collect();
    let operators = [("$set", set), ("$unset", unset)].into_iter();
    let operators = operators.filter(|(_, changes)| !changes.is_empty());
    operators.map(|(operator, changes)| (operator.to_owned(), changes.into())).collect()
}

/// A condition as an expression.
fn condition(wanted: &DocumentCondition) -> Bson {
    let all = |conditions: &[DocumentCondition]| -> Vec<Bson> {
        conditions.iter().map(condition).collect()
    };
    let expression = match wanted {
        DocumentCondition::OneOf(path, values) => match values.as_slice() {
            [value] => is(path, value),
            values => {
                let each: Vec<_> = values.iter().map(|value| is(path, value)).collect();
                doc! { "$or": each }
            }
        },
        DocumentCondition::Present(path) => doc! { "$not": [is(path, &Bson::Null)] },
        DocumentCondition::Over(path) => is_over(&format!("${path}")),
        DocumentCondition::After(path, later) => is_after(&format!("${path}"), *later),
        DocumentCondition::Not(wanted) => doc! { "$not": [condition(wanted)] },
        DocumentCondition::All(wanted) => doc! { "$and": all(wanted) },
        DocumentCondition::Any(wanted) => doc! { "$or": all(wanted) },
    };
    expression.into()
}

fn is(path: &str, value: &Bson) -> Document {
    match value {
        Bson::Null => is_nothing(&format!("${path}")),
        value => doc! { "$eq": [at(path), literal(value)] },
    }
}

/// An expression: there is nothing at `value`.
pub(super) fn is_nothing(value: &str) -> Document {
    doc! { "$in": [{ "$type": value }, NOTHING.as_slice()] }
}

/// A value as an expression.
fn value(new: &NewValue) -> Bson {
    match new {
        NewValue::Constant(constant) => literal(constant),
        NewValue::At(path) => at(path),
        NewValue::FromNow(later) if later.is_zero() => "$$NOW".into(),
        NewValue::FromNow(later) => from_now(*later).into(),
        NewValue::Either(parts) => {
            let (wanted, one, other) = &**parts;
            either(condition(wanted), value(one), value(other))
        }
        NewValue::Object(parts) => {
            let part = |(name, part): &(&'static str, NewValue)| ((*name).to_owned(), value(part));
            parts.iter().map(part).collect::<Document>().into()
        }
    }
}

fn either(condition: Bson, value: Bson, other: Bson) -> Bson {
    doc! { "$cond": [condition, value, other] }.into()
}

fn at(path: &str) -> Bson {
    format!("${path}").into()
}

/// A text that begins with `$` would be the name of a field.
pub(super) fn literal(value: &Bson) -> Bson {
    match value {
        Bson::String(text) => doc! { "$literal": text }.into(),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evergrant_document::FieldNames;
    use evergrant_document::field_paths::FieldPaths;
    use evergrant_document::transition::{
        LeaseEnd, change, claim, mark_queued, reactivate, release,
    };
    use evergrant_ports::GrantChange;

    use super::*;

    const LATER: Duration = Duration::from_secs(1);

    fn names() -> FieldPaths {
        FieldPaths::new("s", FieldNames::default())
    }

    fn shapes(transition: &DocumentTransition) -> (Document, Document) {
        let pipeline = |stages: Vec<Document>| stages.into_iter().flatten().collect();
        match update(transition) {
            UpdateModifications::Document(operators) => (filter(1.into(), transition), operators),
            UpdateModifications::Pipeline(stages) => {
                (filter(1.into(), transition), pipeline(stages))
            }
            _ => panic!("an unknown form"),
        }
    }

    #[test]
    fn a_claim_asks_the_clock_in_its_update_and_not_in_its_filter() {
        let (filter, update) = shapes(&claim(&names(), "$me", LATER, LeaseEnd::ByClock));
        assert_eq!(filter, doc! { "_id": 1, "s.status": "active" });
        let own = doc! { "$eq": ["$s.lease.owner", { "$literal": "$me" }] };
        let settled = doc! { "$eq": ["$s.settled_by", { "$literal": "$me" }] };
        let free = doc! { "$or": [&own, is_over("$s.lease.until")] };
        let later = doc! { "$and": [&own, is_after("$s.lease.until", LATER)] };
        let who =
            doc! { "$cond": [{ "$eq": ["$s.lease.taken_over", false] }, "$s.lease.owner", true] };
        let other = doc! { "$cond": [is_nothing("$s.lease"), false, who] };
        let lease = doc! {
            "owner": { "$literal": "$me" },
            "until": { "$cond": [later, "$s.lease.until", from_now(LATER)] },
            "taken_over": { "$cond": [own, "$s.lease.taken_over", other] },
        };
        let free = doc! { "$and": [{ "$not": [settled] }, free] };
        let taken = doc! { "$cond": [free, lease, "$s.lease"] };
        assert_eq!(update, doc! { "$set": { "s.lease": taken } });
    }

    #[test]
    fn a_mark_is_set_only_where_it_is_due() {
        let (filter, update) = shapes(&mark_queued(&names(), LATER));
        assert_eq!(filter, doc! { "_id": 1, "s.status": "active" });
        let marked =
            doc! { "$cond": [is_over("$s.next_refresh_at"), from_now(LATER), "$s.queued_until"] };
        assert_eq!(update, doc! { "$set": { "s.queued_until": marked } });
    }

    #[test]
    fn constants_are_a_classic_update() {
        for (transition, expected) in [
            (
                release(&names(), "$me"),
                (doc! { "_id": 1, "s.lease.owner": "$me" }, doc! { "$unset": { "s.lease": "" } }),
            ),
            (
                change(&names(), GrantChange::Resume),
                (
                    doc! { "_id": 1, "s.status": "paused" },
                    doc! { "$set": { "s.status": "active" }, "$unset": { "s.queued_until": "" } },
                ),
            ),
            (
                change(&names(), GrantChange::Forget),
                (doc! { "_id": 1, "s.lease": null }, doc! { "$unset": { "s": "" } }),
            ),
        ] {
            assert_eq!(shapes(&transition), expected);
        }
    }

    #[test]
    fn a_grant_that_is_sent_back_to_work_is_due_by_the_servers_clock() {
        let (filter, update) = shapes(&reactivate(&names(), LATER));
        let ended = doc! { "$in": ["needs_reauth", "failed", "no_token"] };
        assert_eq!(filter, doc! { "_id": 1, "s.status": ended });
        let set = update.get_document("$set").unwrap();
        assert_eq!(set.get_str("s.next_refresh_at").unwrap(), "$$NOW");
        assert_eq!(update.get_array("$unset").unwrap().len(), 5);
    }
}
