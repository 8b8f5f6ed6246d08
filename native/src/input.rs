//! What is signed or verified, as an item of a batch gives it.

use crate::failure::Status;
use aws_lc_sys as lc;

/// FIPS 204 5.2, and the draft on composite signatures: the length of a context is one byte.
const MAX_CONTEXT_BYTES: usize = 255;
/// FIPS 204 6.2: the message representative of ML-DSA.
pub const MU_BYTES: usize = 64;
const MAX_DIGEST_BYTES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Message,
    /// By the scheme's hash, of a message that did not come.
    Digest,
    Mu,
}

#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub form: Form,
    pub bytes: &'a [u8],
    /// Empty where there is none.
    pub context: &'a [u8],
}

/// What a scheme takes; all take messages.
pub struct Takes {
    pub digest: Option<Hash>,
    pub context: bool,
    pub mu: bool,
}

impl Takes {
    /// Messages without context.
    pub const fn messages() -> Takes {
        Takes { digest: None, context: false, mu: false }
    }

    /// Messages, or their digests.
    pub const fn digests(hash: Hash) -> Takes {
        Takes { digest: Some(hash), ..Takes::messages() }
    }

    /// Refused as BAD_INPUT before any key is opened: a form that the scheme does not have, a wrong length.
    pub fn read<'a>(
        &self,
        form: Form,
        bytes: &'a [u8],
        context: Option<&'a [u8]>,
    ) -> Result<Input<'a>, Status> {
        let fits = match form {
            Form::Message => true,
            Form::Digest => self.digest.is_some_and(|hash| bytes.len() == hash.bytes()),
            // The context is in the mu already.
            Form::Mu => self.mu && bytes.len() == MU_BYTES && context.is_none(),
        };
        let may = context.is_none_or(|context| self.context && context.len() <= MAX_CONTEXT_BYTES);
        if fits && may {
            Ok(Input { form, bytes, context: context.unwrap_or_default() })
        } else {
            Err(Status::BadInput)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// A digest in a place of its own.
pub struct Digest {
    bytes: [u8; MAX_DIGEST_BYTES],
    len: usize,
}

impl Digest {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Hash {
    pub const fn bytes(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    pub fn nid(self) -> i32 {
        match self {
            Hash::Sha256 => lc::NID_sha256,
            Hash::Sha384 => lc::NID_sha384,
            Hash::Sha512 => lc::NID_sha512,
        }
    }

    pub fn md(self) -> *const lc::EVP_MD {
        // SAFETY: the getters give static tables.
        unsafe {
            match self {
                Hash::Sha256 => lc::EVP_sha256(),
                Hash::Sha384 => lc::EVP_sha384(),
                Hash::Sha512 => lc::EVP_sha512(),
            }
        }
    }

    /// The digest that came, or that of the message. A mu is none.
    pub fn of(self, input: &Input) -> Result<Digest, Status> {
        let mut digest = Digest { bytes: [0; MAX_DIGEST_BYTES], len: self.bytes() };
        match input.form {
            Form::Message => {
                let (message, len, out) =
                    (input.bytes.as_ptr(), input.bytes.len(), digest.bytes.as_mut_ptr());
                // SAFETY: the message has its length, the place the 64 bytes of the longest digest.
                unsafe {
                    match self {
                        Hash::Sha256 => lc::SHA256(message, len, out),
                        Hash::Sha384 => lc::SHA384(message, len, out),
                        Hash::Sha512 => lc::SHA512(message, len, out),
                    };
                }
            }
            Form::Digest if input.bytes.len() == self.bytes() => {
                digest.bytes[..self.bytes()].copy_from_slice(input.bytes);
            }
            _ => return Err(Status::BadInput),
        }
        Ok(digest)
    }
}
