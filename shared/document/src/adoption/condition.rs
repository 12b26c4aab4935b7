//! A condition on a document: the part of MongoDB's query language that every store evaluates.
//!
//! As there, a condition on an array holds if it holds for one of its elements, and a field that is
//! missing equals null.

use std::cmp::Ordering;

use bson::{Bson, Document};

use crate::numbers::number;

/// The operators of a field, as an error names them.
const OPERATORS: &str =
    "$eq, $ne, $in, $nin, $exists, $gt, $gte, $lt, $lte, $not, $and, $or and $nor";

/// A condition on a document: all of its clauses hold.
#[derive(Debug, Clone, PartialEq)]
pub struct AdoptionCondition(Vec<Clause>);

#[derive(Debug, Clone, PartialEq)]
enum Clause {
    All(Vec<AdoptionCondition>),
    Any(Vec<AdoptionCondition>),
    None(Vec<AdoptionCondition>),
    Field { path: String, tests: Vec<Test> },
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    In(Vec<Bson>),
    NotIn(Vec<Bson>),
    Exists(bool),
    /// Compared with the value it is one of these.
    Compared(&'static [Ordering], Bson),
    Not(Vec<Test>),
}

impl AdoptionCondition {
    /// Reads a query.
    ///
    /// # Errors
    /// Names the operator that is not one of those that every store evaluates.
    pub fn read(query: &Document) -> Result<Self, String> {
        query.iter().map(|(name, value)| clause(name, value)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a document fulfils it.
    pub fn holds(&self, document: &Document) -> bool {
        self.0.iter().all(|clause| clause.holds(document))
    }
}

impl Clause {
    fn holds(&self, document: &Document) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(document)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(document)),
            Self::None(conditions) => !conditions.iter().any(|condition| condition.holds(document)),
            Self::Field { path, tests } => {
                let mut found = Vec::new();
                collect(&mut found, document, path);
                tests.iter().all(|test| test.holds(&found))
            }
        }
    }
}

impl Test {
    /// `found` is what is at the field's path.
    fn holds(&self, found: &[&Bson]) -> bool {
        match self {
            Self::In(values) => values.iter().any(|value| is_there(found, value)),
            Self::NotIn(values) => !values.iter().any(|value| is_there(found, value)),
            Self::Exists(wanted) => found.is_empty() != *wanted,
            Self::Compared(orderings, value) => each(found)
                .any(|found| compare(found, value).is_some_and(|order| orderings.contains(&order))),
            Self::Not(tests) => !tests.iter().all(|test| test.holds(found)),
        }
    }
}

fn clause(name: &str, value: &Bson) -> Result<Clause, String> {
    match name {
        "$and" => Ok(Clause::All(conditions(name, value)?)),
        "$or" => Ok(Clause::Any(conditions(name, value)?)),
        "$nor" => Ok(Clause::None(conditions(name, value)?)),
        _ if name.starts_with('$') => Err(unknown(name)),
        path => Ok(Clause::Field { path: path.to_owned(), tests: tests(value)? }),
    }
}

fn conditions(operator: &str, value: &Bson) -> Result<Vec<AdoptionCondition>, String> {
    let wrong = || format!("{operator} wants a list of conditions that is not empty");
    let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?;
    list.iter()
        .map(|condition| AdoptionCondition::read(condition.as_document().ok_or_else(wrong)?))
        .collect()
}

/// A document whose first name begins with `$` holds operators; all else is a value.
fn tests(value: &Bson) -> Result<Vec<Test>, String> {
    let operators = value
        .as_document()
        .filter(|document| document.keys().next().is_some_and(|first| first.starts_with('$')));
    match operators {
        Some(operators) => operators.iter().map(|(name, value)| test(name, value)).collect(),
        None => Ok(vec![Test::In(vec![value.clone()])]),
    }
}

