//! Key IDs as small as they can be held: a listing is held whole, and an account may have 100,000 keys and more.

use std::cmp::Ordering;
use std::fmt;

/// A key ID, in 24 bytes where it has a form that KMS gives to IDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeldKeyId {
    /// A UUID.
    Uuid([u8; 16]),
    /// `mrk-` and 32 digits.
    MultiRegion([u8; 16]),
    /// Any other text.
    Other(Box<str>),
}

impl From<&str> for HeldKeyId {
    fn from(text: &str) -> Self {
        let number = |digits: &str| u128::from_str_radix(digits, 16).map(u128::to_be_bytes);
        let held = match text.strip_prefix("mrk-") {
            Some(digits) => number(digits).map(Self::MultiRegion),
            None => number(&text.replace('-', "")).map(Self::Uuid),
        };
        // Whatever reads as a number and is not written as KMS writes it stays as it is.
        held.ok().filter(|held| held.to_string() == text).unwrap_or_else(|| Self::Other(text.into()))
    }
}

impl fmt::Display for HeldKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MultiRegion(bytes) => write!(f, "mrk-{:032x}", u128::from_be_bytes(*bytes)),
            Self::Uuid(bytes) => {
                let digits = format!("{:032x}", u128::from_be_bytes(*bytes));
                for (place, digit) in digits.chars().enumerate() {
                    if matches!(place, 8 | 12 | 16 | 20) {
                        f.write_str("-")?;
                    }
                    write!(f, "{digit}")?;
                }
                Ok(())
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl HeldKeyId {
    fn bytes(&self) -> (u8, &[u8]) {
        match self {
            Self::Uuid(bytes) => (0, bytes),
            Self::MultiRegion(bytes) => (1, bytes),
            Self::Other(text) => (2, text.as_bytes()),
        }
    }

    /// The hash FNV-1a of it: the same in every version.
    fn hash(&self) -> u32 {
        let (kind, bytes) = self.bytes();
        let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        std::iter::once(&kind).chain(bytes).fold(0x811c_9dc5, mix)
    }
}

/// By hash. Keys whose IDs are neighbours may be of a kind (those of several Regions begin with `mrk-`), and a run over keys of
/// one kind waits for one quota while others lie idle.
impl Ord for HeldKeyId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hash().cmp(&other.hash()).then_with(|| self.bytes().cmp(&other.bytes()))
    }
}

impl PartialOrd for HeldKeyId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_comes_back_as_it_was_and_those_of_kms_are_small() {
        for (text, is_small) in [
            ("1234abcd-12ab-34cd-56ef-1234567890ab", true),
            ("00000000-0000-0000-0000-000000000000", true),
            ("mrk-1234abcd12ab34cd56ef1234567890ab", true),
            ("1234ABCD-12ab-34cd-56ef-1234567890ab", false),
            ("1234abcd12ab34cd56ef1234567890ab", false),
            ("1234abcd-12ab-34cd-56ef-1234567890a", false),
            ("1234abcd-12ab-34cd-56ef-1234567890abc", false),
            ("mrk-1", false),
            ("mrk-", false),
            ("+234abcd-12ab-34cd-56ef-1234567890ab", false),
            ("k1", false),
            ("", false),
            ("alias/ünïcode", false),
        ] {
            let held = HeldKeyId::from(text);
            assert_eq!(held.to_string(), text);
            assert_eq!(!matches!(held, HeldKeyId::Other(_)), is_small, "{text}");
        }
        assert_eq!(size_of::<HeldKeyId>(), 24);
    }

    #[test]
    fn neighbours_do_not_stand_together() {
        let ids = (0..1_000_u32).map(|n| HeldKeyId::from(format!("00000000-0000-4000-8000-{n:012x}").as_str()));
        let mut ids: Vec<HeldKeyId> = ids.collect();
        let first: Vec<HeldKeyId> = ids[..500].to_vec();
        ids.sort_unstable();
        let in_front = ids[..500].iter().filter(|id| first.contains(id)).count();
        assert!((200..300).contains(&in_front), "{in_front} of 500");
    }
}
