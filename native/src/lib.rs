//! The Node-API binding: argument checks and conversion only. Declarations for TypeScript: index.d.ts.
//!
//! No function here returns private key bytes, and none may be added that does.

mod aead;
mod aes;
mod arena;
mod awslc_heap;
mod batch;
mod composite;
mod drbg;
mod ecdsa;
mod ed25519;
mod evp;
mod failure;
mod hkdf;
mod hmac;
mod hpke;
mod imported;
mod input;
mod kem;
mod keys;
mod lent;
mod macs;
mod mldsa;
mod pages;
mod root;
mod rsa;
mod rsa_import;
mod schemes;
mod scratch;
mod seal;
mod sealing;
mod signatures;
mod stack;
mod system;
mod wiped;

use failure::Failure;
use napi::bindgen_prelude::{FromNapiValue, JsValue, Uint8Array, Unknown};
use napi::{ValueType, sys};
use napi_derive::napi;
use schemes::{KeyType, NewKey};

type Result<T> = napi::Result<T, &'static str>;

/// The most bytes of a tenant or an aad: their length is a u16 in an opening.
const MAX_TEXT_BYTES: usize = u16::MAX as usize;

#[napi(object, object_from_js = false)]
pub struct Description {
    pub liboqs: String,
    pub awslc: String,
    pub mldsa_avx2: bool,
    pub cpu: String,
}

#[napi(object, object_from_js = false)]
pub struct Statistics {
    pub arena_bytes: f64,
    pub committed_bytes: f64,
    pub locked_bytes: f64,
    pub locked: bool,
    pub keys: f64,
    pub evictions: f64,
    pub reseeds: f64,
}

#[napi(object, object_from_js = false)]
pub struct SealedKey {
    pub sealed: Uint8Array,
    pub public_key: Uint8Array,
}

#[napi(object, object_to_js = false)]
pub struct Settings {
    pub reseed_interval_ops: f64,
    pub arena_bytes: f64,
}

