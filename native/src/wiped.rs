//! Small secrets on the stack of one operation, cleared when they go out of scope; the scrubbing of the stack afterwards
//! (stack.rs) takes what copies of them are left.

use crate::pages::wipe;
use std::ops::{Deref, DerefMut};

pub struct Wiped<const BYTES: usize>([u8; BYTES]);

impl<const BYTES: usize> Wiped<BYTES> {
    pub fn zeros() -> Self {
        Wiped([0; BYTES])
    }
}

impl<const BYTES: usize> Deref for Wiped<BYTES> {
    type Target = [u8; BYTES];
    fn deref(&self) -> &[u8; BYTES] {
        &self.0
    }
}

impl<const BYTES: usize> DerefMut for Wiped<BYTES> {
    fn deref_mut(&mut self) -> &mut [u8; BYTES] {
        &mut self.0
    }
}

impl<const BYTES: usize> Drop for Wiped<BYTES> {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}
