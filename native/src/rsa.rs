//! RSA signatures (RFC 8017) by aws-lc: RSASSA-PSS, with MGF1 and a salt of the same hash (RFC 7518 3.5), and
//! RSASSA-PKCS1-v1_5.

use crate::awslc_heap::in_arena;
use crate::evp::{EvpKey, EvpKind, finish, verdict};
use crate::failure::Status;
use crate::input::{Hash, Input};
use aws_lc_sys as lc;
use std::mem::MaybeUninit;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    Pss,
    Pkcs1,
}

/// A way to sign.
pub struct Rsa {
    pub hash: Hash,
    pub padding: Padding,
}

impl Rsa {
    pub fn sign(&self, key: &EvpKey, input: &Input, out: &mut [u8]) -> Result<usize, Status> {
        match key.kind() {
            EvpKind::Rsa(bits) if out.len() >= bits as usize / 8 => {}
            EvpKind::Rsa(_) => return Err(Status::BadInput),
            EvpKind::Ec(_) => return Err(Status::KeyUnusable),
        }
        let digest = self.hash.of(input)?;
        let digest = digest.bytes();
        match self.padding {
            Padding::Pss => {
                let (mut written, md) = (0, self.hash.md());
                // SAFETY: out is valid for its length, and aws-lc checks that the signature fits.
                let done = in_arena(|| unsafe {
                    lc::RSA_sign_pss_mgf1(
                        key.rsa(),
                        &mut written,
                        out.as_mut_ptr(),
                        out.len(),
                        digest.as_ptr(),
                        digest.len(),
                        md,
                        md,
                        digest.len() as i32,
                    )
                });
                finish(done, written)
            }
            Padding::Pkcs1 => {
                let (mut written, nid) = (0, self.hash.nid());
                // SAFETY: out has room for a signature as long as the modulus, checked above.
                let done = in_arena(|| unsafe {
                    lc::RSA_sign(
                        nid,
                        digest.as_ptr(),
                        digest.len(),
                        out.as_mut_ptr(),
                        &mut written,
                        key.rsa(),
                    )
                });
                finish(done, written as usize)
            }
        }
    }

    /// The key as SubjectPublicKeyInfo.
    pub fn verify(&self, public_key: &[u8], input: &Input, signature: &[u8]) -> Status {
        let Ok(digest) = self.hash.of(input) else { return Status::BadInput };
        let digest = digest.bytes();
        let Some(key) = parse_spki(public_key) else { return verdict(false, false) };
        let md = self.hash.md();
        // SAFETY: the key is valid; lengths are those of the slices.
        let valid = unsafe {
            match self.padding {
                Padding::Pss => lc::RSA_verify_pss_mgf1(
                    key.rsa(),
                    digest.as_ptr(),
                    digest.len(),
                    md,
                    md,
                    digest.len() as i32,
                    signature.as_ptr(),
                    signature.len(),
                ),
                Padding::Pkcs1 => lc::RSA_verify(
                    self.hash.nid(),
                    digest.as_ptr(),
                    digest.len(),
                    signature.as_ptr(),
                    signature.len(),
                    key.rsa(),
                ),
            }
        };
        verdict(true, valid == 1)
    }
}

fn parse_spki(der: &[u8]) -> Option<EvpKey> {
    let mut cbs = MaybeUninit::uninit();
    // SAFETY: the CBS only borrows der during this function.
    unsafe {
        lc::CBS_init(cbs.as_mut_ptr(), der.as_ptr(), der.len());
        let mut cbs = cbs.assume_init();
        let key = EvpKey::adopt(lc::EVP_parse_public_key(&mut cbs))?;
        let one_of_ours = cbs.len == 0 && matches!(key.kind(), EvpKind::Rsa(2048 | 3072 | 4096));
        // AWS-LC does not look at the algorithm's parameters; only the one DER encoding is a key here.
        (one_of_ours && key.public_key().is_some_and(|encoded| encoded == der)).then_some(key)
    }
}
