//! Composite ML-DSA (draft-ietf-lamps-pq-composite-sigs, bytes fixed since -15): both parts sign
//! M' = Prefix || Label || len(ctx) || ctx || SHA-512(M), and ML-DSA does so with the Label as its own context. Keys
//! and signatures are those of ML-DSA, which have one length each, and then those of the traditional algorithm.

use crate::arena::Slot;
use crate::ecdsa::{Ecdsa, Encoding};
use crate::evp::{Curve, EC_PRIVATE_KEY_BYTES, EvpKey, EvpKind, clear_errors};
use crate::failure::{Failure, Status};
use crate::input::{Form, Hash, Input};
use crate::mldsa::{self, ML_DSA_44, ML_DSA_65, ParameterSet};
use crate::{drbg, ed25519, keys};

const PREFIX: &[u8] = b"CompositeAlgorithmSignatures2025";
const PRE_HASH: Hash = Hash::Sha512;
/// Prefix of 32, the longest label of 33, a length, a context of 255, a digest of 64.
const MAX_REPRESENTATIVE_BYTES: usize = 32 + 33 + 1 + 255 + 64;
const P256: Ecdsa = Ecdsa { curve: Curve::P256, hash: Hash::Sha256, encoding: Encoding::Der };

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ed25519,
    P256,
}

/// One of the draft's algorithms.
pub struct Composite {
    label: &'static [u8],
    ml_dsa: &'static ParameterSet,
    kind: Kind,
}

pub static MLDSA65_ED25519: Composite =
    Composite { label: b"COMPSIG-MLDSA65-Ed25519-SHA512", ml_dsa: &ML_DSA_65, kind: Kind::Ed25519 };
pub static MLDSA44_ED25519: Composite =
    Composite { label: b"COMPSIG-MLDSA44-Ed25519-SHA512", ml_dsa: &ML_DSA_44, kind: Kind::Ed25519 };
pub static MLDSA65_P256: Composite =
    Composite { label: b"COMPSIG-MLDSA65-ECDSA-P256-SHA512", ml_dsa: &ML_DSA_65, kind: Kind::P256 };

/// Both parts, in the arena.
pub struct PrivateKey {
    of: &'static Composite,
    ml_dsa: mldsa::PrivateKey,
    traditional: Traditional,
}

enum Traditional {
    Ed25519(Slot),
    P256(EvpKey),
}

impl Composite {
    /// The draft's form of a private key: the seed of ML-DSA, then that of Ed25519 or an ECPrivateKey.
    pub fn generate(&self) -> Result<Slot, Failure> {
        let mut secret = keys::alloc(self.secret_bytes())?;
        let (seed, traditional) = secret.bytes_mut().split_at_mut(mldsa::SEED_BYTES);
        drbg::fill(seed)?;
        match self.kind {
            Kind::Ed25519 => drbg::fill(traditional)?,
            Kind::P256 => {
                let key = EvpKey::generate(EvpKind::Ec(Curve::P256))?;
                key.and_then(|key| key.write_ec_private_key(traditional)).ok_or_else(|| {
                    clear_errors();
                    Failure::new("INTERNAL", "key generation failed")
                })?;
            }
        }
        Ok(secret)
    }

    /// Refuses what is no secret of this algorithm.
    pub fn public_key(&self, secret: &[u8]) -> Result<Vec<u8>, Failure> {
        let refused = || Failure::argument("not a private key of this composite algorithm");
        if secret.len() != self.secret_bytes() {
            return Err(refused());
        }
        let (seed, traditional) = secret.split_at(mldsa::SEED_BYTES);
        let mut public_key = vec![0; self.ml_dsa.public_key_bytes];
        let mut expanded = keys::alloc(self.ml_dsa.secret_key_bytes)?;
        self.ml_dsa.expand(seed, expanded.bytes_mut(), &mut public_key)?;
        match self.kind {
            Kind::Ed25519 => public_key.extend(ed25519::expand(traditional)?.1),
            Kind::P256 => {
                let key = EvpKey::from_ec_private_key(traditional)?.and_then(|key| key.public_key());
                clear_errors();
                public_key.extend(key.ok_or_else(refused)?);
            }
        }
        Ok(public_key)
    }

