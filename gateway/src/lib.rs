//! The gateway: a valid access token, now.
//!
//! An application asks for a user's token and for how long it must be valid. The stored token is handed out if
//! it suffices. If not, the grant is refreshed under the same lease, within the same budget and by the same
//! code as every scheduled refresh, so that two can never spend one refresh token.
//!
//! * `token_service`: the stored token, or a refresh and then the new one.
//! * `refusal`: why there is none; `problem`: how that is told (RFC 9457).
//! * `caller`, `caller_keys`: who asks, by an API key.
//! * `routes`: what can be asked. `token_answer`: the answer and its caching headers.
//!
//! A read writes nothing. The gateway keeps no state, so any number of replicas may run.

mod caller;
mod caller_keys;
mod metrics;
mod problem;
mod refusal;
mod routes;
mod serve;
mod settings;
#[cfg(test)]
mod tests;
mod token_answer;
mod token_query;
mod token_service;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use evergrant_domain::ProviderId;
use evergrant_http_server::HttpLimits;
use evergrant_ports::Store;
use evergrant_telemetry::ProcessMetrics;
use evergrant_worker::OnDemandRefresher;

use crate::caller_keys::CallerKeys;
use crate::metrics::GatewayMetrics;
use crate::token_service::TokenService;

pub use serve::GatewayServer;
pub use settings::GatewaySettings;

/// What a gateway needs.
pub struct GatewayDeps {
    /// Where documents and keys live.
    pub store: Arc<dyn Store>,
    /// How long a caller waits for a refresh unless it says so, and at most.
    pub wait: WaitLimits,
    /// Where users of a provider sign in again, where that is known.
    pub sign_in: Vec<(ProviderId, String)>,
    /// Where metrics are registered.
    pub metrics: ProcessMetrics,
}

/// How long callers wait for a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitLimits {
    /// Unless the caller says so.
    pub usual: Duration,
    /// At most.
    pub max: Duration,
}

/// What all requests share.
pub(crate) struct Gateway {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: TokenService,
    pub(crate) keys: CallerKeys,
    pub(crate) metrics: GatewayMetrics,
}

/// What may be taken of the gateway's server: callers are programs that keep many connections.
pub const LIMITS: HttpLimits = HttpLimits {
    connections_max: 16_384,
    connections_per_address_max: 16_384,
    headers_max: 64,
    head_bytes_max: 16 * 1_024,
    head_timeout: Duration::from_secs(30),
    write_timeout: Duration::from_secs(20),
    keep_alive: true,
};

/// The gateway's HTTP interface, with what refreshes grants.
pub fn router(deps: GatewayDeps, refresher: Arc<OnDemandRefresher>) -> Router {
    let GatewayDeps { store, wait, sign_in, metrics } = deps;
    let tokens = TokenService {
        store: Arc::clone(&store),
        refresher,
        wait,
        sign_in: sign_in.into_iter().collect(),
    };
    let keys = CallerKeys::new(Arc::clone(&store));
    let metrics = GatewayMetrics::register(&metrics);
    routes::router(Arc::new(Gateway { store, tokens, keys, metrics }))
}
