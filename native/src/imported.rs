//! Forms of keys that are brought: PKCS#8 (RFC 5958) around a secret of uniform bytes, by RFC 8410, RFC 9881 and RFC 9935. Version 0,
//! the seed alone, no attributes: then the secret is all behind a prefix.

use crate::arena::Slot;
use crate::failure::Failure;
use crate::keys;
use crate::schemes::{KeyType, NewKey};

const ED25519: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
const X25519: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x6e\x04\x22\x04\x20";
const ML_DSA_44: &[u8] =
    b"\x30\x34\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11\x04\x22\x80\x20";
const ML_DSA_65: &[u8] =
    b"\x30\x34\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12\x04\x22\x80\x20";
const ML_DSA_87: &[u8] =
    b"\x30\x34\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13\x04\x22\x80\x20";
const ML_KEM_768: &[u8] =
    b"\x30\x54\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x02\x04\x42\x80\x40";
const ML_KEM_1024: &[u8] =
    b"\x30\x54\x02\x01\x00\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x03\x04\x42\x80\x40";

impl KeyType {
    fn pkcs8_prefix(self) -> Option<&'static [u8]> {
        match self {
            KeyType::Ed25519 => Some(ED25519),
            KeyType::X25519 => Some(X25519),
            KeyType::MlDsa44 => Some(ML_DSA_44),
            KeyType::MlDsa65 => Some(ML_DSA_65),
            KeyType::MlDsa87 => Some(ML_DSA_87),
            KeyType::MlKem768 => Some(ML_KEM_768),
            KeyType::MlKem1024 => Some(ML_KEM_1024),
            _ => None,
        }
    }

    /// As `import`, of any form in which others keep such a key.
    pub fn import_brought(self, material: Slot) -> Result<NewKey, Failure> {
        let secret = self.pkcs8_prefix().and_then(|prefix| material.bytes().strip_prefix(prefix));
        match (secret, self.uniform_bytes()) {
            (Some(secret), Some(bytes)) if secret.len() == bytes => {
                let mut own = keys::alloc(bytes)?;
                own.bytes_mut().copy_from_slice(secret);
                self.import(own)
            }
            _ => self.import(material),
        }
    }
}
