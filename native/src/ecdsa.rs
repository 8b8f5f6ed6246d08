//! ECDSA (FIPS 186-5) over P-256 and P-384 by aws-lc, with signatures in DER (RFC 3279) or as r || s (IEEE P1363).

use crate::awslc_heap::in_arena;
use crate::evp::{Curve, EvpKey, EvpKind, clear_errors, finish, verdict};
use crate::failure::Status;
use crate::input::{Hash, Input};
use aws_lc_sys as lc;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Der,
    P1363,
}

/// A way to sign: the curve decides the hash.
pub struct Ecdsa {
    pub curve: Curve,
    pub hash: Hash,
    pub encoding: Encoding,
}

impl Ecdsa {
    pub fn sign(&self, key: &EvpKey, input: &Input, out: &mut [u8]) -> Result<usize, Status> {
        if key.kind() != EvpKind::Ec(self.curve) {
            return Err(Status::KeyUnusable);
        }
        let digest = self.hash.of(input)?;
        match self.encoding {
            Encoding::Der => sign_der(key, digest.bytes(), out),
            Encoding::P1363 => sign_p1363(key, digest.bytes(), self.curve.scalar_bytes(), out),
        }
    }

    /// The key as an uncompressed SEC1 point.
    pub fn verify(&self, public_key: &[u8], input: &Input, signature: &[u8]) -> Status {
        let Ok(digest) = self.hash.of(input) else { return Status::BadInput };
        let Some(key) = PublicKey::parse(self.curve, public_key) else { return verdict(false, false) };
        let valid = match self.encoding {
            Encoding::Der => key.verify_der(digest.bytes(), signature),
            Encoding::P1363 => key.verify_p1363(digest.bytes(), self.curve.scalar_bytes(), signature),
        };
        verdict(true, valid)
    }
}

fn sign_der(key: &EvpKey, digest: &[u8], out: &mut [u8]) -> Result<usize, Status> {
    // SAFETY: the EC key is valid and borrowed.
    if out.len() < unsafe { lc::ECDSA_size(key.ec()) } {
        return Err(Status::BadInput);
    }
    let mut written = 0;
    // SAFETY: out has the room that ECDSA_size asks for.
    let done = in_arena(|| unsafe {
        lc::ECDSA_sign(0, digest.as_ptr(), digest.len(), out.as_mut_ptr(), &mut written, key.ec())
    });
    finish(done, written as usize)
}

fn sign_p1363(key: &EvpKey, digest: &[u8], scalar_bytes: usize, out: &mut [u8]) -> Result<usize, Status> {
    let Some(out) = out.get_mut(..2 * scalar_bytes) else { return Err(Status::BadInput) };
    // SAFETY: the signature is checked before use, borrowed from and freed; both halves of out have scalar_bytes.
    let done = in_arena(|| unsafe {
        let signature = lc::ECDSA_do_sign(digest.as_ptr(), digest.len(), key.ec());
        if signature.is_null() {
            return 0;
        }
        let (mut r, mut s) = (std::ptr::null(), std::ptr::null());
        lc::ECDSA_SIG_get0(signature, &mut r, &mut s);
        let written = lc::BN_bn2bin_padded(out.as_mut_ptr(), scalar_bytes, r) == 1
            && lc::BN_bn2bin_padded(out.as_mut_ptr().add(scalar_bytes), scalar_bytes, s) == 1;
        lc::ECDSA_SIG_free(signature);
        i32::from(written)
    });
    finish(done, 2 * scalar_bytes)
}

/// An EC_KEY with a public key only.
struct PublicKey(*mut lc::EC_KEY);

impl Drop for PublicKey {
    fn drop(&mut self) {
        // SAFETY: we own it.
        unsafe { lc::EC_KEY_free(self.0) }
    }
}

impl PublicKey {
    fn parse(curve: Curve, bytes: &[u8]) -> Option<PublicKey> {
        // SEC1 2.3.3: 04 marks the uncompressed form.
        if bytes.len() != curve.point_bytes() || bytes[0] != 4 {
            return None;
        }
        // SAFETY: every pointer is checked before use; the key is freed by its owner, the point here.
        unsafe {
            let group = curve.group();
            let key = PublicKey(lc::EC_KEY_new_by_curve_name(curve.nid()));
            let point = lc::EC_POINT_new(group);
            let usable = !key.0.is_null()
                && !point.is_null()
                && lc::EC_POINT_oct2point(group, point, bytes.as_ptr(), bytes.len(), std::ptr::null_mut())
                    == 1
                && lc::EC_KEY_set_public_key(key.0, point) == 1;
            lc::EC_POINT_free(point);
            usable.then_some(key)
        }
    }

    fn verify_der(&self, digest: &[u8], signature: &[u8]) -> bool {
        // SAFETY: the key is valid; lengths are those of the slices.
        unsafe {
            lc::ECDSA_verify(0, digest.as_ptr(), digest.len(), signature.as_ptr(), signature.len(), self.0)
                == 1
        }
    }

    fn verify_p1363(&self, digest: &[u8], scalar_bytes: usize, signature: &[u8]) -> bool {
        if signature.len() != 2 * scalar_bytes {
            return false;
        }
        // SAFETY: set0 takes both numbers over where it succeeds; what is not taken is freed.
        unsafe {
            let parsed = lc::ECDSA_SIG_new();
            let r = lc::BN_bin2bn(signature.as_ptr(), scalar_bytes, std::ptr::null_mut());
            let s = lc::BN_bin2bn(signature.as_ptr().add(scalar_bytes), scalar_bytes, std::ptr::null_mut());
            if parsed.is_null() || r.is_null() || s.is_null() || lc::ECDSA_SIG_set0(parsed, r, s) != 1 {
                lc::BN_free(r);
                lc::BN_free(s);
                lc::ECDSA_SIG_free(parsed);
                clear_errors();
                return false;
            }
            let valid = lc::ECDSA_do_verify(digest.as_ptr(), digest.len(), parsed, self.0) == 1;
            lc::ECDSA_SIG_free(parsed);
            valid
        }
    }
}
