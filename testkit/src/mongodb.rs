//! A server that speaks MongoDB's protocol.

use mongodb::bson::doc;
use tokio::sync::OnceCell;

use crate::container::TestServer;

/// The URL of a server for all tests: that of `EVERGRANT_TEST_MONGODB_URL`, or one in a container.
///
/// # Panics
/// If there is neither.
pub async fn url() -> String {
    static SERVER: OnceCell<TestServer> = OnceCell::const_new();
    if let Ok(url) = std::env::var("EVERGRANT_TEST_MONGODB_URL") {
        return url;
    }
    let server = SERVER.get_or_init(|| async {
        let server = TestServer::start("EVERGRANT_TEST_MONGODB_IMAGE", 27017, &[]).await;
        let url = url_of(&server);
        server.wait_until(|| answers(&url)).await;
        server
    });
    url_of(server.await)
}

fn url_of(server: &TestServer) -> String {
    format!("mongodb://{}/?directConnection=true", server.address())
}

pub(crate) async fn answers(url: &str) -> bool {
    let patient = format!("{url}&serverSelectionTimeoutMS=1000");
    let Ok(client) = mongodb::Client::with_uri_str(&patient).await else { return false };
    client.database("admin").run_command(doc! { "ping": 1 }).await.is_ok()
}
