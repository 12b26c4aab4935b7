//! Who may.
//!
//! * `users`: the file of those who may log in. * `common_passwords`: what nobody may take.
//! * `cookies`: what a browser brings along. * `session`: who is logged in.
//! * `local_token`: who comes in where there are no users.
//! * `limits`: how often somebody may try. * `network`: whose address is whose. * `password_queue`: how many at once.
//! * `oidc`: an OpenID provider that says who somebody is.
//! * `access_policy`: who a request comes from, and whether it may come at all.
//! * `login`, `oidc_login`: the pages for it. * `record`: what the audit record has of them.

mod access_policy;
mod common_passwords;
mod cookies;
mod limits;
mod local_token;
pub(super) mod login;
mod network;
pub(crate) mod oidc;
pub(super) mod oidc_login;
mod password_queue;
pub(super) mod record;
mod session;
pub(super) mod users;

pub use access_policy::{AccessPolicy, DoorError, oidc_of};
pub(super) use access_policy::{AccessRefusal, BrowserVisit, RequestOrigin, UserIdentity};
pub(super) use cookies::Cookies;
pub(super) use oidc::Flow;
pub use oidc::{OidcSetupError, OpenIdClient};
pub(super) use session::{Account, Activity, random};
pub use users::{ConsoleUser, ConsoleUsers, UserName, UserRole, UsersError, UsersFile};
