//! Keys of HMAC-SHA-256 (RFC 2104) in the arena, known to JavaScript by a number: what authenticates capabilities
//! and the audit log. They compute; nothing gives their bytes.

use crate::arena::Slot;
use crate::failure::Failure;
use crate::{hmac, keys, pages, seal};
use std::sync::{Arc, PoisonError, RwLock};

pub const MAC_BYTES: usize = 32;
/// A process has one for capabilities, one for its records and two for its audit log; sixty-four is a leak.
const MAX_KEYS: usize = 64;

struct MacKeys {
    keys: Vec<(u32, Arc<Slot>)>,
    last_number: u32,
}

static KEYS: RwLock<MacKeys> = RwLock::new(MacKeys { keys: Vec::new(), last_number: 0 });

/// HKDF-Extract (RFC 5869 2.2) of a secret with a public salt; the result is the key.
pub fn extract(secret: &[u8], salt: &[u8]) -> Result<u32, Failure> {
    let mut key = keys::alloc(MAC_BYTES)?;
    hmac(salt, secret, key.bytes_mut())?;
    add(key)
}

const ROOT_INFO: &[u8] = b"intaglio/mac/v1\0";

/// HKDF-SHA-256 (RFC 5869) of a root key, without salt, info "intaglio/mac/v1\0" || purpose, 32 bytes; the result is the key.
pub fn of_root(root: &Slot, purpose: &[u8]) -> Result<u32, Failure> {
    add(seal::derive(root, ROOT_INFO, purpose)?)
}

/// HKDF-Extract of the MAC that `chain` gives: the key of another secret.
pub fn derive<'a>(
    number: u32,
    messages: impl Iterator<Item = &'a [u8]>,
    salt: &[u8],
) -> Result<u32, Failure> {
    let mut secret = keys::alloc(MAC_BYTES)?;
    chain(number, messages, secret.bytes_mut())?;
    extract(secret.bytes(), salt)
}

/// HMAC(… HMAC(HMAC(key, first), second) …, last): each MAC is the key of the next, and only the last comes out.
pub fn chain<'a>(
    number: u32,
    mut messages: impl Iterator<Item = &'a [u8]>,
    out: &mut [u8],
) -> Result<(), Failure> {
    assert!(out.len() == MAC_BYTES);
    let key = get(number)?;
    let mut link = [0; MAC_BYTES];
    link.copy_from_slice(key.bytes());
    let done = messages.try_for_each(|message| {
        let key = link;
        hmac(&key, message, &mut link)
    });
    out.copy_from_slice(&link);
    pages::wipe(&mut link);
    done.inspect_err(|_| out.fill(0))
}

pub fn forget_all() {
    KEYS.write().unwrap_or_else(PoisonError::into_inner).keys.clear();
}

pub fn close(number: u32) -> bool {
    let mut known = KEYS.write().unwrap_or_else(PoisonError::into_inner);
    let before = known.keys.len();
    known.keys.retain(|(known, _)| *known != number);
    known.keys.len() < before
}

fn get(number: u32) -> Result<Arc<Slot>, Failure> {
    let known = KEYS.read().unwrap_or_else(PoisonError::into_inner);
    let found = known.keys.iter().find(|(known, _)| *known == number);
    found.map(|(_, key)| key.clone()).ok_or_else(|| Failure::argument("no such MAC key"))
}

fn add(key: Slot) -> Result<u32, Failure> {
    let mut known = KEYS.write().unwrap_or_else(PoisonError::into_inner);
    if known.keys.len() >= MAX_KEYS {
        return Err(Failure::new("TOO_MANY_ROOTS", "too many MAC keys are loaded"));
    }
    known.last_number += 1;
    let number = known.last_number;
    known.keys.push((number, Arc::new(key)));
    Ok(number)
}

fn hmac(key: &[u8], message: &[u8], out: &mut [u8]) -> Result<(), Failure> {
    if hmac::sha256(key, message, out) { Ok(()) } else { Err(Failure::new("INTERNAL", "the MAC failed")) }
}
