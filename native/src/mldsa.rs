//! ML-DSA (FIPS 204, pure, empty context): keys and signatures by liboqs, on secret keys that stay where they
//! are; verification by AWS-LC.
//!
//! liboqs 0.13 takes all randomness from one process-wide callback: 32 bytes in key generation (the seed xi
//! of FIPS 204 algorithm 1) and 32 in signing (rnd of algorithm 2). A thread-local source in front of the
//! generator therefore gives key generation from a stored seed, and deterministic signing (rnd = 0).

use crate::drbg;
use crate::evp::clear_errors;
use crate::failure::{Failure, Status};
use aws_lc_sys as lc;
use oqs_sys::common::{OQS_CPU_EXT, OQS_CPU_has_extension, OQS_STATUS, OQS_init, OQS_version};
use oqs_sys::sig;
use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::Once;

pub const SEED_BYTES: usize = 32;
/// Of ML-DSA-87.
pub const MAX_PUBLIC_KEY_BYTES: usize = sig::OQS_SIG_ml_dsa_87_length_public_key as usize;

pub struct ParameterSet {
    pub public_key_bytes: usize,
    pub secret_key_bytes: usize,
    pub signature_bytes: usize,
    /// of AWS-LC, for verification
    nid: i32,
    keypair: unsafe extern "C" fn(*mut u8, *mut u8) -> OQS_STATUS,
    sign: unsafe extern "C" fn(*mut u8, *mut usize, *const u8, usize, *const u8) -> OQS_STATUS,
}

pub static ML_DSA_44: ParameterSet = ParameterSet {
    public_key_bytes: sig::OQS_SIG_ml_dsa_44_length_public_key as usize,
    secret_key_bytes: sig::OQS_SIG_ml_dsa_44_length_secret_key as usize,
    signature_bytes: sig::OQS_SIG_ml_dsa_44_length_signature as usize,
    nid: lc::NID_MLDSA44,
    keypair: sig::OQS_SIG_ml_dsa_44_keypair,
    sign: sig::OQS_SIG_ml_dsa_44_sign,
};

pub static ML_DSA_65: ParameterSet = ParameterSet {
    public_key_bytes: sig::OQS_SIG_ml_dsa_65_length_public_key as usize,
    secret_key_bytes: sig::OQS_SIG_ml_dsa_65_length_secret_key as usize,
    signature_bytes: sig::OQS_SIG_ml_dsa_65_length_signature as usize,
    nid: lc::NID_MLDSA65,
    keypair: sig::OQS_SIG_ml_dsa_65_keypair,
    sign: sig::OQS_SIG_ml_dsa_65_sign,
};

pub static ML_DSA_87: ParameterSet = ParameterSet {
    public_key_bytes: sig::OQS_SIG_ml_dsa_87_length_public_key as usize,
    secret_key_bytes: sig::OQS_SIG_ml_dsa_87_length_secret_key as usize,
    signature_bytes: sig::OQS_SIG_ml_dsa_87_length_signature as usize,
    nid: lc::NID_MLDSA87,
    keypair: sig::OQS_SIG_ml_dsa_87_keypair,
    sign: sig::OQS_SIG_ml_dsa_87_sign,
};

/// The source of liboqs' next bytes on this thread.
#[derive(Clone, Copy)]
enum Source {
    Generator,
    /// The address of SEED_BYTES bytes, valid until the call into liboqs returns.
    Seed(*const u8),
    Zeros,
}

thread_local! {
    static SOURCE: Cell<Source> = const { Cell::new(Source::Generator) };
    static DRAW_FAILED: Cell<bool> = const { Cell::new(false) };
}

extern "C" fn draw(out: *mut u8, len: usize) {
    // SAFETY: liboqs passes a buffer of len bytes.
    let out = unsafe { std::slice::from_raw_parts_mut(out, len) };
    let drawn = match SOURCE.get() {
        Source::Generator => drbg::fill(out).is_ok(),
        Source::Seed(seed) if len == SEED_BYTES => {
            // SAFETY: with_source keeps the seed alive during the call, and its length is SEED_BYTES.
            out.copy_from_slice(unsafe { std::slice::from_raw_parts(seed, SEED_BYTES) });
            true
        }
        Source::Seed(_) => false,
        Source::Zeros => {
            out.fill(0);
            true
        }
    };
    if !drawn {
        // The callback cannot report; what liboqs makes of these zeros is thrown away by with_source.
        out.fill(0);
        DRAW_FAILED.set(true);
    }
}

/// Runs one call into liboqs; false if it failed or asked for bytes that could not be had.
fn with_source(source: Source, call: impl FnOnce() -> OQS_STATUS) -> bool {
    initialise();
    SOURCE.set(source);
    DRAW_FAILED.set(false);
    let status = call();
    SOURCE.set(Source::Generator);
    status == OQS_STATUS::OQS_SUCCESS && !DRAW_FAILED.get()
}

fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: called once, before any other use of liboqs; draw has the signature asked for.
        unsafe {
            OQS_init();
            oqs_sys::rand::OQS_randombytes_custom_algorithm(Some(draw));
        }
    });
}

/// Stands in for liboqs' own free (see build.rs): clears what was used, then frees.
#[unsafe(no_mangle)]
extern "C" fn __wrap_OQS_MEM_aligned_free(block: *mut c_void) {
    if !block.is_null() {
        // SAFETY: liboqs made the block with aligned_alloc, and hands it over for freeing.
        unsafe {
            libc::explicit_bzero(block, libc::malloc_usable_size(block));
            libc::free(block);
        }
    }
}

impl ParameterSet {
    /// FIPS 204 algorithm 6: the key pair of a seed. Both outputs must have exactly the set's lengths.
    pub fn expand(&self, seed: &[u8], secret_key: &mut [u8], public_key: &mut [u8]) -> Result<(), Failure> {
        assert!(seed.len() == SEED_BYTES);
        assert!(secret_key.len() == self.secret_key_bytes && public_key.len() == self.public_key_bytes);
        // SAFETY: both buffers have the lengths that liboqs writes, checked above.
        let done = with_source(Source::Seed(seed.as_ptr()), || unsafe {
            (self.keypair)(public_key.as_mut_ptr(), secret_key.as_mut_ptr())
        });
        if done { Ok(()) } else { Err(Failure::new("INTERNAL", "ML-DSA key generation failed")) }
    }

    /// Signs into the front of `out`; the secret key is read in place.
    pub fn sign(
        &self,
        secret_key: &[u8],
        message: &[u8],
        out: &mut [u8],
        deterministic: bool,
    ) -> Result<usize, Status> {
        let Some(out) = out.get_mut(..self.signature_bytes) else { return Err(Status::BadInput) };
        if secret_key.len() != self.secret_key_bytes {
            return Err(Status::KeyUnusable);
        }
        let source = if deterministic { Source::Zeros } else { Source::Generator };
        let mut written = 0;
        // SAFETY: key and output have the lengths of this parameter set, the message its own.
        let done = with_source(source, || unsafe {
            (self.sign)(out.as_mut_ptr(), &mut written, message.as_ptr(), message.len(), secret_key.as_ptr())
        });
        if done && written == self.signature_bytes {
            return Ok(written);
        }
        out.fill(0);
        Err(Status::Internal)
    }

    /// By AWS-LC (mldsa-native): liboqs 0.13's AVX2 code accepts signatures whose z is out of bounds
    /// (pq-crystals/dilithium issue 113) and misjudges a hint at r0 = 0, and is no faster (ML-DSA-65: 37 us
    /// against 33).
    pub fn verify(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Status {
        if public_key.len() != self.public_key_bytes {
            return Status::KeyUnusable;
        }
        if signature.len() != self.signature_bytes {
            return Status::Rejected;
        }
        let mut context = MaybeUninit::uninit();
        // SAFETY: key and context are made, used and released here; lengths are those of the slices.
        let valid = unsafe {
            let key = lc::EVP_PKEY_pqdsa_new_raw_public_key(self.nid, public_key.as_ptr(), public_key.len());
            let context = context.as_mut_ptr();
            lc::EVP_MD_CTX_init(context);
            let valid = !key.is_null()
                && lc::EVP_DigestVerifyInit(context, null_mut(), null(), null_mut(), key) == 1
                && lc::EVP_DigestVerify(
                    context,
                    signature.as_ptr(),
                    signature.len(),
                    message.as_ptr(),
                    message.len(),
                ) == 1;
            lc::EVP_MD_CTX_cleanup(context);
            lc::EVP_PKEY_free(key);
            valid
        };
        if valid {
            return Status::Ok;
        }
        clear_errors();
        Status::Rejected
    }
}

pub fn library_version() -> String {
    // SAFETY: a constant, NUL-terminated string.
    unsafe { CStr::from_ptr(OQS_version()) }.to_string_lossy().into_owned()
}

/// True if liboqs chose its AVX2 code on this machine: the condition of its sig_ml_dsa_65.c.
pub fn uses_avx2() -> bool {
    if !cfg!(target_arch = "x86_64") {
        return false;
    }
    initialise();
    // SAFETY: after OQS_init, reads liboqs' table of CPU features.
    unsafe {
        OQS_CPU_has_extension(OQS_CPU_EXT::OQS_CPU_EXT_AVX2) != 0
            && OQS_CPU_has_extension(OQS_CPU_EXT::OQS_CPU_EXT_POPCNT) != 0
    }
}
