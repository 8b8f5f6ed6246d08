//! RSA and ECDSA P-256 by aws-lc. Private keys of these types are objects of aws-lc in the arena, and so is what
//! it allocates while it uses them (awslc_heap.rs); verification takes the ordinary heap.

use crate::awslc_heap::{in_arena, in_arena_if_room};
use crate::failure::{Failure, Status};
use aws_lc_sys as lc;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

const SHA256_BYTES: usize = 32;
pub const P256_POINT_BYTES: usize = 65;
/// RFC 7518 3.5: as long as the hash.
const PSS_SALT_BYTES: i32 = SHA256_BYTES as i32;
/// An RSA-4096 SubjectPublicKeyInfo has 550 bytes.
const MAX_SPKI_BYTES: usize = 600;

/// An owned EVP_PKEY that holds either an RSA key or a P-256 key.
pub struct EvpKey {
    key: NonNull<lc::EVP_PKEY>,
    kind: EvpKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EvpKind {
    P256,
    /// Modulus size in bits.
    Rsa(u32),
}

// SAFETY: aws-lc counts references atomically, and using a key (RSA blinding included) locks inside.
unsafe impl Send for EvpKey {}
// SAFETY: as above.
unsafe impl Sync for EvpKey {}

impl Drop for EvpKey {
    fn drop(&mut self) {
        // SAFETY: we own this reference; aws-lc clears private parts when it frees.
        unsafe { lc::EVP_PKEY_free(self.key.as_ptr()) }
    }
}

impl EvpKey {
    /// Takes ownership of `key`; None if null, or of another kind than this engine uses.
    fn adopt(key: *mut lc::EVP_PKEY) -> Option<EvpKey> {
        let mut owned = EvpKey { key: NonNull::new(key)?, kind: EvpKind::P256 };
        // SAFETY: the key is valid; the getters return borrowed pointers, null if the type is another.
        owned.kind = unsafe {
            match lc::EVP_PKEY_id(key) {
                lc::EVP_PKEY_EC => {
                    let group = lc::EC_KEY_get0_group(lc::EVP_PKEY_get0_EC_KEY(key));
                    if lc::EC_GROUP_get_curve_name(group) != lc::NID_X9_62_prime256v1 {
                        return None;
                    }
                    EvpKind::P256
                }
                lc::EVP_PKEY_RSA => EvpKind::Rsa(lc::RSA_bits(lc::EVP_PKEY_get0_RSA(key))),
                _ => return None,
            }
        };
        Some(owned)
    }

    pub fn kind(&self) -> EvpKind {
        self.kind
    }

    /// None where aws-lc could not make one.
    pub fn generate(kind: EvpKind) -> Result<Option<EvpKey>, Failure> {
        in_arena(|| match kind {
            EvpKind::P256 => Self::generate_p256(),
            EvpKind::Rsa(bits) => Self::generate_rsa(bits),
        })
    }

    fn generate_p256() -> Option<EvpKey> {
        // SAFETY: every pointer is checked before use, and what is not handed over is freed.
        unsafe {
            let ec = lc::EC_KEY_new_by_curve_name(lc::NID_X9_62_prime256v1);
            let key = lc::EVP_PKEY_new();
            let made = !ec.is_null()
                && !key.is_null()
                && lc::EC_KEY_generate_key(ec) == 1
                && lc::EVP_PKEY_assign_EC_KEY(key, ec) == 1;
            if !made {
                lc::EC_KEY_free(ec);
                lc::EVP_PKEY_free(key);
                return None;
            }
            Self::adopt(key)
        }
    }

