//! The Lambda side of all functions: an event comes in, a run answers it, metrics and the response go out.
//!
//! `docs/settings.md` lists the environment variables.

mod error;
pub mod event;
mod function;
mod handler;
mod logging;

pub use error::HandlerError;
pub use function::{Function, Invocation, serve_function};
pub use handler::{Handler, MEMBER_SETTINGS, Response, SETTINGS, serve};
