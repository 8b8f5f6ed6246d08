//! Clearing what signing leaves behind: liboqs' and aws-lc's frames below ours hold unpacked keys, and vector
//! registers hold what was last copied through them.

use std::hint::black_box;
use std::mem::MaybeUninit;

/// Deepest use of any operation, opening and key generation included.
pub const MAX_BYTES: usize = 192 << 10;

/// Clears at least `bytes` (at most MAX_BYTES) of the stack below the caller, and the vector registers.
/// Cost on an AMD EPYC with AVX-512: 0.15 us for 16 KiB, 0.9 us for 128 KiB, 1.5 us for 192 KiB.
#[inline(never)]
pub fn scrub(bytes: usize) {
    match bytes {
        0 => return,
        1..=0x4000 => clear::<0x4000>(),
        0x4001..=0x1_0000 => clear::<0x1_0000>(),
        0x1_0001..=0x2_0000 => clear::<0x2_0000>(),
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

thread_local! {
    static EXCLUDED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Leaves the stack of this thread out of core dumps, once for each thread: keys lie there while they are used.
/// What the kernel refuses stays as it is: dumps are forbidden for the process, too.
#[inline]
pub fn exclude_from_dumps() {
    EXCLUDED.with(|done| {
        if !done.replace(true) {
            exclude();
        }
    });
}

#[cold]
fn exclude() {
    // SAFETY: the attributes are initialised by the first call, read by the second, and freed by the third.
    unsafe {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return;
        }
        let (mut base, mut size) = (std::ptr::null_mut(), 0);
        if libc::pthread_attr_getstack(attributes.as_ptr(), &mut base, &mut size) == 0 {
            // Of the main thread the lower part is not mapped yet: it grows with the flag of the part that is (mmap(2), MAP_GROWSDOWN).
            libc::madvise(base, size, libc::MADV_DONTDUMP);
        }
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
}

pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the struct; CLOCK_MONOTONIC always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Form, Input};
    use crate::schemes::{KeyType, Operations, scheme};
    use crate::{keys, root, seal, sealing};

    const PAINTED_BYTES: usize = 1 << 20;
    const PAINT: u8 = 0xa5;
    /// Frames between `depth` and the work, and what the harness itself needs.
    const SLACK_BYTES: usize = 2048;

    #[inline(never)]
    fn paint() -> usize {
        let mut frame = [PAINT; PAINTED_BYTES];
        black_box(&mut frame).as_ptr() as usize
    }

    /// The number of bytes of the stack below this function that `work` wrote to.
    #[inline(never)]
    fn depth(work: impl FnOnce()) -> usize {
        let lowest = paint();
        work();
        // SAFETY: the addresses belong to this thread's stack, which paint() has just touched.
        let untouched = (0..PAINTED_BYTES)
            .take_while(|&at| unsafe { std::ptr::read_volatile((lowest + at) as *const u8) } == PAINT)
            .count();
        PAINTED_BYTES - untouched
    }

    fn on_large_stack(work: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new().stack_size(8 << 20).spawn(work).unwrap().join().unwrap();
    }

    /// Signing reaches no deeper than the scheme says, and opening no deeper than MAX_BYTES.
    #[test]
    fn every_operation_stays_within_what_is_cleared() {
        on_large_stack(|| {
            let root = root::random().unwrap();
            let root_key = root::get(root).unwrap();
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
                (16, &[6, 7]),
                (18, &[6, 7, 12, 14]),
                (24, &[24]),
                (25, &[25]),
                (26, &[26]),
                (27, &[27]),
                (32, &[32]),
                (33, &[33]),
                (34, &[34]),
                (35, &[35]),
                (36, &[36]),
            ] {
                let key_type = KeyType::from_id(type_id).unwrap();
                let mut opening = vec![1, 0, b't', 1, 0, b'a'];
                let mut public_key = Vec::new();
                let making = depth(|| {
                    let key = key_type.generate().unwrap();
                    public_key = key.public_key.clone();
                    opening.extend(seal::seal(&root_key, key_type, b"t", b"a", key.secret.bytes()).unwrap());
                });
                let opening_depth = depth(|| drop(keys::open(root, type_id, &opening, 1).unwrap()));
                assert!(making.max(opening_depth) + SLACK_BYTES <= MAX_BYTES, "type {type_id}");
                for &id in scheme_ids {
                    let scheme = scheme(id).unwrap();
                    let key = keys::cached(type_id, 2).unwrap();
                    let mut signature = vec![0; 5000];
                    let mut deepest_of = |form: Form, bytes: &[u8]| {
                        let input = Input { form, bytes, context: &[] };
                        let mut once = || match &scheme.operations {
                            Operations::Signature { sign, .. } => {
                                sign(&key.material, &input, &mut signature, false)
                            }
                            Operations::Mac { mac, .. } => mac(&key.material, bytes, &mut signature),
                            _ => sealing::wrap_and_unwrap(scheme, &key, &public_key, &mut signature),
                        };
                        (0..50).map(|_| depth(|| _ = once().unwrap())).max().unwrap()
                    };
                    let mut deepest = deepest_of(Form::Message, &[7; 32]);
                    if matches!(&scheme.operations, Operations::Signature { takes, .. } if takes.mu) {
                        deepest = deepest.max(deepest_of(Form::Mu, &[7; 64]));
                    }
                    println!("type {type_id} scheme {id}: make {making} open {opening_depth} sign {deepest}");
                    assert!(deepest + SLACK_BYTES <= scheme.stack_bytes, "scheme {id} needs {deepest}");
                }
            }
        });
    }

    #[test]
    fn scrubbing_clears_what_a_deeper_call_left() {
        on_large_stack(|| {
            for bytes in [0x4000, 0x1_0000, 0x2_0000, MAX_BYTES] {
                let lowest = paint();
                scrub(bytes);
                let left = (PAINTED_BYTES - bytes..PAINTED_BYTES - SLACK_BYTES)
                    // SAFETY: as in depth().
                    .filter(|at| unsafe { std::ptr::read_volatile((lowest + at) as *const u8) } == PAINT)
                    .count();
                assert_eq!(left, 0, "{bytes}");
            }
        });
    }
}
