//! A proxy on this machine that opens tunnels (`CONNECT`, RFC 9110 §9.3.6), or refuses to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub(super) struct TestProxy {
    pub(super) address: SocketAddr,
    /// The heads of the requests that came.
    heads: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    /// One that answers with this line, and opens the tunnel if it says 200.
    pub(super) async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let of_task = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, answer, Arc::clone(&of_task)));
            }
        });
        Self { address, heads }
    }

    /// The heads of the requests that came since this was last asked.
    pub(super) fn take_heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

async fn tunnel(client: TcpStream, answer: &str, heads: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap() == 0 {
            return;
        }
    }
    let target = head.split(' ').nth(1).unwrap().to_owned();
    heads.lock().unwrap().push(head);
    client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.unwrap();
    if answer.starts_with("200") {
        let mut server = TcpStream::connect(target).await.unwrap();
        // Either end may close it.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
