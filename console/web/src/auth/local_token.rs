//! What lets a browser into a console without users: a word in the address that the console prints at its
//! start. Whoever sees its terminal may come in; other accounts of the machine do not.

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::session::random;

/// A word that is good once. After that another one is.
pub(super) struct LocalToken {
    current: watch::Sender<String>,
}

impl LocalToken {
    pub(super) fn new() -> Self {
        Self { current: watch::Sender::new(random()) }
    }

    /// The word that is good now, and those that come after it.
    pub(super) fn watch(&self) -> watch::Receiver<String> {
        self.current.subscribe()
    }

    /// Uses up the word, if it is the one given.
    pub(super) fn redeem(&self, given: &str) -> bool {
        // Of their hashes, so that the time it takes tells nothing.
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
    fn a_word_is_good_once_and_another_one_follows() {
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
