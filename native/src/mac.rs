//! HMAC-SHA-256 (RFC 2104) under keys derived from a root key:
//! HKDF-SHA-256(ikm = root key, salt = empty, info = "intaglio/mac/v1\0" || use, 32 bytes).

use crate::arena::Slot;
use crate::failure::Failure;
use crate::hmac;
use crate::seal;

const INFO_PREFIX: &[u8] = b"intaglio/mac/v1\0";
pub const MAC_BYTES: usize = 32;

pub fn mac(root: &Slot, purpose: &[u8], message: &[u8]) -> Result<[u8; MAC_BYTES], Failure> {
    let key = seal::derive(root, INFO_PREFIX, purpose)?;
    let mut out = [0; MAC_BYTES];
    if !hmac::sha256(key.bytes(), message, &mut out) {
        return Err(Failure::new("SEAL_FAILED", "cannot authenticate"));
    }
    Ok(out)
}
