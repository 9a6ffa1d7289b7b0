//! Measures the product beside other ways to ask KMS the same questions: `make bench`, `make bench-peers`.
//!
//! A *contestant* is a program that asks a fleet of the simulated fleet's which of its keys do not rotate. `bench` runs
//! them in turns over the same fleet in one run, each time in a new process. Wall time is taken from the start of the
//! process to its result; CPU time and peak memory are those of that process alone.

pub mod contestant;
pub mod fleet;
pub mod machine;
pub mod plot;
pub mod report;
pub mod startup;
pub mod tls;
pub mod tool;

/// What a contestant that is no Lambda function prints when it has its result, before it waits for its input to end.
pub const DONE: &str = "done ";
