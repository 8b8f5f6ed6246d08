//! HMAC-SHA-256 (RFC 2104) under keys derived from a root key:
//! HKDF-SHA-256(ikm = root key, salt = empty, info = "intaglio/mac/v1\0" || use, 32 bytes).

use crate::arena::Slot;
use crate::failure::Failure;
use crate::seal;
use aws_lc_sys as lc;

const INFO_PREFIX: &[u8] = b"intaglio/mac/v1\0";
pub const MAC_BYTES: usize = 32;

pub fn mac(root: &Slot, purpose: &[u8], message: &[u8]) -> Result<[u8; MAC_BYTES], Failure> {
    let key = seal::derive(root, INFO_PREFIX, purpose)?;
    let mut out = [0; MAC_BYTES];
    let mut written = 0;
    // SAFETY: all pointers are valid for the lengths beside them, and SHA-256 writes 32 bytes.
    let made = unsafe {
        lc::HMAC(
            lc::EVP_sha256(),
            key.bytes().as_ptr().cast(),
            key.bytes().len(),
            message.as_ptr(),
            message.len(),
            out.as_mut_ptr(),
            &mut written,
        )
    };
    if made.is_null() || written as usize != MAC_BYTES {
        return Err(Failure::new("SEAL_FAILED", "cannot authenticate"));
    }
    Ok(out)
}
