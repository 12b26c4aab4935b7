//! End to end: documents in MongoDB, jobs in RabbitMQ, separate processes, a strict provider.

mod bad_input;
mod embedded;
mod embedded_cli;
mod files;
mod gateway;
mod kills;
mod operator;
mod pipeline;
mod providers;
mod revocation;
mod shutdown;
mod strangers;
mod two_producers;
