//! Bytes of the arena that JavaScript may write into during one call, and cannot reach after it.

use crate::arena::Slot;
use crate::failure::Failure;
use napi::bindgen_prelude::{JsValue, Unknown};
use napi::sys;
use std::ffi::c_void;
use std::ptr;

/// Calls `fill` once with a Uint8Array over the bytes of `slot`, which are zero. The array is empty when this returns: its
/// ArrayBuffer is detached. The slot comes back only where all went well; otherwise it is wiped.
pub fn lend(mut slot: Slot, fill: &Unknown) -> Result<Slot, Failure> {
    let env = fill.value().env;
    let (start, len) = (slot.bytes_mut().as_mut_ptr(), slot.bytes().len());
    let mut buffer = ptr::null_mut();
    // SAFETY: env belongs to the running call; the bytes stay ours, so the finalizer frees nothing.
    let made = unsafe {
        sys::napi_create_external_arraybuffer(
            env,
            start.cast(),
            len,
            Some(keep),
            ptr::null_mut(),
            &mut buffer,
        )
    };
    if made != sys::Status::napi_ok {
        return Err(Failure::new("INTERNAL", "this runtime lends no memory"));
    }
    let filled = call(env, fill, buffer, len);
    // SAFETY: env and buffer belong to the running call.
    if unsafe { sys::napi_detach_arraybuffer(env, buffer) } != sys::Status::napi_ok {
        crate::pages::wipe(slot.bytes_mut());
        // JavaScript may still have the bytes, so nobody else may.
        std::mem::forget(slot);
        return Err(Failure::new("INTERNAL", "lent memory was not given back"));
    }
    filled.map(|()| slot)
}

fn call(env: sys::napi_env, fill: &Unknown, buffer: sys::napi_value, len: usize) -> Result<(), Failure> {
    let refused = || Failure::argument("a function that fills the page is expected");
    let (mut page, mut this, mut answer) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: all values belong to the running call; outputs are written where the status is ok.
    unsafe {
        let kind = sys::TypedarrayType::uint8_array;
        let ready = sys::napi_create_typedarray(env, kind, len, buffer, 0, &mut page) == sys::Status::napi_ok
            && sys::napi_get_undefined(env, &mut this) == sys::Status::napi_ok;
        if !ready {
            return Err(refused());
        }
        if sys::napi_call_function(env, this, fill.raw(), 1, &page, &mut answer) == sys::Status::napi_ok {
            return Ok(());
        }
        // The caller knows what was thrown: it wraps the function.
        let mut pending = false;
        if sys::napi_is_exception_pending(env, &mut pending) == sys::Status::napi_ok && pending {
            sys::napi_get_and_clear_last_exception(env, &mut answer);
        }
    }
    Err(refused())
}

unsafe extern "C" fn keep(_env: sys::napi_env, _data: *mut c_void, _hint: *mut c_void) {}
