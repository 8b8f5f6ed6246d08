//! HPKE (RFC 9180), base mode, one message a key: KDF HKDF-SHA256 (0x0001), AEAD AES-256-GCM (0x0002). aws-lc has HPKE too, but
//! not with X-Wing; the key schedule here is one for all four KEMs.

use crate::aead::{self, Algorithm};
use crate::failure::Status;
use crate::hkdf;
use crate::kem::{Kem, SHARED_BYTES, Shared};
use crate::wiped::Wiped;

const VERSION: &[u8] = b"HPKE-v1";
const MODE_BASE: u8 = 0;
const HKDF_SHA256: u16 = 0x0001;
const AES_256_GCM: u16 = 0x0002;
const HASH_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// "HPKE-v1", "HPKE" with three identifiers, the longest label, and a secret.
const MAX_LABELED_SECRET_BYTES: usize = 7 + 10 + 16 + SHARED_BYTES;

/// `enc || ciphertext || tag` into the front of `out`.
pub fn seal(
    kem: &Kem,
    public_key: &[u8],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<usize, Status> {
    let bytes = kem.enc_bytes() + plaintext.len() + aead::TAG_BYTES;
    let out = out.get_mut(..bytes).ok_or(Status::BadInput)?;
    let (enc, ciphertext) = out.split_at_mut(kem.enc_bytes());
    let shared = kem.encapsulate(public_key, enc)?;
    let (key, nonce) = key_schedule(kem, &shared, info)?;
    Algorithm::Aes256Gcm
        .seal(&key[..], &nonce[..], aad, plaintext, ciphertext)
        .map_err(|_| Status::Internal)?;
    Ok(bytes)
}

/// Into the front of `out`; `key` is one that the KEM expanded.
pub fn open(
    kem: &Kem,
    key: &[u8],
    info: &[u8],
    aad: &[u8],
    wrapped: &[u8],
    out: &mut [u8],
) -> Result<usize, Status> {
    let (enc, ciphertext) = wrapped.split_at_checked(kem.enc_bytes()).ok_or(Status::Rejected)?;
    let shared = kem.decapsulate(key, enc)?;
    let (key, nonce) = key_schedule(kem, &shared, info)?;
    Algorithm::Aes256Gcm.open(&key[..], &nonce[..], aad, ciphertext, out)
}

/// RFC 9180 5.1 with an empty PSK: the AEAD's key, and the nonce of the first message.
fn key_schedule(
    kem: &Kem,
    shared: &Shared,
    info: &[u8],
) -> Result<(Wiped<{ aead::KEY_BYTES }>, Wiped<NONCE_BYTES>), Status> {
    let suite: Vec<u8> = b"HPKE"
        .iter()
        .copied()
        .chain([kem.hpke_id(), HKDF_SHA256, AES_256_GCM].into_iter().flat_map(u16::to_be_bytes))
        .collect();
    let psk_id_hash = labeled_extract(&suite, b"psk_id_hash", &[])?;
    // The info is no secret and may be long.
    let info_hash = hkdf::extract(&[], &labeled(&suite, b"info_hash", info))?;
    let context = [&[MODE_BASE], &psk_id_hash[..], &info_hash[..]].concat();
    let salted = labeled(&suite, b"secret", &[]);
    let secret = hkdf::extract(&shared[..], &salted)?;
    let mut key = Wiped::zeros();
    labeled_expand(&suite, &secret, b"key", &context, &mut key[..])?;
    let mut nonce = Wiped::zeros();
    labeled_expand(&suite, &secret, b"base_nonce", &context, &mut nonce[..])?;
    Ok((key, nonce))
}

fn labeled(suite: &[u8], label: &[u8], ikm: &[u8]) -> Vec<u8> {
    [VERSION, suite, label, ikm].concat()
}

/// LabeledExtract of RFC 9180 4 with an empty salt, for a secret of at most 32 bytes.
pub fn labeled_extract(suite: &[u8], label: &[u8], secret: &[u8]) -> Result<Wiped<HASH_BYTES>, Status> {
    let mut input = Wiped::<MAX_LABELED_SECRET_BYTES>::zeros();
    let mut at = 0;
    for part in [VERSION, suite, label, secret] {
        input[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    hkdf::extract(&[], &input[..at])
}

/// LabeledExpand of RFC 9180 4.
pub fn labeled_expand(
    suite: &[u8],
    prk: &[u8; HASH_BYTES],
    label: &[u8],
    info: &[u8],
    out: &mut [u8],
) -> Result<(), Status> {
    let bytes = (out.len() as u16).to_be_bytes();
    hkdf::expand(prk, &[&bytes, VERSION, suite, label, info].concat(), out)
}