    pub fn open(&'static self, secret: &[u8]) -> Result<PrivateKey, Status> {
        if secret.len() != self.secret_bytes() {
            return Err(Status::KeyUnusable);
        }
        let internal = |_| Status::Internal;
        let (seed, traditional) = secret.split_at(mldsa::SEED_BYTES);
        let ml_dsa = mldsa::PrivateKey::from_seed(self.ml_dsa, seed).map_err(internal)?;
        let traditional = match self.kind {
            Kind::Ed25519 => Traditional::Ed25519(ed25519::expand(traditional).map_err(internal)?.0),
            Kind::P256 => {
                let key = EvpKey::from_ec_private_key(traditional).map_err(internal)?;
                Traditional::P256(key.ok_or_else(|| {
                    clear_errors();
                    Status::KeyUnusable
                })?)
            }
        };
        Ok(PrivateKey { of: self, ml_dsa, traditional })
    }

    fn secret_bytes(&self) -> usize {
        mldsa::SEED_BYTES
            + match self.kind {
                Kind::Ed25519 => ed25519::SEED_BYTES,
                Kind::P256 => EC_PRIVATE_KEY_BYTES,
            }
    }

    /// Into the front of `out`.
    pub fn sign(
        &self,
        key: &PrivateKey,
        input: &Input,
        out: &mut [u8],
        deterministic: bool,
    ) -> Result<usize, Status> {
        if !std::ptr::eq(self, key.of) {
            return Err(Status::KeyUnusable);
        }
        // ECDSA here draws from aws-lc's own generator.
        if out.len() < self.ml_dsa.signature_bytes || (deterministic && self.kind == Kind::P256) {
            return Err(Status::BadInput);
        }
        let mut room = [0; MAX_REPRESENTATIVE_BYTES];
        let message = self.representative(input, &mut room)?;
        let (first, second) = out.split_at_mut(self.ml_dsa.signature_bytes);
        let labelled = Input { form: Form::Message, bytes: message, context: self.label };
        key.ml_dsa.sign(&labelled, first, deterministic)?;
        let plain = Input { context: &[], ..labelled };
        let written = match &key.traditional {
            Traditional::Ed25519(private_key) => ed25519::sign(private_key, message, second),
            Traditional::P256(private_key) => P256.sign(private_key, &plain, second),
        };
        // Half a signature leaves nothing.
        written.map(|written| first.len() + written).inspect_err(|_| first.fill(0))
    }

    pub fn verify(&self, public_key: &[u8], input: &Input, signature: &[u8]) -> Status {
        let mut room = [0; MAX_REPRESENTATIVE_BYTES];
        let Ok(message) = self.representative(input, &mut room) else { return Status::BadInput };
        let Some((first_key, second_key)) = public_key.split_at_checked(self.ml_dsa.public_key_bytes) else {
            return Status::KeyUnusable;
        };
        let (first, second) = signature.split_at_checked(self.ml_dsa.signature_bytes).unwrap_or_default();
        let labelled = Input { form: Form::Message, bytes: message, context: self.label };
        // The traditional part first: it knows whether its key is one.
        let traditional = match self.kind {
            Kind::Ed25519 => ed25519::verify(second_key, message, second),
            Kind::P256 => P256.verify(second_key, &Input { context: &[], ..labelled }, second),
        };
        match traditional {
            Status::Ok => self.ml_dsa.verify(first_key, &labelled, first),
            other => other,
        }
    }

    fn representative<'a>(
        &self,
        input: &Input,
        room: &'a mut [u8; MAX_REPRESENTATIVE_BYTES],
    ) -> Result<&'a [u8], Status> {
        let digest = PRE_HASH.of(input)?;
        let length = u8::try_from(input.context.len()).map_err(|_| Status::BadInput)?;
        let mut end = 0;
        for part in [PREFIX, self.label, &[length], input.context, digest.bytes()] {
            room[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        Ok(&room[..end])
    }
}
