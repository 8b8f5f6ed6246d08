//! System calls that Node has no function for.

/// True if the kernel counts its clock as disciplined by a time service (adjtimex(2)). None where it does not
/// say: containers may forbid the call.
pub fn clock_synchronised() -> Option<bool> {
    // SAFETY: all zeros is a valid timex; modes 0 only reads.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is ours.
    let answer = unsafe { libc::adjtimex(&mut state) };
    (answer >= 0).then_some(state.status & libc::STA_UNSYNC == 0)
}

/// No core dump of this process from here on, and no debugger of the same user (PR_SET_DUMPABLE, prctl(2)).
/// Holds for all threads; a program that this process starts has its own.
pub fn forbid_core_dumps() -> bool {
    // SAFETY: both options take plain numbers.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
            && libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
    }
}

/// Ends this process with `status` after `limit_ms`, unless it has ended by then. False where no thread could be had.
pub fn end_within(status: i32, limit_ms: u32) -> bool {
    let limit = std::time::Duration::from_millis(limit_ms.into());
    let end = move || {
        std::thread::sleep(limit);
        // SAFETY: _exit runs none of the handlers that the end may be hanging in.
        unsafe { libc::_exit(status) }
    };
    std::thread::Builder::new().name("exit limit".into()).spawn(end).is_ok()
}
