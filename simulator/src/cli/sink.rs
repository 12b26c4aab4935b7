//! Where seeded documents go: a file, standard output or a collection.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context, anyhow};
use mongodb::bson::{self, Bson, oid::ObjectId};
use serde_json::Value;

/// Documents that one command to the server carries.
const INSERT_BATCH: usize = 1_000;

/// A destination of documents.
pub(crate) enum Sink {
    /// Lines of JSON.
    Lines(BufWriter<Box<dyn Write + Send>>),
    /// A MongoDB collection.
    Collection(Collection),
}

/// A collection to insert into.
pub(crate) struct Collection(mongodb::Collection<bson::Document>);

impl Sink {
    /// A file, made anew. `-` is standard output.
    pub(crate) fn file(path: &str) -> anyhow::Result<Self> {
        let writer: Box<dyn Write + Send> = if path == "-" {
            Box::new(std::io::stdout())
        } else {
            Box::new(File::create(path).with_context(|| format!("cannot write {path}"))?)
        };
        Ok(Self::Lines(BufWriter::new(writer)))
    }

    /// Stores documents and answers how many they were.
    pub(crate) async fn write(&mut self, documents: Vec<Vec<u8>>) -> anyhow::Result<u64> {
        let count = documents.len() as u64;
        match self {
            Self::Lines(lines) => {
                for document in documents {
                    lines.write_all(&document).and_then(|()| lines.write_all(b"\n"))?;
                }
            }
            Self::Collection(collection) => collection.insert(&documents).await?,
        }
        Ok(count)
    }

    /// Nothing more comes.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if let Self::Lines(mut lines) = self {
            lines.flush().context("cannot write the last documents")?;
        }
        Ok(())
    }
}

impl Collection {
    /// Connects when the first documents are inserted.
    pub(crate) async fn open(url: &str, database: &str, name: &str) -> anyhow::Result<Self> {
        let client = mongodb::Client::with_uri_str(url).await;
        let client = client.context("the MongoDB URL cannot be used")?;
        Ok(Self(client.database(database).collection(name)))
    }

    async fn insert(&self, documents: &[Vec<u8>]) -> anyhow::Result<()> {
        for batch in documents.chunks(INSERT_BATCH) {
            let batch = batch.iter().map(|json| document(json)).collect::<Result<Vec<_>, _>>()?;
            // A write error would quote the document, so only its kind is passed on.
            self.0.insert_many(batch).ordered(false).await.map_err(|error| match *error.kind {
                mongodb::error::ErrorKind::InsertMany(ref error) => {
                    let code = error.write_errors.iter().flatten().next().map(|error| error.code);
                    anyhow!("documents were refused; the first with code {code:?} (11000 is a duplicate)")
                }
                _ => anyhow::Error::new(error).context("cannot insert documents"),
            })?;
        }
        Ok(())
    }
}

/// A document from JSON, in which only an id may be extended.
fn document(json: &[u8]) -> anyhow::Result<bson::Document> {
    match to_bson(serde_json::from_slice(json).context("the provider sent a broken document")?)? {
        Bson::Document(document) => Ok(document),
        _ => Err(anyhow!("the provider sent something that is not a document")),
    }
}

fn to_bson(value: Value) -> anyhow::Result<Bson> {
    Ok(match value {
        Value::Null => Bson::Null,
        Value::Bool(flag) => Bson::Boolean(flag),
        Value::String(text) => Bson::String(text),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Bson::Int64(integer),
            None => Bson::Double(number.as_f64().unwrap_or_default()),
        },
        Value::Array(items) => {
            Bson::Array(items.into_iter().map(to_bson).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => match fields.get("$oid").and_then(Value::as_str) {
            Some(hex) => Bson::ObjectId(ObjectId::parse_str(hex).context("not an ObjectId")?),
            None => Bson::Document(
                fields
                    .into_iter()
                    .map(|(name, value)| Ok((name, to_bson(value)?)))
                    .collect::<anyhow::Result<_>>()?,
            ),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_kinds_and_ids_become_object_ids() {
        let json = br#"{"_id":{"$oid":"00112233445566778899aabb"},"a":7,"b":{"c":null},"d":"x"}"#;
        let document = document(json).unwrap();
        assert_eq!(document.get_object_id("_id").unwrap().to_hex(), "00112233445566778899aabb");
        assert_eq!(document.get_i64("a").unwrap(), 7);
        assert!(document.get_document("b").unwrap().get("c") == Some(&Bson::Null));
        assert_eq!(document.get_str("d").unwrap(), "x");
    }

    #[test]
    fn what_is_no_document_is_refused() {
        assert!(document(b"[1]").is_err());
        assert!(document(br#"{"_id":{"$oid":"short"}}"#).is_err());
    }
}
