//! What a statement lets do.

use std::collections::BTreeSet;

use super::condition::matches_wildcards;

/// An action of KMS, and what it does to a key.
type Action = (&'static str, Kind);

/// What an action does to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It changes the key, who may reach it, or what may become of it.
    Administers,
    /// It uses the key's material.
    Uses,
    /// It shows something of the key.
    Reads,
    /// Neither of them.
    Other,
}

use Kind::{Administers, Other, Reads, Uses};

/// All actions of KMS (Service Authorization Reference, "Actions, resources, and condition keys for AWS Key Management
/// Service").
const KMS: [Action; 58] = [
    ("CancelKeyDeletion", Other),
    ("ConnectCustomKeyStore", Other),
    ("CreateAlias", Other),
    ("CreateCustomKeyStore", Other),
    ("CreateGrant", Administers),
    ("CreateKey", Other),
    ("Decapsulate", Uses),
    ("Decrypt", Uses),
    ("DeleteAlias", Other),
    ("DeleteCustomKeyStore", Other),
    ("DeleteImportedKeyMaterial", Administers),
    ("DeriveSharedSecret", Uses),
    ("DescribeCustomKeyStores", Reads),
    ("DescribeKey", Reads),
    ("DisableKey", Administers),
    ("DisableKeyRotation", Administers),
    ("DisconnectCustomKeyStore", Other),
    ("EnableKey", Other),
    ("EnableKeyRotation", Other),
    ("Encapsulate", Uses),
    ("Encrypt", Uses),
    ("GenerateDataKey", Uses),
    ("GenerateDataKeyPair", Uses),
    ("GenerateDataKeyPairWithoutPlaintext", Uses),
    ("GenerateDataKeyWithoutPlaintext", Uses),
    ("GenerateMac", Uses),
    ("GenerateRandom", Other),
    ("GetKeyLastUsage", Reads),
    ("GetKeyPolicy", Reads),
    ("GetKeyRotationStatus", Reads),
    ("GetParametersForImport", Reads),
    ("GetPublicKey", Reads),
    ("ImportKeyMaterial", Administers),
    ("ListAliases", Reads),
    ("ListGrants", Reads),
    ("ListKeyPolicies", Reads),
    ("ListKeyRotations", Reads),
    ("ListKeys", Reads),
    ("ListResourceTags", Reads),
    ("ListRetirableGrants", Reads),
    ("PutKeyPolicy", Administers),
    ("ReEncryptFrom", Uses),
    ("ReEncryptTo", Uses),
    ("ReplicateKey", Administers),
    ("RetireGrant", Other),
    ("RevokeGrant", Administers),
    ("RotateKeyOnDemand", Other),
    ("ScheduleKeyDeletion", Administers),
    ("Sign", Uses),
    ("SynchronizeMultiRegionKey", Other),
    ("TagResource", Administers),
    ("UntagResource", Administers),
    ("UpdateAlias", Other),
    ("UpdateCustomKeyStore", Other),
    ("UpdateKeyDescription", Other),
    ("UpdatePrimaryRegion", Administers),
    ("Verify", Uses),
    ("VerifyMac", Uses),
];

/// A set of KMS actions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// A bit for each of [`KMS`].
    known: u64,
    /// Actions that a policy names and this version does not know, in lower case.
    unknown: BTreeSet<String>,
}

impl Actions {
    /// Every action.
    const EVERY: u64 = (1 << KMS.len()) - 1;

    /// The action of that name, such as `PutKeyPolicy`.
    pub(super) fn only(name: &str) -> Self {
        Self::known(|(known, _)| known == name)
    }

    fn known(wanted: impl Fn(Action) -> bool) -> Self {
        let known = KMS.into_iter().enumerate().filter(|(_, action)| wanted(*action));
        Self { known: known.fold(0, |known, (place, _)| known | (1 << place)), unknown: BTreeSet::new() }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.known == 0 && self.unknown.is_empty()
    }

    /// Is it every action of KMS?
    pub fn is_every(&self) -> bool {
        self.known == Self::EVERY
    }

    /// Do they show something of the key, and no more?
    pub fn only_read(&self) -> bool {
        self.unknown.is_empty() && self.known & !Self::known(|(_, kind)| kind == Reads).known == 0
    }

    /// Do they change the key, who may reach it, or what may become of it?
    pub fn administer(&self) -> bool {
        self.known & Self::known(|(_, kind)| kind == Administers).known != 0
    }

    /// Do they use the key's material? An action that this version does not know may.
    pub fn use_material(&self) -> bool {
        self.known & Self::known(|(_, kind)| kind == Uses).known != 0
    }

    /// Is that one among them?
    pub fn has(&self, name: &str) -> bool {
        self.known & Self::only(name).known != 0
    }

    /// Those of both.
    pub(super) fn and(&self, other: &Self) -> Self {
        let unknown = self.unknown.intersection(&other.unknown).cloned().collect();
        Self { known: self.known & other.known, unknown }
    }

    /// Those that the other does not have.
    pub(super) fn without(&self, other: &Self) -> Self {
        let unknown = self.unknown.difference(&other.unknown).cloned().collect();
        Self { known: self.known & !other.known, unknown }
    }

    /// Those of either.
    pub(super) fn or(&self, other: &Self) -> Self {
        let unknown = self.unknown.union(&other.unknown).cloned().collect();
        Self { known: self.known | other.known, unknown }
    }

    /// Their names, as a policy would write them; `kms:*` for all.
    pub fn names(&self) -> Vec<String> {
        if self.is_every() {
            return vec!["kms:*".to_owned()];
        }
        let known = KMS.iter().enumerate().filter(|(place, _)| self.known & (1 << place) != 0);
        known.map(|(_, (name, _))| format!("kms:{name}")).chain(self.unknown.iter().cloned()).collect()
    }
}

/// Which actions a statement is about: `Action` or `NotAction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patterns {
    /// In lower case.
    pub(super) patterns: Vec<String>,
    /// `NotAction`: all but those.
    pub(super) negated: bool,
}

impl Patterns {
    fn covers(&self, action: &str) -> bool {
        self.negated != self.patterns.iter().any(|pattern| matches_wildcards(pattern, action))
    }

    /// The actions that the policy names and this version does not know.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &String> {
        let named = |pattern: &&String| pattern.starts_with("kms:") && !pattern.contains(['*', '?']);
        self.patterns.iter().filter(named).filter(|pattern| !KMS.iter().any(|(name, _)| full(name) == **pattern))
    }

    /// The actions that it covers of KMS's and of those `unknown` ones.
    pub(super) fn actions(&self, unknown: &BTreeSet<String>) -> Actions {
        let known = Actions::known(|(name, _)| self.covers(&full(name)));
        Actions { unknown: unknown.iter().filter(|action| self.covers(action)).cloned().collect(), ..known }
    }
}

fn full(name: &str) -> String {
    format!("kms:{}", name.to_ascii_lowercase())
}
