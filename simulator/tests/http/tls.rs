//! TLS, with the HTTP that the client wants.

use evergrant_simulator::{Simulator, SimulatorConfig};
use reqwest::{Certificate, Client, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn over_tls_it_speaks_what_the_client_wants_whatever_others_do() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut simulator = Simulator::bind(SimulatorConfig::default(), "127.0.0.1:0").await.unwrap();
    let certificate = simulator.use_tls().unwrap();
    let (url, address) = (simulator.url(), simulator.local_addr());
    tokio::spawn(simulator.run(std::future::pending()));
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut wrong = TcpStream::connect(address).await.unwrap();
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let client = || {
        let certificate = Certificate::from_pem(certificate.as_bytes()).unwrap();
        Client::builder().tls_certs_merge([certificate])
    };
    for (client, version) in
        [(client(), Version::HTTP_2), (client().http1_only(), Version::HTTP_11)]
    {
        let answer = client.build().unwrap().get(format!("{url}/healthz")).send().await.unwrap();
        assert_eq!((answer.version(), answer.text().await.unwrap().as_str()), (version, "ok\n"));
    }
}
