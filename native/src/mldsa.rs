//! ML-DSA (FIPS 204, pure): keys and signatures of messages by liboqs, on secret keys that stay where they are;
//! verification, and signatures of an external mu, by AWS-LC.
//!
//! liboqs 0.13 takes all randomness from one process-wide callback: 32 bytes in key generation (the seed xi
//! of FIPS 204 algorithm 1) and 32 in signing (rnd of algorithm 2). A thread-local source in front of the
//! generator therefore gives key generation from a stored seed, and deterministic signing (rnd = 0).

use crate::arena::Slot;
use crate::awslc_heap::in_arena;
use crate::drbg;
use crate::evp::{clear_errors, finish};
use crate::failure::{Failure, Status};
use crate::input::{Form, Input};
use crate::keys;
use aws_lc_sys as lc;
use oqs_sys::common::{OQS_CPU_EXT, OQS_CPU_has_extension, OQS_STATUS, OQS_init, OQS_version};
use oqs_sys::sig;
use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null, null_mut};
use std::sync::{Once, OnceLock};

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
    sign: SignWithContext,
}

/// signature, its length, message, its length, context, its length, secret key
type SignWithContext =
    unsafe extern "C" fn(*mut u8, *mut usize, *const u8, usize, *const u8, usize, *const u8) -> OQS_STATUS;

pub static ML_DSA_44: ParameterSet = ParameterSet {
    public_key_bytes: sig::OQS_SIG_ml_dsa_44_length_public_key as usize,
    secret_key_bytes: sig::OQS_SIG_ml_dsa_44_length_secret_key as usize,
    signature_bytes: sig::OQS_SIG_ml_dsa_44_length_signature as usize,
    nid: lc::NID_MLDSA44,
    keypair: sig::OQS_SIG_ml_dsa_44_keypair,
    sign: sig::OQS_SIG_ml_dsa_44_sign_with_ctx_str,
};

pub static ML_DSA_65: ParameterSet = ParameterSet {
    public_key_bytes: sig::OQS_SIG_ml_dsa_65_length_public_key as usize,
    secret_key_bytes: sig::OQS_SIG_ml_dsa_65_length_secret_key as usize,
    signature_bytes: sig::OQS_SIG_ml_dsa_65_length_signature as usize,
    nid: lc::NID_MLDSA65,
    keypair: sig::OQS_SIG_ml_dsa_65_keypair,
    sign: sig::OQS_SIG_ml_dsa_65_sign_with_ctx_str,
};

