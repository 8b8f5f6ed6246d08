//! Room for plaintexts that only pass through: what is opened by one key to be sealed by another.

use crate::arena::{MAX_SLOT_BYTES, Slot};
use crate::failure::Failure;
use crate::keys;
use crate::pages::{InChild, Pages, wipe};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The longest plaintext is 64 KiB; a wrapping of KWP fills its last block.
pub const MAX_BYTES: usize = (64 << 10) + 8;

/// Cleared when dropped.
pub enum Scratch {
    Slot(Slot),
    /// Longer than any slot: one for the process, so that such work waits for its turn.
    Large(MutexGuard<'static, Large>),
}

pub struct Large {
    bytes: &'static mut [u8],
    len: usize,
}

impl Scratch {
    pub fn of(len: usize) -> Result<Scratch, Failure> {
        if len <= MAX_SLOT_BYTES {
            return Ok(Scratch::Slot(keys::alloc(len)?));
        }
        static LARGE: OnceLock<Option<Mutex<Large>>> = OnceLock::new();
        let large = LARGE.get_or_init(make).as_ref().filter(|_| len <= MAX_BYTES);
        let mut large = large.ok_or_else(Failure::exhausted)?.lock().unwrap_or_else(PoisonError::into_inner);
        large.len = len;
        Ok(Scratch::Large(large))
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Scratch::Slot(slot) => slot.bytes_mut(),
            Scratch::Large(large) => {
                let len = large.len;
                &mut large.bytes[..len]
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Scratch::Large(_) = self {
            wipe(self.bytes_mut());
        }
    }
}

fn make() -> Option<Mutex<Large>> {
    let pages = Pages::reserve(MAX_BYTES, InChild::Absent)?;
    pages.commit(0, pages.len())?;
    // SAFETY: the pages are zeroed, never unmapped, and this is the only reference to them.
    let bytes = unsafe { std::slice::from_raw_parts_mut(pages.at(0).as_ptr(), pages.len()) };
    Some(Mutex::new(Large { bytes, len: 0 }))
}