fn test(operator: &str, value: &Bson) -> Result<Test, String> {
    let list = || {
        let list = value.as_array().cloned();
        list.ok_or_else(|| format!("{operator} wants a list of values"))
    };
    let compared = |orderings| match compare(value, value) {
        Some(_) => Ok(Test::Compared(orderings, value.clone())),
        None => Err(format!("{operator} wants a number, a text, a date, an ObjectId or a boolean")),
    };
    match operator {
        "$eq" => Ok(Test::In(vec![value.clone()])),
        "$ne" => Ok(Test::NotIn(vec![value.clone()])),
        "$in" => Ok(Test::In(list()?)),
        "$nin" => Ok(Test::NotIn(list()?)),
        "$exists" => Ok(Test::Exists(is_truthy(value))),
        "$gt" => compared(&[Ordering::Greater]),
        "$gte" => compared(&[Ordering::Greater, Ordering::Equal]),
        "$lt" => compared(&[Ordering::Less]),
        "$lte" => compared(&[Ordering::Less, Ordering::Equal]),
        "$not" => match tests(value)? {
            tests if value.as_document().is_some() => Ok(Test::Not(tests)),
            _ => Err("$not wants an operator".to_owned()),
        },
        other => Err(unknown(other)),
    }
}

fn unknown(operator: &str) -> String {
    format!("{operator} is not one of the operators that are evaluated: {OPERATORS}")
}

fn is_truthy(value: &Bson) -> bool {
    match value {
        Bson::Boolean(value) => *value,
        Bson::Null | Bson::Undefined => false,
        Bson::Double(value) => *value != 0.0,
        value => number(value) != Some(0),
    }
}

/// All that is at a path: an array on the way leads into each of its elements.
fn collect<'a>(found: &mut Vec<&'a Bson>, document: &'a Document, path: &str) {
    if let Some(value) = document.get(path) {
        found.push(value);
    }
    if let Some((first, rest)) = path.split_once('.') {
        match document.get(first) {
            Some(Bson::Document(inner)) => collect(found, inner, rest),
            Some(Bson::Array(elements)) => {
                elements.iter().filter_map(Bson::as_document).for_each(|inner| {
                    collect(found, inner, rest);
                });
            }
            _ => {}
        }
    }
}

