//! The token that admits a browser to a console without users: it is part of the address that the
//! console prints at its start. A person who sees its terminal may use it; other accounts of the
//! machine may not.

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::session::random;

/// A token that can be used once. Then it is replaced.
pub(super) struct LocalToken {
    current: watch::Sender<String>,
}

impl LocalToken {
    pub(super) fn new() -> Self {
        Self { current: watch::Sender::new(random()) }
    }

    /// The present token, and its successors.
    pub(super) fn watch(&self) -> watch::Receiver<String> {
        self.current.subscribe()
    }

    /// Uses up the token, if `given` is the present one.
    pub(super) fn redeem(&self, given: &str) -> bool {
        // Compares hashes, so that the duration reveals nothing.
        let given = Sha256::digest(given);
        self.current.send_if_modified(|current| {
            let is_right = Sha256::digest(&*current) == given;
            if is_right {
                *current = random();
            }
            is_right
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_token_is_valid_once_and_replaced() {
        let token = LocalToken::new();
        let mut words = token.watch();
        let first = words.borrow_and_update().clone();
        assert!(first.len() >= 64 && !token.redeem("") && !token.redeem(&first[1..]));
        assert!(token.redeem(&first) && !token.redeem(&first));
        assert!(words.has_changed().unwrap());
        let second = words.borrow_and_update().clone();
        assert!(token.redeem(&second));
    }
}
