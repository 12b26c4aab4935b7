//! RabbitMQ, in both supported versions.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::OnceCell;

use crate::container::TestServer;

/// A version of RabbitMQ.
pub struct BrokerVersion {
    image_variable: &'static str,
    server: OnceCell<TestServer>,
}

/// RabbitMQ 3.10.
pub static V3: BrokerVersion = BrokerVersion::from_variable("EVERGRANT_TEST_RABBITMQ_3_IMAGE");
/// RabbitMQ 4.
pub static V4: BrokerVersion = BrokerVersion::from_variable("EVERGRANT_TEST_RABBITMQ_4_IMAGE");

impl BrokerVersion {
    /// A server with the image in the variable.
    pub const fn from_variable(image_variable: &'static str) -> Self {
        Self { image_variable, server: OnceCell::const_new() }
    }

    /// The URL of a server of this version: that of `EVERGRANT_TEST_AMQP_URL`, whatever its
    /// version, or one in a container.
    ///
    /// # Panics
    /// If there is neither.
    pub async fn url(&self) -> String {
        if let Ok(url) = std::env::var("EVERGRANT_TEST_AMQP_URL") {
            return url;
        }
        let server = self.server.get_or_init(|| start(self.image_variable)).await;
        url_of(server)
    }
}

async fn start(image_variable: &str) -> TestServer {
    let server = TestServer::start(image_variable, 5672, &[]).await;
    url_when_ready(&server).await;
    server
}

pub(crate) async fn answers(url: &str) -> bool {
    Connection::connect(url, ConnectionProperties::default()).await.is_ok()
}

/// Waits until a broker answers, and returns its URL.
///
/// # Panics
/// If it does not within 90 s.
async fn url_when_ready(server: &TestServer) -> String {
    let url = url_of(server);
    server.wait_until(|| answers(&url)).await;
    url
}

/// Waits until a broker answers, and returns its URL, without the engine's proxy if possible.
///
/// # Panics
/// If the broker does not answer within 90 s.
pub async fn direct_url_when_ready(server: &TestServer) -> String {
    let url = url_when_ready(server).await;
    server.direct_address().await.map_or(url, |address| url_at(&address))
}

fn url_of(server: &TestServer) -> String {
    url_at(&server.address())
}

fn url_at(address: &str) -> String {
    format!("amqp://guest:guest@{address}")
}

/// A channel, without Evergrant's own adapter.
///
/// # Panics
/// If the broker is unreachable.
pub async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await;
    let channel = connection.expect("connect").create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    channel
}

/// Puts a message into a queue.
///
/// # Panics
/// If the broker does not accept it.
pub async fn send(channel: &Channel, queue: &str, body: &[u8]) {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let sent = channel.basic_publish("".into(), queue.into(), options, body, properties).await;
    sent.expect("publish").await.expect("confirm");
}