/// What was found, and of an array its elements as well.
fn each<'a>(found: &'a [&'a Bson]) -> impl Iterator<Item = &'a Bson> {
    let elements = found.iter().filter_map(|found| found.as_array()).flatten();
    found.iter().copied().chain(elements)
}

fn is_there(found: &[&Bson], value: &Bson) -> bool {
    let is_nothing = |value: &Bson| matches!(value, Bson::Null | Bson::Undefined);
    if is_nothing(value) {
        return found.is_empty() || each(found).any(is_nothing);
    }
    each(found).any(|found| compare(found, value).map_or(found == value, Ordering::is_eq))
}

/// The order of two values of one type. Numbers are one type.
fn compare(one: &Bson, other: &Bson) -> Option<Ordering> {
    match (one, other) {
        (Bson::String(one), Bson::String(other)) => Some(one.cmp(other)),
        (Bson::Boolean(one), Bson::Boolean(other)) => Some(one.cmp(other)),
        (Bson::DateTime(one), Bson::DateTime(other)) => Some(one.cmp(other)),
        (Bson::ObjectId(one), Bson::ObjectId(other)) => Some(one.cmp(other)),
        (Bson::Int32(_) | Bson::Int64(_), Bson::Int32(_) | Bson::Int64(_)) => {
            number(one).zip(number(other)).map(|(one, other)| one.cmp(&other))
        }
        _ => as_double(one)?.partial_cmp(&as_double(other)?),
    }
}

fn as_double(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(value) => Some(f64::from(*value)),
        #[expect(clippy::cast_precision_loss, reason = "compared with a double")]
        Bson::Int64(value) => Some(*value as f64),
        Bson::Double(value) => Some(*value),
        Bson::Decimal128(value) => value.to_string().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn holds(query: Document, document: Document) -> bool {
        AdoptionCondition::read(&query).unwrap().holds(&document)
    }

    #[test]
    fn a_value_is_compared_by_value_and_numbers_are_one_type() {
        assert!(holds(doc! { "a": 1_i32 }, doc! { "a": 1.0 }));
        assert!(holds(doc! { "a": { "$eq": 1_i64 } }, doc! { "a": 1_i32 }));
        assert!(!holds(doc! { "a": 1 }, doc! { "a": "1" }));
        assert!(holds(doc! { "a": { "b": 1 } }, doc! { "a": { "b": 1 } }));
        assert!(holds(doc! { "a": 1, "b": 2 }, doc! { "a": 1, "b": 2 }));
        assert!(!holds(doc! { "a": 1, "b": 2 }, doc! { "a": 1 }));
    }

    #[test]
    fn what_is_missing_is_null() {
        for document in [doc! {}, doc! { "a": null }] {
            assert!(holds(doc! { "a": null }, document.clone()));
            assert!(holds(doc! { "a": { "$in": [1, null] } }, document.clone()));
            assert!(!holds(doc! { "a": { "$ne": null } }, document.clone()));
            assert!(holds(doc! { "a": { "$ne": 1 } }, document.clone()));
            assert!(!holds(doc! { "a": { "$gt": 1 } }, document));
        }
        assert!(holds(doc! { "a": { "$exists": true } }, doc! { "a": null }));
        assert!(holds(doc! { "a": { "$exists": false } }, doc! {}));
    }

    #[test]
    fn a_dot_leads_into_sub_documents_and_a_list_is_each_of_its_elements() {
        assert!(holds(doc! { "a.b": "x" }, doc! { "a": { "b": "x" } }));
        assert!(holds(doc! { "a.b": "x" }, doc! { "a": [{ "b": "y" }, { "b": "x" }] }));
        assert!(holds(doc! { "a": "x" }, doc! { "a": ["y", "x"] }));
        assert!(!holds(doc! { "a": { "$nin": ["x"] } }, doc! { "a": ["y", "x"] }));
    }

    #[test]
    fn comparisons_are_within_a_type() {
        let range = doc! { "n": { "$gte": 2, "$lt": 4.5 } };
        for (n, wanted) in [(1, false), (2, true), (4, true), (5, false)] {
            assert_eq!(holds(range.clone(), doc! { "n": n }), wanted, "{n}");
        }
        assert!(!holds(range, doc! { "n": "3" }));
        assert!(holds(doc! { "t": { "$lte": "b" } }, doc! { "t": "a" }));
    }

    #[test]
    fn conditions_are_joined_and_negated() {
        let either = doc! { "$or": [{ "a": 1 }, { "$and": [{ "b": 2 }, { "c": 3 }] }] };
        assert!(holds(either.clone(), doc! { "a": 1 }));
        assert!(holds(either.clone(), doc! { "b": 2, "c": 3 }));
        assert!(!holds(either, doc! { "b": 2 }));
        assert!(holds(doc! { "$nor": [{ "a": 1 }, { "b": 1 }] }, doc! { "a": 2 }));
        assert!(holds(doc! { "a": { "$not": { "$gt": 1 } } }, doc! {}));
        assert!(!holds(doc! { "a": { "$not": { "$gt": 1 } } }, doc! { "a": 2 }));
    }

    #[test]
    fn an_operator_that_is_not_evaluated_is_named() {
        for query in [
            doc! { "a": { "$regex": "x" } },
            doc! { "$expr": {} },
            doc! { "$or": [{ "a": { "$not": { "$regex": 1 } } }] },
        ] {
            let error = AdoptionCondition::read(&query).unwrap_err();
            assert!(error.contains("$regex") || error.contains("$expr"), "{error}");
        }
        assert!(AdoptionCondition::read(&doc! { "a": { "$in": 1 } }).is_err());
        assert!(AdoptionCondition::read(&doc! { "$or": [] }).is_err());
        assert!(AdoptionCondition::read(&doc! { "a": { "$gt": null } }).is_err());
    }
}