    fn generate_rsa(bits: u32) -> Option<EvpKey> {
        // SAFETY: every pointer is checked before use, and what is not handed over is freed.
        unsafe {
            let rsa = lc::RSA_new();
            let exponent = lc::BN_new();
            let key = lc::EVP_PKEY_new();
            let made = !rsa.is_null()
                && !exponent.is_null()
                && !key.is_null()
                && lc::BN_set_word(exponent, lc::RSA_F4 as lc::BN_ULONG) == 1
                && lc::RSA_generate_key_ex(rsa, bits as i32, exponent, std::ptr::null_mut()) == 1
                && lc::EVP_PKEY_assign_RSA(key, rsa) == 1;
            lc::BN_free(exponent);
            if !made {
                lc::RSA_free(rsa);
                lc::EVP_PKEY_free(key);
                return None;
            }
            Self::adopt(key)
        }
    }

    /// RFC 5958. The key is checked for consistency, and must fill `der` exactly; None otherwise.
    pub fn from_pkcs8(der: &[u8]) -> Result<Option<EvpKey>, Failure> {
        in_arena(|| Self::parse_pkcs8(der))
    }

    fn parse_pkcs8(der: &[u8]) -> Option<EvpKey> {
        let mut cbs = MaybeUninit::uninit();
        // SAFETY: the CBS only borrows der during this function.
        unsafe {
            lc::CBS_init(cbs.as_mut_ptr(), der.as_ptr(), der.len());
            let mut cbs = cbs.assume_init();
            let key = Self::adopt(lc::EVP_parse_private_key(&mut cbs))?;
            let sound = match key.kind {
                EvpKind::P256 => lc::EC_KEY_check_key(key.ec()) == 1,
                EvpKind::Rsa(_) => lc::RSA_check_key(key.rsa()) == 1,
            };
            (sound && cbs.len == 0).then_some(key)
        }
    }

    /// Writes PKCS#8 into the front of `out` (arena bytes) and returns its length.
    pub fn write_pkcs8(&self, out: &mut [u8]) -> Option<usize> {
        // SAFETY: marshals into the CBB it is given; the key is valid.
        let marshal = |cbb| unsafe { lc::EVP_marshal_private_key(cbb, self.key.as_ptr()) };
        in_arena(|| write_der(out, marshal)).ok().flatten()
    }

    /// SEC1 uncompressed point, or SubjectPublicKeyInfo.
    pub fn public_key(&self) -> Option<Vec<u8>> {
        match self.kind {
            EvpKind::P256 => {
                let mut point = vec![0; P256_POINT_BYTES];
                // SAFETY: the key is valid, point has room for an uncompressed P-256 point.
                let written = unsafe {
                    lc::EC_POINT_point2oct(
                        lc::EC_KEY_get0_group(self.ec()),
                        lc::EC_KEY_get0_public_key(self.ec()),
                        lc::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED,
                        point.as_mut_ptr(),
                        point.len(),
                        std::ptr::null_mut(),
                    )
                };
                (written == P256_POINT_BYTES).then_some(point)
            }
            EvpKind::Rsa(_) => {
                let mut spki = vec![0; MAX_SPKI_BYTES];
                // SAFETY: marshals into the CBB it is given; the key is valid.
                let written = write_der(&mut spki, |cbb| unsafe {
                    lc::EVP_marshal_public_key(cbb, self.key.as_ptr())
                })?;
                spki.truncate(written);
                Some(spki)
            }
        }
    }

    fn rsa(&self) -> *mut lc::RSA {
        // SAFETY: the key is valid; the result is borrowed from it.
        unsafe { lc::EVP_PKEY_get0_RSA(self.key.as_ptr()) }
    }

    fn ec(&self) -> *mut lc::EC_KEY {
        // SAFETY: the key is valid; the result is borrowed from it.
        unsafe { lc::EVP_PKEY_get0_EC_KEY(self.key.as_ptr()) }
    }

