//! Servers in containers, shared by all tests of a process.

use std::future::Future;
use std::time::Duration;

use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use crate::deployment::eventually;

/// A server in a container. In a static it outlives the tests; `tests/run` removes it by its label.
pub struct TestServer {
    container: ContainerAsync<GenericImage>,
    /// The port in the container.
    inner_port: u16,
    port: u16,
}

impl TestServer {
    /// Starts the image in the variable, and publishes a port.
    ///
    /// # Panics
    /// If the variable is not set, or no Docker engine answers.
    pub async fn start(image_variable: &str, port: u16, variables: &[(&str, &str)]) -> Self {
        let image = std::env::var(image_variable).unwrap_or_else(|_| {
            panic!("{image_variable} is not set: run tests/run, which prepares the images")
        });
        Self::start_image(&image, port, variables, None).await
    }

    /// Like [`Self::start`], with the image and an optional name of the container.
    ///
    /// # Panics
    /// If no Docker engine answers.
    pub async fn start_image(
        image: &str,
        inner_port: u16,
        variables: &[(&str, &str)],
        container_name: Option<String>,
    ) -> Self {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let session = std::env::var("EVERGRANT_TEST_SESSION").unwrap_or("manual".to_owned());
        let image = GenericImage::new(name, tag)
            .with_exposed_port(inner_port.tcp())
            .with_labels([("evergrant-test", session)])
            .with_startup_timeout(Duration::from_secs(120));
        let image =
            variables.iter().fold(image, |image, (name, value)| image.with_env_var(*name, *value));
        let image = match container_name {
            Some(name) => image.with_container_name(name),
            None => image,
        };
        let container = image.start().await.unwrap_or_else(|error| {
            panic!(
                "start {name}:{tag} in a container: {error}. Run tests/run, which starts an engine"
            )
        });
        let port = container.get_host_port_ipv4(inner_port).await.expect("the container's port");
        Self { container, inner_port, port }
    }

    /// The server's address on this machine: host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The server's address without the engine's proxy, which costs CPU time; None if this machine
    /// has no route to the container, as with a virtual machine.
    pub async fn direct_address(&self) -> Option<String> {
        let address = (self.container.get_bridge_ip_address().await.ok()?, self.inner_port);
        let connecting = tokio::net::TcpStream::connect(address);
        let connected = tokio::time::timeout(Duration::from_secs(1), connecting).await;
        connected.ok()?.ok()?;
        Some(format!("{}:{}", address.0, address.1))
    }

    /// The container, to stop, start or pause it.
    pub fn container(&self) -> &ContainerAsync<GenericImage> {
        &self.container
    }

    /// Waits until the server answers.
    ///
    /// # Panics
    /// If it does not within 90 s.
    pub async fn wait_until<F: Future<Output = bool>>(&self, answers: impl FnMut() -> F) {
        eventually("the server answers", answers).await;
    }
}
