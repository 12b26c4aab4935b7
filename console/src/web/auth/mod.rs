//! Who may.
//!
//! * `users`: the file of those who may log in. * `common_passwords`: what nobody may take.
//! * `cookies`: what a browser brings along. * `session`: who is logged in.
//! * `local_token`: who comes in where there are no users.
//! * `limits`: how often somebody may try. * `password_queue`: how many at once.
//! * `door`: who a request comes from, and whether it may come at all. * `login`: the page for it.

mod common_passwords;
mod cookies;
mod door;
mod limits;
mod local_token;
pub(super) mod login;
mod password_queue;
mod session;
pub(super) mod users;

pub(super) use cookies::Cookies;
pub(super) use door::{Arrival, Door, Identity, Refusal, Visit};
pub(super) use session::{Account, Activity, random};
pub(crate) use users::{Role, UserName, UsersFile};
