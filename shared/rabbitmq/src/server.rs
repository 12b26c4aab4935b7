//! The server's product and version. lapin does not expose them, so a short connection of its own
//! reads the first frame.

use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use lapin::tcp::AMQPUriTcpExt;
use lapin::types::{AMQPValue, FieldTable, parsing};
use lapin::uri::AMQPUri;

use super::errors::redact;
use evergrant_ports::QueueError;

const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// The bytes before the server's properties in `connection.start`: class 10 and method 10, then the
/// protocol's version.
const START: &[u8] = &[0, 10, 0, 10, 0, 9];
/// A `connection.start` has about 600 bytes.
const START_BYTES_MAX: u32 = 64 * 1024;

/// The server's product and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// `RabbitMQ`.
    pub(super) product: String,
    /// For example `4.0.5`.
    pub(super) version: String,
}

/// Asks the server at `uri`.
pub(super) async fn ask(
    operation: &'static str,
    uri: &AMQPUri,
    timeout: Duration,
) -> Result<Server, QueueError> {
    let unavailable = |reason: String| QueueError::Unavailable { operation, reason };
    match tokio::time::timeout(timeout, first_frame(uri)).await {
        Err(_) => Err(unavailable(format!("the broker did not answer within {timeout:?}"))),
        Ok(Err(error)) => Err(unavailable(redact(&error.to_string()))),
        Ok(Ok(payload)) => read_start(&payload)
            .ok_or_else(|| unavailable("what answers there does not speak AMQP 0-9-1".to_owned())),
    }
}

async fn first_frame(uri: &AMQPUri) -> std::io::Result<Vec<u8>> {
    let runtime = lapin::runtime::default_runtime().map_err(std::io::Error::other)?;
    let mut stream = uri.connect_async(&runtime).await?;
    stream.write_all(PROTOCOL_HEADER).await?;
    stream.flush().await?;
    // The type (1: a method), the channel (2 bytes) and the payload's length (4 bytes).
    let mut header = [0; 7];
    stream.read_exact(&mut header).await?;
    let [kind, _, _, length @ ..] = header;
    let length = u32::from_be_bytes(length);
    if kind != 1 || length > START_BYTES_MAX {
        return Ok(Vec::new());
    }
    let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}

fn read_start(payload: &[u8]) -> Option<Server> {
    let properties = payload.strip_prefix(START)?;
    let (_, properties) = parsing::parse_field_table(properties).ok()?;
    Some(Server {
        product: text(&properties, "product").unwrap_or_else(|| "an unnamed server".to_owned()),
        version: text(&properties, "version").unwrap_or_else(|| "of unknown version".to_owned()),
    })
}

fn text(table: &FieldTable, key: &str) -> Option<String> {
    match table.inner().get(key)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_has_product_and_version() {
        let mut payload = START.to_vec();
        let mut table = Vec::new();
        for (key, value) in [("product", "RabbitMQ"), ("version", "4.0.5")] {
            table.push(u8::try_from(key.len()).unwrap());
            table.extend(key.bytes());
            table.push(b'S');
            table.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            table.extend(value.bytes());
        }
        payload.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
        payload.extend(table);
        payload.extend(b"\0\0\0\x05PLAIN\0\0\0\x05en_US");
        let (product, version) = ("RabbitMQ".to_owned(), "4.0.5".to_owned());
        assert_eq!(read_start(&payload), Some(Server { product, version }));
        assert_eq!(read_start(b"HTTP/1.1 400 Bad Request"), None);
        assert_eq!(read_start(&payload[..20]), None);
    }
}
