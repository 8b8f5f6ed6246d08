//! The arena: every private key, root key and scratch secret of the process, in slots of a few sizes.
//!
//! One reservation, committed slab by slab as it fills. A slab holds slots of one size; an empty slab can
//! take any size again. Slots are cleared when they are dropped, so free slots hold zeros.

use crate::failure::Failure;
use crate::pages::{InChild, Pages, wipe};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// 32 KiB: a multiple of every page size in use, eight ML-DSA-65 keys, and room for the largest thing that
/// aws-lc asks for at once, 22 KiB for RSA-4096 with AVX-512 (crypto/fipsmodule/bn/rsaz_exp_x2.c).
pub const SLAB_BYTES: usize = 32 * 1024;
/// Twelve slabs: one of each slot size and one to spare, so that a key and the scratch to use it fit together.
pub const MIN_BYTES: usize = 12 * SLAB_BYTES;
/// 1 GiB holds 250,000 ML-DSA-65 keys; more is a mistyped setting.
pub const MAX_BYTES: usize = 1 << 30;
/// 4 MiB stays under the customary RLIMIT_MEMLOCK of 8 MiB, with room for others.
pub const DEFAULT_BYTES: usize = 4 << 20;

/// Slot sizes, multiples of 64 so that slots start on cache lines: Ed25519 keys, roots, seeds and the small
/// structs of aws-lc (64, 128); its numbers of 1024, 2048 and 4096 bits and the headers of awslc_heap.rs (192,
/// 320, 576); AEAD contexts and P-256 PKCS#8 (640); products (1088); ML-DSA-44 and RSA PKCS#8 (2560); ML-DSA-65
/// (4032); ML-DSA-87 (4928); scratch of RSA (10880, 32768).
const CLASS_BYTES: [usize; 12] = [64, 128, 192, 320, 576, 640, 1088, 2560, 4032, 4928, 10_880, SLAB_BYTES];
pub const MAX_SLOT_BYTES: usize = CLASS_BYTES[CLASS_BYTES.len() - 1];
const UNASSIGNED: u8 = u8::MAX;
const BITMAP_WORDS: usize = SLAB_BYTES / 64 / 64;

struct Slab {
    class: u8,
    used: u16,
    /// Place in `partial[class]`, when it is there.
    partial_at: Option<u32>,
    /// One bit per slot, set while the slot is taken.
    taken: [u64; BITMAP_WORDS],
}

struct State {
    slabs: Vec<Slab>,
    unassigned: Vec<u32>,
    /// For each class the slabs that have a free slot.
    partial: [Vec<u32>; CLASS_BYTES.len()],
    locked_bytes: usize,
}

