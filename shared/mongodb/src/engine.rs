//! Which server this is, by name. Nothing is decided by it: what Evergrant needs of a server is tried (see
//! `clock`). It is told, so that a person knows whose documentation to read.

use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;

use super::MongoStore;
use evergrant_document::paths::at;
use evergrant_ports::StoreError;

impl MongoStore {
    /// The server's name and version.
    pub(super) async fn engine(&self, operation: &'static str) -> Result<String, StoreError> {
        let info = self.command(operation, doc! { "buildInfo": 1 }).await?;
        let admin = self.database.client().database("admin");
        let asked = admin.run_command(doc! { "getParameter": "evergrant" }).await;
        // Some name their engine in what they say to a parameter that they do not know.
        let words = match asked.as_ref().map_err(|error| error.kind.as_ref()) {
            Err(ErrorKind::Command(error)) => error.message.as_str(),
            _ => "",
        };
        Ok(name(&self.hosts, &info, words))
    }
}

/// By where it is, and by what it says of itself.
fn name(hosts: &[String], info: &Document, words: &str) -> String {
    let names =
        || hosts.iter().map(|host| host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name));
    let is_at = |suffix: &str| names().any(|name| name.ends_with(suffix));
    let text = |path| at(info, path).and_then(Bson::as_str);
    let version = text("version").unwrap_or("of an unknown version");
    for (engine, own) in [("FerretDB", "ferretdb.version"), ("SecantusDB", "secantusVersion")] {
        if let Some(own) = text(own) {
            return format!("{engine} {own}, as MongoDB {version}");
        }
    }
    let engine = if is_at(".mongocluster.cosmos.azure.com") {
        "Azure Cosmos DB for MongoDB vCore"
    } else if is_at(".cosmos.azure.com") {
        "Azure Cosmos DB for MongoDB RU"
    } else if is_at(".docdb.amazonaws.com") || is_at(".docdb-elastic.amazonaws.com") {
        "Amazon DocumentDB"
    } else if words.contains("documentdb_api") {
        "DocumentDB on PostgreSQL"
    } else {
        return format!("MongoDB {version}");
    };
    format!("{engine}, as MongoDB {version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_alike_is_told_from_mongodb() {
        let info = doc! { "version": "7.0.0" };
        let at = |host: &str, info: &Document, words: &str| {
            name(&[format!("{host}:27017")], info, words)
        };
        assert_eq!(at("db", &info, "no option found to get"), "MongoDB 7.0.0");
        assert_eq!(at("db", &doc! {}, ""), "MongoDB of an unknown version");
        for (host, words, expected) in [
            ("me.mongocluster.cosmos.azure.com", "", "Azure Cosmos DB for MongoDB vCore"),
            ("me.mongo.cosmos.azure.com", "", "Azure Cosmos DB for MongoDB RU"),
            ("me.cluster-x.eu-west-1.docdb.amazonaws.com", "", "Amazon DocumentDB"),
            ("db", "function documentdb_api.get_parameter failed", "DocumentDB on PostgreSQL"),
        ] {
            assert_eq!(at(host, &info, words), format!("{expected}, as MongoDB 7.0.0"));
        }
        let ferret = doc! { "version": "7.0.77", "ferretdb": { "version": "v2.7.0" } };
        assert_eq!(at("db", &ferret, ""), "FerretDB v2.7.0, as MongoDB 7.0.77");
        let stand_in = doc! { "version": "8.2.11", "secantusVersion": "0.7.0b3" };
        assert_eq!(at("db", &stand_in, ""), "SecantusDB 0.7.0b3, as MongoDB 8.2.11");
    }
}
