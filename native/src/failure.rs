//! The refusals of a control-plane function, and the status words of a batch item.

/// A refusal that JavaScript sees as an `Error` with this `code`. The message carries no input and no secret.
#[derive(Debug)]
pub struct Failure {
    pub code: &'static str,
    pub message: String,
}

impl Failure {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }

    pub fn argument(message: &str) -> Self {
        Failure::new("BAD_ARGUMENT", message)
    }

    pub fn exhausted() -> Self {
        Failure::new("ARENA_FULL", "no room left in the key arena")
    }
}

impl From<Failure> for napi::Error<&'static str> {
    fn from(failure: Failure) -> Self {
        napi::Error::new(failure.code, failure.message)
    }
}

/// Outcome of one batch item, as written into the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    Ok = 0,
    Rejected = 1,
    KeyUnusable = 2,
    BadInput = 3,
    Internal = 4,
}
