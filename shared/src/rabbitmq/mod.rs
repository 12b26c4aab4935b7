//! Jobs in RabbitMQ.

mod settings;

pub use settings::RabbitSettings;
