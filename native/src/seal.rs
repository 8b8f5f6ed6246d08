//! Sealing of private keys for the store, and opening of what was sealed. Blob version 1:
//!
//! `u8 version=1 | u8 aead=1 (AES-256-GCM) | u16le key type | nonce[12] | ciphertext || tag[16]`
//!
//! AEAD key = HKDF-SHA-256(ikm = root key, salt = empty, info = "intaglio/seal/v1\0" || tenant, 32 bytes);
//! AEAD associated data = the four header bytes || aad. The nonce is random: 2^32 blobs of one tenant under
//! one root key stay under the collision bound of SP 800-38D 8.3.

use crate::aead::{Context, TAG_BYTES};
use crate::arena::{MAX_SLOT_BYTES, Slot};
use crate::drbg;
use crate::failure::{Failure, Status};
use crate::keys;
use crate::schemes::KeyType;
use aws_lc_sys as lc;

const VERSION: u8 = 1;
const AES_256_GCM: u8 = 1;
const HEADER_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;
const INFO_PREFIX: &[u8] = b"intaglio/seal/v1\0";
/// The longest secret that a blob holds.
pub const MAX_SECRET_BYTES: usize = 4096;
/// Of the root key, and of the AEAD key made from it.
pub const KEY_BYTES: usize = 32;

/// The key of a sign item: `u16le tenantLen | tenant | u16le aadLen | aad | sealed blob`.
struct Opening<'a> {
    tenant: &'a [u8],
    aad: &'a [u8],
    blob: &'a [u8],
}

impl<'a> Opening<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Opening<'a>> {
        let (tenant, rest) = take_prefixed(bytes)?;
        let (aad, blob) = take_prefixed(rest)?;
        Some(Opening { tenant, aad, blob })
    }
}

fn take_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_le_bytes(*len) as usize)
}

/// HKDF-SHA-256 (RFC 5869) of a root key, without salt: 32 bytes, in the arena.
pub fn derive(root: &Slot, prefix: &[u8], name: &[u8]) -> Result<Slot, Failure> {
    let mut key = keys::alloc(KEY_BYTES)?;
    let info = [prefix, name].concat();
    let ikm = root.bytes();
    let out = key.bytes_mut();
    // SAFETY: all pointers are valid for the lengths beside them; an empty salt may be null.
    let derived = unsafe {
        lc::HKDF(
            out.as_mut_ptr(),
            out.len(),
            lc::EVP_sha256(),
            ikm.as_ptr(),
            ikm.len(),
            std::ptr::null(),
            0,
            info.as_ptr(),
            info.len(),
        )
    };
    if derived == 1 { Ok(key) } else { Err(Failure::new("SEAL_FAILED", "cannot derive a key")) }
}

/// Under the key of a tenant.
fn context(root: &Slot, tenant: &[u8]) -> Result<Context, Failure> {
    let key = derive(root, INFO_PREFIX, tenant)?;
    // SAFETY: a constant description.
    Context::new(unsafe { lc::EVP_aead_aes_256_gcm() }, key.bytes())
}

fn associated_data(header: &[u8], aad: &[u8]) -> Vec<u8> {
    [header, aad].concat()
}

pub fn seal(
    root: &Slot,
    key_type: KeyType,
    tenant: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Failure> {
    let aead = context(root, tenant)?;
    let mut blob = vec![0; HEADER_BYTES + NONCE_BYTES + plaintext.len() + TAG_BYTES];
    let (header, rest) = blob.split_at_mut(HEADER_BYTES);
    let (nonce, ciphertext) = rest.split_first_chunk_mut::<NONCE_BYTES>().expect("the blob has room");
    header[..2].copy_from_slice(&[VERSION, AES_256_GCM]);
    header[2..].copy_from_slice(&key_type.id().to_le_bytes());
    drbg::fill(nonce)?;
    let ad = associated_data(header, aad);
    aead.seal(*nonce, &ad, plaintext, ciphertext)?;
    Ok(blob)
}

/// Opens into the arena. Everything that is wrong with the opening is one answer: KeyUnusable.
pub fn open(root: &Slot, opening: &[u8]) -> Result<(KeyType, Slot), Status> {
    open_parts(root, &Opening::parse(opening).ok_or(Status::KeyUnusable)?)
}

/// Opens under one root and seals under another; the secret stays in the arena. None where it does not open.
pub fn reseal(
    from: &Slot,
    to: &Slot,
    tenant: &[u8],
    aad: &[u8],
    blob: &[u8],
) -> Result<Option<Vec<u8>>, Failure> {
    match open_parts(from, &Opening { tenant, aad, blob }) {
        Ok((key_type, secret)) => seal(to, key_type, tenant, aad, secret.bytes()).map(Some),
        Err(Status::KeyUnusable) => Ok(None),
        Err(_) => Err(Failure::new("SEAL_FAILED", "cannot open what is to be sealed anew")),
    }
}

fn open_parts(root: &Slot, &Opening { tenant, aad, blob }: &Opening) -> Result<(KeyType, Slot), Status> {
    let (header, rest) = blob.split_first_chunk::<HEADER_BYTES>().ok_or(Status::KeyUnusable)?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Status::KeyUnusable)?;
    let plaintext_bytes = ciphertext.len().checked_sub(TAG_BYTES).ok_or(Status::KeyUnusable)?;
    if header[..2] != [VERSION, AES_256_GCM] || plaintext_bytes > MAX_SLOT_BYTES {
        return Err(Status::KeyUnusable);
    }
    let type_id = u16::from_le_bytes([header[2], header[3]]);
    let key_type = KeyType::from_id(type_id.into()).ok_or(Status::KeyUnusable)?;
    let aead = context(root, tenant).map_err(|_| Status::Internal)?;
    let mut plaintext = keys::alloc(plaintext_bytes).map_err(|_| Status::Internal)?;
    let ad = associated_data(header, aad);
    aead.open(*nonce, &ad, ciphertext, plaintext.bytes_mut()).ok_or(Status::KeyUnusable)?;
    Ok((key_type, plaintext))
}