pub struct Arena {
    pages: Pages,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
pub struct Usage {
    pub committed_bytes: usize,
    pub locked_bytes: usize,
}

impl Arena {
    pub fn new(bytes: usize) -> Option<Arena> {
        let pages = Pages::reserve(bytes.checked_next_multiple_of(SLAB_BYTES)?, InChild::Absent)?;
        let state = State {
            slabs: Vec::new(),
            unassigned: Vec::new(),
            partial: std::array::from_fn(|_| Vec::new()),
            locked_bytes: 0,
        };
        Some(Arena { pages, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held is a bug, but the bookkeeping is never left half done across one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A zeroed slot of at least `len` bytes, or None when there is no free slot and no slab left.
    pub fn alloc(&'static self, len: usize) -> Option<Slot> {
        let class = class_of(len)?;
        let mut state = self.state();
        let index = match state.partial[class as usize].last() {
            Some(&index) => index,
            None => self.take_slab(&mut state, class)?,
        };
        let slab = &mut state.slabs[index as usize];
        let slot = slab.take_lowest();
        if slab.used as usize == slots_of(class) {
            state.unlist(index);
        }
        drop(state);
        let start = self.pages.at(index as usize * SLAB_BYTES + slot * CLASS_BYTES[class as usize]);
        Some(Slot { arena: self, start, len, class, slab: index, slot: slot as u16 })
    }

    fn take_slab(&self, state: &mut State, class: u8) -> Option<u32> {
        let index = match state.unassigned.pop() {
            Some(index) => index,
            None => {
                let index = state.slabs.len();
                let offset = index * SLAB_BYTES;
                if offset >= self.pages.len() {
                    return None;
                }
                if self.pages.commit(offset, SLAB_BYTES)? {
                    state.locked_bytes += SLAB_BYTES;
                }
                state.slabs.push(Slab {
                    class: UNASSIGNED,
                    used: 0,
                    partial_at: None,
                    taken: [0; BITMAP_WORDS],
                });
                index as u32
            }
        };
        state.slabs[index as usize].class = class;
        state.list(index);
        Some(index)
    }

    #[cfg(test)]
    pub fn holds(&self, at: *const u8) -> bool {
        let start = self.pages.at(0).as_ptr().cast_const();
        (start..start.wrapping_add(self.pages.len())).contains(&at)
    }

    pub fn usage(&self) -> Usage {
        let state = self.state();
        Usage { committed_bytes: state.slabs.len() * SLAB_BYTES, locked_bytes: state.locked_bytes }
    }
}

impl Slab {
    fn take_lowest(&mut self) -> usize {
        let slots = slots_of(self.class);
        for (word, bits) in self.taken.iter_mut().enumerate() {
            let slot = word * 64 + bits.trailing_ones() as usize;
            if *bits != u64::MAX && slot < slots {
                *bits |= 1 << (slot % 64);
                self.used += 1;
                return slot;
            }
        }
        unreachable!("a listed slab has a free slot")
    }
}

impl State {
    fn list(&mut self, index: u32) {
        let slab = &mut self.slabs[index as usize];
        let partial = &mut self.partial[slab.class as usize];
        slab.partial_at = Some(partial.len() as u32);
        partial.push(index);
    }

    fn unlist(&mut self, index: u32) {
        let slab = &mut self.slabs[index as usize];
        let Some(at) = slab.partial_at.take() else { return };
        let partial = &mut self.partial[slab.class as usize];
        partial.swap_remove(at as usize);
        if let Some(&moved) = partial.get(at as usize) {
            self.slabs[moved as usize].partial_at = Some(at);
        }
    }

    fn release(&mut self, index: u32, slot: u16) {
        let slab = &mut self.slabs[index as usize];
        slab.taken[slot as usize / 64] &= !(1 << (slot % 64));
        slab.used -= 1;
        let (empty, listed) = (slab.used == 0, slab.partial_at.is_some());
        if empty {
            self.unlist(index);
            self.slabs[index as usize].class = UNASSIGNED;
            self.unassigned.push(index);
        } else if !listed {
            self.list(index);
        }
    }
}

fn class_of(len: usize) -> Option<u8> {
    CLASS_BYTES.iter().position(|&bytes| len <= bytes).map(|class| class as u8)
}

fn slots_of(class: u8) -> usize {
    SLAB_BYTES / CLASS_BYTES[class as usize]
}

/// Exclusive use of some bytes of the arena; cleared when dropped.
pub struct Slot {
    arena: &'static Arena,
    start: NonNull<u8>,
    len: usize,
    class: u8,
    slab: u32,
    slot: u16,
}

// SAFETY: a Slot owns its bytes; nobody else has a pointer to them.
unsafe impl Send for Slot {}
// SAFETY: shared access to a Slot only reads.
unsafe impl Sync for Slot {}

impl Slot {
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: start is valid for len bytes (len is at most the class size) as long as the Slot lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and &mut self makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Keeps only the first `len` bytes in use.
    pub fn shorten(&mut self, len: usize) {
        assert!(len <= self.len);
        wipe(&mut self.bytes_mut()[len..]);
        self.len = len;
    }

    pub fn is_of_class(&self, len: usize) -> bool {
        class_of(len) == Some(self.class)
    }

    pub fn slab(&self) -> u32 {
        self.slab
    }
}

/// The place of a slot, for those that keep it beside its bytes.
#[derive(Clone, Copy)]
pub struct RawSlot {
    slab: u32,
    slot: u16,
    class: u8,
}

impl Slot {
    pub fn into_raw(self) -> (RawSlot, NonNull<u8>) {
        let slot = std::mem::ManuallyDrop::new(self);
        (RawSlot { slab: slot.slab, slot: slot.slot, class: slot.class }, slot.start)
    }

    /// # Safety
    /// The parts are those of one `into_raw` of this arena, and taken back once; `len` is at most what was asked for.
    pub unsafe fn from_raw(arena: &'static Arena, raw: RawSlot, start: NonNull<u8>, len: usize) -> Slot {
        Slot { arena, start, len, class: raw.class, slab: raw.slab, slot: raw.slot }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        wipe(self.bytes_mut());
        self.arena.state().release(self.slab, self.slot);
    }
}

static ARENA: OnceLock<Option<Arena>> = OnceLock::new();
static BYTES: OnceLock<usize> = OnceLock::new();

/// Fixes the size; false if the arena already has another one.
pub fn configure(bytes: usize) -> bool {
    *BYTES.get_or_init(|| bytes) == bytes
}

/// The arena of this process, made at first use with the configured or the default size.
pub fn arena() -> Result<&'static Arena, Failure> {
    ARENA
        .get_or_init(|| Arena::new(configured_bytes()))
        .as_ref()
        .ok_or_else(|| Failure::new("ARENA_UNAVAILABLE", "the system gives no pages for the key arena"))
}

pub fn configured_bytes() -> usize {
    *BYTES.get_or_init(|| DEFAULT_BYTES)
}

/// The use of the arena, without making it.
pub fn usage() -> Usage {
    match ARENA.get() {
        Some(Some(arena)) => arena.usage(),
        _ => Usage { committed_bytes: 0, locked_bytes: 0 },
    }
}
