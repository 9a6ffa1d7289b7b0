//! The engine of all functions. It knows AWS and no Lambda: a function, a terminal and an operator's audit use it alike.
//!
//! ```text
//! inventory ─► facts, once per key ─► each check ─► report ─► record ─► notify ─► record
//!  ListKeys     DescribeKey            its own calls            what changed, as pending, and as told
//! ```
//!
//! - [`evaluation`] judges the keys of a [`Target`](target::Target) by any number of [`Check`](check::Check)s and touches
//!   nothing.
//! - `notification` tells the team what changed, by the table and the topic of a [`Home`](target::Home), or leaves it to the
//!   reporter.
//! - [`run`] is one run of a function: the lease, both of them, and the lease given back.

pub mod check;
pub mod deadlines;
pub mod error;
pub mod evaluation;
pub mod findings_table;
mod held_key_id;
pub mod inventory;
pub mod member_accounts;
mod notification;
pub mod observer;
pub mod outcomes;
pub mod run;
pub mod settings;
pub mod sns;
pub mod target;
