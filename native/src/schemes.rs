//! The engine's abilities: the key types with their making and opening, the schemes with one entry each.

use crate::aead;
use crate::arena::Slot;
use crate::composite::{self, Composite, MLDSA44_ED25519, MLDSA65_ED25519, MLDSA65_P256};
use crate::drbg;
use crate::ed25519;
use crate::evp::{self, Curve, EvpKey, EvpKind};
use crate::failure::{Failure, Status};
use crate::hmac;
use crate::input::Takes;
use crate::kem::{self, Kem};
use crate::keys;
use crate::mldsa::{self, ML_DSA_44, ML_DSA_65, ML_DSA_87, ParameterSet};
use crate::signatures::{SIGNATURES, Sign, Verify};

/// An RSA-4096 PKCS#8 has at most 2,380 bytes.
const MAX_PKCS8_BYTES: usize = 2560;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum KeyType {
    Ed25519 = 1,
    MlDsa44 = 2,
    MlDsa65 = 3,
    MlDsa87 = 4,
    EcdsaP256 = 5,
    EcdsaP384 = 6,
    Mldsa65Ed25519 = 8,
    Mldsa44Ed25519 = 9,
    Mldsa65P256 = 10,
    Rsa2048 = 16,
    Rsa3072 = 17,
    Rsa4096 = 18,
    X25519 = 24,
    MlKem768 = 25,
    MlKem1024 = 26,
    XWing = 27,
    HmacSha256 = 32,
    Aes256Gcm = 33,
    ChaCha20Poly1305 = 34,
    Xaes256Gcm = 35,
    Aes256Kwp = 36,
    HkdfSha256 = 37,
}