pub static ML_DSA_87: ParameterSet = ParameterSet {
    public_key_bytes: sig::OQS_SIG_ml_dsa_87_length_public_key as usize,
    secret_key_bytes: sig::OQS_SIG_ml_dsa_87_length_secret_key as usize,
    signature_bytes: sig::OQS_SIG_ml_dsa_87_length_signature as usize,
    nid: lc::NID_MLDSA87,
    keypair: sig::OQS_SIG_ml_dsa_87_keypair,
    sign: sig::OQS_SIG_ml_dsa_87_sign_with_ctx_str,
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

/// One call into liboqs that draws from our generator; None: the bytes that it asked for could not be had. True: it succeeded.
pub fn drawing(call: impl FnOnce() -> OQS_STATUS) -> Option<bool> {
    let done = with_source(Source::Generator, call);
    (!DRAW_FAILED.get()).then_some(done)
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

    /// Signs a message into the front of `out`; the secret key is read in place.
    fn sign(
        &self,
        secret_key: &[u8],
        Input { bytes: message, context, .. }: &Input,
        out: &mut [u8],
        deterministic: bool,
    ) -> Result<usize, Status> {
        let Some(out) = out.get_mut(..self.signature_bytes) else { return Err(Status::BadInput) };
        assert!(secret_key.len() == self.secret_key_bytes);
        let source = if deterministic { Source::Zeros } else { Source::Generator };
        let mut written = 0;
        // SAFETY: key and output have the lengths of this parameter set, message and context their own.
        let done = with_source(source, || unsafe {
            (self.sign)(
                out.as_mut_ptr(),
                &mut written,
                message.as_ptr(),
                message.len(),
                context.as_ptr(),
                context.len(),
                secret_key.as_ptr(),
            )
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
    pub fn verify(&self, public_key: &[u8], input: &Input, signature: &[u8]) -> Status {
        if public_key.len() != self.public_key_bytes {
            return Status::KeyUnusable;
        }
        if signature.len() != self.signature_bytes {
            return Status::Rejected;
        }
        // SAFETY: the key is made, used and released here; lengths are those of the slices.
        let valid = unsafe {
            let key = lc::EVP_PKEY_pqdsa_new_raw_public_key(self.nid, public_key.as_ptr(), public_key.len());
            let valid = !key.is_null()
                && match input.form {
                    Form::Message => verify_message(key, input, signature),
                    Form::Mu => verify_mu(key, input.bytes, signature),
                    Form::Digest => false,
                };
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

/// # Safety
/// `key` is valid.
unsafe fn verify_message(key: *mut lc::EVP_PKEY, input: &Input, signature: &[u8]) -> bool {
    let Input { bytes: message, context: own, .. } = input;
    let mut context = MaybeUninit::uninit();
    let mut of_key = null_mut();
    // SAFETY: the context is initialised, used and cleaned up here; `of_key` is borrowed from it.
    unsafe {
        let context = context.as_mut_ptr();
        lc::EVP_MD_CTX_init(context);
        let valid = lc::EVP_DigestVerifyInit(context, &mut of_key, null(), null_mut(), key) == 1
            && (own.is_empty()
                || lc::EVP_PKEY_CTX_set_signature_context(of_key, own.as_ptr(), own.len()) == 1)
            && lc::EVP_DigestVerify(
                context,
                signature.as_ptr(),
                signature.len(),
                message.as_ptr(),
                message.len(),
            ) == 1;
        lc::EVP_MD_CTX_cleanup(context);
        valid
    }
}

/// # Safety
/// `key` is valid.
unsafe fn verify_mu(key: *mut lc::EVP_PKEY, mu: &[u8], signature: &[u8]) -> bool {
    // SAFETY: the context is checked, used and freed here.
    unsafe {
        let context = lc::EVP_PKEY_CTX_new(key, null_mut());
        let valid = !context.is_null()
            && lc::EVP_PKEY_verify_init(context) == 1
            && lc::EVP_PKEY_verify(context, signature.as_ptr(), signature.len(), mu.as_ptr(), mu.len()) == 1;
        lc::EVP_PKEY_CTX_free(context);
        valid
    }
}

/// The expanded secret key of FIPS 204 in the arena.
pub struct PrivateKey {
    set: &'static ParameterSet,
    secret_key: Slot,
    /// Made when the first mu is signed.
    for_mu: OnceLock<MuKey>,
}

impl PrivateKey {
    pub fn from_seed(set: &'static ParameterSet, seed: &[u8]) -> Result<PrivateKey, Failure> {
        let mut secret_key = keys::alloc(set.secret_key_bytes)?;
        let mut public_key = [0; MAX_PUBLIC_KEY_BYTES];
        set.expand(seed, secret_key.bytes_mut(), &mut public_key[..set.public_key_bytes])?;
        Ok(PrivateKey { set, secret_key, for_mu: OnceLock::new() })
    }

    pub fn is_of(&self, set: &ParameterSet) -> bool {
        std::ptr::eq(self.set, set)
    }

    pub fn slot(&self) -> &Slot {
        &self.secret_key
    }

    /// Into the front of `out`. Without randomness only of a message.
    pub fn sign(&self, input: &Input, out: &mut [u8], deterministic: bool) -> Result<usize, Status> {
        match input.form {
            Form::Message => self.set.sign(self.secret_key.bytes(), input, out, deterministic),
            Form::Mu if !deterministic => self.sign_mu(input.bytes, out),
            _ => Err(Status::BadInput),
        }
    }

    /// By AWS-LC, as liboqs 0.13 has no such call: slower, and hedged by aws-lc's own generator.
    fn sign_mu(&self, mu: &[u8], out: &mut [u8]) -> Result<usize, Status> {
        let Some(out) = out.get_mut(..self.set.signature_bytes) else { return Err(Status::BadInput) };
        let key = match self.for_mu.get() {
            Some(key) => key,
            None => {
                let made = MuKey::new(self.set.nid, self.secret_key.bytes()).map_err(|_| Status::Internal)?;
                self.for_mu.get_or_init(|| made)
            }
        };
        let mut written = 0;
        // SAFETY: the context is checked, used and freed here; out has `written` bytes.
        let done = in_arena(|| unsafe {
            written = out.len();
            let context = lc::EVP_PKEY_CTX_new(key.0.as_ptr(), null_mut());
            let signed = !context.is_null()
                && lc::EVP_PKEY_sign_init(context) == 1
                && lc::EVP_PKEY_sign(context, out.as_mut_ptr(), &mut written, mu.as_ptr(), mu.len()) == 1;
            lc::EVP_PKEY_CTX_free(context);
            i32::from(signed)
        });
        finish(done, written)
    }
}

/// An EVP_PKEY of AWS-LC in the arena.
struct MuKey(NonNull<lc::EVP_PKEY>);

// SAFETY: aws-lc counts references atomically, and signing only reads the key.
unsafe impl Send for MuKey {}
// SAFETY: as above.
unsafe impl Sync for MuKey {}

impl Drop for MuKey {
    fn drop(&mut self) {
        // SAFETY: we own this reference; aws-lc clears private parts when it frees.
        unsafe { lc::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

impl MuKey {
    fn new(nid: i32, secret_key: &[u8]) -> Result<MuKey, Failure> {
        // SAFETY: copies the secret key, whose length is its own.
        let key = in_arena(|| unsafe {
            lc::EVP_PKEY_pqdsa_new_raw_private_key(nid, secret_key.as_ptr(), secret_key.len())
        })?;
        NonNull::new(key).map(MuKey).ok_or_else(|| {
            clear_errors();
            Failure::new("INTERNAL", "the key has no form for a mu")
        })
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
