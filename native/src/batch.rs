//! The batch interface: one call does up to 4,096 items.
//!
//! Request, little endian: u32 count, u32 responseBytes, u32 spans, then six u32 an item (see `Item`), then two u32
//! a span (offset, length), then the bytes that the spans point to. The spans of an item are its key, its inputs
//! and its outputs. Response: two u32 an item (status, nanoseconds), a u32 length for each output, then the output
//! area.

use crate::failure::{Failure, Status};
use crate::input::Form;
use crate::keys::{self, Key};
use crate::schemes::{Operations, Scheme, scheme};
use crate::sealing;
use crate::stack;
use std::sync::Arc;

/// The most a batch may hold: 4,096 ML-DSA-87 signatures take 19 MB and about a second.
const MAX_ITEMS: usize = 4096;
const HEADER_BYTES: usize = 12;
const ITEM_BYTES: usize = 24;
const SPAN_BYTES: usize = 8;
const RESULT_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;

const OP_SIGN: u32 = 1;
const OP_VERIFY: u32 = 2;
const OP_SIGN_DETERMINISTIC: u32 = 3;
const OP_SIGN_DIGEST: u32 = 4;
const OP_VERIFY_DIGEST: u32 = 5;
const OP_SIGN_MU: u32 = 6;
const OP_VERIFY_MU: u32 = 7;
const OP_MAC: u32 = 8;
const OP_VERIFY_MAC: u32 = 9;

/// Bytes of the outputs of one item.
pub type Written = [usize; 2];

/// The form of what an operation signs.
fn signed(op: u32) -> Option<Form> {
    match op {
        OP_SIGN | OP_SIGN_DETERMINISTIC => Some(Form::Message),
        OP_SIGN_DIGEST => Some(Form::Digest),
        OP_SIGN_MU => Some(Form::Mu),
        _ => None,
    }
}

/// The form of what an operation verifies a signature of.
fn verified(op: u32) -> Option<Form> {
    match op {
        OP_VERIFY => Some(Form::Message),
        OP_VERIFY_DIGEST => Some(Form::Digest),
        OP_VERIFY_MU => Some(Form::Mu),
        _ => None,
    }
}

pub struct Item {
    pub op: u32,
    scheme: u32,
    key_number: u32,
    first_span: u32,
    inputs: u32,
    pub outputs: u32,
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
            first_span: word(bytes, 3),
            inputs: word(bytes, 4),
            outputs: word(bytes, 5),
        }
    }

    fn spans(&self) -> u64 {
        1 + u64::from(self.inputs) + u64::from(self.outputs)
    }
}

fn range((offset, len): (u32, u32)) -> Option<std::ops::Range<usize>> {
    let end = offset.checked_add(len)?;
    Some(offset as usize..end as usize)
}

/// Works through a batch. Fails only if the two buffers do not form a batch; items fail each for itself.
pub fn run(root: u32, request: &[u8], response: &mut [u8]) -> Result<(), Failure> {
    stack::exclude_from_dumps();
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
    let spans = word(request, 2) as usize;
    if count == 0 || count > MAX_ITEMS {
        return Err(malformed("a batch has 1 to 4096 items"));
    }
    let spans_at = HEADER_BYTES + count * ITEM_BYTES;
    if (request.len() as u64) < spans_at as u64 + spans as u64 * SPAN_BYTES as u64 {
        return Err(malformed("the request is shorter than its tables"));
    }
    let items = &request[HEADER_BYTES..spans_at];
    let mut outputs = 0;
    for item in items.chunks_exact(ITEM_BYTES).map(Item::read) {
        if u64::from(item.first_span) + item.spans() > spans as u64 {
            return Err(malformed("an item has spans that are not there"));
        }
        outputs += item.outputs as usize;
    }
    let table_bytes = count * RESULT_BYTES + outputs * LENGTH_BYTES;
    if response_bytes > response.len() || response_bytes < table_bytes {
        return Err(malformed("the response has no room for the results"));
    }
    let (results, output) = response[..response_bytes].split_at_mut(table_bytes);
    let (results, mut lengths) = results.split_at_mut(count * RESULT_BYTES);
    let mut batch = Batch { root, request, spans_at, output, table_bytes, stack_bytes: 0 };
    let mut now_ns = stack::monotonic_ns();
    for (item, result) in items.chunks_exact(ITEM_BYTES).zip(results.chunks_exact_mut(RESULT_BYTES)) {
        let item = Item::read(item);
        let (own, rest) = lengths.split_at_mut(item.outputs as usize * LENGTH_BYTES);
        lengths = rest;
        let (status, written) = match batch.item(&item, now_ns) {
            Ok(written) => (Status::Ok, written),
            Err(status) => (status, [0; 2]),
        };
        for (index, length) in own.chunks_exact_mut(LENGTH_BYTES).enumerate() {
            let bytes = written.get(index).map_or(0, |&bytes| bytes as u32);
            length.copy_from_slice(&bytes.to_le_bytes());
        }
        let then_ns = now_ns;
        now_ns = stack::monotonic_ns();
        let elapsed_ns = u32::try_from(now_ns - then_ns).unwrap_or(u32::MAX);
        result[..4].copy_from_slice(&(status as u32).to_le_bytes());
        result[4..].copy_from_slice(&elapsed_ns.to_le_bytes());
    }
    Ok(batch.stack_bytes)
}

pub struct Batch<'a> {
    pub root: u32,
    request: &'a [u8],
    spans_at: usize,
    /// The response after the results; offsets in spans count from the start of the response.
    pub output: &'a mut [u8],
    table_bytes: usize,
    pub stack_bytes: usize,
}

