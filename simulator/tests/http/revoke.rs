//! Token revocation.

use evergrant_simulator::{SimulatorSettings, TokenState};

use crate::support::{ID, Running, SECRET};

#[tokio::test]
async fn a_client_revokes_its_own_tokens_and_any_other_text_is_as_good_as_revoked() {
    let running = Running::start(SimulatorSettings::default()).await;
    let token = running.sign_in("alice");
    let revoke = async |token: &str, secret: &str| {
        let form = [("token", token), ("client_id", ID), ("client_secret", secret)];
        running.post("/revoke").form(&form).send().await.unwrap().status().as_u16()
    };
    assert_eq!(revoke(&token, "wrong").await, 401);
    assert_eq!(running.handle.token_state(&token), TokenState::Live);
    assert_eq!(revoke(&token, SECRET).await, 200);
    assert_eq!(running.handle.token_state(&token), TokenState::Revoked);
    assert_eq!(revoke("nobody's", SECRET).await, 200);
}
