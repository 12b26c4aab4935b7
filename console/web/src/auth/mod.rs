//! Authentication and access.
//!
//! * `users`: the users file. `common_passwords`: passwords that are refused.
//! * `cookies`: the console's cookies. `session`: who is logged in.
//! * `local_token`: access without users.
//! * `limits`: rate limits of logins. `network`: networks of addresses. `password_queue`:
//!   concurrent hashing.
//! * `oidc`: logins with an OpenID provider.
//! * `access_policy`: who sends a request, and whether it is admitted.
//! * `login`, `oidc_login`: the login pages. `record`: logins in the audit record.

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
