//! The KEMs of HPKE: X25519 (RFC 7748) by aws-lc, ML-KEM (FIPS 203) by liboqs, and X-Wing (draft-connolly-cfrg-xwing-kem-10) of
//! both. Private keys are seeds in sealed blobs, and expanded in the arena while they are open.

use crate::arena::Slot;
use crate::awslc_heap::in_arena;
use crate::evp::clear_errors;
use crate::failure::{Failure, Status};
use crate::wiped::Wiped;
use crate::{drbg, keys, mldsa};
use aws_lc_sys as lc;
use oqs_sys::common::OQS_STATUS;
use oqs_sys::kem;
use std::mem::MaybeUninit;

pub const SHARED_BYTES: usize = 32;
const X25519_BYTES: usize = 32;
const ML_KEM_SEED_BYTES: usize = 64;
const X_WING_SEED_BYTES: usize = 32;
/// draft-connolly-cfrg-xwing-kem-10, section 5.3.
const X_WING_LABEL: &[u8; 6] = b"\\.//^\\";

pub enum Kem {
    X25519,
    MlKem(&'static MlKem),
    XWing,
}

pub struct MlKem {
    hpke_id: u16,
    public_key_bytes: usize,
    secret_key_bytes: usize,
    ciphertext_bytes: usize,
    keypair: unsafe extern "C" fn(*mut u8, *mut u8, *const u8) -> OQS_STATUS,
    encapsulate: unsafe extern "C" fn(*mut u8, *mut u8, *const u8) -> OQS_STATUS,
    decapsulate: unsafe extern "C" fn(*mut u8, *const u8, *const u8) -> OQS_STATUS,
}

pub static ML_KEM_768: MlKem = MlKem {
    hpke_id: 0x0041,
    public_key_bytes: kem::OQS_KEM_ml_kem_768_length_public_key as usize,
    secret_key_bytes: kem::OQS_KEM_ml_kem_768_length_secret_key as usize,
    ciphertext_bytes: kem::OQS_KEM_ml_kem_768_length_ciphertext as usize,
    keypair: kem::OQS_KEM_ml_kem_768_keypair_derand,
    encapsulate: kem::OQS_KEM_ml_kem_768_encaps,
    decapsulate: kem::OQS_KEM_ml_kem_768_decaps,
};

pub static ML_KEM_1024: MlKem = MlKem {
    hpke_id: 0x0042,
    public_key_bytes: kem::OQS_KEM_ml_kem_1024_length_public_key as usize,
    secret_key_bytes: kem::OQS_KEM_ml_kem_1024_length_secret_key as usize,
    ciphertext_bytes: kem::OQS_KEM_ml_kem_1024_length_ciphertext as usize,
    keypair: kem::OQS_KEM_ml_kem_1024_keypair_derand,
    encapsulate: kem::OQS_KEM_ml_kem_1024_encaps,
    decapsulate: kem::OQS_KEM_ml_kem_1024_decaps,
};

pub static X25519: Kem = Kem::X25519;
pub static ML_KEM_768_KEM: Kem = Kem::MlKem(&ML_KEM_768);
pub static ML_KEM_1024_KEM: Kem = Kem::MlKem(&ML_KEM_1024);
pub static X_WING: Kem = Kem::XWing;

pub type Shared = Wiped<SHARED_BYTES>;

impl Kem {
    /// The identifier in HPKE's registry of KEMs.
    pub fn hpke_id(&self) -> u16 {
        match self {
            Kem::X25519 => 0x0020,
            Kem::MlKem(set) => set.hpke_id,
            Kem::XWing => 0x647a,
        }
    }

    pub fn seed_bytes(&self) -> usize {
        match self {
            Kem::X25519 => X25519_BYTES,
            Kem::MlKem(_) => ML_KEM_SEED_BYTES,
            Kem::XWing => X_WING_SEED_BYTES,
        }
    }

    /// Of the encapsulated key.
    pub fn enc_bytes(&self) -> usize {
        match self {
            Kem::X25519 => X25519_BYTES,
            Kem::MlKem(set) => set.ciphertext_bytes,
            Kem::XWing => ML_KEM_768.ciphertext_bytes + X25519_BYTES,
        }
    }

    /// The private key as decapsulation takes it, in the arena, and the public key. X25519: private || public; ML-KEM: dk of
    /// FIPS 203; X-Wing: dk, then X25519's both.
    pub fn expand(&self, seed: &[u8]) -> Result<(Slot, Vec<u8>), Failure> {
        assert!(seed.len() == self.seed_bytes());
        match self {
            Kem::X25519 => {
                let mut key = keys::alloc(2 * X25519_BYTES)?;
                write_x25519_pair(seed, key.bytes_mut());
                let public_key = key.bytes()[X25519_BYTES..].to_vec();
                Ok((key, public_key))
            }
            Kem::MlKem(set) => {
                let mut key = keys::alloc(set.secret_key_bytes)?;
                let mut public_key = vec![0; set.public_key_bytes];
                set.expand(seed, key.bytes_mut(), &mut public_key)?;
                Ok((key, public_key))
            }
            Kem::XWing => {
                let mut halves = keys::alloc(ML_KEM_SEED_BYTES + X25519_BYTES)?;
                shake256(seed, halves.bytes_mut())?;
                let (ml_kem_seed, x25519_key) = halves.bytes().split_at(ML_KEM_SEED_BYTES);
                let mut key = keys::alloc(ML_KEM_768.secret_key_bytes + 2 * X25519_BYTES)?;
                let (dk, pair) = key.bytes_mut().split_at_mut(ML_KEM_768.secret_key_bytes);
                let mut public_key = vec![0; ML_KEM_768.public_key_bytes];
                ML_KEM_768.expand(ml_kem_seed, dk, &mut public_key)?;
                write_x25519_pair(x25519_key, pair);
                public_key.extend_from_slice(&pair[X25519_BYTES..]);
                Ok((key, public_key))
            }
        }
    }

