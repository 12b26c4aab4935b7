//! Batched acknowledgements.
//!
//! A group commit ends many deliveries at once, and each acknowledgement is work for the broker,
//! especially if the queue is replicated. So they are gathered for a moment and sent in one frame
//! as far as possible (see `ledger`).

mod ledger;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use lapin::Channel;
use lapin::options::BasicAckOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use self::ledger::{AckFrame, Ledger};
use super::errors::explain;
use super::session::Session;
use evergrant_ports::{DeliveryAcker, QueueError};

const OPERATION: &str = "ack";
/// How long an acknowledgement waits for others to share its frame.
const ACK_BATCH_DELAY: Duration = Duration::from_millis(2);
/// How many are received at once.
const AT_ONCE: usize = 1_024;

type Reply = oneshot::Sender<Result<(), QueueError>>;

/// One settled delivery.
struct AckedDelivery {
    acker: lapin::Acker,
    reply: Reply,
}

/// Acknowledges the deliveries of one channel.
#[derive(Clone)]
pub(super) struct Acks(mpsc::UnboundedSender<(u64, AckedDelivery)>);

impl Acks {
    /// For the deliveries of `channel`, which stays open while one of them may be acknowledged:
    /// closing it redelivers everything unacknowledged.
    pub(super) fn start(session: Arc<Session>, channel: Channel) -> Self {
        // Bounded by the prefetch.
        let (acks, settled) = mpsc::unbounded_channel();
        tokio::spawn(tell_all(session, channel, settled));
        Self(acks)
    }

    /// The right to acknowledge one delivery.
    pub(super) fn acker(&self, number: u64, acker: lapin::Acker) -> Box<dyn DeliveryAcker> {
        Box::new(GroupedAcker { number, acker, acks: self.clone() })
    }
}

struct GroupedAcker {
    number: u64,
    acker: lapin::Acker,
    acks: Acks,
}

#[async_trait]
impl DeliveryAcker for GroupedAcker {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        let Self { number, acker, acks } = *self;
        let (reply, told) = oneshot::channel();
        acks.0.send((number, AckedDelivery { acker, reply })).map_err(|_| closed())?;
        told.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Ends when no delivery of the channel can be acknowledged any more.
async fn tell_all(
    session: Arc<Session>,
    _channel: Channel,
    mut settled: mpsc::UnboundedReceiver<(u64, AckedDelivery)>,
) {
    let (mut ledger, mut news) = (Ledger::new(), Vec::new());
    loop {
        let receiving = settled.recv_many(&mut news, AT_ONCE);
        let received = match ledger.due() {
            Some(due) => timeout_at(due, receiving).await.ok(),
            None => Some(receiving.await),
        };
        match received {
            Some(0) => return tell(&session, ledger.rest()).await,
            Some(_) => {
                sleep(ACK_BATCH_DELAY).await;
                while let Ok(more) = settled.try_recv() {
                    news.push(more);
                }
            }
            None => {}
        }
        let now = Instant::now();
        for (number, settled) in news.drain(..) {
            ledger.settle(number, settled, now);
        }
        tell(&session, ledger.ripe(now)).await;
    }
}

async fn tell(session: &Session, groups: Vec<AckFrame<AckedDelivery>>) {
    join_all(groups.into_iter().map(|group| tell_group(session, group))).await;
}

async fn tell_group(session: &Session, group: AckFrame<AckedDelivery>) {
    let options = BasicAckOptions { multiple: group.is_multiple() };
    let Some(last) = group.0.last() else { return };
    let told = match session.wait(OPERATION, last.acker.ack(options)).await {
        Ok(Ok(true)) => Ok(()),
        // lapin's value for "not acknowledged": the channel is closed.
        Ok(Ok(false)) => Err(closed()),
        Ok(Err(error)) => Err(explain(OPERATION, &error)),
        Err(error) => Err(error),
    };
    for AckedDelivery { reply, .. } in group.0 {
        // A caller that is gone does not need the reply.
        let _ = reply.send(told.clone());
    }
}

fn closed() -> QueueError {
    let reason = "the channel of the delivery is closed".to_owned();
    QueueError::Unavailable { operation: OPERATION, reason }
}
