//! Anonymous pages for secrets: guard pages at both ends, never in a core dump, locked where the limit allows.

use std::ptr::NonNull;

/// The pages as a forked child finds them.
#[derive(Clone, Copy)]
pub enum InChild {
    /// Nothing is mapped there: keys do not travel.
    Absent,
    /// Zeros: how the generator notices that it was forked.
    Zeros,
}

/// One reservation of address space. Lives as long as the process: it is only ever held by statics.
pub struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: Pages is only an address range; whoever hands out parts of it does the synchronisation.
unsafe impl Send for Pages {}
// SAFETY: as above, no method touches the contents.
unsafe impl Sync for Pages {}

impl Pages {
    /// Reserves `len` bytes (rounded up to whole pages), inaccessible until `commit`.
    pub fn reserve(len: usize, in_child: InChild) -> Option<Pages> {
        let page = page_bytes();
        let len = len.checked_next_multiple_of(page)?;
        let whole = len.checked_add(2 * page)?;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choosing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                whole,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let fork_advice = match in_child {
            InChild::Absent => libc::MADV_DONTFORK,
            InChild::Zeros => libc::MADV_WIPEONFORK,
        };
        // SAFETY: the range is the mapping made above. A kernel that cannot keep it out of dumps gets no keys.
        let kept_out = unsafe {
            libc::madvise(base, whole, libc::MADV_DONTDUMP) == 0
                && libc::madvise(base, whole, fork_advice) == 0
        };
        if !kept_out {
            // SAFETY: unmaps what was mapped above; nothing points into it yet.
            unsafe { libc::munmap(base, whole) };
            return None;
        }
        let start = NonNull::new(base.cast::<u8>().wrapping_add(page))?;
        Some(Pages { start, len })
    }

    /// Makes `len` bytes at `offset` (both whole pages) readable and writable, zero at first use. Returns
    /// whether they are locked into memory; None if the kernel refuses the pages themselves.
    pub fn commit(&self, offset: usize, len: usize) -> Option<bool> {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        let at = self.at(offset).as_ptr().cast();
        // SAFETY: the range lies inside our own mapping, checked above.
        unsafe {
            if libc::mprotect(at, len, libc::PROT_READ | libc::PROT_WRITE) != 0 {
                return None;
            }
            Some(libc::mlock(at, len) == 0)
        }
    }

    pub fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.len);
        // SAFETY: offset lies inside the mapping, so the address is neither null nor past its end.
        unsafe { self.start.add(offset) }
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

pub fn page_bytes() -> usize {
    // SAFETY: sysconf reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Overwrites with zeros in a way the compiler may not leave out.
pub fn wipe(bytes: &mut [u8]) {
    // SAFETY: a valid, writable range.
    unsafe { libc::explicit_bzero(bytes.as_mut_ptr().cast(), bytes.len()) }
}
