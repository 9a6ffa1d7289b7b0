//! The forms in which findings leave. Pure: a report goes in, text comes out.

pub mod alert;
mod alert_email;
mod alert_json;
mod evidence;
#[cfg(feature = "page")]
mod numbers;
#[cfg(feature = "page")]
pub mod page;
pub mod digest;
pub mod digest_chat;
mod digest_email;
mod digest_json;
pub mod metrics;
pub mod operations;
pub mod response;
#[cfg(feature = "scan")]
pub mod scan;
#[cfg(feature = "scan")]
pub mod scan_csv;
#[cfg(feature = "scan")]
pub mod scan_page;
#[cfg(feature = "scan")]
pub mod scan_table;
mod updates;
mod words;
