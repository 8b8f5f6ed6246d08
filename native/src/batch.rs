//! The batch interface: one call signs and verifies up to 4,096 items.
//!
//! Request, little endian: u32 count, u32 responseBytes, then nine u32 an item (see `Item`), then the bytes
//! that the items point to. Response: three u32 an item (status, signature length, nanoseconds), then the
//! output area that sign items point to.

use crate::failure::{Failure, Status};
use crate::schemes::{Scheme, scheme};
use crate::{keys, stack};

/// The most a batch may hold: 4,096 ML-DSA-87 signatures take 19 MB and about a second.
const MAX_ITEMS: usize = 4096;
const HEADER_BYTES: usize = 8;
const ITEM_BYTES: usize = 36;
const RESULT_BYTES: usize = 12;

const OP_SIGN: u32 = 1;
const OP_VERIFY: u32 = 2;
const OP_SIGN_DETERMINISTIC: u32 = 3;

struct Item {
    op: u32,
    scheme: u32,
    key_number: u32,
    key: (u32, u32),
    message: (u32, u32),
    signature: (u32, u32),
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let at = index * 4;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Item {
    fn read(bytes: &[u8]) -> Item {
        Item {
            op: word(bytes, 0),
            scheme: word(bytes, 1),
            key_number: word(bytes, 2),
            key: (word(bytes, 3), word(bytes, 4)),
            message: (word(bytes, 5), word(bytes, 6)),
            signature: (word(bytes, 7), word(bytes, 8)),
        }
    }
}

fn range((offset, len): (u32, u32)) -> Option<std::ops::Range<usize>> {
    let end = offset.checked_add(len)?;
    Some(offset as usize..end as usize)
}

/// Works through a batch. Fails only if the two buffers do not form a batch; items fail each for itself.
pub fn run(root: u32, request: &[u8], response: &mut [u8]) -> Result<(), Failure> {
    let stack_bytes = process(root, request, response)?;
    stack::scrub(stack_bytes);
    Ok(())
}

/// Returns how much of the stack below may hold parts of keys.
#[inline(never)]
fn process(root: u32, request: &[u8], response: &mut [u8]) -> Result<usize, Failure> {
    let malformed = |message| Failure::new("MALFORMED_BATCH", message);
    if request.len() < HEADER_BYTES {
        return Err(malformed("the request is shorter than its header"));
    }
    let count = word(request, 0) as usize;
    let response_bytes = word(request, 1) as usize;
    if count == 0 || count > MAX_ITEMS {
        return Err(malformed("a batch has 1 to 4096 items"));
    }
    if request.len() < HEADER_BYTES + count * ITEM_BYTES {
        return Err(malformed("the request is shorter than its items"));
    }
    if response_bytes > response.len() || response_bytes < count * RESULT_BYTES {
        return Err(malformed("the response has no room for the results"));
    }
    let (results, output) = response[..response_bytes].split_at_mut(count * RESULT_BYTES);
    let items = &request[HEADER_BYTES..HEADER_BYTES + count * ITEM_BYTES];
    let mut batch = Batch { root, request, output, results_bytes: count * RESULT_BYTES, stack_bytes: 0 };
    let mut now_ns = stack::monotonic_ns();
    for (item, result) in items.chunks_exact(ITEM_BYTES).zip(results.chunks_exact_mut(RESULT_BYTES)) {
        let (status, written) = match batch.item(&Item::read(item), now_ns) {
            Ok(written) => (Status::Ok, written),
            Err(status) => (status, 0),
        };
        let then_ns = now_ns;
        now_ns = stack::monotonic_ns();
        let elapsed_ns = u32::try_from(now_ns - then_ns).unwrap_or(u32::MAX);
        result[..4].copy_from_slice(&(status as u32).to_le_bytes());
        result[4..8].copy_from_slice(&(written as u32).to_le_bytes());
        result[8..].copy_from_slice(&elapsed_ns.to_le_bytes());
    }
    Ok(batch.stack_bytes)
}

struct Batch<'a> {
    root: u32,
    request: &'a [u8],
    /// The response after the results; offsets in items count from the start of the response.
    output: &'a mut [u8],
    results_bytes: usize,
    stack_bytes: usize,
}

impl<'a> Batch<'a> {
    /// The number of signature bytes written (0 for a verification that holds).
    fn item(&mut self, item: &Item, now_ns: u64) -> Result<usize, Status> {
        let scheme = scheme(item.scheme).ok_or(Status::BadInput)?;
        match item.op {
            OP_SIGN => self.sign(scheme, item, now_ns, false),
            OP_SIGN_DETERMINISTIC => self.sign(scheme, item, now_ns, true),
            OP_VERIFY => match (scheme.verify)(
                self.part(item.key)?,
                self.part(item.message)?,
                self.part(item.signature)?,
            ) {
                Status::Ok => Ok(0),
                status => Err(status),
            },
            _ => Err(Status::BadInput),
        }
    }

    fn sign(
        &mut self,
        scheme: &Scheme,
        item: &Item,
        now_ns: u64,
        deterministic: bool,
    ) -> Result<usize, Status> {
        let opening = self.part(item.key)?;
        let message = self.part(item.message)?;
        let place = range(item.signature).ok_or(Status::BadInput)?;
        let start = place.start.checked_sub(self.results_bytes).ok_or(Status::BadInput)?;
        let out = self.output.get_mut(start..place.end - self.results_bytes).ok_or(Status::BadInput)?;
        let key = match keys::cached(item.key_number, now_ns) {
            Some(key) => {
                self.stack_bytes = self.stack_bytes.max(scheme.stack_bytes);
                key
            }
            None => {
                // Opening expands a key of a type that the blob names, not the item.
                self.stack_bytes = stack::MAX_BYTES;
                keys::open(self.root, item.key_number, opening, now_ns)?
            }
        };
        (scheme.sign)(&key.material, message, out, deterministic)
    }

    fn part(&self, place: (u32, u32)) -> Result<&'a [u8], Status> {
        range(place).and_then(|place| self.request.get(place)).ok_or(Status::BadInput)
    }
}
