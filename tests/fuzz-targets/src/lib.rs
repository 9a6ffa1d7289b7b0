//! What fuzzing holds against any input: each target is one function over bytes, which panics where a promise is broken.
//!
//! `make fuzz` runs them under libFuzzer from `fuzz/`; this crate's tests run them over the saved corpus and generated input.

mod event_input;
mod exemption_tags;
mod kms_answers;
mod policy_comparison;
mod score_series;

pub use event_input::event_input;
pub use exemption_tags::exemption_tags;
pub use kms_answers::kms_answers;
pub use policy_comparison::policy_comparison;
pub use score_series::score_series;
