//! Who may.
//!
//! * `users`: the file of those who may log in. * `session`: cookies and logins.
//! * `limits`: how often somebody may try. * `door`: who a request comes from, and whether it may come
//!   at all. * `login`: the page for it.

mod door;
mod limits;
pub(super) mod login;
mod session;
pub(super) mod users;

pub(super) use door::{Door, Identity, Refusal, Visit};
pub(super) use session::{Cookies, random};
pub(crate) use users::{Role, UserName, UsersFile};
