//! The signature schemes, with one entry each.

use crate::composite::{Composite, MLDSA44_ED25519, MLDSA65_ED25519, MLDSA65_P256};
use crate::ecdsa::{Ecdsa, Encoding};
use crate::ed25519;
use crate::evp::{Curve, EvpKey};
use crate::failure::Status;
use crate::input::{Hash, Input, Takes};
use crate::mldsa::{ML_DSA_44, ML_DSA_65, ML_DSA_87, ParameterSet};
use crate::rsa::{Padding, Rsa};
use crate::schemes::{Material, Operations, Scheme};

/// Key, input, output, and whether to sign without randomness. The signature stands at the front of the output;
/// the result is its length, or why there is none.
pub type Sign = fn(&Material, &Input, &mut [u8], bool) -> Result<usize, Status>;
/// Public key, input, signature.
pub type Verify = fn(&[u8], &Input, &[u8]) -> Status;

pub static SIGNATURES: [Scheme; 18] = [
    signature(1, 16 << 10, Takes::messages(), sign_ed25519, |key, input, signature| {
        ed25519::verify(key, input.bytes, signature)
    }),
    ml_dsa(
        2,
        128 << 10,
        |key, input, out, deterministic| sign_ml_dsa(&ML_DSA_44, key, input, out, deterministic),
        |key, input, signature| ML_DSA_44.verify(key, input, signature),
    ),
    ml_dsa(
        3,
        128 << 10,
        |key, input, out, deterministic| sign_ml_dsa(&ML_DSA_65, key, input, out, deterministic),
        |key, input, signature| ML_DSA_65.verify(key, input, signature),
    ),
    ml_dsa(
        4,
        192 << 10,
        |key, input, out, deterministic| sign_ml_dsa(&ML_DSA_87, key, input, out, deterministic),
        |key, input, signature| ML_DSA_87.verify(key, input, signature),
    ),
    ecdsa(
        5,
        Hash::Sha256,
        |key, input, out, deterministic| sign_ecdsa(&P256_DER, key, input, out, deterministic),
        |key, input, signature| P256_DER.verify(key, input, signature),
    ),
    ecdsa(
        8,
        Hash::Sha256,
        |key, input, out, deterministic| sign_ecdsa(&P256_P1363, key, input, out, deterministic),
        |key, input, signature| P256_P1363.verify(key, input, signature),
    ),
    ecdsa(
        9,
        Hash::Sha384,
        |key, input, out, deterministic| sign_ecdsa(&P384_DER, key, input, out, deterministic),
        |key, input, signature| P384_DER.verify(key, input, signature),
    ),
    ecdsa(
        10,
        Hash::Sha384,
        |key, input, out, deterministic| sign_ecdsa(&P384_P1363, key, input, out, deterministic),
        |key, input, signature| P384_P1363.verify(key, input, signature),
    ),
    rsa(
        6,
        Hash::Sha256,
        |key, input, out, deterministic| sign_rsa(&PS256, key, input, out, deterministic),
        |key, input, signature| PS256.verify(key, input, signature),
    ),
    rsa(
        7,
        Hash::Sha256,
        |key, input, out, deterministic| sign_rsa(&RS256, key, input, out, deterministic),
        |key, input, signature| RS256.verify(key, input, signature),
    ),
    rsa(
        11,
        Hash::Sha384,
        |key, input, out, deterministic| sign_rsa(&PS384, key, input, out, deterministic),
        |key, input, signature| PS384.verify(key, input, signature),
    ),
    rsa(
        12,
        Hash::Sha512,
        |key, input, out, deterministic| sign_rsa(&PS512, key, input, out, deterministic),
        |key, input, signature| PS512.verify(key, input, signature),
    ),
    rsa(
        13,
        Hash::Sha384,
        |key, input, out, deterministic| sign_rsa(&RS384, key, input, out, deterministic),
        |key, input, signature| RS384.verify(key, input, signature),
    ),
    rsa(
        14,
        Hash::Sha512,
        |key, input, out, deterministic| sign_rsa(&RS512, key, input, out, deterministic),
        |key, input, signature| RS512.verify(key, input, signature),
    ),
    signature(15, 16 << 10, Takes::digests(Hash::Sha512), sign_ed25519ph, ed25519::verify_ph),
    composite(
        16,
        |key, input, out, deterministic| sign_composite(&MLDSA65_ED25519, key, input, out, deterministic),
        |key, input, signature| MLDSA65_ED25519.verify(key, input, signature),
    ),
    composite(
        17,
        |key, input, out, deterministic| sign_composite(&MLDSA44_ED25519, key, input, out, deterministic),
        |key, input, signature| MLDSA44_ED25519.verify(key, input, signature),
    ),
    composite(
        18,
        |key, input, out, deterministic| sign_composite(&MLDSA65_P256, key, input, out, deterministic),
        |key, input, signature| MLDSA65_P256.verify(key, input, signature),
    ),
];

