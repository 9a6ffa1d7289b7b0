//! The two halves of a round trip: something is made with a key, and the key, here or in another Region, takes it back.
//!
//! What goes in is random and leaves this module in no log, no verdict and no error.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use aws::kms::Kms;
use aws::operation::{Cryptography, DECRYPT, ENCRYPT, GENERATE_MAC, Operation, SIGN, VERIFY, VERIFY_MAC};
use aws::presence::MemberPresence;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::MessageType;
use domain::failure::Failure;
use domain::key::Key;
use ring::rand::{SecureRandom, SystemRandom};

use crate::controls::{ProbeError, ProbeKind, ProbeMethod};

/// Encryption context of the probe: key policies and the function's role can tell it by that.
const CONTEXT: (&str, &str) = ("purpose", "kms-compliance-probe");

/// What goes in. So short a message fits into every kind of key.
pub struct Plaintext([u8; 32]);

/// What came out: ciphertext, signature or MAC.
pub struct ProbeOutput(Blob);

/// How a key took back what was made.
#[derive(Debug)]
pub struct ProbeCheck {
    /// Is it what went in?
    is_the_same: bool,
    /// How long the call took.
    pub milliseconds: f64,
}

impl ProbeCheck {
    /// As the end of a round trip by that operation.
    ///
    /// # Errors
    /// It is not what went in.
    pub fn result(&self, operation: Operation) -> Result<(), ProbeError> {
        if self.is_the_same { Ok(()) } else { Err(ProbeError::Differs { operation: operation.name() }) }
    }
}

impl Plaintext {
    /// A new one.
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        // Where the system has no randomness to give, TLS has none either, and no call is made at all.
        let _ = SystemRandom::new().fill(&mut bytes);
        Self(bytes)
    }

    fn blob(&self) -> Blob {
        Blob::new(self.0)
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext")
    }
}

impl fmt::Debug for ProbeOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeOutput")
    }
}

/// How one key is tried out.
#[derive(Debug)]
pub struct Probe<'a> {
    method: &'a ProbeMethod,
    quota: Cryptography,
    plaintext: &'a Plaintext,
}

impl<'a> Probe<'a> {
    /// The probe of that key, and of its relatives in other Regions.
    pub fn new(key: &Key, method: &'a ProbeMethod, plaintext: &'a Plaintext) -> Self {
        let quota = match method.kind {
            _ if key.custom_key_store_id.is_some() => Cryptography::CustomKeyStore,
            ProbeKind::SymmetricEncryption | ProbeKind::Mac => Cryptography::Symmetric,
            _ if method.algorithm.starts_with("RSA") => Cryptography::Rsa,
            _ => Cryptography::EllipticCurve,
        };
        Self { method, quota, plaintext }
    }

    /// The operation that begins the round trip.
    pub fn making(&self) -> Operation {
        match self.method.kind {
            ProbeKind::SymmetricEncryption | ProbeKind::AsymmetricEncryption => ENCRYPT.with(self.quota),
            ProbeKind::Signature => SIGN.with(self.quota),
            ProbeKind::Mac => GENERATE_MAC.with(self.quota),
        }
    }

    /// The operation that ends it.
    pub fn taking(&self) -> Operation {
        match self.method.kind {
            ProbeKind::SymmetricEncryption | ProbeKind::AsymmetricEncryption => DECRYPT.with(self.quota),
            ProbeKind::Signature => VERIFY.with(self.quota),
            ProbeKind::Mac => VERIFY_MAC.with(self.quota),
        }
    }

