//! The end of a simulator.

use evergrant_simulator::{SimulatorSettings, TokenState};

use crate::support::Running;

#[tokio::test]
async fn it_stops_at_once_when_nothing_is_in_flight() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let token = simulator.sign_in("ada");
    simulator.refreshed(&token).await;
    simulator.stop().await;
}

#[tokio::test]
async fn replies_that_never_come_do_not_hold_it() {
    let mut settings = SimulatorSettings::default();
    settings.faults.no_reply = 1.0;
    let simulator = Running::start(settings).await;
    let token = simulator.sign_in("ada");
    let _waiting = simulator.send_raw(&token).await;
    while simulator.handle.token_state(&token) == TokenState::Live {
        tokio::task::yield_now().await;
    }
    simulator.stop().await;
}
