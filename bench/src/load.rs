//! `simulator`: the request rate of the simulated provider.
//!
//! The client writes HTTP by hand, so that it uses little of the cores that it shares with the
//! provider.

use std::time::Instant;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::args::SimulatorArgs;
use crate::provider::{CLIENT, Provider, ProviderWire};
use crate::report::Report;
use crate::usage;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

pub(crate) async fn run(args: &SimulatorArgs) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir().context("a folder for logs")?;
    let provider = Provider::start(folder.path(), ProviderWire::Plain).await?;
    let connections = u32::from(args.connections);
    let users = provider.sign_in(connections).await?;
    let (own, provider_us) = (usage::cpu_us(std::process::id())?, provider.cpu_us()?);
    let each = (args.requests / connections).max(1);
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for user in &users {
        let token = user["refresh_token"].as_str().context("a user without a token")?.to_owned();
        clients.spawn(exchange_again_and_again(provider.url.clone(), token, each));
    }
    while let Some(client) = clients.join_next().await {
        client.context("a client")??;
    }
    let elapsed_s = started.elapsed().as_secs_f64();
    let requests = f64::from(each * connections);
    let stats = provider.stats().await?;
    ensure!(stats.exchanges as f64 == requests, "only {} were exchanged", stats.exchanges);
    let mut report = Report::new("simulator");
    report.count("connections", connections);
    report.number("requests", requests);
    report.number("requests_per_s", requests / elapsed_s);
    let per_request = |begin_us: u64, end_us: u64| (end_us - begin_us) as f64 / requests;
    report.number("simulator_cpu_us", per_request(provider_us, provider.cpu_us()?));
    report.number("client_cpu_us", per_request(own, usage::cpu_us(std::process::id())?));
    Ok(report)
}

/// Exchanges a user's token, then the one that came for it, and so on.
async fn exchange_again_and_again(url: String, token: String, times: u32) -> anyhow::Result<()> {
    let address = url.strip_prefix("http://").context("a URL that is not http")?.to_owned();
    let mut stream = TcpStream::connect(&address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let (id, secret) = CLIENT;
    let (mut token, mut buffer) = (token, vec![0; ANSWER_BYTES_MAX]);
    for _ in 0..times {
        let body = format!(
            "grant_type=refresh_token&refresh_token={token}&client_id={id}&client_secret={secret}"
        );
        let request = format!(
            "POST /token HTTP/1.1\r\nhost: {address}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.context("send a request")?;
        let answer = read_answer(&mut stream, &mut buffer).await?;
        token = new_token(answer)?;
    }
    Ok(())
}

/// Reads one answer and returns its body.
async fn read_answer<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> anyhow::Result<&'a str> {
    let mut read = 0;
    loop {
        let more = stream.read(&mut buffer[read..]).await.context("read an answer")?;
        ensure!(more > 0, "the connection ended, or an answer is too long");
        read += more;
        if let Some((begin, end)) = body_of(&buffer[..read])
            && end <= read
        {
            return std::str::from_utf8(&buffer[begin..end]).context("an answer that is no text");
        }
    }
}

/// The range of the body. None while the headers are incomplete.
fn body_of(answer: &[u8]) -> Option<(usize, usize)> {
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..head_end]).ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    Some((head_end, head_end + length.trim().parse::<usize>().ok()?))
}

fn new_token(answer: &str) -> anyhow::Result<String> {
    const NAME: &str = "\"refresh_token\":\"";
    let (_, rest) = answer.split_once(NAME).context("an answer without a refresh token")?;
    let (token, _) = rest.split_once('"').context("an answer that is cut off")?;
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_an_answer_is_found_by_its_length() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        let (begin, end) = body_of(answer).unwrap();
        assert_eq!(&answer[begin..end], b"hello");
        assert_eq!(body_of(&answer[..20]), None);
    }
}
