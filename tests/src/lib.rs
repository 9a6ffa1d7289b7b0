//! A simulated fleet of KMS keys: test equipment, not part of the product.
//!
//! [`Fleet`] serves a [`FleetDescription`] over KMS's JSON protocol and records what is published over SNS's query
//! protocol. [`Function`] runs a function's real binary against it, under the Lambda Runtime API.

mod calls;
pub mod description;
mod error;
mod faults;
mod fleet;
mod kms;
mod model;
mod operation;
mod reshape;
mod runtime_api;
mod server;
mod sns;
pub mod trial;

pub use description::{DescriptionError, FleetDescription, KeyDescription};
pub use faults::{Fault, FaultKind};
pub use fleet::Fleet;
pub use model::generated_key_id;
pub use operation::Operation;
pub use runtime_api::{Function, FunctionError, Invocation, Outcome};
pub use sns::Published;

#[cfg(test)]
mod tests;
