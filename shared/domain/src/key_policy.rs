//! Key policies: what stands in one, whether two mean the same, and who may do what with the key.
//!
//! ```text
//! text ─► Document ─┬─► comparison: do the policies of a key and its replica mean the same?
//!                   └─► KeyPolicy ─► admissions: each Allow and principal, less what each Deny takes away for sure
//!                                      ─► public? foreign? bound to a source? who administers and uses? manageable?
//! ```
//!
//! All of it is pure and total: any text is a policy or [`Unreadable`], and any policy has an answer. What cannot be decided
//! for sure is said to be undecided, with the statements that it depends on.

mod access;
mod actions;
pub mod comparison;
mod condition;
mod document;
mod principal;
mod statement;

pub use access::{
    Access, Administrator, Admission, ForeignAccess, ForeignAdmission, Manageability, PublicAccess, SourcelessServices,
    Trusted,
};
pub use actions::Actions;
pub use condition::{Limit, Place};
pub use document::{Document, Label, Unreadable};
pub use principal::{Principal, is_account_id};
pub use statement::KeyPolicy;

#[cfg(test)]
mod tests;
