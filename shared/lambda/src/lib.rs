//! The Lambda side of all functions: an event comes in, a run answers it, metrics and the response go out.
//!
//! `docs/settings.md` lists the environment variables.

mod error;
mod event;
mod handler;
mod logging;
mod service;

pub use error::HandlerError;
pub use handler::{Handler, Response, SETTINGS, serve};
pub use service::{Invocation, Service, serve_requests};
