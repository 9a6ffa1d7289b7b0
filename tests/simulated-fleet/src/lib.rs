//! A simulated fleet of KMS keys: test equipment, not part of the product.
//!
//! [`Fleet`] serves a [`FleetDescription`] over KMS's JSON protocol, records what is published over SNS's query protocol,
//! keeps the items that the findings ledger writes over DynamoDB's, and gives the keys' usage over CloudWatch's. [`Function`] runs a function's real binary against it, under the Lambda Runtime API.

mod calls;
mod cloudwatch;
mod crypto;
pub mod description;
mod dynamodb;
mod error;
mod expression;
mod faults;
mod fleet;
mod kms;
mod model;
mod operation;
mod regions;
mod reshape;
mod runtime_api;
mod server;
mod sns;
mod stop;
mod table;
pub mod trial;

pub use description::{DescriptionError, FleetDescription, KeyDescription};
pub use faults::{Fault, FaultKind};
pub use fleet::Fleet;
pub use model::generated_key_id;
pub use operation::Operation;
pub use regions::RegionDescription;
pub use runtime_api::{Function, FunctionError, Invocation, Outcome};
pub use sns::Published;
pub use stop::When;
pub use table::{Write, WriteKind};

#[cfg(test)]
mod tests;
