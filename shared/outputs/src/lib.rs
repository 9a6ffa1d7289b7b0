//! The forms in which findings leave. Pure: a report goes in, text comes out.

pub mod alert;
mod alert_email;
mod alert_json;
pub mod digest;
pub mod digest_chat;
mod digest_email;
mod digest_json;
mod evidence;
pub mod metrics;
#[cfg(feature = "page")]
mod numbers;
pub mod operations;
#[cfg(feature = "page")]
pub mod page;
pub mod response;
#[cfg(feature = "scan")]
pub mod scan;
#[cfg(feature = "scan")]
pub mod scan_csv;
#[cfg(feature = "scan")]
pub mod scan_page;
#[cfg(feature = "scan")]
pub mod scan_table;
#[cfg(feature = "page")]
pub mod sheet;
mod updates;
mod words;
