//! The items of a batch that encrypt, wrap and derive. Plaintexts come with the request and leave in the response; those that only
//! pass through, shared secrets and derived keys stay in the arena and on this stack.

use crate::batch::{Batch, Item, Written};
use crate::failure::Status;
use crate::keys::{self, Key};
use crate::schemes::{KeyType, Material, NewKey, Operations, Scheme};
use crate::scratch::Scratch;
use crate::wiped::Wiped;
use crate::{aead, aes, drbg, hkdf, hpke, root, seal, stack};
use std::sync::Arc;

const OP_ENCRYPT: u32 = 10;
const OP_DECRYPT: u32 = 11;
const OP_WRAP: u32 = 12;
const OP_UNWRAP: u32 = 13;
const OP_DATA_KEY: u32 = 14;
const OP_REWRAP: u32 = 15;
const OP_REENCRYPT: u32 = 16;
const OP_DERIVE: u32 = 17;
const OP_IMPORT_WRAPPED: u32 = 18;
const OP_ENCRYPT_UNDER: u32 = 19;
const OP_DECRYPT_UNDER: u32 = 20;
pub const OPS: std::ops::RangeInclusive<u32> = OP_ENCRYPT..=OP_DECRYPT_UNDER;

/// Of src/engine/rooms.ts.
const MAX_PLAINTEXT_BYTES: usize = 64 << 10;
const DATA_KEY_BYTES: [u32; 3] = [16, 32, 64];
const MAX_DATA_KEY_BYTES: usize = 64;

/// What wraps: a KEM's public key, or an opened secret key.
enum Wrapping<'a> {
    Public(&'a [u8]),
    Opened(Arc<Key>),
}

impl<'a> Batch<'a> {
    pub fn seal_item(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        // Ephemeral and shared secrets of a KEM lie on the stack even where the key is public.
        self.stack_bytes = self.stack_bytes.max(scheme.stack_bytes);
        match item.op {
            OP_ENCRYPT => self.encrypt(scheme, item, now_ns),
            OP_DECRYPT => self.decrypt(scheme, item, now_ns),
            OP_WRAP => self.wrap(scheme, item, now_ns),
            OP_UNWRAP => self.unwrap(scheme, item, now_ns),
            OP_DATA_KEY => self.data_key(scheme, item, now_ns),
            OP_REWRAP => self.rewrap(scheme, item, now_ns),
            OP_REENCRYPT => self.reencrypt(scheme, item, now_ns),
            OP_DERIVE => self.derive(scheme, item, now_ns),
            OP_IMPORT_WRAPPED => self.import_wrapped(scheme, item, now_ns),
            OP_ENCRYPT_UNDER => self.encrypt_under(scheme, item, now_ns),
            OP_DECRYPT_UNDER => self.decrypt_under(scheme, item, now_ns),
            _ => Err(Status::BadInput),
        }
    }

    fn encrypt(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [plaintext, aad] = self.inputs(item)?;
        let algorithm = aead_of(scheme)?;
        let key = self.key(scheme, item, now_ns)?;
        self.encrypt_into(item, algorithm, secret_of(scheme, &key)?, plaintext, aad)
    }

