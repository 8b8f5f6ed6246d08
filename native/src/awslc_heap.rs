//! The heap of aws-lc's objects. It takes its allocator from the three functions below, which it knows as
//! weak symbols (crypto/mem.c); within `in_arena` what it allocates is in the arena, otherwise in the
//! ordinary heap.
//!
//! They may not call into aws-lc, so nothing is evicted here: what does not fit makes the operation fail, and
//! it is tried again when there is room.

use crate::arena::{self, RawSlot, Slot};
use crate::failure::Failure;
use crate::{keys, pages};
use std::cell::Cell;
use std::ffi::c_void;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Heap,
    Arena,
    /// The arena where it has room. aws-lc's generator aborts the process when it gets no memory for its state,
    /// which it makes once for each thread.
    ArenaIfRoom,
}

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(Place::Heap) };
    /// The size of an allocation that the arena had no room for; 0: none.
    static REFUSED_BYTES: Cell<usize> = const { Cell::new(0) };
    static GENERATOR_READY: Cell<bool> = const { Cell::new(false) };
}

/// Runs work on private keys with aws-lc's allocations in the arena; again, as long as room can be made for what
/// did not fit. Fails with ARENA_FULL.
pub fn in_arena<T>(mut work: impl FnMut() -> T) -> Result<T, Failure> {
    if !GENERATOR_READY.replace(true) {
        let mut unused = [0; 1];
        // SAFETY: one byte of room.
        placed(Place::ArenaIfRoom, || unsafe { aws_lc_sys::RAND_bytes(unused.as_mut_ptr(), 1) });
    }
    loop {
        REFUSED_BYTES.set(0);
        let result = placed(Place::Arena, &mut work);
        match REFUSED_BYTES.replace(0) {
            0 => return Ok(result),
            // Outside of aws-lc: this may free keys.
            bytes => drop(keys::alloc(bytes)?),
        }
    }
}

/// For what aws-lc makes once in a process, and could not do without.
pub fn in_arena_if_room<T>(work: impl FnOnce() -> T) -> T {
    placed(Place::ArenaIfRoom, work)
}

fn placed<T>(place: Place, work: impl FnOnce() -> T) -> T {
    struct Restore(Place);
    impl Drop for Restore {
        fn drop(&mut self) {
            PLACE.set(self.0);
        }
    }
    let _restore = Restore(PLACE.replace(place));
    work()
}

/// Stands before each allocation, whose alignment is that of malloc.
#[repr(C, align(16))]
struct Header {
    bytes: u32,
    /// None: from the ordinary heap.
    slot: Option<RawSlot>,
}

const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 16);

