//! HKDF-SHA256 (RFC 5869) by aws-lc.

use crate::evp::clear_errors;
use crate::failure::Status;
use crate::wiped::Wiped;
use aws_lc_sys as lc;

pub const HASH_BYTES: usize = 32;

/// Section 2.2; an empty salt is one of zeros.
pub fn extract(salt: &[u8], secret: &[u8]) -> Result<Wiped<HASH_BYTES>, Status> {
    let mut prk = Wiped::zeros();
    let mut written = 0;
    // SAFETY: inputs are valid for the lengths beside them, and SHA-256 writes 32 bytes.
    let done = unsafe {
        lc::HKDF_extract(
            prk.as_mut_ptr(),
            &mut written,
            lc::EVP_sha256(),
            secret.as_ptr(),
            secret.len(),
            salt.as_ptr(),
            salt.len(),
        )
    };
    if done == 1 && written == HASH_BYTES { Ok(prk) } else { failed() }
}

/// Section 2.3, as many bytes as `out` has, at most 8,160.
pub fn expand(prk: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), Status> {
    // SAFETY: all pointers are valid for the lengths beside them.
    let done = unsafe {
        lc::HKDF_expand(
            out.as_mut_ptr(),
            out.len(),
            lc::EVP_sha256(),
            prk.as_ptr(),
            prk.len(),
            info.as_ptr(),
            info.len(),
        )
    };
    if done == 1 { Ok(()) } else { failed() }
}

/// Both, with an empty salt.
pub fn derive(secret: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), Status> {
    let prk = extract(&[], secret)?;
    expand(&prk[..], info, out)
}

fn failed<T>() -> Result<T, Status> {
    clear_errors();
    Err(Status::Internal)
}
