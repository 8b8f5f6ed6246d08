//! AES-256 (FIPS 197) by aws-lc as others build on it: single blocks, and key wrap with padding (RFC 5649).

use crate::arena::{MAX_SLOT_BYTES, Slot};
use crate::awslc_heap::{in_arena, in_arena_if_room};
use crate::evp::clear_errors;
use crate::failure::{Failure, Status};
use crate::keys;
use aws_lc_sys as lc;

pub const KEY_BYTES: usize = 32;
const KEY_BITS: u32 = 256;
const WRAP_BLOCK_BYTES: usize = 8;

/// A key schedule in the arena.
struct Schedule(Slot);

impl Schedule {
    fn new(
        key: &[u8],
        expand: unsafe extern "C" fn(*const u8, u32, *mut lc::AES_KEY) -> i32,
    ) -> Result<Schedule, Failure> {
        assert!(key.len() == KEY_BYTES);
        let mut schedule = keys::alloc(size_of::<lc::AES_KEY>())?;
        // SAFETY: the key has 32 bytes; slots are 64-byte aligned, and this one has the size of a schedule.
        let done = unsafe { expand(key.as_ptr(), KEY_BITS, schedule.bytes_mut().as_mut_ptr().cast()) };
        if done == 0 {
            Ok(Schedule(schedule))
        } else {
            Err(Failure::new("INTERNAL", "cannot expand an AES key"))
        }
    }

    fn pointer(&self) -> *const lc::AES_KEY {
        self.0.bytes().as_ptr().cast()
    }
}

pub struct EncryptionKey(Schedule);

impl EncryptionKey {
    pub fn new(key: &[u8]) -> Result<EncryptionKey, Failure> {
        Ok(EncryptionKey(Schedule::new(key, lc::AES_set_encrypt_key)?))
    }

    pub fn encrypt_block(&self, block: &[u8; 16], out: &mut [u8; 16]) {
        // SAFETY: both blocks have 16 bytes, and the schedule is ready.
        unsafe { lc::AES_encrypt(block.as_ptr(), out.as_mut_ptr(), self.0.pointer()) }
    }
}

/// RFC 5649 4.1, into the front of `out`: the padded plaintext and 8 bytes more. An empty plaintext has no wrapping.
pub fn wrap(key: &[u8], plaintext: &[u8], out: &mut [u8]) -> Result<usize, Status> {
    if plaintext.is_empty()
        || out.len() < plaintext.len().next_multiple_of(WRAP_BLOCK_BYTES) + WRAP_BLOCK_BYTES
    {
        return Err(Status::BadInput);
    }
    let schedule = Schedule::new(key, lc::AES_set_encrypt_key).map_err(|_| Status::Internal)?;
    let mut written = 0;
    // SAFETY: all pointers are valid for the lengths beside them, and the schedule is ready.
    let done = padding_in_arena(plaintext.len(), || unsafe {
        lc::AES_wrap_key_padded(
            schedule.pointer(),
            out.as_mut_ptr(),
            &mut written,
            out.len(),
            plaintext.as_ptr(),
            plaintext.len(),
        )
    })?;
    if done == 1 { Ok(written) } else { Err(Status::Internal) }
}

/// aws-lc pads a copy of the plaintext: in the arena where it has slots of that size. The heap's copy of a longer one, which is no
/// key of ours, is cleared when it is freed.
fn padding_in_arena<T>(bytes: usize, work: impl FnMut() -> T) -> Result<T, Status> {
    if bytes > MAX_SLOT_BYTES / 2 {
        return Ok(in_arena_if_room(work));
    }
    in_arena(work).map_err(|_| Status::Internal)
}

/// RFC 5649 4.2, into the front of `out`, which has room for the padded plaintext. What does not open leaves zeros.
pub fn unwrap(key: &[u8], wrapped: &[u8], out: &mut [u8]) -> Result<usize, Status> {
    if wrapped.len() < 2 * WRAP_BLOCK_BYTES || !wrapped.len().is_multiple_of(WRAP_BLOCK_BYTES) {
        return Err(Status::Rejected);
    }
    if out.len() < wrapped.len() - WRAP_BLOCK_BYTES {
        return Err(Status::BadInput);
    }
    let schedule = Schedule::new(key, lc::AES_set_decrypt_key).map_err(|_| Status::Internal)?;
    let mut written = 0;
    // SAFETY: all pointers are valid for the lengths beside them, and the schedule is ready.
    let done = unsafe {
        lc::AES_unwrap_key_padded(
            schedule.pointer(),
            out.as_mut_ptr(),
            &mut written,
            out.len(),
            wrapped.as_ptr(),
            wrapped.len(),
        )
    };
    if done == 1 {
        return Ok(written);
    }
    clear_errors();
    out.fill(0);
    Err(Status::Rejected)
}
