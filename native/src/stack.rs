//! Clearing what signing leaves behind: liboqs' and aws-lc's frames below ours hold unpacked keys, and vector
//! registers hold what was last copied through them.

use std::hint::black_box;
use std::mem::MaybeUninit;

/// Deepest use of any operation, opening and key generation included.
pub const MAX_BYTES: usize = 192 << 10;

/// Clears at least `bytes` (at most MAX_BYTES) of the stack below the caller, and the vector registers.
#[inline(never)]
pub fn scrub(bytes: usize) {
    match bytes {
        0 => return,
        ..=0x4000 => clear::<0x4000>(),
        ..=0x1_0000 => clear::<0x1_0000>(),
        ..=0x2_0000 => clear::<0x2_0000>(),
        _ => clear::<MAX_BYTES>(),
    }
    clear_vector_registers();
}

#[inline(never)]
fn clear<const BYTES: usize>() {
    let mut frame = MaybeUninit::<[u8; BYTES]>::uninit();
    // SAFETY: the array is ours and has this size.
    unsafe { libc::explicit_bzero(frame.as_mut_ptr().cast(), BYTES) };
    black_box(&mut frame);
}

#[cfg(target_arch = "x86_64")]
fn clear_vector_registers() {
    use std::arch::{asm, is_x86_feature_detected};
    if is_x86_feature_detected!("avx") {
        // SAFETY: the instruction exists where AVX does, and the clobbers name all it changes.
        unsafe { asm!("vzeroall", clobber_abi("sysv64"), options(nomem, nostack, preserves_flags)) };
    }
    if is_x86_feature_detected!("avx512f") {
        // glibc copies through ymm16 and up on these machines, which vzeroall leaves alone.
        // SAFETY: the registers exist where AVX-512F does, and the clobbers name them.
        unsafe {
            asm!(
                "vpxord zmm16, zmm16, zmm16",
                "vpxord zmm17, zmm17, zmm17",
                "vpxord zmm18, zmm18, zmm18",
                "vpxord zmm19, zmm19, zmm19",
                "vpxord zmm20, zmm20, zmm20",
                "vpxord zmm21, zmm21, zmm21",
                "vpxord zmm22, zmm22, zmm22",
                "vpxord zmm23, zmm23, zmm23",
                "vpxord zmm24, zmm24, zmm24",
                "vpxord zmm25, zmm25, zmm25",
                "vpxord zmm26, zmm26, zmm26",
                "vpxord zmm27, zmm27, zmm27",
                "vpxord zmm28, zmm28, zmm28",
                "vpxord zmm29, zmm29, zmm29",
                "vpxord zmm30, zmm30, zmm30",
                "vpxord zmm31, zmm31, zmm31",
                clobber_abi("sysv64"),
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn clear_vector_registers() {}

pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the struct; CLOCK_MONOTONIC always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