    /// ECDSA with SHA-256 (FIPS 186-5), signature in DER.
    pub fn sign_ecdsa(&self, message: &[u8], out: &mut [u8]) -> Result<usize, Status> {
        if self.kind != EvpKind::P256 {
            return Err(Status::KeyUnusable);
        }
        // SAFETY: the EC key is valid and borrowed.
        if out.len() < unsafe { lc::ECDSA_size(self.ec()) } {
            return Err(Status::BadInput);
        }
        let digest = sha256(message);
        let mut written = 0;
        // SAFETY: out has the room that ECDSA_size asks for.
        let done = in_arena(|| unsafe {
            lc::ECDSA_sign(0, digest.as_ptr(), digest.len(), out.as_mut_ptr(), &mut written, self.ec())
        });
        finish(done, written as usize)
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 8.2).
    pub fn sign_pkcs1(&self, message: &[u8], out: &mut [u8]) -> Result<usize, Status> {
        self.check_rsa_room(out)?;
        let digest = sha256(message);
        let mut written = 0;
        // SAFETY: out has room for a signature as long as the modulus, checked above.
        let done = in_arena(|| unsafe {
            lc::RSA_sign(
                lc::NID_sha256,
                digest.as_ptr(),
                digest.len(),
                out.as_mut_ptr(),
                &mut written,
                self.rsa(),
            )
        });
        finish(done, written as usize)
    }

    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes (RFC 8017 8.1).
    pub fn sign_pss(&self, message: &[u8], out: &mut [u8]) -> Result<usize, Status> {
        self.check_rsa_room(out)?;
        let digest = sha256(message);
        let mut written = 0;
        // SAFETY: out is valid for its length, and aws-lc checks that the signature fits.
        let done = in_arena(|| unsafe {
            lc::RSA_sign_pss_mgf1(
                self.rsa(),
                &mut written,
                out.as_mut_ptr(),
                out.len(),
                digest.as_ptr(),
                digest.len(),
                lc::EVP_sha256(),
                lc::EVP_sha256(),
                PSS_SALT_BYTES,
            )
        });
        finish(done, written)
    }