    /// A fresh shared secret, and its encapsulation into `enc`, which has exactly its length. KeyUnusable: no public key of this
    /// KEM, one of small order included.
    pub fn encapsulate(&self, public_key: &[u8], enc: &mut [u8]) -> Result<Shared, Status> {
        assert!(enc.len() == self.enc_bytes());
        match self {
            Kem::X25519 => {
                let dh = ephemeral_x25519(public_key, enc)?;
                self.dhkem_secret(&dh, enc, public_key)
            }
            Kem::MlKem(set) => set.encapsulate(public_key, enc),
            Kem::XWing => {
                if public_key.len() != ML_KEM_768.public_key_bytes + X25519_BYTES {
                    return Err(Status::KeyUnusable);
                }
                let (ek, x25519_key) = public_key.split_at(ML_KEM_768.public_key_bytes);
                let (ciphertext, ephemeral) = enc.split_at_mut(ML_KEM_768.ciphertext_bytes);
                let of_ml_kem = ML_KEM_768.encapsulate(ek, ciphertext)?;
                let of_x25519 = ephemeral_x25519(x25519_key, ephemeral)?;
                combine(&of_ml_kem, &of_x25519, ephemeral, x25519_key)
            }
        }
    }

    /// `key` is one that `expand` made. Rejected: of another length, or a share of small order. An altered ML-KEM ciphertext gives
    /// another secret (FIPS 203, implicit rejection), by which nothing opens.
    pub fn decapsulate(&self, key: &[u8], enc: &[u8]) -> Result<Shared, Status> {
        if enc.len() != self.enc_bytes() {
            return Err(Status::Rejected);
        }
        match self {
            Kem::X25519 => {
                let (private_key, public_key) = key.split_at(X25519_BYTES);
                let dh = x25519(private_key, enc).ok_or(Status::Rejected)?;
                self.dhkem_secret(&dh, enc, public_key)
            }
            Kem::MlKem(set) => set.decapsulate(key, enc),
            Kem::XWing => {
                let (dk, pair) = key.split_at(ML_KEM_768.secret_key_bytes);
                let (private_key, public_key) = pair.split_at(X25519_BYTES);
                let (ciphertext, ephemeral) = enc.split_at(ML_KEM_768.ciphertext_bytes);
                let of_ml_kem = ML_KEM_768.decapsulate(dk, ciphertext)?;
                let of_x25519 = x25519(private_key, ephemeral).ok_or(Status::Rejected)?;
                combine(&of_ml_kem, &of_x25519, ephemeral, public_key)
            }
        }
    }

    /// ExtractAndExpand of RFC 9180 4.1.
    fn dhkem_secret(&self, dh: &Shared, enc: &[u8], public_key: &[u8]) -> Result<Shared, Status> {
        let id = self.hpke_id().to_be_bytes();
        let suite = [b"KEM", &id[..]].concat();
        let prk = crate::hpke::labeled_extract(&suite, b"eae_prk", &dh[..])?;
        let mut shared = Shared::zeros();
        let context = [enc, public_key].concat();
        crate::hpke::labeled_expand(&suite, &prk, b"shared_secret", &context, &mut shared[..])?;
        Ok(shared)
    }
}

impl MlKem {
    fn expand(&self, seed: &[u8], secret_key: &mut [u8], public_key: &mut [u8]) -> Result<(), Failure> {
        assert!(seed.len() == ML_KEM_SEED_BYTES);
        assert!(secret_key.len() == self.secret_key_bytes && public_key.len() == self.public_key_bytes);
        // SAFETY: the buffers have the lengths that liboqs reads and writes, checked above.
        let done = mldsa::drawing(|| unsafe {
            (self.keypair)(public_key.as_mut_ptr(), secret_key.as_mut_ptr(), seed.as_ptr())
        });
        if done == Some(true) {
            Ok(())
        } else {
            Err(Failure::new("INTERNAL", "ML-KEM key generation failed"))
        }
    }