const P256_DER: Ecdsa = Ecdsa { curve: Curve::P256, hash: Hash::Sha256, encoding: Encoding::Der };
const P256_P1363: Ecdsa = Ecdsa { encoding: Encoding::P1363, ..P256_DER };
const P384_DER: Ecdsa = Ecdsa { curve: Curve::P384, hash: Hash::Sha384, encoding: Encoding::Der };
const P384_P1363: Ecdsa = Ecdsa { encoding: Encoding::P1363, ..P384_DER };
const PS256: Rsa = Rsa { hash: Hash::Sha256, padding: Padding::Pss };
const PS384: Rsa = Rsa { hash: Hash::Sha384, padding: Padding::Pss };
const PS512: Rsa = Rsa { hash: Hash::Sha512, padding: Padding::Pss };
const RS256: Rsa = Rsa { hash: Hash::Sha256, padding: Padding::Pkcs1 };
const RS384: Rsa = Rsa { hash: Hash::Sha384, padding: Padding::Pkcs1 };
const RS512: Rsa = Rsa { hash: Hash::Sha512, padding: Padding::Pkcs1 };

const fn signature(id: u32, stack_bytes: usize, takes: Takes, sign: Sign, verify: Verify) -> Scheme {
    Scheme { id, stack_bytes, operations: Operations::Signature { takes, sign, verify } }
}

const fn ml_dsa(id: u32, stack_bytes: usize, sign: Sign, verify: Verify) -> Scheme {
    signature(id, stack_bytes, Takes { digest: None, context: true, mu: true }, sign, verify)
}

const fn ecdsa(id: u32, hash: Hash, sign: Sign, verify: Verify) -> Scheme {
    signature(id, 16 << 10, Takes::digests(hash), sign, verify)
}

const fn rsa(id: u32, hash: Hash, sign: Sign, verify: Verify) -> Scheme {
    signature(id, 64 << 10, Takes::digests(hash), sign, verify)
}

const fn composite(id: u32, sign: Sign, verify: Verify) -> Scheme {
    signature(id, 128 << 10, Takes { digest: Some(Hash::Sha512), context: true, mu: false }, sign, verify)
}

fn sign_ed25519(key: &Material, input: &Input, out: &mut [u8], _: bool) -> Result<usize, Status> {
    match key {
        Material::Ed25519(private_key) => ed25519::sign(private_key, input.bytes, out),
        _ => Err(Status::KeyUnusable),
    }
}

fn sign_ed25519ph(key: &Material, input: &Input, out: &mut [u8], _: bool) -> Result<usize, Status> {
    match key {
        Material::Ed25519(private_key) => ed25519::sign_ph(private_key, input, out),
        _ => Err(Status::KeyUnusable),
    }
}

fn sign_ml_dsa(
    set: &'static ParameterSet,
    key: &Material,
    input: &Input,
    out: &mut [u8],
    deterministic: bool,
) -> Result<usize, Status> {
    match key {
        Material::MlDsa(key) if key.is_of(set) => key.sign(input, out, deterministic),
        _ => Err(Status::KeyUnusable),
    }
}

fn sign_ecdsa(
    way: &Ecdsa,
    key: &Material,
    input: &Input,
    out: &mut [u8],
    deterministic: bool,
) -> Result<usize, Status> {
    randomised(deterministic)?;
    way.sign(evp_key(key)?, input, out)
}

fn sign_rsa(
    way: &Rsa,
    key: &Material,
    input: &Input,
    out: &mut [u8],
    deterministic: bool,
) -> Result<usize, Status> {
    if way.padding == Padding::Pss {
        randomised(deterministic)?;
    }
    way.sign(evp_key(key)?, input, out)
}

fn sign_composite(
    way: &'static Composite,
    key: &Material,
    input: &Input,
    out: &mut [u8],
    deterministic: bool,
) -> Result<usize, Status> {
    match key {
        Material::Composite(key) => way.sign(key, input, out, deterministic),
        _ => Err(Status::KeyUnusable),
    }
}

fn evp_key(key: &Material) -> Result<&EvpKey, Status> {
    match key {
        Material::Evp(key) => Ok(key),
        _ => Err(Status::KeyUnusable),
    }
}

/// ECDSA and PSS draw from aws-lc's own generator: a deterministic signature cannot be had.
fn randomised(deterministic: bool) -> Result<(), Status> {
    if deterministic { Err(Status::BadInput) } else { Ok(()) }
}
