//! Keys of RSA and of elliptic curves as aws-lc has them. Private keys of these types are its objects in the arena,
//! and so is what it allocates while it uses them (awslc_heap.rs); verification takes the ordinary heap.

use crate::awslc_heap::{in_arena, in_arena_if_room};
use crate::failure::{Failure, Status};
use aws_lc_sys as lc;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// An RSA-4096 SubjectPublicKeyInfo has 550 bytes.
const MAX_SPKI_BYTES: usize = 600;

/// Everything but the scalar is the same in an ECPrivateKey of P-256 that has the curve and no public key.
const EC_PRIVATE_KEY_HEAD: &[u8] = &[0x30, 0x31, 2, 1, 1, 4, 32];
const EC_PRIVATE_KEY_TAIL: &[u8] = &[0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub const EC_PRIVATE_KEY_BYTES: usize = EC_PRIVATE_KEY_HEAD.len() + 32 + EC_PRIVATE_KEY_TAIL.len();

/// An owned EVP_PKEY that holds either an RSA key or a key of one of our curves.
pub struct EvpKey {
    key: NonNull<lc::EVP_PKEY>,
    kind: EvpKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
}

impl Curve {
    pub const fn scalar_bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }

    /// SEC1 2.3.3, uncompressed.
    pub const fn point_bytes(self) -> usize {
        1 + 2 * self.scalar_bytes()
    }

    pub const fn nid(self) -> i32 {
        match self {
            Curve::P256 => lc::NID_X9_62_prime256v1,
            Curve::P384 => lc::NID_secp384r1,
        }
    }

    pub fn group(self) -> *const lc::EC_GROUP {
        // SAFETY: the getters give static groups.
        unsafe {
            match self {
                Curve::P256 => lc::EC_group_p256(),
                Curve::P384 => lc::EC_group_p384(),
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EvpKind {
    Ec(Curve),
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
    pub fn adopt(key: *mut lc::EVP_PKEY) -> Option<EvpKey> {
        let mut owned = EvpKey { key: NonNull::new(key)?, kind: EvpKind::Ec(Curve::P256) };
        // SAFETY: the key is valid; the getters return borrowed pointers, null if the type is another.
        owned.kind = unsafe {
            match lc::EVP_PKEY_id(key) {
                lc::EVP_PKEY_EC => {
                    let group = lc::EC_KEY_get0_group(lc::EVP_PKEY_get0_EC_KEY(key));
                    let nid = lc::EC_GROUP_get_curve_name(group);
                    EvpKind::Ec([Curve::P256, Curve::P384].into_iter().find(|curve| curve.nid() == nid)?)
                }
                lc::EVP_PKEY_RSA => EvpKind::Rsa(lc::RSA_bits(lc::EVP_PKEY_get0_RSA(key))),
                _ => return None,
            }
        };
        Some(owned)
    }

    /// Valid as long as this lives.
    pub fn pointer(&self) -> *mut lc::EVP_PKEY {
        self.key.as_ptr()
    }

    pub fn kind(&self) -> EvpKind {
        self.kind
    }

    /// None where aws-lc could not make one.
    pub fn generate(kind: EvpKind) -> Result<Option<EvpKey>, Failure> {
        in_arena(|| match kind {
            EvpKind::Ec(curve) => Self::generate_ec(curve),
            EvpKind::Rsa(bits) => Self::generate_rsa(bits),
        })
    }

    fn generate_ec(curve: Curve) -> Option<EvpKey> {
        // SAFETY: the pointer is checked before use; own_ec takes it over.
        unsafe {
            let ec = lc::EC_KEY_new_by_curve_name(curve.nid());
            let made = !ec.is_null() && lc::EC_KEY_generate_key(ec) == 1;
            Self::own_ec(ec, made)
        }
    }

    /// Takes ownership of `ec`. None where it is not `sound`, or null.
    ///
    /// # Safety
    /// `ec` is null or valid, and nobody else's.
    unsafe fn own_ec(ec: *mut lc::EC_KEY, sound: bool) -> Option<EvpKey> {
        // SAFETY: every pointer is checked before use, and what is not handed over is freed.
        unsafe {
            let key = lc::EVP_PKEY_new();
            if !sound || ec.is_null() || key.is_null() || lc::EVP_PKEY_assign_EC_KEY(key, ec) != 1 {
                lc::EC_KEY_free(ec);
                lc::EVP_PKEY_free(key);
                return None;
            }
            Self::adopt(key)
        }
    }

    /// ECPrivateKey (RFC 5915) with the curve and without the public key: no other encoding, so that it is as long as
    /// EC_PRIVATE_KEY_BYTES. The key is checked; None otherwise.
    pub fn from_ec_private_key(der: &[u8]) -> Result<Option<EvpKey>, Failure> {
        let fits = der.len() == EC_PRIVATE_KEY_BYTES
            && der.starts_with(EC_PRIVATE_KEY_HEAD)
            && der.ends_with(EC_PRIVATE_KEY_TAIL);
        if !fits {
            return Ok(None);
        }
        in_arena(|| {
            let mut cbs = MaybeUninit::uninit();
            // SAFETY: the CBS only borrows der during this closure; own_ec takes the key over.
            unsafe {
                lc::CBS_init(cbs.as_mut_ptr(), der.as_ptr(), der.len());
                let mut cbs = cbs.assume_init();
                let ec = lc::EC_KEY_parse_private_key(&mut cbs, Curve::P256.group());
                let sound = !ec.is_null() && cbs.len == 0 && lc::EC_KEY_check_key(ec) == 1;
                Self::own_ec(ec, sound)
            }
        })
    }

    /// The form that `from_ec_private_key` reads, of a P-256 key, into all of `out` (arena bytes).
    pub fn write_ec_private_key(&self, out: &mut [u8]) -> Option<()> {
        if self.kind != EvpKind::Ec(Curve::P256) {
            return None;
        }
        // SAFETY: marshals into the CBB it is given; the key is valid.
        let marshal =
            |cbb| unsafe { lc::EC_KEY_marshal_private_key(cbb, self.ec(), lc::EC_PKEY_NO_PUBKEY as u32) };
        let written = in_arena(|| write_der(out, marshal)).ok().flatten()?;
        (written == out.len()).then_some(())
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
                EvpKind::Ec(_) => lc::EC_KEY_check_key(key.ec()) == 1,
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
            EvpKind::Ec(curve) => {
                let mut point = vec![0; curve.point_bytes()];
                // SAFETY: the key is valid, point has room for an uncompressed point of the curve.
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
                (written == curve.point_bytes()).then_some(point)
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

    pub fn rsa(&self) -> *mut lc::RSA {
        // SAFETY: the key is valid; the result is borrowed from it.
        unsafe { lc::EVP_PKEY_get0_RSA(self.key.as_ptr()) }
    }

    pub fn ec(&self) -> *mut lc::EC_KEY {
        // SAFETY: the key is valid; the result is borrowed from it.
        unsafe { lc::EVP_PKEY_get0_EC_KEY(self.key.as_ptr()) }
    }
}

pub fn verdict(usable: bool, valid: bool) -> Status {
    if valid {
        return Status::Ok;
    }
    clear_errors();
    if usable { Status::Rejected } else { Status::KeyUnusable }
}

pub fn finish(done: Result<i32, Failure>, written: usize) -> Result<usize, Status> {
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
    drop(in_arena_if_room(|| EvpKey::generate_ec(Curve::P256)));
    clear_errors();
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
