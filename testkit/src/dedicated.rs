//! A server for one test, which may kill, pause and restart it.

use std::time::{Duration, Instant};

use crate::deployment::eventually;
use crate::docker::{self, docker, image, try_docker};
use crate::{mongodb, rabbitmq};

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Broker,
    Database,
}

/// A server in a container that keeps its port and its data over kills and restarts. It is removed
/// when this is dropped.
pub struct DedicatedServer {
    kind: Kind,
    name: String,
    port: u16,
}

/// Another process may have taken the port.
const TRIES: usize = 3;
/// A paused server accepts connections and does not answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

impl DedicatedServer {
    /// A RabbitMQ with the image in the variable.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn broker(image_variable: &str) -> Self {
        let server = Self::create(Kind::Broker, &image(image_variable), &[], &[]).await;
        server.wait_until_it_answers().await;
        server
    }

    /// A MongoDB that keeps acknowledged writes in all cases.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn database() -> Self {
        // For SecantusDB: without it, `j: true` is not honoured.
        let durable = ["--env", "SECANTUS_SYNC=1"];
        let image = image("EVERGRANT_TEST_MONGODB_IMAGE");
        let server = Self::create(Kind::Database, &image, &durable, &[]).await;
        server.wait_until_it_answers().await;
        server
    }

    /// A node of a cluster, started without waiting for it.
    pub(crate) async fn node(image: &str, options: &[&str], command: &[&str]) -> Self {
        Self::create(Kind::Broker, image, options, command).await
    }

    async fn create(kind: Kind, image: &str, options: &[&str], command: &[&str]) -> Self {
        let (what, inner_port) = match kind {
            Kind::Broker => ("broker", 5672),
            Kind::Database => ("database", 27017),
        };
        let label = format!("evergrant-test={}", docker::session());
        let mut failure = String::new();
        for _ in 0..TRIES {
            let server = Self { kind, name: docker::name_of(what), port: docker::free_port() };
            let publish = format!("127.0.0.1:{}:{inner_port}", server.port);
            let mut run = vec!["run", "--detach", "--name", &server.name, "--label", &label];
            run.extend(["--publish", &publish]);
            run.extend(options.iter().chain(&[image]).chain(command));
            match try_docker(&run).await {
                Ok(_) => return server,
                Err(error) => failure = error,
            }
        }
        panic!("start {image} in a container: {failure}");
    }

    /// Its URL from this machine.
    pub fn url(&self) -> String {
        match self.kind {
            Kind::Broker => format!("amqp://guest:guest@127.0.0.1:{}", self.port),
            Kind::Database => format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port),
        }
    }

    /// Kills it, like a power failure.
    ///
    /// # Panics
    /// If it is not running.
    pub async fn kill(&self) {
        docker(&["kill", &self.name]).await;
    }

    /// Restarts it after a kill, and waits until it answers.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(&self) {
        docker(&["start", &self.name]).await;
        self.wait_until_it_answers().await;
    }

    /// Pauses it: connections stay, and nothing is answered.
    ///
    /// # Panics
    /// If it is not running.
    pub async fn pause(&self) {
        docker::pause(&self.name).await;
    }

    /// Resumes it.
    ///
    /// # Panics
    /// If it is not paused.
    pub async fn unpause(&self) {
        docker(&["unpause", &self.name]).await;
    }

    /// Runs a command in it, and returns the output.
    ///
    /// # Panics
    /// If it fails.
    pub async fn exec(&self, command: &[&str]) -> String {
        docker(&[&["exec", &self.name], command].concat()).await
    }

    /// Waits until it answers, and returns when it did.
    ///
    /// # Panics
    /// If it does not for two minutes.
    pub async fn wait_until_it_answers(&self) -> Instant {
        eventually("the server answers", || self.answers()).await;
        Instant::now()
    }

    async fn answers(&self) -> bool {
        let url = self.url();
        let asked = async {
            match self.kind {
                Kind::Broker => rabbitmq::answers(&url).await,
                Kind::Database => mongodb::answers(&url).await,
            }
        };
        tokio::time::timeout(ANSWER_LIMIT, asked).await.unwrap_or(false)
    }
}

impl Drop for DedicatedServer {
    fn drop(&mut self) {
        docker::remove(&[&self.name], &[]);
    }
}
