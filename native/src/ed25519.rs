//! Ed25519 (RFC 8032), pure and as Ed25519ph, by aws-lc, on private keys that stay in the arena.

use crate::arena::Slot;
use crate::evp::clear_errors;
use crate::failure::{Failure, Status};
use crate::input::{Hash, Input};
use crate::keys;
use aws_lc_sys as lc;

pub const SEED_BYTES: usize = 32;
const PUBLIC_KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
/// aws-lc's form of a private key: seed || public key.
const PRIVATE_KEY_BYTES: usize = 64;

/// The y coordinates of the eight points of small order, sign bit left out: order 4, 1, 2 and twice 8.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    [0; 32],
    y_with_ends(1, 0, 0),
    y_with_ends(0xec, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn y_with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut y = [middle; 32];
    y[0] = first;
    y[31] = last;
    y
}

/// RFC 8032 5.1.5: the private key in aws-lc's form, in the arena, and the public key.
pub fn expand(seed: &[u8]) -> Result<(Slot, [u8; PUBLIC_KEY_BYTES]), Failure> {
    assert!(seed.len() == SEED_BYTES);
    let mut private_key = keys::alloc(PRIVATE_KEY_BYTES)?;
    let mut public_key = [0; PUBLIC_KEY_BYTES];
    // SAFETY: the outputs have 32 and 64 bytes, the seed 32.
    unsafe {
        lc::ED25519_keypair_from_seed(
            public_key.as_mut_ptr(),
            private_key.bytes_mut().as_mut_ptr(),
            seed.as_ptr(),
        );
    }
    Ok((private_key, public_key))
}

/// Signs into the front of `out`; `private_key` is one that `expand` made.
pub fn sign(private_key: &Slot, message: &[u8], out: &mut [u8]) -> Result<usize, Status> {
    let Some(out) = out.get_mut(..SIGNATURE_BYTES) else { return Err(Status::BadInput) };
    assert!(private_key.bytes().len() == PRIVATE_KEY_BYTES);
    // SAFETY: out has 64 bytes, the private key 64, the message its length.
    let signed = unsafe {
        lc::ED25519_sign(out.as_mut_ptr(), message.as_ptr(), message.len(), private_key.bytes().as_ptr())
    };
    if signed == 1 { Ok(SIGNATURE_BYTES) } else { Err(Status::Internal) }
}

/// RFC 8032 5.1.7 without the cofactor and, as in Web Cryptography, with no public key and no R of small order:
/// such signatures hold for messages that nobody signed.
pub fn verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> Status {
    // SAFETY: `judge` has checked that the signature has 64 bytes and the public key 32; the message has its length.
    judge(public_key, signature, || unsafe {
        lc::ED25519_verify(message.as_ptr(), message.len(), signature.as_ptr(), public_key.as_ptr())
    })
}

/// HashEdDSA (RFC 8032 5.1) with an empty context, of a message or of its SHA-512, into the front of `out`.
pub fn sign_ph(private_key: &Slot, input: &Input, out: &mut [u8]) -> Result<usize, Status> {
    let Some(out) = out.get_mut(..SIGNATURE_BYTES) else { return Err(Status::BadInput) };
    let digest = Hash::Sha512.of(input)?;
    assert!(private_key.bytes().len() == PRIVATE_KEY_BYTES);
    let (digest, key) = (digest.bytes().as_ptr(), private_key.bytes().as_ptr());
    // SAFETY: out has 64 bytes, as have the digest and the private key.
    let signed = unsafe { lc::ED25519ph_sign_digest(out.as_mut_ptr(), digest, key, std::ptr::null(), 0) };
    if signed == 1 { Ok(SIGNATURE_BYTES) } else { Err(Status::Internal) }
}

/// By the rules of `verify`.
pub fn verify_ph(public_key: &[u8], input: &Input, signature: &[u8]) -> Status {
    let Ok(digest) = Hash::Sha512.of(input) else { return Status::BadInput };
    let (digest, null) = (digest.bytes().as_ptr(), std::ptr::null());
    // SAFETY: the digest has 64 bytes, and `judge` has checked the others.
    judge(public_key, signature, || unsafe {
        lc::ED25519ph_verify_digest(digest, signature.as_ptr(), public_key.as_ptr(), null, 0)
    })
}

fn judge(public_key: &[u8], signature: &[u8], verify: impl FnOnce() -> i32) -> Status {
    if public_key.len() != PUBLIC_KEY_BYTES {
        return Status::KeyUnusable;
    }
    if signature.len() != SIGNATURE_BYTES
        || has_small_order(public_key)
        || has_small_order(&signature[..PUBLIC_KEY_BYTES])
    {
        return Status::Rejected;
    }
    if verify() == 1 {
        return Status::Ok;
    }
    clear_errors();
    Status::Rejected
}

/// Of a canonical encoding; the others do not decode (a key), or equal no computed point (R).
fn has_small_order(point: &[u8]) -> bool {
    SMALL_ORDER_Y.iter().any(|y| point[..31] == y[..31] && point[31] & 0x7f == y[31])
}
