//! Inspects the broker for `evergrant doctor`.

use futures::future::join_all;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use super::errors::is_not_found;
use super::leftover::Leftover;
use super::names::short;
use super::server::Server;
use super::session::Session;
use super::topology::{Exchange, Queue, Topology, declare_exchange, declare_queue};
use evergrant_ports::{InspectionFinding, QueueError};

const OPERATION: &str = "inspect";

/// Inspects everything and creates nothing.
pub(super) async fn inspect(
    session: &Session,
    server: &Server,
    topology: &Topology,
) -> Result<Vec<InspectionFinding>, QueueError> {
    let connection = session.connection(OPERATION).await?;
    let host = session.address().uri(OPERATION)?.authority.host.clone();
    let vhost = connection.status().vhost();
    let mut findings = vec![InspectionFinding {
        what: "broker".to_owned(),
        ok: true,
        detail: format!("{} {} at {host}, virtual host {vhost}", server.product, server.version),
    }];
    for exchange in &topology.exchanges {
        let looked = inspect_exchange(session, exchange).await;
        findings.push(found(format!("exchange {}", exchange.name), looked));
    }
    // Concurrently, because each unanswered request takes the whole timeout.
    let browse_mutex = topology.queues.iter().map(|queue| inspect_queue(session, queue));
    for (queue, looked) in topology.queues.iter().zip(join_all(browse_mutex).await) {
        findings.push(found(format!("queue {}", queue.name), looked));
    }
    Ok(findings)
}

/// A queue of a shard that is no longer configured is drained by workers that consume all shards.
pub(super) fn leftover(queue: &Leftover) -> InspectionFinding {
    let Leftover { name, messages, consumers, .. } = queue;
    let detail = format!(
        "{messages} messages ready, {consumers} consumers; queue.shards does not include this shard any more. \
         Workers empty it; delete it when it has been empty for as long as the longest delay of \
         queue.retry_ladder"
    );
    InspectionFinding {
        what: format!("queue {name}"),
        ok: *messages == 0 || *consumers > 0,
        detail,
    }
}

/// A failed inspection is a finding as well, and the rest continues.
fn found(what: String, looked: Result<InspectionFinding, QueueError>) -> InspectionFinding {
    looked.unwrap_or_else(|error| InspectionFinding { what, ok: false, detail: error.to_string() })
}

async fn inspect_exchange(
    session: &Session,
    exchange: &Exchange,
) -> Result<InspectionFinding, QueueError> {
    let name = short(OPERATION, &exchange.name)?;
    // An error closes the channel, so each inspection has its own.
    let channel = session.channel(OPERATION).await?;
    let options = lapin::options::ExchangeDeclareOptions {
        passive: true,
        ..lapin::options::ExchangeDeclareOptions::default()
    };
    let asking =
        channel.exchange_declare(name, exchange.kind.clone(), options, FieldTable::default());
    let found = session.wait(OPERATION, asking).await?;
    let what = format!("exchange {}", exchange.name);
    match found {
        Ok(()) => {
            // It exists, so this only compares.
            let compared = declare_exchange(OPERATION, session, &channel, exchange).await;
            compare(what, compared, "as expected".to_owned())
        }
        Err(error) => missing(what, &error),
    }
}

async fn inspect_queue(session: &Session, queue: &Queue) -> Result<InspectionFinding, QueueError> {
    let name = short(OPERATION, &queue.name)?;
    let channel = session.channel(OPERATION).await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asking = channel.queue_declare(name, options, FieldTable::default());
    let found = session.wait(OPERATION, asking).await?;
    let what = format!("queue {}", queue.name);
    match found {
        Ok(found) => {
            let detail = format!(
                "{} messages ready, {} consumers",
                found.message_count(),
                found.consumer_count()
            );
            // It exists, so this only compares. A missing binding would be created, which `prepare`
            // does at every start, so bindings are left out.
            let unbound = Queue {
                name: queue.name.clone(),
                arguments: queue.arguments.clone(),
                binding: None,
            };
            let compared = declare_queue(OPERATION, session, &channel, &unbound).await;
            compare(what, compared, detail)
        }
        Err(error) => missing(what, &error),
    }
}

fn compare(
    what: String,
    compared: Result<(), QueueError>,
    detail: String,
) -> Result<InspectionFinding, QueueError> {
    match compared {
        Ok(()) => Ok(InspectionFinding { what, ok: true, detail }),
        Err(error @ QueueError::Mismatch { .. }) => {
            Ok(InspectionFinding { what, ok: false, detail: error.to_string() })
        }
        Err(error) => Err(error),
    }
}

fn missing(what: String, error: &lapin::Error) -> Result<InspectionFinding, QueueError> {
    if is_not_found(error) {
        let detail = "does not exist; the producer and the worker create it when they start";
        Ok(InspectionFinding { what, ok: false, detail: detail.to_owned() })
    } else {
        Err(super::errors::explain(OPERATION, error))
    }
}
