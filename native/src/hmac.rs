//! HMAC-SHA-256 (RFC 2104, FIPS 198-1) by aws-lc, with keys that stay in the arena.

use crate::failure::Status;
use aws_lc_sys as lc;

pub const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

/// The one call of aws-lc's HMAC: into all 32 bytes of `out`. False where the library failed.
pub fn sha256(key: &[u8], message: &[u8], out: &mut [u8]) -> bool {
    assert!(out.len() == TAG_BYTES);
    let mut written = 0;
    // SAFETY: the key and the message have their lengths, the output the 32 bytes that are written.
    let made = unsafe {
        lc::HMAC(
            lc::EVP_sha256(),
            key.as_ptr().cast(),
            key.len(),
            message.as_ptr(),
            message.len(),
            out.as_mut_ptr(),
            &mut written,
        )
    };
    !made.is_null() && written as usize == TAG_BYTES
}

/// The tag, at the front of `out`.
pub fn mac(key: &[u8], message: &[u8], out: &mut [u8]) -> Result<usize, Status> {
    let Some(out) = out.get_mut(..TAG_BYTES) else { return Err(Status::BadInput) };
    assert!(key.len() == KEY_BYTES);
    if sha256(key, message, out) { Ok(TAG_BYTES) } else { Err(Status::Internal) }
}

/// In constant time for a tag of the right length; a tag of another length is none of this key.
pub fn verify(key: &[u8], message: &[u8], tag: &[u8]) -> Status {
    if tag.len() != TAG_BYTES {
        return Status::Rejected;
    }
    let mut expected = [0; TAG_BYTES];
    if let Err(status) = mac(key, message, &mut expected) {
        return status;
    }
    // SAFETY: both have 32 bytes.
    let differs = unsafe { lc::CRYPTO_memcmp(expected.as_ptr().cast(), tag.as_ptr().cast(), TAG_BYTES) };
    if differs == 0 { Status::Ok } else { Status::Rejected }
}