#[unsafe(no_mangle)]
extern "C" fn OPENSSL_memory_alloc(bytes: usize) -> *mut c_void {
    let (Ok(len), Some(whole)) = (u32::try_from(bytes), bytes.checked_add(HEADER_BYTES)) else {
        return std::ptr::null_mut();
    };
    let place = PLACE.get();
    let slot =
        if place == Place::Heap { None } else { arena::arena().ok().and_then(|arena| arena.alloc(whole)) };
    let start = match slot {
        Some(slot) => {
            let (raw, start) = slot.into_raw();
            // SAFETY: the slot is 64-byte aligned and has room for a header.
            unsafe { start.cast::<Header>().write(Header { bytes: len, slot: Some(raw) }) };
            start.as_ptr()
        }
        None if place == Place::Arena => {
            REFUSED_BYTES.set(whole);
            return std::ptr::null_mut();
        }
        None => {
            #[cfg(test)]
            tests::ON_THE_HEAP.set(tests::ON_THE_HEAP.get() + 1);
            // SAFETY: malloc aligns to 16 bytes; null is handed on.
            let start = unsafe { libc::malloc(whole) }.cast::<u8>();
            if start.is_null() {
                return std::ptr::null_mut();
            }
            // SAFETY: aligned, with room for a header.
            unsafe { start.cast::<Header>().write(Header { bytes: len, slot: None }) };
            start
        }
    };
    // SAFETY: inside of the allocation, or at its end where nothing was asked for.
    unsafe { start.add(HEADER_BYTES) }.cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn OPENSSL_memory_free(at: *mut c_void) {
    let start = at.cast::<u8>().wrapping_sub(HEADER_BYTES);
    // SAFETY: aws-lc frees what OPENSSL_memory_alloc gave it, once.
    let Header { bytes, slot } = unsafe { start.cast::<Header>().read() };
    match (slot, std::ptr::NonNull::new(start)) {
        (Some(raw), Some(start)) => {
            if let Ok(arena) = arena::arena() {
                // SAFETY: the parts are those of into_raw. Dropping clears the whole allocation.
                drop(unsafe { Slot::from_raw(arena, raw, start, bytes as usize + HEADER_BYTES) });
            }
        }
        _ => {
            // SAFETY: the allocation has this size and came from malloc.
            unsafe {
                pages::wipe(std::slice::from_raw_parts_mut(start, bytes as usize + HEADER_BYTES));
                libc::free(start.cast());
            }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn OPENSSL_memory_get_size(at: *mut c_void) -> usize {
    // SAFETY: as above.
    unsafe { (*at.cast::<u8>().wrapping_sub(HEADER_BYTES).cast::<Header>()).bytes as usize }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Form, Input};
    use crate::schemes::{KeyType, Operations, scheme};
    use crate::{macs, root, seal, sealing};
    use aws_lc_sys as lc;

    thread_local! {
        /// aws-lc's allocations of this thread outside of the arena.
        pub static ON_THE_HEAP: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn making_opening_and_using_keys_allocates_nothing_on_the_heap() {
        crate::evp::seed_generator();
        let root = root::random().unwrap();
        let root_key = root::get(root).unwrap();
        let before = ON_THE_HEAP.get();
        for (type_id, scheme_ids) in [
            (1, &[1, 15][..]),
            (2, &[2]),
            (3, &[3]),
            (4, &[4]),
            (5, &[5, 8]),
            (6, &[9, 10]),
            (8, &[16]),
            (9, &[17]),
            (10, &[18]),
            (16, &[6, 7, 11, 12, 13, 14]),
            (17, &[6, 7]),
            (18, &[6, 7]),
        ] {
            let key_type = KeyType::from_id(type_id).unwrap();
            let mut opening = vec![1, 0, b't', 1, 0, b'a'];
            let key = key_type.generate().unwrap();
            opening.extend(seal::seal(&root_key, key_type, b"t", b"a", key.secret.bytes()).unwrap());
            let key = keys::open(root, type_id, &opening, 0).unwrap();
            for &id in scheme_ids {
                let mut signature = vec![0; 5000];
                let Operations::Signature { takes, sign, .. } = &scheme(id).unwrap().operations else {
                    panic!("scheme {id} does not sign")
                };
                let input = Input { form: Form::Message, bytes: &[7; 32], context: &[] };
                sign(&key.material, &input, &mut signature, false).unwrap();
                if takes.mu {
                    let input = Input { form: Form::Mu, bytes: &[7; 64], context: &[] };
                    sign(&key.material, &input, &mut signature, false).unwrap();
                }
            }
            assert_eq!(ON_THE_HEAP.get(), before, "type {type_id}");
        }
        for type_id in [24, 25, 26, 27, 33, 34, 35, 36] {
            let key_type = KeyType::from_id(type_id).unwrap();
            let mut opening = vec![1, 0, b't', 1, 0, b'a'];
            let key = key_type.generate().unwrap();
            opening.extend(seal::seal(&root_key, key_type, b"t", b"a", key.secret.bytes()).unwrap());
            // Not kept: the cache is of the process, and other tests have keys of these numbers.
            let opened = keys::open(root, 0, &opening, 0).unwrap();
            let scheme = scheme(type_id).unwrap();
            sealing::wrap_and_unwrap(scheme, &opened, &key.public_key, &mut [0; 5000]).unwrap();
            assert_eq!(ON_THE_HEAP.get(), before, "type {type_id}");
        }
        let mac_key = macs::extract(b"secret", b"salt").unwrap();
        macs::chain(mac_key, [&b"message"[..]].into_iter(), &mut [0; 32]).unwrap();
        assert_eq!(ON_THE_HEAP.get(), before);
    }

    #[test]
    fn aws_lc_allocates_in_the_arena_where_it_is_told_to() {
        let holds = |at: *mut c_void| arena::arena().unwrap().holds(at.cast());
        // SAFETY: each is freed once.
        unsafe {
            let outside = lc::OPENSSL_malloc(100);
            let inside = in_arena(|| lc::OPENSSL_zalloc(100)).unwrap();
            assert_eq!([outside, inside].map(holds), [false, true]);
            // Growing moves to where allocations go at that moment.
            let outside = in_arena(|| lc::OPENSSL_realloc(outside, 1000)).unwrap();
            let inside = lc::OPENSSL_realloc(inside, 1000);
            assert_eq!([outside, inside].map(holds), [true, false]);
            lc::OPENSSL_free(outside);
            lc::OPENSSL_free(inside);
        }
    }

    #[test]
    fn what_no_arena_can_hold_is_refused() {
        // SAFETY: nothing is allocated.
        let refused = in_arena(|| unsafe { lc::OPENSSL_malloc(arena::MAX_SLOT_BYTES + 1) });
        assert!(refused.is_err());
    }
}