    /// Nonce, then ciphertext with tag, into the two outputs of the item.
    fn encrypt_into(
        &mut self,
        item: &Item,
        algorithm: aead::Algorithm,
        key: &[u8],
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Written, Status> {
        let nonce_bytes = algorithm.nonce_bytes();
        let bytes = plaintext.len() + aead::TAG_BYTES;
        let (nonce_place, place) = (self.place_of(item, 0, nonce_bytes)?, self.place_of(item, 1, bytes)?);
        if plaintext.len() > MAX_PLAINTEXT_BYTES || item.outputs != 2 {
            return Err(Status::BadInput);
        }
        let mut nonce = [0; aead::MAX_NONCE_BYTES];
        let nonce = &mut nonce[..nonce_bytes];
        drbg::fill(nonce).map_err(|_| Status::Internal)?;
        self.output[nonce_place].copy_from_slice(nonce);
        algorithm.seal(key, nonce, aad, plaintext, &mut self.output[place]).map_err(|_| Status::Internal)?;
        Ok([nonce_bytes, bytes])
    }

    fn decrypt(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [nonce, ciphertext, aad] = self.inputs(item)?;
        let algorithm = aead_of(scheme)?;
        let bytes = opened_bytes(ciphertext.len(), aead::TAG_BYTES);
        let place = self.only_output(item, bytes.unwrap_or(0))?;
        let key = self.key(scheme, item, now_ns)?;
        let key = secret_of(scheme, &key)?;
        bytes.ok_or(Status::Rejected)?;
        Ok([algorithm.open(key, nonce, aad, ciphertext, &mut self.output[place])?, 0])
    }

    fn reencrypt(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [new_reference, nonce, ciphertext, aad] = self.inputs(item)?;
        let algorithm = aead_of(scheme)?;
        let bytes = opened_bytes(ciphertext.len(), aead::TAG_BYTES);
        let old = self.key(scheme, item, now_ns)?;
        let old = secret_of(scheme, &old)?;
        let new = self.open(0, new_reference, now_ns)?;
        let new = secret_of(scheme, &new)?;
        let mut plaintext = Scratch::of(bytes.ok_or(Status::Rejected)?).map_err(|_| Status::Internal)?;
        algorithm.open(old, nonce, aad, ciphertext, plaintext.bytes_mut())?;
        self.encrypt_into(item, algorithm, new, plaintext.bytes_mut(), aad)
    }

    fn encrypt_under(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [wrapped, info, wrap_aad, plaintext, aad] = self.inputs(item)?;
        let algorithm = aead_of(scheme)?;
        let key = self.key(scheme, item, now_ns)?;
        let data_key = unwrap_data_key(scheme, &key, wrapped, info, wrap_aad)?;
        self.encrypt_into(item, algorithm, &data_key[..], plaintext, aad)
    }

    fn decrypt_under(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [wrapped, info, wrap_aad, nonce, ciphertext, aad] = self.inputs(item)?;
        let algorithm = aead_of(scheme)?;
        let bytes = opened_bytes(ciphertext.len(), aead::TAG_BYTES);
        let place = self.only_output(item, bytes.unwrap_or(0))?;
        let key = self.key(scheme, item, now_ns)?;
        let data_key = unwrap_data_key(scheme, &key, wrapped, info, wrap_aad)?;
        bytes.ok_or(Status::Rejected)?;
        Ok([algorithm.open(&data_key[..], nonce, aad, ciphertext, &mut self.output[place])?, 0])
    }

    fn wrap(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [plaintext, info, aad] = self.inputs(item)?;
        let place = self.only_output(item, 0)?;
        let wrapping = self.wrapping(scheme, item, now_ns)?;
        Ok([wrap(scheme, &wrapping, plaintext, info, aad, &mut self.output[place])?, 0])
    }

    fn unwrap(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [wrapped, info, aad] = self.inputs(item)?;
        let bytes = opened_bytes(wrapped.len(), wrap_overhead(scheme)?);
        let place = self.only_output(item, bytes.unwrap_or(0))?;
        let key = self.key(scheme, item, now_ns)?;
        Ok([unwrap(scheme, &key, wrapped, info, aad, &mut self.output[place])?, 0])
    }

    fn data_key(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [size, _wanted, info, aad] = self.inputs(item)?;
        let size =
            word_of(size).filter(|size| DATA_KEY_BYTES.contains(size)).ok_or(Status::BadInput)? as usize;
        let place = self.place_at(item, 0)?;
        let plaintext_place = match item.outputs {
            1 => None,
            2 => Some(self.place_of(item, 1, size)?),
            _ => return Err(Status::BadInput),
        };
        let wrapping = self.wrapping(scheme, item, now_ns)?;
        let mut data_key = Wiped::<MAX_DATA_KEY_BYTES>::zeros();
        let data_key = &mut data_key[..size];
        drbg::fill(data_key).map_err(|_| Status::Internal)?;
        let written = wrap(scheme, &wrapping, data_key, info, aad, &mut self.output[place])?;
        match plaintext_place {
            Some(place) => {
                self.output[place].copy_from_slice(data_key);
                Ok([written, size])
            }
            None => Ok([written, 0]),
        }
    }

    fn rewrap(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [new_key, wrapped, old_info, new_info, aad] = self.inputs(item)?;
        let bytes = opened_bytes(wrapped.len(), wrap_overhead(scheme)?);
        let place = self.only_output(item, wrapped.len())?;
        let old = self.key(scheme, item, now_ns)?;
        let new = match scheme.operations {
            Operations::Kem(_) => Wrapping::Public(new_key),
            _ => Wrapping::Opened(self.open(0, new_key, now_ns)?),
        };
        let mut plaintext = Scratch::of(bytes.ok_or(Status::Rejected)?).map_err(|_| Status::Internal)?;
        let bytes = unwrap(scheme, &old, wrapped, old_info, aad, plaintext.bytes_mut())?;
        let plaintext = &plaintext.bytes_mut()[..bytes];
        Ok([wrap(scheme, &new, plaintext, new_info, aad, &mut self.output[place])?, 0])
    }

    fn derive(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [label, key_type, tenant, aad] = self.inputs(item)?;
        if !matches!(scheme.operations, Operations::Derive) {
            return Err(Status::BadInput);
        }
        let key_type = key_type_of(key_type)?;
        let bytes = key_type.uniform_bytes().ok_or(Status::BadInput)?;
        let key = self.key(scheme, item, now_ns)?;
        let key = secret_of(scheme, &key)?;
        self.stack_bytes = stack::MAX_BYTES;
        let mut derived = keys::alloc(bytes).map_err(|_| Status::Internal)?;
        hkdf::derive(key, label, derived.bytes_mut())?;
        let made = key_type.import(derived).map_err(|_| Status::Internal)?;
        self.seal_new(item, key_type, made, tenant, aad)
    }

    fn import_wrapped(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let [material, key_type, tenant, aad, info] = self.inputs(item)?;
        if !matches!(scheme.operations, Operations::Kem(_) | Operations::RsaAesKeyWrap) {
            return Err(Status::BadInput);
        }
        let key_type = key_type_of(key_type)?;
        let key = self.key(scheme, item, now_ns)?;
        self.stack_bytes = stack::MAX_BYTES;
        let room = opened_bytes(material.len(), 0).filter(|&bytes| bytes <= seal::MAX_SECRET_BYTES);
        let mut secret = keys::alloc(room.ok_or(Status::Rejected)?).map_err(|_| Status::Internal)?;
        let bytes = match (&scheme.operations, &key.material) {
            (Operations::RsaAesKeyWrap, Material::Evp(rsa)) => {
                rsa.unwrap_aes_key_wrap(material, secret.bytes_mut())?
            }
            _ => unwrap(scheme, &key, material, info, &[], secret.bytes_mut())?,
        };
        secret.shorten(bytes);
        let made = key_type.import_brought(secret).map_err(|_| Status::BadInput)?;
        self.seal_new(item, key_type, made, tenant, aad)
    }

    /// The sealed blob and the public key of a new key, into the two outputs of the item.
    fn seal_new(
        &mut self,
        item: &Item,
        key_type: KeyType,
        made: NewKey,
        tenant: &[u8],
        aad: &[u8],
    ) -> Result<Written, Status> {
        let root = root::get(self.root).ok_or(Status::KeyUnusable)?;
        let blob =
            seal::seal(&root, key_type, tenant, aad, made.secret.bytes()).map_err(|_| Status::Internal)?;
        let outputs = [&blob[..], &made.public_key[..]];
        if item.outputs != 2 {
            return Err(Status::BadInput);
        }
        for (index, bytes) in outputs.iter().enumerate() {
            let place = self.place_of(item, index, bytes.len())?;
            self.output[place].copy_from_slice(bytes);
        }
        Ok(outputs.map(<[u8]>::len))
    }

    fn wrapping(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Wrapping<'a>, Status> {
        match scheme.operations {
            Operations::Kem(_) => Ok(Wrapping::Public(self.span(item, 0)?)),
            Operations::Aead(_) | Operations::KeyWrap => {
                Ok(Wrapping::Opened(self.key(scheme, item, now_ns)?))
            }
            _ => Err(Status::BadInput),
        }
    }
}

/// Into the front of `out`; the number of bytes.
fn wrap(
    scheme: &Scheme,
    wrapping: &Wrapping,
    plaintext: &[u8],
    info: &[u8],
    aad: &[u8],
    out: &mut [u8],
) -> Result<usize, Status> {
    if plaintext.len() > MAX_PLAINTEXT_BYTES {
        return Err(Status::BadInput);
    }
    match (&scheme.operations, wrapping) {
        (Operations::Kem(kem), Wrapping::Public(key)) => hpke::seal(kem, key, info, aad, plaintext, out),
        (Operations::Aead(algorithm), Wrapping::Opened(key)) => {
            let bytes = algorithm.nonce_bytes() + plaintext.len() + aead::TAG_BYTES;
            let out = out.get_mut(..bytes).ok_or(Status::BadInput)?;
            let (nonce, ciphertext) = out.split_at_mut(algorithm.nonce_bytes());
            let key = wrap_key(secret_of(scheme, key)?, info)?;
            drbg::fill(nonce).map_err(|_| Status::Internal)?;
            algorithm.seal(&key[..], nonce, aad, plaintext, ciphertext).map_err(|_| Status::Internal)?;
            Ok(bytes)
        }
        (Operations::KeyWrap, Wrapping::Opened(key)) if aad.is_empty() => {
            aes::wrap(secret_of(scheme, key)?, plaintext, out)
        }
        _ => Err(Status::BadInput),
    }
}

/// Into the front of `out`, which has room for all that `wrapped` may hold.
fn unwrap(
    scheme: &Scheme,
    key: &Key,
    wrapped: &[u8],
    info: &[u8],
    aad: &[u8],
    out: &mut [u8],
) -> Result<usize, Status> {
    opened_bytes(wrapped.len(), wrap_overhead(scheme)?).ok_or(Status::Rejected)?;
    match (&scheme.operations, &key.material) {
        (Operations::Kem(kem), Material::Kem(of, opened)) if std::ptr::eq(*kem, *of) => {
            hpke::open(kem, opened.bytes(), info, aad, wrapped, out)
        }
        (Operations::Aead(algorithm), _) => {
            let (nonce, ciphertext) =
                wrapped.split_at_checked(algorithm.nonce_bytes()).ok_or(Status::Rejected)?;
            let key = wrap_key(secret_of(scheme, key)?, info)?;
            algorithm.open(&key[..], nonce, aad, ciphertext, out)
        }
        (Operations::KeyWrap, _) => {
            let key = secret_of(scheme, key)?;
            if aad.is_empty() { aes::unwrap(key, wrapped, out) } else { Err(Status::BadInput) }
        }
        _ => Err(Status::KeyUnusable),
    }
}

/// A data key of the scheme's own length, which an AEAD key has wrapped.
fn unwrap_data_key(
    scheme: &Scheme,
    key: &Key,
    wrapped: &[u8],
    info: &[u8],
    aad: &[u8],
) -> Result<Wiped<{ aead::KEY_BYTES }>, Status> {
    if wrapped.len() != aead::KEY_BYTES + wrap_overhead(scheme)? {
        return Err(Status::Rejected);
    }
    let mut data_key = Wiped::zeros();
    unwrap(scheme, key, wrapped, info, aad, &mut data_key[..])?;
    Ok(data_key)
}

/// AEAD keys wrap by another key than they encrypt by, so that neither opens what the other made.
fn wrap_key(secret: &[u8], info: &[u8]) -> Result<Wiped<{ aead::KEY_BYTES }>, Status> {
    let mut key = Wiped::zeros();
    hkdf::derive(secret, info, &mut key[..])?;
    Ok(key)
}

/// What a wrapping has more than its plaintext.
fn wrap_overhead(scheme: &Scheme) -> Result<usize, Status> {
    match scheme.operations {
        Operations::Kem(kem) => Ok(kem.enc_bytes() + aead::TAG_BYTES),
        Operations::Aead(algorithm) => Ok(algorithm.nonce_bytes() + aead::TAG_BYTES),
        Operations::KeyWrap => Ok(8),
        _ => Err(Status::BadInput),
    }
}

/// The room for a plaintext; None: too short or too long to open.
fn opened_bytes(bytes: usize, overhead: usize) -> Option<usize> {
    bytes.checked_sub(overhead).filter(|&opened| opened <= MAX_PLAINTEXT_BYTES)
}

fn aead_of(scheme: &Scheme) -> Result<aead::Algorithm, Status> {
    match scheme.operations {
        Operations::Aead(algorithm) => Ok(algorithm),
        _ => Err(Status::BadInput),
    }
}

/// The bytes of a secret key of the very type that the scheme is for.
fn secret_of<'k>(scheme: &Scheme, key: &'k Key) -> Result<&'k [u8], Status> {
    match &key.material {
        Material::Secret(key_type, bytes) if u32::from(key_type.id()) == scheme.id() => Ok(bytes.bytes()),
        _ => Err(Status::KeyUnusable),
    }
}

fn key_type_of(input: &[u8]) -> Result<KeyType, Status> {
    word_of(input).and_then(KeyType::from_id).ok_or(Status::BadInput)
}

fn word_of(input: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(input.try_into().ok()?))
}

/// For the measurement of stacks: both ways of a scheme, one after the other.
#[cfg(test)]
pub fn wrap_and_unwrap(
    scheme: &Scheme,
    key: &Arc<Key>,
    public_key: &[u8],
    out: &mut [u8],
) -> Result<usize, Status> {
    let wrapping = match scheme.operations {
        Operations::Kem(_) => Wrapping::Public(public_key),
        _ => Wrapping::Opened(key.clone()),
    };
    let written = wrap(scheme, &wrapping, &[7; 32], b"info", &[], out)?;
    let mut plaintext = Wiped::<64>::zeros();
    unwrap(scheme, key, &out[..written], b"info", &[], &mut plaintext[..])
}
