//! The forms in which findings leave. Pure: a report goes in, text comes out.

pub mod alert;
mod alert_email;
mod alert_json;
pub mod digest;
pub mod digest_chat;
mod digest_email;
mod digest_json;
pub mod metrics;
pub mod operations;
pub mod response;
mod updates;
mod words;