    /// Encrypts, signs or makes a MAC with the key of that ID; and how many milliseconds the call took.
    ///
    /// # Errors
    /// The call failed.
    pub async fn make(&self, kms: &Kms, key_id: &str) -> Result<(ProbeOutput, f64), Failure> {
        let operation = self.making();
        let algorithm = self.method.algorithm.as_str();
        let plaintext = || self.plaintext.blob();
        let clock = Stopwatch::default();
        let made = match self.method.kind {
            ProbeKind::SymmetricEncryption | ProbeKind::AsymmetricEncryption => {
                let call = async |kms: &Client| {
                    let request = kms.encrypt().key_id(key_id).plaintext(plaintext());
                    let request = request.encryption_algorithm(algorithm.into()).set_encryption_context(self.context());
                    clock.time(request.send()).await
                };
                kms.call(operation, call).await?.ciphertext_blob
            }
            ProbeKind::Signature => {
                let call = async |kms: &Client| {
                    let request = kms.sign().key_id(key_id).message(plaintext()).message_type(MessageType::Raw);
                    clock.time(request.signing_algorithm(algorithm.into()).send()).await
                };
                kms.call(operation, call).await?.signature
            }
            ProbeKind::Mac => {
                let call = async |kms: &Client| {
                    let request = kms.generate_mac().key_id(key_id).message(plaintext());
                    clock.time(request.mac_algorithm(algorithm.into()).send()).await
                };
                kms.call(operation, call).await?.mac
            }
        };
        let made = made.ok_or_else(|| operation.unreadable("the answer has nothing in it"))?;
        Ok((ProbeOutput(made), clock.milliseconds()))
    }

    /// Decrypts or verifies with the key of that ID.
    ///
    /// # Errors
    /// The call failed.
    pub async fn take(&self, kms: &Kms, key_id: &str, made: &ProbeOutput) -> Result<ProbeCheck, Failure> {
        let operation = self.taking();
        let algorithm = self.method.algorithm.as_str();
        let (plaintext, made) = (|| self.plaintext.blob(), || made.0.clone());
        let clock = Stopwatch::default();
        let is_the_same = match self.method.kind {
            ProbeKind::SymmetricEncryption | ProbeKind::AsymmetricEncryption => {
                let call = async |kms: &Client| {
                    let request = kms.decrypt().key_id(key_id).ciphertext_blob(made());
                    let request = request.encryption_algorithm(algorithm.into()).set_encryption_context(self.context());
                    clock.time(request.send()).await
                };
                let answer = kms.call(operation, call).await?;
                answer.plaintext.map(|it| it.as_ref() == self.plaintext.0)
            }
            ProbeKind::Signature => {
                let valid_is_there = MemberPresence::of("SignatureValid");
                let call = async |kms: &Client| {
                    let request = kms.verify().key_id(key_id).message(plaintext()).message_type(MessageType::Raw);
                    let request = request.signature(made()).signing_algorithm(algorithm.into());
                    clock.time(request.customize().interceptor(valid_is_there.clone()).send()).await
                };
                let answer = kms.call(operation, call).await?;
                valid_is_there.get().then_some(answer.signature_valid)
            }
            ProbeKind::Mac => {
                let valid_is_there = MemberPresence::of("MacValid");
                let call = async |kms: &Client| {
                    let request = kms.verify_mac().key_id(key_id).message(plaintext()).mac(made());
                    let request = request.mac_algorithm(algorithm.into());
                    clock.time(request.customize().interceptor(valid_is_there.clone()).send()).await
                };
                let answer = kms.call(operation, call).await?;
                valid_is_there.get().then_some(answer.mac_valid)
            }
        };
        match is_the_same {
            Some(is_the_same) => Ok(ProbeCheck { is_the_same, milliseconds: clock.milliseconds() }),
            None => Err(operation.unreadable("the answer does not say what it is asked")),
        }
    }

    fn context(&self) -> Option<HashMap<String, String>> {
        let (name, value) = CONTEXT;
        (self.method.kind == ProbeKind::SymmetricEncryption).then(|| [(name.to_owned(), value.to_owned())].into())
    }
}

/// How long the last try of a call took, without the wait for its slot in the quota.
#[derive(Default)]
struct Stopwatch(Cell<Duration>);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "how long a step takes is measured, and no verdict depends on it")]
    async fn time<T>(&self, call: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let answer = call.await;
        self.0.set(start.elapsed());
        answer
    }

    fn milliseconds(&self) -> f64 {
        // To a hundredth: more is noise.
        (self.0.get().as_secs_f64() * 100_000.0).round() / 100.0
    }
}