/// The ways a key type is made, sealed and opened.
enum Family {
    Ed25519,
    MlDsa(&'static ParameterSet),
    Evp(EvpKind),
    Kem(&'static Kem),
    Composite(&'static Composite),
    /// Uniform bytes, without a public part.
    Secret,
}

/// An opened private or secret key, ready for use.
pub enum Material {
    /// seed || public key, in the arena
    Ed25519(Slot),
    MlDsa(mldsa::PrivateKey),
    /// an object of aws-lc, in the arena
    Evp(EvpKey),
    /// as the KEM expands it, in the arena
    Kem(&'static Kem, Slot),
    Composite(composite::PrivateKey),
    /// as they are, in the arena
    Secret(KeyType, Slot),
}

/// A new key before sealing: the plaintext of the blob, in the arena, and the public key bytes.
pub struct NewKey {
    pub secret: Slot,
    pub public_key: Vec<u8>,
}

impl KeyType {
    pub fn from_id(id: u32) -> Option<KeyType> {
        use KeyType::*;
        [
            Ed25519,
            MlDsa44,
            MlDsa65,
            MlDsa87,
            EcdsaP256,
            EcdsaP384,
            Mldsa65Ed25519,
            Mldsa44Ed25519,
            Mldsa65P256,
            Rsa2048,
            Rsa3072,
            Rsa4096,
            X25519,
            MlKem768,
            MlKem1024,
            XWing,
            HmacSha256,
            Aes256Gcm,
            ChaCha20Poly1305,
            Xaes256Gcm,
            Aes256Kwp,
            HkdfSha256,
        ]
        .into_iter()
        .find(|key_type| u32::from(key_type.id()) == id)
    }

    pub fn id(self) -> u16 {
        self as u16
    }

    fn family(self) -> Family {
        match self {
            KeyType::Ed25519 => Family::Ed25519,
            KeyType::MlDsa44 => Family::MlDsa(&ML_DSA_44),
            KeyType::MlDsa65 => Family::MlDsa(&ML_DSA_65),
            KeyType::MlDsa87 => Family::MlDsa(&ML_DSA_87),
            KeyType::EcdsaP256 => Family::Evp(EvpKind::Ec(Curve::P256)),
            KeyType::EcdsaP384 => Family::Evp(EvpKind::Ec(Curve::P384)),
            KeyType::Mldsa65Ed25519 => Family::Composite(&MLDSA65_ED25519),
            KeyType::Mldsa44Ed25519 => Family::Composite(&MLDSA44_ED25519),
            KeyType::Mldsa65P256 => Family::Composite(&MLDSA65_P256),
            KeyType::Rsa2048 => Family::Evp(EvpKind::Rsa(2048)),
            KeyType::Rsa3072 => Family::Evp(EvpKind::Rsa(3072)),
            KeyType::Rsa4096 => Family::Evp(EvpKind::Rsa(4096)),
            KeyType::X25519 => Family::Kem(&kem::X25519),
            KeyType::MlKem768 => Family::Kem(&kem::ML_KEM_768_KEM),
            KeyType::MlKem1024 => Family::Kem(&kem::ML_KEM_1024_KEM),
            KeyType::XWing => Family::Kem(&kem::X_WING),
            KeyType::HmacSha256
            | KeyType::Aes256Gcm
            | KeyType::ChaCha20Poly1305
            | KeyType::Xaes256Gcm
            | KeyType::Aes256Kwp
            | KeyType::HkdfSha256 => Family::Secret,
        }
    }

    /// The length of a secret that is uniform bytes: FIPS 204 xi, FIPS 203 d and z, RFC 8032's and RFC 7748's private keys, the keys
    /// of symmetric schemes. None: the secret has a structure.
    pub fn uniform_bytes(self) -> Option<usize> {
        match self.family() {
            Family::Ed25519 | Family::MlDsa(_) | Family::Secret => Some(ed25519::SEED_BYTES),
            Family::Kem(kem) => Some(kem.seed_bytes()),
            Family::Evp(_) | Family::Composite(_) => None,
        }
    }

    pub fn generate(self) -> Result<NewKey, Failure> {
        match (self.family(), self.uniform_bytes()) {
            (_, Some(bytes)) => {
                let mut seed = keys::alloc(bytes)?;
                drbg::fill(seed.bytes_mut())?;
                self.expand_new(seed)
            }
            (Family::Evp(kind), None) => {
                let key = EvpKey::generate(kind)?.ok_or_else(|| {
                    evp::clear_errors();
                    Failure::new("INTERNAL", "key generation failed")
                })?;
                encode(&key)
            }
            (Family::Composite(composite), None) => self.expand_new(composite.generate()?),
            _ => Err(Failure::new("INTERNAL", "this key type cannot be made")),
        }
    }

    /// A key brought from outside: `secret` is the plaintext that a sealed blob of this type holds.
    pub fn import(self, secret: Slot) -> Result<NewKey, Failure> {
        match (self.family(), self.uniform_bytes()) {
            (Family::Composite(_), _) => self.expand_new(secret),
            (Family::Evp(kind), _) => encode(
                &parse_pkcs8(secret.bytes(), kind)?
                    .ok_or_else(|| Failure::argument("not a PKCS#8 private key of this type"))?,
            ),
            (_, Some(bytes)) if secret.bytes().len() == bytes => self.expand_new(secret),
            _ => Err(Failure::argument("a seed or secret key of another length")),
        }
    }

    fn expand_new(self, seed: Slot) -> Result<NewKey, Failure> {
        let public_key = match self.family() {
            Family::Ed25519 => ed25519::expand(seed.bytes())?.1.to_vec(),
            Family::MlDsa(set) => {
                let mut public_key = vec![0; set.public_key_bytes];
                set.expand(seed.bytes(), keys::alloc(set.secret_key_bytes)?.bytes_mut(), &mut public_key)?;
                public_key
            }
            Family::Kem(kem) => kem.expand(seed.bytes())?.1,
            Family::Secret => Vec::new(),
            Family::Composite(composite) => composite.public_key(seed.bytes())?,
            Family::Evp(_) => return Err(Failure::new("INTERNAL", "this key type has no seed")),
        };
        Ok(NewKey { secret: seed, public_key })
    }

    /// Makes the plaintext of a sealed blob usable. The plaintext is authentic here, so a misfit is damage.
    pub fn open(self, plaintext: Slot) -> Result<Material, Status> {
        let bytes = plaintext.bytes();
        match self.family() {
            Family::Ed25519 if bytes.len() == ed25519::SEED_BYTES => {
                Ok(Material::Ed25519(ed25519::expand(bytes).map_err(|_| Status::Internal)?.0))
            }
            Family::MlDsa(set) if bytes.len() == mldsa::SEED_BYTES => {
                Ok(Material::MlDsa(mldsa::PrivateKey::from_seed(set, bytes).map_err(|_| Status::Internal)?))
            }
            Family::Composite(composite) => Ok(Material::Composite(composite.open(bytes)?)),
            Family::Evp(kind) => {
                let key = parse_pkcs8(bytes, kind).map_err(|_| Status::Internal)?;
                key.map(Material::Evp).ok_or(Status::KeyUnusable)
            }
            Family::Kem(kem) if bytes.len() == kem.seed_bytes() => {
                Ok(Material::Kem(kem, kem.expand(bytes).map_err(|_| Status::Internal)?.0))
            }
            Family::Secret if bytes.len() == hmac::KEY_BYTES => Ok(Material::Secret(self, plaintext)),
            _ => Err(Status::KeyUnusable),
        }
    }
}

fn parse_pkcs8(der: &[u8], kind: EvpKind) -> Result<Option<EvpKey>, Failure> {
    let key = EvpKey::from_pkcs8(der)?.filter(|key| key.kind() == kind);
    if key.is_none() {
        evp::clear_errors();
    }
    Ok(key)
}

fn encode(key: &EvpKey) -> Result<NewKey, Failure> {
    let failed = || Failure::new("INTERNAL", "cannot encode the key");
    let mut secret = keys::alloc(MAX_PKCS8_BYTES)?;
    let written = key.write_pkcs8(secret.bytes_mut()).ok_or_else(failed)?;
    secret.shorten(written);
    Ok(NewKey { secret, public_key: key.public_key().ok_or_else(failed)? })
}

/// Key, message, output; the tag stands at the front of the output.
type Mac = fn(&Material, &[u8], &mut [u8]) -> Result<usize, Status>;
/// Key, message, tag.
type VerifyMac = fn(&Material, &[u8], &[u8]) -> Status;

pub enum Operations {
    Signature {
        takes: Takes,
        sign: Sign,
        verify: Verify,
    },
    Mac {
        mac: Mac,
        verify: VerifyMac,
    },
    /// Encrypts and wraps; a scheme of secret keys has the number of their type.
    Aead(aead::Algorithm),
    Kem(&'static Kem),
    /// RFC 5649.
    KeyWrap,
    /// HKDF-SHA256.
    Derive,
    /// Opens key material for import.
    RsaAesKeyWrap,
}

/// One way to use keys.
pub struct Scheme {
    pub id: u32,
    /// The reach of the library's stack frames below ours, rounded up; so much is cleared afterwards.
    /// Measured by the tests in src/stack.rs.
    pub stack_bytes: usize,
    pub operations: Operations,
}

static OTHERS: [Scheme; 11] = [
    Scheme {
        id: 32,
        stack_bytes: 16 << 10,
        operations: Operations::Mac { mac: mac_hmac, verify: verify_hmac },
    },
    Scheme { id: 24, stack_bytes: 16 << 10, operations: Operations::Kem(&kem::X25519) },
    Scheme { id: 25, stack_bytes: 64 << 10, operations: Operations::Kem(&kem::ML_KEM_768_KEM) },
    Scheme { id: 26, stack_bytes: 64 << 10, operations: Operations::Kem(&kem::ML_KEM_1024_KEM) },
    Scheme { id: 27, stack_bytes: 64 << 10, operations: Operations::Kem(&kem::X_WING) },
    Scheme { id: 33, stack_bytes: 16 << 10, operations: Operations::Aead(aead::Algorithm::Aes256Gcm) },
    Scheme { id: 34, stack_bytes: 16 << 10, operations: Operations::Aead(aead::Algorithm::ChaCha20Poly1305) },
    Scheme { id: 35, stack_bytes: 16 << 10, operations: Operations::Aead(aead::Algorithm::Xaes256Gcm) },
    Scheme { id: 36, stack_bytes: 16 << 10, operations: Operations::KeyWrap },
    Scheme { id: 37, stack_bytes: 16 << 10, operations: Operations::Derive },
    Scheme { id: 40, stack_bytes: 64 << 10, operations: Operations::RsaAesKeyWrap },
];

impl Scheme {
    pub fn id(&self) -> u32 {
        self.id
    }
}

pub fn scheme(id: u32) -> Option<&'static Scheme> {
    SIGNATURES.iter().chain(&OTHERS).find(|scheme| scheme.id == id)
}

fn secret(key: &Material) -> Result<&[u8], Status> {
    match key {
        Material::Secret(KeyType::HmacSha256, bytes) => Ok(bytes.bytes()),
        _ => Err(Status::KeyUnusable),
    }
}

fn mac_hmac(key: &Material, message: &[u8], out: &mut [u8]) -> Result<usize, Status> {
    hmac::mac(secret(key)?, message, out)
}

fn verify_hmac(key: &Material, message: &[u8], tag: &[u8]) -> Status {
    secret(key).map_or_else(|status| status, |key| hmac::verify(key, message, tag))
}
