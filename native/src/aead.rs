//! Authenticated encryption by aws-lc: AES-256-GCM (SP 800-38D), ChaCha20-Poly1305 (RFC 8439), and XAES-256-GCM (C2SP), whose
//! key derivation is three AES blocks. Key schedules lie in the arena.

use crate::aes::EncryptionKey;
use crate::arena::Slot;
use crate::evp::clear_errors;
use crate::failure::{Failure, Status};
use crate::keys;
use crate::wiped::Wiped;
use aws_lc_sys as lc;

pub const KEY_BYTES: usize = 32;
pub const TAG_BYTES: usize = 16;
pub const MAX_NONCE_BYTES: usize = 24;
const NONCE_BYTES: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Aes256Gcm,
    ChaCha20Poly1305,
    Xaes256Gcm,
}

impl Algorithm {
    pub fn nonce_bytes(self) -> usize {
        match self {
            Algorithm::Aes256Gcm | Algorithm::ChaCha20Poly1305 => NONCE_BYTES,
            Algorithm::Xaes256Gcm => MAX_NONCE_BYTES,
        }
    }

    /// Ciphertext and tag into `out`, which has room for exactly these.
    pub fn seal(
        self,
        key: &[u8],
        nonce: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<(), Failure> {
        let (context, nonce) = self.context(key, nonce)?;
        context.seal(nonce, aad, plaintext, out)
    }

    /// Into the front of `out`; None: it does not open, and `out` is zeros.
    pub fn open(
        self,
        key: &[u8],
        nonce: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Status> {
        if nonce.len() != self.nonce_bytes() {
            return Err(Status::Rejected);
        }
        let (context, nonce) = self.context(key, nonce).map_err(|_| Status::Internal)?;
        context.open(nonce, aad, ciphertext, out).ok_or(Status::Rejected)
    }

    fn context(self, key: &[u8], nonce: &[u8]) -> Result<(Context, Nonce), Failure> {
        assert!(nonce.len() == self.nonce_bytes());
        // SAFETY: constant descriptions.
        let (gcm, chacha) = unsafe { (lc::EVP_aead_aes_256_gcm(), lc::EVP_aead_chacha20_poly1305()) };
        let mut own_nonce = [0; NONCE_BYTES];
        own_nonce.copy_from_slice(&nonce[nonce.len() - NONCE_BYTES..]);
        let context = match self {
            Algorithm::Aes256Gcm => Context::new(gcm, key)?,
            Algorithm::ChaCha20Poly1305 => Context::new(chacha, key)?,
            Algorithm::Xaes256Gcm => Context::new(gcm, &xaes_key(key, &nonce[..NONCE_BYTES])?[..])?,
        };
        Ok((context, own_nonce))
    }
}

type Nonce = [u8; NONCE_BYTES];

/// XAES-256-GCM's key for a nonce: CMAC-based counter mode of SP 800-108r1, with both inputs of one block each, so that CMAC
/// (SP 800-38B) is one XOR with K1 and one block.
fn xaes_key(key: &[u8], prefix: &[u8]) -> Result<Wiped<KEY_BYTES>, Failure> {
    let aes = EncryptionKey::new(key)?;
    let mut subkey = Wiped::<16>::zeros();
    aes.encrypt_block(&[0; 16], &mut subkey);
    double(&mut subkey);
    let mut derived = Wiped::<KEY_BYTES>::zeros();
    for (counter, half) in derived.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let mut block = Wiped::<16>::zeros();
        block[..4].copy_from_slice(&[0, counter as u8 + 1, b'X', 0]);
        block[4..].copy_from_slice(prefix);
        block.iter_mut().zip(subkey.iter()).for_each(|(byte, mask)| *byte ^= mask);
        aes.encrypt_block(&block, half);
    }
    Ok(derived)
}

/// Times x in GF(2^128) as SP 800-38B has it, in constant time.
fn double(block: &mut [u8; 16]) {
    let value = u128::from_be_bytes(*block);
    let reduced = (value << 1) ^ ((value >> 127) * 0x87);
    *block = reduced.to_be_bytes();
}

/// An AEAD of aws-lc, whose key schedule lies in the arena.
pub struct Context {
    context: Slot,
}

impl Context {
    pub fn new(aead: *const lc::EVP_AEAD, key: &[u8]) -> Result<Context, Failure> {
        assert!(key.len() == KEY_BYTES);
        let mut context = keys::alloc(size_of::<lc::EVP_AEAD_CTX>())?;
        let context_ptr = context.bytes_mut().as_mut_ptr().cast();
        // SAFETY: slots are 64-byte aligned and this one has the size of a context; the key has 32 bytes.
        let ready = unsafe {
            lc::EVP_AEAD_CTX_init(context_ptr, aead, key.as_ptr(), key.len(), TAG_BYTES, std::ptr::null_mut())
                == 1
        };
        if ready {
            Ok(Context { context })
        } else {
            Err(Failure::new("SEAL_FAILED", "cannot set up sealing"))
        }
    }

    fn pointer(&self) -> *const lc::EVP_AEAD_CTX {
        self.context.bytes().as_ptr().cast()
    }

    /// Ciphertext and tag into `out`, which has room for exactly these.
    pub fn seal(&self, nonce: Nonce, aad: &[u8], plaintext: &[u8], out: &mut [u8]) -> Result<(), Failure> {
        let mut written = 0;
        // SAFETY: all pointers are valid for the lengths beside them, and the context is initialised.
        let sealed = unsafe {
            lc::EVP_AEAD_CTX_seal(
                self.pointer(),
                out.as_mut_ptr(),
                &mut written,
                out.len(),
                nonce.as_ptr(),
                nonce.len(),
                plaintext.as_ptr(),
                plaintext.len(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        if sealed != 1 || written != out.len() {
            clear_errors();
            return Err(Failure::new("SEAL_FAILED", "cannot seal"));
        }
        Ok(())
    }

    /// Into the front of `out`, which has room for the ciphertext without its tag. None: it does not open, and `out` is zeros.
    pub fn open(&self, nonce: Nonce, aad: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Option<usize> {
        let mut written = 0;
        // SAFETY: all pointers are valid for the lengths beside them, and the context is initialised.
        let opened = unsafe {
            lc::EVP_AEAD_CTX_open(
                self.pointer(),
                out.as_mut_ptr(),
                &mut written,
                out.len(),
                nonce.as_ptr(),
                nonce.len(),
                ciphertext.as_ptr(),
                ciphertext.len(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        if opened == 1 {
            return Some(written);
        }
        clear_errors();
        out.fill(0);
        None
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: new() initialised the context; the slot itself is cleared after this.
        unsafe { lc::EVP_AEAD_CTX_cleanup(self.context.bytes_mut().as_mut_ptr().cast()) }
    }
}
