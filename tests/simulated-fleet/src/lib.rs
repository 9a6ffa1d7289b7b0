//! A simulated fleet of KMS keys: test equipment, not part of the product.
//!
//! [`Fleet`] serves a [`FleetDescription`] over KMS's JSON protocol, records what is published over SNS's query protocol,
//! keeps the items that the findings ledger writes over DynamoDB's, and gives the keys' usage over CloudWatch's; it says whose its callers' credentials are, and which Regions there are. [`FunctionProcess`] runs a function's real binary against it, under the Lambda Runtime API.

pub mod accounts;
mod calls;
mod changes;
mod cloudwatch;
mod combinations;
mod crash_point;
mod crypto;
pub mod description;
mod dynamodb;
mod error;
mod events;
mod expression;
pub mod fault_matrix;
mod faults;
mod fleet;
pub mod harness;
mod kms;
mod model;
mod operation;
mod overrides;
pub mod process;
mod quotas;
mod regions;
mod runtime_api;
mod server;
mod sns;
mod table;
mod tagging;

pub use accounts::{AccountDescription, AssumedRole};
pub use changes::{Delays, Pending};
pub use crash_point::When;
pub use description::{DescriptionError, FleetDescription, KeyDescription};
pub use events::Event;
pub use faults::{Fault, FaultKind};
pub use fleet::Fleet;
pub use model::generated_key_id;
pub use operation::Operation;
pub use regions::RegionDescription;
pub use runtime_api::{FunctionError, FunctionProcess, Invocation, Outcome};
pub use sns::Published;
pub use table::{Write, WriteKind};

#[cfg(test)]
mod tests;
