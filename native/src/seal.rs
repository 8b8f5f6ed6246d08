//! Sealing of private keys for the store, and opening of what was sealed. Blob version 1:
//!
//! `u8 version=1 | u8 aead=1 (AES-256-GCM) | u16le key type | nonce[12] | ciphertext || tag[16]`
//!
//! AEAD key = HKDF-SHA-256(ikm = root key, salt = empty, info = "intaglio/seal/v1\0" || tenant, 32 bytes);
//! AEAD associated data = the four header bytes || aad. The nonce is random: 2^32 blobs of one tenant under
//! one root key stay under the collision bound of SP 800-38D 8.3.

use crate::arena::{MAX_SLOT_BYTES, Slot};
use crate::drbg;
use crate::evp::clear_errors;
use crate::failure::{Failure, Status};
use crate::keys;
use crate::schemes::KeyType;
use aws_lc_sys as lc;

const VERSION: u8 = 1;
const AES_256_GCM: u8 = 1;
const HEADER_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const INFO_PREFIX: &[u8] = b"intaglio/seal/v1\0";
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

/// An AEAD context whose key schedule lies in the arena.
struct Aead {
    context: Slot,
}

impl Aead {
    fn new(root: &Slot, tenant: &[u8]) -> Result<Aead, Failure> {
        let key = derive(root, INFO_PREFIX, tenant)?;
        let mut context = keys::alloc(size_of::<lc::EVP_AEAD_CTX>())?;
        let context_ptr = context.bytes_mut().as_mut_ptr().cast();
        // SAFETY: slots are 64-byte aligned and this one has the size of a context; the key has 32 bytes.
        let ready = unsafe {
            lc::EVP_AEAD_CTX_init(
                context_ptr,
                lc::EVP_aead_aes_256_gcm(),
                key.bytes().as_ptr(),
                KEY_BYTES,
                TAG_BYTES,
                std::ptr::null_mut(),
            ) == 1
        };
        if ready { Ok(Aead { context }) } else { Err(Failure::new("SEAL_FAILED", "cannot set up sealing")) }
    }

    fn context(&self) -> *const lc::EVP_AEAD_CTX {
        self.context.bytes().as_ptr().cast()
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        // SAFETY: new() initialised the context; the slot itself is cleared after this.
        unsafe { lc::EVP_AEAD_CTX_cleanup(self.context.bytes_mut().as_mut_ptr().cast()) }
    }
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
    let failed = || Failure::new("SEAL_FAILED", "cannot seal the key");
    let aead = Aead::new(root, tenant)?;
    let mut blob = vec![0; HEADER_BYTES + NONCE_BYTES + plaintext.len() + TAG_BYTES];
    let (header, rest) = blob.split_at_mut(HEADER_BYTES);
    let (nonce, ciphertext) = rest.split_at_mut(NONCE_BYTES);
    header[..2].copy_from_slice(&[VERSION, AES_256_GCM]);
    header[2..].copy_from_slice(&key_type.id().to_le_bytes());
    drbg::fill(nonce)?;
    let ad = associated_data(header, aad);
    let mut written = 0;
    // SAFETY: all pointers are valid for the lengths beside them, and the context is initialised.
    let sealed = unsafe {
        lc::EVP_AEAD_CTX_seal(
            aead.context(),
            ciphertext.as_mut_ptr(),
            &mut written,
            ciphertext.len(),
            nonce.as_ptr(),
            nonce.len(),
            plaintext.as_ptr(),
            plaintext.len(),
            ad.as_ptr(),
            ad.len(),
        )
    };
    if sealed != 1 || written != ciphertext.len() {
        clear_errors();
        return Err(failed());
    }
    Ok(blob)
}

/// Opens into the arena. Everything that is wrong with the opening is one answer: KeyUnusable.
pub fn open(root: &Slot, opening: &[u8]) -> Result<(KeyType, Slot), Status> {
    let Opening { tenant, aad, blob } = Opening::parse(opening).ok_or(Status::KeyUnusable)?;
    let (header, rest) = blob.split_first_chunk::<HEADER_BYTES>().ok_or(Status::KeyUnusable)?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Status::KeyUnusable)?;
    let plaintext_bytes = ciphertext.len().checked_sub(TAG_BYTES).ok_or(Status::KeyUnusable)?;
    if header[..2] != [VERSION, AES_256_GCM] || plaintext_bytes > MAX_SLOT_BYTES {
        return Err(Status::KeyUnusable);
    }
    let type_id = u16::from_le_bytes([header[2], header[3]]);
    let key_type = KeyType::from_id(type_id.into()).ok_or(Status::KeyUnusable)?;
    let aead = Aead::new(root, tenant).map_err(|_| Status::Internal)?;
    let mut plaintext = keys::alloc(plaintext_bytes).map_err(|_| Status::Internal)?;
    let ad = associated_data(header, aad);
    let out = plaintext.bytes_mut();
    let mut written = 0;
    // SAFETY: all pointers are valid for the lengths beside them, and the context is initialised.
    let opened = unsafe {
        lc::EVP_AEAD_CTX_open(
            aead.context(),
            out.as_mut_ptr(),
            &mut written,
            out.len(),
            nonce.as_ptr(),
            nonce.len(),
            ciphertext.as_ptr(),
            ciphertext.len(),
            ad.as_ptr(),
            ad.len(),
        )
    };
    if opened != 1 || written != plaintext_bytes {
        clear_errors();
        return Err(Status::KeyUnusable);
    }
    Ok((key_type, plaintext))
}