impl<'a> Batch<'a> {
    fn item(&mut self, item: &Item, now_ns: u64) -> Result<Written, Status> {
        let scheme = scheme(item.scheme).ok_or(Status::BadInput)?;
        if sealing::OPS.contains(&item.op) {
            return self.seal_item(scheme, item, now_ns);
        }
        self.sign_item(scheme, item, now_ns).map(|written| [written, 0])
    }

    /// The number of bytes written to the output (0 where there is none).
    fn sign_item(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<usize, Status> {
        match (item.op, item.inputs, item.outputs, &scheme.operations) {
            (op, 1 | 2, 1, Operations::Signature { takes, sign, .. }) => {
                let form = signed(op).ok_or(Status::BadInput)?;
                let input = takes.read(form, self.input(item, 0)?, self.context(item, 1)?)?;
                let place = self.output_place(item)?;
                let key = self.key(scheme, item, now_ns)?;
                sign(&key.material, &input, &mut self.output[place], op == OP_SIGN_DETERMINISTIC)
            }
            (op, 2 | 3, 0, Operations::Signature { takes, verify, .. }) => {
                let form = verified(op).ok_or(Status::BadInput)?;
                let input = takes.read(form, self.input(item, 0)?, self.context(item, 2)?)?;
                match verify(self.span(item, 0)?, &input, self.input(item, 1)?) {
                    Status::Ok => Ok(0),
                    status => Err(status),
                }
            }
            (OP_MAC, 1, 1, Operations::Mac { mac, .. }) => {
                let message = self.input(item, 0)?;
                let place = self.output_place(item)?;
                let key = self.key(scheme, item, now_ns)?;
                mac(&key.material, message, &mut self.output[place])
            }
            (OP_VERIFY_MAC, 2, 0, Operations::Mac { verify, .. }) => {
                let (message, tag) = (self.input(item, 0)?, self.input(item, 1)?);
                let key = self.key(scheme, item, now_ns)?;
                match verify(&key.material, message, tag) {
                    Status::Ok => Ok(0),
                    status => Err(status),
                }
            }
            _ => Err(Status::BadInput),
        }
    }

    pub fn key(&mut self, scheme: &Scheme, item: &Item, now_ns: u64) -> Result<Arc<Key>, Status> {
        let reference = self.span(item, 0)?;
        match keys::cached(item.key_number, now_ns) {
            Some(key) => {
                self.stack_bytes = self.stack_bytes.max(scheme.stack_bytes);
                Ok(key)
            }
            None => self.open(item.key_number, reference, now_ns),
        }
    }

    /// Opens a key, and keeps it under `number` (0 = not kept). What earlier items left on the stack is cleared before: moving a key
    /// copies the padding between its variants as well, and that onto the heap.
    pub fn open(&mut self, number: u32, reference: &[u8], now_ns: u64) -> Result<Arc<Key>, Status> {
        stack::scrub(self.stack_bytes);
        // Opening expands a key of a type that the blob names, not the item.
        self.stack_bytes = stack::MAX_BYTES;
        keys::open(self.root, number, reference, now_ns)
    }

    /// The context that stands after the other inputs, if there is one.
    fn context(&self, item: &Item, index: usize) -> Result<Option<&'a [u8]>, Status> {
        if item.inputs as usize > index { self.input(item, index).map(Some) } else { Ok(None) }
    }

    fn input(&self, item: &Item, index: usize) -> Result<&'a [u8], Status> {
        self.span(item, 1 + index)
    }

    /// The place of the only output, in the output area.
    fn output_place(&self, item: &Item) -> Result<std::ops::Range<usize>, Status> {
        self.place_at(item, 0)
    }

    /// All inputs; BadInput where there are more or fewer.
    pub fn inputs<const COUNT: usize>(&self, item: &Item) -> Result<[&'a [u8]; COUNT], Status> {
        if item.inputs as usize != COUNT {
            return Err(Status::BadInput);
        }
        let mut inputs: [&'a [u8]; COUNT] = [&[]; COUNT];
        for (index, input) in inputs.iter_mut().enumerate() {
            *input = self.input(item, index)?;
        }
        Ok(inputs)
    }

    /// The whole place of the only output, of at least `bytes`.
    pub fn only_output(&self, item: &Item, bytes: usize) -> Result<std::ops::Range<usize>, Status> {
        let place = self.place_at(item, 0)?;
        if item.outputs == 1 && place.len() >= bytes { Ok(place) } else { Err(Status::BadInput) }
    }

    /// The first `bytes` of the place of an output.
    pub fn place_of(
        &self,
        item: &Item,
        index: usize,
        bytes: usize,
    ) -> Result<std::ops::Range<usize>, Status> {
        let place = self.place_at(item, index)?;
        if place.len() >= bytes { Ok(place.start..place.start + bytes) } else { Err(Status::BadInput) }
    }

    /// The whole place of an output, in the output area.
    pub fn place_at(&self, item: &Item, index: usize) -> Result<std::ops::Range<usize>, Status> {
        if index >= item.outputs as usize {
            return Err(Status::BadInput);
        }
        let place = range(self.place(item, 1 + item.inputs as usize + index)).ok_or(Status::BadInput)?;
        let start = place.start.checked_sub(self.table_bytes).ok_or(Status::BadInput)?;
        let place = start..place.end - self.table_bytes;
        if place.end > self.output.len() { Err(Status::BadInput) } else { Ok(place) }
    }

    pub fn span(&self, item: &Item, index: usize) -> Result<&'a [u8], Status> {
        range(self.place(item, index)).and_then(|place| self.request.get(place)).ok_or(Status::BadInput)
    }

    /// `process` has checked that the span is in its table.
    fn place(&self, item: &Item, index: usize) -> (u32, u32) {
        let table = &self.request[self.spans_at..];
        let at = (item.first_span as usize + index) * 2;
        (word(table, at), word(table, at + 1))
    }
}
