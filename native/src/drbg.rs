//! Randomness for keys, nonces and hedged signatures: a ChaCha20 generator with fast key erasure (D. J.
//! Bernstein, 2017), seeded and reseeded by getrandom(2). Its key lives in a locked page of its own.
//!
//! aws-lc keeps a generator of its own for RSA and ECDSA.

use crate::failure::Failure;
use crate::pages::{InChild, Pages, page_bytes, wipe};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

pub const DEFAULT_RESEED_INTERVAL: u32 = 1 << 16;
/// Present while the page holds a key of this process; the kernel hands a forked child zeros instead.
const SEEDED: u64 = 0x6465_6564_6565_7373;
const NONCE: [u8; 12] = [0; 12];

/// The secret page.
#[repr(C)]
struct Secrets {
    seeded: u64,
    key: [u8; 32],
    block: [u8; 64],
    fresh: [u8; 32],
}

struct Generator {
    secrets: &'static mut Secrets,
    requests_since_reseed: u32,
    locked_bytes: usize,
}

static GENERATOR: OnceLock<Option<Mutex<Generator>>> = OnceLock::new();
static RESEED_INTERVAL: AtomicU32 = AtomicU32::new(DEFAULT_RESEED_INTERVAL);
static RESEEDS: AtomicU64 = AtomicU64::new(0);

pub fn configure(reseed_interval: u32) {
    RESEED_INTERVAL.store(reseed_interval, Ordering::Relaxed);
}

pub fn reseeds() -> u64 {
    RESEEDS.load(Ordering::Relaxed)
}

fn make() -> Option<Mutex<Generator>> {
    let pages = Pages::reserve(page_bytes(), InChild::Zeros)?;
    let locked = pages.commit(0, pages.len())?;
    // SAFETY: the page is zeroed, aligned, larger than Secrets, never unmapped, and this is the only
    // reference to it; all zeros is a valid Secrets.
    let secrets = unsafe { pages.at(0).cast::<Secrets>().as_mut() };
    let locked_bytes = if locked { pages.len() } else { 0 };
    Some(Mutex::new(Generator { secrets, requests_since_reseed: 0, locked_bytes }))
}

/// Bytes of the generator's page, and how many of them are locked.
pub fn usage() -> (usize, usize) {
    match GENERATOR.get() {
        Some(Some(generator)) => {
            (page_bytes(), generator.lock().unwrap_or_else(PoisonError::into_inner).locked_bytes)
        }
        _ => (0, 0),
    }
}

/// Fills `out`. Fails only if the operating system gives no randomness or no page.
pub fn fill(out: &mut [u8]) -> Result<(), Failure> {
    let unavailable = || Failure::new("RANDOM_UNAVAILABLE", "the system gives no randomness");
    let generator = GENERATOR.get_or_init(make).as_ref().ok_or_else(unavailable)?;
    let mut generator = generator.lock().unwrap_or_else(PoisonError::into_inner);
    if generator.fill(out) { Ok(()) } else { Err(unavailable()) }
}

/// Forgets the key; the next request seeds anew.
pub fn forget() {
    if let Some(Some(generator)) = GENERATOR.get() {
        let mut generator = generator.lock().unwrap_or_else(PoisonError::into_inner);
        generator.secrets.seeded = 0;
        wipe(&mut generator.secrets.key);
    }
}

impl Generator {
    fn fill(&mut self, out: &mut [u8]) -> bool {
        let due = self.requests_since_reseed >= RESEED_INTERVAL.load(Ordering::Relaxed);
        // Volatile: the kernel clears the page behind the compiler's back.
        // SAFETY: a valid, aligned field.
        let seeded = unsafe { std::ptr::read_volatile(&self.secrets.seeded) } == SEEDED;
        if (!seeded || due) && !self.reseed() {
            return false;
        }
        self.requests_since_reseed += 1;
        out.fill(0);
        self.next_block();
        // The key covers counter 0 for its successor and the rest for the caller. 256 GiB would wrap the
        // counter; requests here are at most some kilobytes.
        // SAFETY: out is valid for its length, in place is allowed, key and nonce have 32 and 12 bytes.
        unsafe {
            aws_lc_sys::CRYPTO_chacha_20(
                out.as_mut_ptr(),
                out.as_ptr(),
                out.len(),
                self.secrets.key.as_ptr(),
                NONCE.as_ptr(),
                1,
            );
        }
        self.adopt_block();
        true
    }

    /// As arc4random does: the next key is the generator's own successor key combined with fresh bytes.
    fn reseed(&mut self) -> bool {
        if !system_random(&mut self.secrets.fresh) {
            return false;
        }
        self.next_block();
        let Secrets { block, fresh, .. } = &mut *self.secrets;
        for (byte, fresh) in block.iter_mut().zip(fresh.iter()) {
            *byte ^= fresh;
        }
        wipe(fresh);
        self.adopt_block();
        self.secrets.seeded = SEEDED;
        self.requests_since_reseed = 0;
        RESEEDS.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn next_block(&mut self) {
        let Secrets { key, block, .. } = &mut *self.secrets;
        block.fill(0);
        // SAFETY: block is valid for 64 bytes, key and nonce have 32 and 12 bytes.
        unsafe {
            aws_lc_sys::CRYPTO_chacha_20(
                block.as_mut_ptr(),
                block.as_ptr(),
                block.len(),
                key.as_ptr(),
                NONCE.as_ptr(),
                0,
            );
        }
    }

    fn adopt_block(&mut self) {
        let Secrets { key, block, .. } = &mut *self.secrets;
        key.copy_from_slice(&block[..32]);
        wipe(block);
    }
}

fn system_random(out: &mut [u8; 32]) -> bool {
    let mut done = 0;
    while done < out.len() {
        // SAFETY: the rest of out is valid for writing.
        let got = unsafe { libc::getrandom(out[done..].as_mut_ptr().cast(), out.len() - done, 0) };
        match usize::try_from(got) {
            Ok(got) => done += got,
            Err(_) if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}
