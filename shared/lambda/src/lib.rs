//! The Lambda side of all functions: an event comes in, a run answers it, metrics and the response go out.
//!
//! `docs/settings.md` lists the environment variables.

mod error;
mod event;
mod handler;
mod logging;

pub use error::HandlerError;
pub use handler::{Handler, Response, serve};
