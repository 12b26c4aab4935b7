//! Both ports in memory: real adapters without a server. What MongoDB and RabbitMQ promise holds here
//! too, and one conformance suite says so.
//!
//! They are for simulation, so all of it can be replayed: time is the runtime's, which can be paused,
//! and nothing depends on the order of a hash.
//!
//! * [`MemoryStore`]: documents, as MongoDB has them.
//! * [`MemoryBroker`] and [`MemoryQueue`]: a broker, and a connection to it that can be cut.
//! * [`MemoryClock`]: their time.

mod clock;
mod queue;
mod store;

pub use clock::MemoryClock;
pub use queue::{MemoryBroker, MemoryQueue, MemoryQueueSettings};
pub use store::MemoryStore;