    fn encapsulate(&self, public_key: &[u8], enc: &mut [u8]) -> Result<Shared, Status> {
        if public_key.len() != self.public_key_bytes {
            return Err(Status::KeyUnusable);
        }
        assert!(enc.len() == self.ciphertext_bytes);
        let mut shared = Shared::zeros();
        // SAFETY: the buffers have the lengths that liboqs reads and writes, checked above.
        let done = mldsa::drawing(|| unsafe {
            (self.encapsulate)(enc.as_mut_ptr(), shared.as_mut_ptr(), public_key.as_ptr())
        });
        match done {
            Some(true) => Ok(shared),
            // FIPS 203 7.2, the modulus check: coefficients are below q.
            Some(false) => Err(Status::KeyUnusable),
            None => Err(Status::Internal),
        }
    }

    fn decapsulate(&self, key: &[u8], enc: &[u8]) -> Result<Shared, Status> {
        assert!(key.len() == self.secret_key_bytes && enc.len() == self.ciphertext_bytes);
        let mut shared = Shared::zeros();
        // SAFETY: the buffers have the lengths that liboqs reads and writes, checked above.
        let done =
            mldsa::drawing(|| unsafe { (self.decapsulate)(shared.as_mut_ptr(), enc.as_ptr(), key.as_ptr()) });
        if done == Some(true) { Ok(shared) } else { Err(Status::Internal) }
    }
}

fn write_x25519_pair(private_key: &[u8], pair: &mut [u8]) {
    assert!(private_key.len() == X25519_BYTES && pair.len() == 2 * X25519_BYTES);
    let (private_half, public_half) = pair.split_at_mut(X25519_BYTES);
    private_half.copy_from_slice(private_key);
    // SAFETY: both halves have 32 bytes.
    unsafe { lc::X25519_public_from_private(public_half.as_mut_ptr(), private_half.as_ptr()) }
}

/// RFC 7748 6.1; None: all zeros, which a peer of small order gives.
fn x25519(private_key: &[u8], peer: &[u8]) -> Option<Shared> {
    assert!(private_key.len() == X25519_BYTES && peer.len() == X25519_BYTES);
    let mut shared = Shared::zeros();
    // SAFETY: all three have 32 bytes.
    let good = unsafe { lc::X25519(shared.as_mut_ptr(), private_key.as_ptr(), peer.as_ptr()) } == 1;
    if !good {
        clear_errors();
    }
    good.then_some(shared)
}

/// The secret of a new key pair with `peer`; the new public key goes into `ephemeral`.
fn ephemeral_x25519(peer: &[u8], ephemeral: &mut [u8]) -> Result<Shared, Status> {
    if peer.len() != X25519_BYTES {
        return Err(Status::KeyUnusable);
    }
    let mut private_key = Wiped::<X25519_BYTES>::zeros();
    drbg::fill(&mut private_key[..]).map_err(|_| Status::Internal)?;
    // SAFETY: both have 32 bytes; `ephemeral` by its callers, which split it off.
    unsafe { lc::X25519_public_from_private(ephemeral.as_mut_ptr(), private_key.as_ptr()) };
    x25519(&private_key[..], peer).ok_or(Status::KeyUnusable)
}

/// X-Wing's combiner: SHA3-256(ss_M || ss_X || ct_X || pk_X || label).
fn combine(of_ml_kem: &Shared, of_x25519: &Shared, enc: &[u8], public_key: &[u8]) -> Result<Shared, Status> {
    let mut input = Wiped::<134>::zeros();
    let parts = [&of_ml_kem[..], &of_x25519[..], enc, public_key, X_WING_LABEL];
    let mut at = 0;
    for part in parts {
        input[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    assert!(at == input.len());
    let mut shared = Shared::zeros();
    // SAFETY: a constant description.
    digest(unsafe { lc::EVP_sha3_256() }, &input[..], &mut shared[..]).map_err(|_| Status::Internal)?;
    Ok(shared)
}

fn shake256(input: &[u8], out: &mut [u8]) -> Result<(), Failure> {
    // SAFETY: a constant description.
    digest(unsafe { lc::EVP_shake256() }, input, out)
}

/// A hash of fixed length, or of the length of `out`. aws-lc's state lies in the arena meanwhile.
fn digest(kind: *const lc::EVP_MD, input: &[u8], out: &mut [u8]) -> Result<(), Failure> {
    let done = in_arena(|| {
        let mut context = MaybeUninit::uninit();
        // SAFETY: the context is made, used and released here; lengths are those of the slices.
        unsafe {
            let context = context.as_mut_ptr();
            lc::EVP_MD_CTX_init(context);
            let of_any_length = lc::EVP_MD_flags(kind) & u32::from(lc::EVP_MD_FLAG_XOF as u16) != 0;
            let done = lc::EVP_DigestInit_ex(context, kind, std::ptr::null_mut()) == 1
                && lc::EVP_DigestUpdate(context, input.as_ptr().cast(), input.len()) == 1
                && if of_any_length {
                    lc::EVP_DigestFinalXOF(context, out.as_mut_ptr(), out.len()) == 1
                } else {
                    assert!(lc::EVP_MD_size(kind) == out.len());
                    lc::EVP_DigestFinal_ex(context, out.as_mut_ptr(), std::ptr::null_mut()) == 1
                };
            lc::EVP_MD_CTX_cleanup(context);
            done
        }
    })?;
    if done { Ok(()) } else { Err(Failure::new("INTERNAL", "the hash failed")) }
}
