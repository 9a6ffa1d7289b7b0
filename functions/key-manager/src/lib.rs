//! Keys are created, rotated, replicated, retired and audited when somebody asks: never on a schedule.

pub mod policy;
pub mod request;

#[cfg(test)]
mod schema;
