//! RabbitMQ: a given server, or one in a container.

use anyhow::{Context, ensure};
use evergrant_testkit::container::TestServer;
use evergrant_testkit::rabbitmq;
use tokio::process::Command;

/// The variable with the image, as in the tests.
const IMAGE_VARIABLE: &str = "EVERGRANT_TEST_RABBITMQ_4_IMAGE";
/// If the variable is not set: the official image, and the one that the tests build.
const IMAGES: [&str; 2] = ["rabbitmq:4.0-management", "evergrant-test/rabbitmq:4.0"];

/// A broker for one run. Its container is removed with it.
pub(crate) struct Broker {
    pub(crate) url: String,
    /// A description for the report.
    pub(crate) what: String,
    _server: Option<TestServer>,
}

impl Broker {
    /// The broker of EVERGRANT_TEST_AMQP_URL, or a new one.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        if let Ok(url) = std::env::var("EVERGRANT_TEST_AMQP_URL") {
            return Ok(Self { url, what: "given".to_owned(), _server: None });
        }
        let image = image().await?;
        let name = format!("bench-rabbitmq-{}", uuid::Uuid::new_v4().simple());
        let server = TestServer::start_image(&image, 5672, &[], Some(name)).await;
        let url = rabbitmq::direct_url_when_ready(&server).await;
        Ok(Self { url, what: image, _server: Some(server) })
    }
}

async fn image() -> anyhow::Result<String> {
    if let Ok(named) = std::env::var(IMAGE_VARIABLE) {
        return Ok(named);
    }
    for image in IMAGES {
        let looking = Command::new("docker").args(["image", "inspect", image]).output().await;
        let looked = looking.context("docker is not installed; bench/run prepares everything")?;
        if looked.status.success() {
            return Ok(image.to_owned());
        }
    }
    ensure!(false, "there is no image of RabbitMQ; bench/run prepares everything");
    unreachable!("ensured")
}
