//! A simulator on a free port, with a clock that tests move, and clients of it.

use std::sync::Arc;

use evergrant_simulator::{
    ManualClock, Simulator, SimulatorConfig, SimulatorHandle, SimulatorSettings,
};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const ID: &str = "app one";
pub(crate) const SECRET: &str = "s3:cret&+";

/// A running simulator.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) handle: SimulatorHandle,
    pub(crate) clock: ManualClock,
    pub(crate) http: reqwest::Client,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(settings: SimulatorSettings) -> Self {
        let config = SimulatorConfig {
            client_id: ID.to_owned(),
            client_secret: SECRET.to_owned(),
            settings,
            ..SimulatorConfig::default()
        };
        let clock = ManualClock::at_ms(1_700_000_000_000);
        let simulator = Simulator::bind_with_clock(config, "127.0.0.1:0", Arc::new(clock.clone()))
            .await
            .unwrap();
        let (url, address, handle) = (simulator.url(), simulator.local_addr(), simulator.handle());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            simulator.run(async { drop(stopped.await) }).await.unwrap();
        });
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { url, address, handle, clock, http: reqwest::Client::new(), stop, server }
    }

    /// A refresh token of a user who has just signed in.
    pub(crate) fn sign_in(&self, user: &str) -> String {
        let token = self.handle.sign_in(user).refresh_token.unwrap();
        token.as_str().unwrap().to_owned()
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    /// A refresh request without credentials.
    pub(crate) fn request(&self, token: &str) -> RequestBuilder {
        self.post("/token").form(&[("grant_type", "refresh_token"), ("refresh_token", token)])
    }

    /// A refresh request with credentials in its form.
    pub(crate) async fn refresh(&self, token: &str) -> reqwest::Result<Response> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", ID),
            ("client_secret", SECRET),
        ];
        self.post("/token").form(&form).send().await
    }

    /// A successful exchange's new refresh token.
    pub(crate) async fn refreshed(&self, token: &str) -> String {
        let reply = json(self.refresh(token).await.unwrap()).await;
        reply["refresh_token"].as_str().unwrap().to_owned()
    }

    /// Sends a refresh request over a socket of its own.
    pub(crate) async fn send_raw(&self, token: &str) -> TcpStream {
        let body = format!(
            "grant_type=refresh_token&refresh_token={token}&client_id=app+one&client_secret=s3%3Acret%26%2B"
        );
        let head = format!(
            "POST /token HTTP/1.1\r\nHost: simulator\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stream
    }

    /// What comes back until the end of the connection, and how it ends.
    pub(crate) async fn raw(&self, token: &str) -> (String, std::io::Result<usize>) {
        let mut stream = self.send_raw(token).await;
        let mut received = Vec::new();
        let end = stream.read_to_end(&mut received).await;
        (String::from_utf8(received).unwrap(), end)
    }

    /// Tells the server to stop and waits for it.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
    }
}

pub(crate) async fn json(response: Response) -> Value {
    response.json().await.unwrap()
}