    fn check_rsa_room(&self, out: &[u8]) -> Result<(), Status> {
        match self.kind {
            EvpKind::Rsa(bits) if out.len() >= bits as usize / 8 => Ok(()),
            EvpKind::Rsa(_) => Err(Status::BadInput),
            EvpKind::P256 => Err(Status::KeyUnusable),
        }
    }
}

/// Verifies ECDSA with SHA-256; the key as an uncompressed SEC1 point.
pub fn verify_ecdsa(public_key: &[u8], message: &[u8], signature: &[u8]) -> Status {
    // SEC1 2.3.3: 04 marks the uncompressed form.
    if public_key.len() != P256_POINT_BYTES || public_key[0] != 4 {
        return Status::KeyUnusable;
    }
    let digest = sha256(message);
    // SAFETY: every pointer is checked before use and freed at the end; lengths are those of the slices.
    let (usable, valid) = unsafe {
        let group = lc::EC_group_p256();
        let key = lc::EC_KEY_new_by_curve_name(lc::NID_X9_62_prime256v1);
        let point = lc::EC_POINT_new(group);
        let usable = !key.is_null()
            && !point.is_null()
            && lc::EC_POINT_oct2point(
                group,
                point,
                public_key.as_ptr(),
                public_key.len(),
                std::ptr::null_mut(),
            ) == 1
            && lc::EC_KEY_set_public_key(key, point) == 1;
        let valid = usable
            && lc::ECDSA_verify(0, digest.as_ptr(), digest.len(), signature.as_ptr(), signature.len(), key)
                == 1;
        lc::EC_POINT_free(point);
        lc::EC_KEY_free(key);
        (usable, valid)
    };
    verdict(usable, valid)
}

/// Verifies RSASSA-PKCS1-v1_5 with SHA-256; the key as SubjectPublicKeyInfo.
pub fn verify_pkcs1(public_key: &[u8], message: &[u8], signature: &[u8]) -> Status {
    let Some(key) = parse_rsa_spki(public_key) else { return verdict(false, false) };
    let digest = sha256(message);
    // SAFETY: the key is valid; lengths are those of the slices.
    let valid = unsafe {
        lc::RSA_verify(
            lc::NID_sha256,
            digest.as_ptr(),
            digest.len(),
            signature.as_ptr(),
            signature.len(),
            key.rsa(),
        )
    };
    verdict(true, valid == 1)
}

/// Verifies RSASSA-PSS with the parameters of `sign_pss`; the key as SubjectPublicKeyInfo.
pub fn verify_pss(public_key: &[u8], message: &[u8], signature: &[u8]) -> Status {
    let Some(key) = parse_rsa_spki(public_key) else { return verdict(false, false) };
    let digest = sha256(message);
    // SAFETY: the key is valid; lengths are those of the slices.
    let valid = unsafe {
        lc::RSA_verify_pss_mgf1(
            key.rsa(),
            digest.as_ptr(),
            digest.len(),
            lc::EVP_sha256(),
            lc::EVP_sha256(),
            PSS_SALT_BYTES,
            signature.as_ptr(),
            signature.len(),
        )
    };
    verdict(true, valid == 1)
}

fn parse_rsa_spki(der: &[u8]) -> Option<EvpKey> {
    let mut cbs = MaybeUninit::uninit();
    // SAFETY: the CBS only borrows der during this function.
    unsafe {
        lc::CBS_init(cbs.as_mut_ptr(), der.as_ptr(), der.len());
        let mut cbs = cbs.assume_init();
        let key = EvpKey::adopt(lc::EVP_parse_public_key(&mut cbs))?;
        let one_of_ours = cbs.len == 0 && matches!(key.kind, EvpKind::Rsa(2048 | 3072 | 4096));
        // AWS-LC does not look at the algorithm's parameters; only the one DER encoding is a key here.
        (one_of_ours && key.public_key().is_some_and(|encoded| encoded == der)).then_some(key)
    }
}

fn verdict(usable: bool, valid: bool) -> Status {
    if valid {
        return Status::Ok;
    }
    clear_errors();
    if usable { Status::Rejected } else { Status::KeyUnusable }
}

fn finish(done: Result<i32, Failure>, written: usize) -> Result<usize, Status> {
    if matches!(done, Ok(1)) {
        return Ok(written);
    }
    clear_errors();
    Err(Status::Internal)
}

/// aws-lc queues the reasons of a failure per thread; nobody reads them here.
pub fn clear_errors() {
    // SAFETY: touches only this thread's queue.
    unsafe { lc::ERR_clear_error() }
}

/// Seeds aws-lc's generator, which gathers CPU jitter for 20 to 30 ms the first time in a process: at the start
/// rather than inside somebody's first signature.
pub fn seed_generator() {
    // With what else aws-lc sets up once, when the first key is made. Failing here means nothing: signing draws again.
    drop(in_arena_if_room(EvpKey::generate_p256));
    clear_errors();
}

fn sha256(message: &[u8]) -> [u8; SHA256_BYTES] {
    let mut digest = [0; SHA256_BYTES];
    // SAFETY: digest has the 32 bytes that are written.
    unsafe { lc::SHA256(message.as_ptr(), message.len(), digest.as_mut_ptr()) };
    digest
}

fn write_der(out: &mut [u8], marshal: impl FnOnce(*mut lc::CBB) -> i32) -> Option<usize> {
    let mut cbb = MaybeUninit::zeroed();
    let mut written = 0;
    // SAFETY: the CBB writes into out only, which outlives it, and is finished or cleaned up here.
    unsafe {
        let cbb = cbb.as_mut_ptr();
        if lc::CBB_init_fixed(cbb, out.as_mut_ptr(), out.len()) != 1 {
            return None;
        }
        if marshal(cbb) != 1 || lc::CBB_finish(cbb, std::ptr::null_mut(), &mut written) != 1 {
            lc::CBB_cleanup(cbb);
            clear_errors();
            return None;
        }
    }
    Some(written)
}