#[napi(catch_unwind)]
pub fn describe() -> Description {
    let version = aws_lc_sys::AWSLC_VERSION_NUMBER_STRING;
    Description {
        liboqs: mldsa::library_version(),
        awslc: String::from_utf8_lossy(version).trim_end_matches('\0').to_owned(),
        mldsa_avx2: mldsa::uses_avx2(),
        cpu: cpu(),
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu() -> String {
    let features = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("bmi2", std::arch::is_x86_feature_detected!("bmi2")),
        ("adx", std::arch::is_x86_feature_detected!("adx")),
        ("aes", std::arch::is_x86_feature_detected!("aes")),
        ("sha", std::arch::is_x86_feature_detected!("sha")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    let present: Vec<_> = features.iter().filter(|feature| feature.1).map(|feature| feature.0).collect();
    format!("x86_64 {}", present.join(" "))
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu() -> String {
    std::env::consts::ARCH.to_owned()
}

#[napi(catch_unwind)]
pub fn configure(settings: Unknown) -> Result<()> {
    let expected = || Failure::argument("settings are { reseedIntervalOps, arenaBytes }");
    // Looking a property up in undefined would leave a TypeError pending.
    if !matches!(settings.get_type(), Ok(ValueType::Object)) {
        return Err(expected().into());
    }
    // SAFETY: the value belongs to the environment that called.
    let settings =
        unsafe { Settings::from_napi_value(settings.value().env, settings.raw()) }.map_err(|_| expected())?;
    let interval = whole_number(settings.reseed_interval_ops)
        .filter(|&interval| interval >= 1)
        .ok_or_else(|| Failure::argument("reseedIntervalOps is a whole number from 1 to 4294967295"))?;
    let bytes = whole_number(settings.arena_bytes)
        .map(|bytes| bytes as usize)
        .filter(|bytes| (arena::MIN_BYTES..=arena::MAX_BYTES).contains(bytes))
        .ok_or_else(|| Failure::argument("arenaBytes is a whole number from 393216 to 1073741824"))?;
    if !arena::configure(bytes) {
        return Err(Failure::new("ALREADY_CONFIGURED", "the arena has another size already").into());
    }
    drbg::configure(interval);
    evp::seed_generator();
    Ok(())
}

#[napi(catch_unwind)]
pub fn root_from_file(path: Unknown) -> Result<u32> {
    Ok(root::from_file(&text(&path)?)?)
}

#[napi(catch_unwind)]
pub fn root_create_file(path: Unknown) -> Result<u32> {
    scrubbed(|| root::create_file(&text(&path)?))
}

#[napi(catch_unwind)]
pub fn root_from_descriptor(descriptor: Unknown) -> Result<u32> {
    Ok(root::from_descriptor(number(&descriptor)?)?)
}

#[napi(catch_unwind)]
pub fn root_from_lent_page(fill: Unknown) -> Result<u32> {
    scrubbed(|| root::from_lent_page(&fill))
}

#[napi(catch_unwind)]
pub fn root_random() -> Result<u32> {
    scrubbed(root::random)
}

#[napi(catch_unwind)]
pub fn join_roots(current: Unknown, before: Unknown) -> Result<u32> {
    Ok(root::join(number(&current)?, number(&before)?)?)
}

#[napi(catch_unwind)]
pub fn close_root(root: Unknown) -> Result<bool> {
    Ok(root::close(number(&root)?))
}

#[napi(catch_unwind)]
pub fn reseal(
    from: Unknown,
    to: Unknown,
    tenant: Unknown,
    aad: Unknown,
    sealed: Unknown,
) -> Result<Option<Uint8Array>> {
    scrubbed(|| {
        let of = |root: &Unknown| root::get(number(root)?).ok_or_else(|| Failure::argument("no such root"));
        let (from, to) = (of(&from)?, of(&to)?);
        let (tenant, aad, sealed) = (short_text(&tenant)?, short_text(&aad)?, View::of(&sealed)?);
        let resealed = seal::reseal(&from, &to, tenant.as_bytes(), aad.as_bytes(), sealed.bytes())?;
        Ok(resealed.map(Uint8Array::from))
    })
}

#[napi(catch_unwind)]
pub fn generate(root: Unknown, key_type: Unknown, tenant: Unknown, aad: Unknown) -> Result<SealedKey> {
    scrubbed(|| {
        let request = SealRequest::read(&root, &key_type, &tenant, &aad)?;
        request.seal(request.key_type.generate()?)
    })
}

#[napi(catch_unwind)]
pub fn import_key(
    root: Unknown,
    key_type: Unknown,
    tenant: Unknown,
    aad: Unknown,
    secret: Unknown,
) -> Result<SealedKey> {
    scrubbed(|| {
        // Taken and cleared first: whatever else is wrong, the caller's copy is gone.
        let mut view = View::of(&secret)?;
        let taken = keys::alloc(view.bytes().len()).map(|mut slot| {
            slot.bytes_mut().copy_from_slice(view.bytes());
            slot
        });
        pages::wipe(view.bytes_mut());
        let request = SealRequest::read(&root, &key_type, &tenant, &aad)?;
        request.seal(request.key_type.import(taken?)?)
    })
}

#[napi(catch_unwind)]
pub fn run(root: Unknown, request: Unknown, response: Unknown) -> Result<()> {
    let root = number(&root)?;
    let request = View::of(&request)?;
    let mut response = View::of(&response)?;
    if request.overlaps(&response) {
        return Err(Failure::argument("request and response overlap").into());
    }
    Ok(batch::run(root, request.bytes(), response.bytes_mut())?)
}

#[napi(catch_unwind)]
pub fn forget(key_number: Unknown) -> Result<bool> {
    Ok(keys::forget(number(&key_number)?))
}

#[napi(catch_unwind)]
pub fn extract_mac_key(secret: Unknown, salt: Unknown) -> Result<u32> {
    scrubbed(|| {
        let mut secret = View::of(&secret)?;
        let made = View::of(&salt).and_then(|salt| macs::extract(secret.bytes(), salt.bytes()));
        pages::wipe(secret.bytes_mut());
        made
    })
}

#[napi(catch_unwind)]
pub fn root_mac_key(root: Unknown, purpose: Unknown) -> Result<u32> {
    scrubbed(|| {
        let root = root::get(number(&root)?).ok_or_else(|| Failure::argument("no such root"))?;
        macs::of_root(&root, text(&purpose)?.as_bytes())
    })
}

#[napi(catch_unwind)]
pub fn close_mac_key(key: Unknown) -> Result<bool> {
    Ok(macs::close(number(&key)?))
}

#[napi(catch_unwind)]
pub fn derive_mac_key(key: Unknown, messages: Vec<Unknown>, salt: Unknown) -> Result<u32> {
    scrubbed(|| {
        let views = chain_of(&messages)?;
        macs::derive(number(&key)?, views.iter().map(View::bytes), View::of(&salt)?.bytes())
    })
}

/// HMAC's context and SHA-256's frames, rounded up.
const MAC_STACK_BYTES: usize = 16 << 10;

#[napi(catch_unwind)]
pub fn mac_chain(key: Unknown, messages: Vec<Unknown>, out: Unknown) -> Result<()> {
    #[inline(never)]
    fn apart(key: &Unknown, messages: &[Unknown], out: &Unknown) -> std::result::Result<(), Failure> {
        let (views, mut out) = (chain_of(messages)?, View::of(out)?);
        if out.len != macs::MAC_BYTES || views.iter().any(|view| view.overlaps(&out)) {
            return Err(Failure::argument("a MAC needs 32 bytes, apart from the messages"));
        }
        macs::chain(number(key)?, views.iter().map(View::bytes), out.bytes_mut())
    }
    let made = apart(&key, &messages, &out);
    stack::scrub(MAC_STACK_BYTES);
    Ok(made?)
}

fn chain_of(messages: &[Unknown]) -> std::result::Result<Vec<View>, Failure> {
    if messages.is_empty() {
        return Err(Failure::argument("a chain has at least one message"));
    }
    messages.iter().map(View::of).collect()
}

#[napi(catch_unwind)]
pub fn wipe() {
    keys::forget_all();
    macs::forget_all();
    root::forget_all();
    drbg::forget();
    stack::scrub(stack::MAX_BYTES);
}

#[napi(catch_unwind)]
pub fn stats() -> Statistics {
    let arena = arena::usage();
    let (drbg_bytes, drbg_locked_bytes) = drbg::usage();
    let committed_bytes = arena.committed_bytes + drbg_bytes;
    let locked_bytes = arena.locked_bytes + drbg_locked_bytes;
    Statistics {
        arena_bytes: arena::configured_bytes() as f64,
        committed_bytes: committed_bytes as f64,
        locked_bytes: locked_bytes as f64,
        locked: locked_bytes == committed_bytes,
        keys: keys::count() as f64,
        evictions: keys::evictions() as f64,
        reseeds: drbg::reseeds() as f64,
    }
}

#[napi(catch_unwind)]
pub fn clock_synchronised() -> Option<bool> {
    system::clock_synchronised()
}

#[napi(catch_unwind)]
pub fn forbid_core_dumps() -> bool {
    system::forbid_core_dumps()
}

#[napi(catch_unwind)]
pub fn end_within(status: i32, limit_ms: u32) -> bool {
    system::end_within(status, limit_ms)
}

/// The common part of `generate` and `importKey`.
struct SealRequest {
    root: std::sync::Arc<arena::Slot>,
    key_type: KeyType,
    tenant: String,
    aad: String,
}

impl SealRequest {
    fn read(
        root: &Unknown,
        key_type: &Unknown,
        tenant: &Unknown,
        aad: &Unknown,
    ) -> std::result::Result<SealRequest, Failure> {
        let request = SealRequest {
            root: root::get(number(root)?).ok_or_else(|| Failure::argument("no such root"))?,
            key_type: KeyType::from_id(number(key_type)?)
                .ok_or_else(|| Failure::argument("no such key type"))?,
            tenant: short_text(tenant)?,
            aad: short_text(aad)?,
        };
        Ok(request)
    }

    fn seal(&self, key: NewKey) -> std::result::Result<SealedKey, Failure> {
        let (tenant, aad) = (self.tenant.as_bytes(), self.aad.as_bytes());
        let sealed = seal::seal(&self.root, self.key_type, tenant, aad, key.secret.bytes())?;
        Ok(SealedKey { sealed: sealed.into(), public_key: key.public_key.into() })
    }
}

/// Runs work that touches keys, then clears the stack below.
fn scrubbed<T>(work: impl FnOnce() -> std::result::Result<T, Failure>) -> Result<T> {
    #[inline(never)]
    fn apart<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let result = apart(work);
    stack::scrub(stack::MAX_BYTES);
    Ok(result?)
}

/// The bytes of a Uint8Array (or Buffer) argument, valid during the call.
struct View {
    start: *mut u8,
    len: usize,
}

impl View {
    fn of(value: &Unknown) -> std::result::Result<View, Failure> {
        let refused = || Failure::argument("a Uint8Array over an unshared ArrayBuffer is expected");
        let env = value.value().env;
        let mut kind = 0;
        let (mut len, mut offset) = (0, 0);
        let mut start = std::ptr::null_mut();
        let mut buffer = std::ptr::null_mut();
        let mut unshared = false;
        // SAFETY: env and value belong to the running call; Node-API writes all outputs when it returns ok.
        // Shared memory is refused: another thread could change a message while it is signed.
        let known = unsafe {
            sys::napi_get_typedarray_info(
                env,
                value.raw(),
                &mut kind,
                &mut len,
                &mut start,
                &mut buffer,
                &mut offset,
            ) == sys::Status::napi_ok
                && sys::napi_is_arraybuffer(env, buffer, &mut unshared) == sys::Status::napi_ok
        };
        if !known || !unshared || kind != sys::TypedarrayType::uint8_array {
            return Err(refused());
        }
        // An empty or detached array has no address.
        let start = if start.is_null() { std::ptr::NonNull::dangling().as_ptr() } else { start.cast() };
        Ok(View { start, len })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: V8 keeps the bytes in place during the call, and nothing else runs on this thread.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; run() refuses views that overlap.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }

    fn overlaps(&self, other: &View) -> bool {
        let (a, b) = (self.start as usize, other.start as usize);
        a < b + other.len && b < a + self.len
    }
}

fn whole_number(value: f64) -> Option<u32> {
    (value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0).then_some(value as u32)
}

fn number(value: &Unknown) -> std::result::Result<u32, Failure> {
    let mut double = 0.0;
    // SAFETY: env and value belong to the running call.
    let status = unsafe { sys::napi_get_value_double(value.value().env, value.raw(), &mut double) };
    (status == sys::Status::napi_ok)
        .then_some(double)
        .and_then(whole_number)
        .ok_or_else(|| Failure::argument("a whole number from 0 to 4294967295 is expected"))
}

fn text(value: &Unknown) -> std::result::Result<String, Failure> {
    // SAFETY: env and value belong to the running call.
    unsafe { String::from_napi_value(value.value().env, value.raw()) }
        .map_err(|_| Failure::argument("a string is expected"))
}

/// A tenant or an aad.
fn short_text(value: &Unknown) -> std::result::Result<String, Failure> {
    text(value).and_then(|text| {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Failure::argument("tenant and aad have at most 65535 bytes each"));
        }
        Ok(text)
    })
}
