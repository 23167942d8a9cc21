//! The console: a page, an HTTP API, live events, metrics and alarms over what a server protects.
//!
//! It knows nothing of repositories: the server implements [`estate::Estate`]. The API is described
//! in `openapi.yaml`; [`model`] are its types.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`estate`], [`model`], [`fault`] | what the server tells and does, in which words |
//! | [`settings`] | the file of the console's settings |
//! | [`accounts`] | users, sessions, tokens: who asks |
//! | [`guard`] | what every request must satisfy, and the headers of every answer |
//! | [`api`], [`assets`] | the operations, and the page |
//! | [`watch`] | looks at the estate once a second, and tells what changed |
//! | [`jobs`] | acts that take long |
//! | [`alarms`], [`notify`] | what a person must know, and how it is sent |
//! | [`metrics`] | the same for Prometheus |
//! | [`serve`] | connections and TLS |
//! | `received` | requests with all of their body |
//! | `clock`, `counts` | the time of the API; how many there are at once |
#![forbid(unsafe_code)]

pub mod accounts;
pub mod alarms;
pub mod api;
pub mod assets;
mod clock;
mod counts;
pub mod estate;
pub mod fault;
pub mod guard;
pub mod jobs;
pub mod metrics;
pub mod model;
pub mod notify;
mod received;
pub mod serve;
pub mod settings;
pub mod watch;
