//! RabbitMQ, in both of the versions that are supported.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::OnceCell;

use crate::container::Server;

/// A version of RabbitMQ.
pub struct Version {
    image_variable: &'static str,
    server: OnceCell<Server>,
}

/// RabbitMQ 3.10.
pub static V3: Version = Version::of("EVERGRANT_TEST_RABBITMQ_3_IMAGE");
/// RabbitMQ 4.
pub static V4: Version = Version::of("EVERGRANT_TEST_RABBITMQ_4_IMAGE");

impl Version {
    /// A server of the version in the image that the variable names.
    pub const fn of(image_variable: &'static str) -> Self {
        Self { image_variable, server: OnceCell::const_new() }
    }

    /// The URL of a server of this version: the one that `EVERGRANT_TEST_AMQP_URL` names, whatever
    /// its version, or one in a container.
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

async fn start(image_variable: &str) -> Server {
    let server = Server::start(image_variable, 5672, &[]).await;
    let url = url_of(&server);
    server
        .wait_until(async || {
            Connection::connect(&url, ConnectionProperties::default()).await.is_ok()
        })
        .await;
    server
}

fn url_of(server: &Server) -> String {
    format!("amqp://guest:guest@{}", server.address())
}

/// A channel, past Evergrant's own adapter.
///
/// # Panics
/// If the broker cannot be reached.
pub async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await;
    let channel = connection.expect("connect").create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    channel
}

/// Puts a message into a queue.
///
/// # Panics
/// If the broker does not take it.
pub async fn send(channel: &Channel, queue: &str, body: &[u8]) {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let sent = channel.basic_publish("".into(), queue.into(), options, body, properties).await;
    sent.expect("publish").await.expect("confirm");
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a second handle")
}

/// A way to a broker that a test can cut.
pub struct Wire {
    url: String,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// A way to the broker at `url`.
    ///
    /// # Panics
    /// If no port is free.
    pub fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its port").port();
        let (login, rest) = url.rsplit_once('@').expect("a URL with a login");
        let (broker, vhost) = match rest.split_once('/') {
            Some((broker, vhost)) => (broker.to_owned(), format!("/{vhost}")),
            None => (rest.to_owned(), String::new()),
        };
        let ends = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&ends);
        // Blocking threads: they end with the process, or with the connection.
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&broker) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (clone(from), clone(to));
                    kept.lock().expect("no panic").push(clone(&from));
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Self { url: format!("{login}@127.0.0.1:{port}{vhost}"), ends }
    }

    /// The URL of this way.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts the connections that there are. New ones can be made.
    ///
    /// # Panics
    /// If a thread of this way has panicked.
    pub fn cut(&self) {
        for end in self.ends.lock().expect("no panic").drain(..) {
            // One that has ended by itself is as good.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}
