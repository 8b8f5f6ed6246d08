//! Opened keys by number, shared by all threads: bounded by the arena, least recently used goes first.
//!
//! A key is counted by its users, so one that is taken out of the cache is cleared when its last signature is
//! done, never under it. Locks are taken in the order victims, shard, arena, and none of them while opening.

use crate::arena::{self, Slot};
use crate::failure::{Failure, Status};
use crate::schemes::Material;
use crate::{root, seal};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

/// More shards than crypto threads, so that two threads seldom meet on one lock.
const SHARDS: usize = 16;
/// Victims are drawn as the oldest sixteenth at once, so that one walk over all keys serves many evictions.
const VICTIM_FRACTION: usize = 16;

pub struct Key {
    pub material: Material,
    /// Monotonic nanoseconds.
    last_used: AtomicU64,
}

impl Key {
    /// None for what lies in many slots.
    fn slot(&self) -> Option<&Slot> {
        match &self.material {
            Material::Ed25519(slot) | Material::Kem(_, slot) | Material::Secret(_, slot) => Some(slot),
            Material::MlDsa(key) => Some(key.slot()),
            Material::Evp(_) | Material::Composite(_) => None,
        }
    }
}

#[derive(Default)]
struct Shard {
    keys: HashMap<u32, Arc<Key>>,
    /// Counts the times that keys were forgotten here: an opening that began before is not kept after.
    forgotten: u64,
}

/// Candidates for eviction, oldest first: key number and the time it was last used when it was chosen.
type Victims = VecDeque<(u32, u64)>;

struct Cache {
    shards: [RwLock<Shard>; SHARDS],
    victims: Mutex<Victims>,
    evictions: AtomicU64,
}

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache {
    shards: std::array::from_fn(|_| RwLock::default()),
    victims: Mutex::default(),
    evictions: AtomicU64::new(0),
});

/// The key of a sign item if it is in the cache.
pub fn cached(number: u32, now_ns: u64) -> Option<Arc<Key>> {
    let shard = CACHE.shard(number).read().unwrap_or_else(PoisonError::into_inner);
    let key = shard.keys.get(&number)?;
    key.last_used.store(now_ns, Ordering::Relaxed);
    Some(key.clone())
}

/// Opens the key of a sign item, and keeps it under `number` (0 = not kept).
#[inline(never)]
pub fn open(root: u32, number: u32, opening: &[u8], now_ns: u64) -> Result<Arc<Key>, Status> {
    let seen = CACHE.shard(number).read().unwrap_or_else(PoisonError::into_inner).forgotten;
    let (root, before) = root::opening(root).ok_or(Status::KeyUnusable)?;
    let (key_type, plaintext) = match (seal::open(&root, opening), before) {
        (Err(Status::KeyUnusable), Some(before)) => seal::open(&before, opening)?,
        (opened, _) => opened?,
    };
    let material = key_type.open(plaintext)?;
    let key = Arc::new(Key { material, last_used: AtomicU64::new(now_ns) });
    if number != 0 {
        CACHE.keep(number, &key, seen);
    }
    Ok(key)
}

/// Takes a key out of the cache; it is cleared now, or when the signature that uses it is done.
pub fn forget(number: u32) -> bool {
    let removed = {
        let mut shard = CACHE.shard(number).write().unwrap_or_else(PoisonError::into_inner);
        shard.forgotten += 1;
        shard.keys.remove(&number)
    };
    // Cleared outside of the lock.
    removed.is_some()
}

pub fn forget_all() {
    for shard in &CACHE.shards {
        let removed = {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.forgotten += 1;
            std::mem::take(&mut shard.keys)
        };
        drop(removed);
    }
}

/// A slot of the arena, evicting keys that nobody uses if there is no free one.
pub fn alloc(len: usize) -> Result<Slot, Failure> {
    let arena = arena::arena()?;
    if len > arena::MAX_SLOT_BYTES {
        return Err(Failure::argument("longer than any key"));
    }
    loop {
        if let Some(slot) = arena.alloc(len) {
            return Ok(slot);
        }
        if !CACHE.evict_for(len) {
            return Err(Failure::exhausted());
        }
    }
}

pub fn count() -> usize {
    CACHE.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).keys.len()).sum()
}

pub fn evictions() -> u64 {
    CACHE.evictions.load(Ordering::Relaxed)
}

impl Cache {
    fn shard(&self, number: u32) -> &RwLock<Shard> {
        &self.shards[number as usize % SHARDS]
    }

    fn keep(&self, number: u32, key: &Arc<Key>, seen: u64) {
        let mut shard = self.shard(number).write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have opened it meanwhile, or it was forgotten: then this one is used once.
        if shard.forgotten == seen {
            shard.keys.entry(number).or_insert_with(|| key.clone());
        }
    }

    fn victims(&self) -> MutexGuard<'_, Victims> {
        self.victims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees a slot of the size wanted: the least recently used key, and if it has another size, all the keys
    /// of its slab that are idle, so that the slab can change its size. What lies in many slots frees some of most
    /// sizes; where that is not enough the caller asks again.
    fn evict_for(&self, len: usize) -> bool {
        let mut victims = self.victims();
        let Some(key) = self.evict_oldest(&mut victims) else { return false };
        let Some(slot) = key.slot() else { return true };
        if !slot.is_of_class(len) {
            self.evict_where(|key| key.slot().is_some_and(|other| other.slab() == slot.slab()));
        }
        true
    }

    /// Takes out the idle key that was used longest ago.
    fn evict_oldest(&self, victims: &mut Victims) -> Option<Arc<Key>> {
        let mut refills = 0;
        loop {
            let Some((number, chosen_at)) = victims.pop_front() else {
                // Twice: candidates used since the first walk are no reason to give up; a busy loop is.
                if refills == 2 {
                    return None;
                }
                refills += 1;
                *victims = self.oldest();
                continue;
            };
            let mut shard = self.shard(number).write().unwrap_or_else(PoisonError::into_inner);
            if shard.keys.get(&number).is_some_and(|key| {
                key.last_used.load(Ordering::Relaxed) == chosen_at && Arc::strong_count(key) == 1
            }) {
                let key = shard.keys.remove(&number)?;
                drop(shard);
                self.evictions.fetch_add(1, Ordering::Relaxed);
                return Some(key);
            }
        }
    }

    fn oldest(&self) -> Victims {
        let mut idle = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            idle.extend(
                shard
                    .keys
                    .iter()
                    .filter(|(_, key)| Arc::strong_count(key) == 1)
                    .map(|(&number, key)| (number, key.last_used.load(Ordering::Relaxed))),
            );
        }
        let wanted = (idle.len() / VICTIM_FRACTION).max(1).min(idle.len());
        if wanted < idle.len() {
            idle.select_nth_unstable_by_key(wanted, |&(_, used)| used);
            idle.truncate(wanted);
        }
        idle.sort_unstable_by_key(|&(_, used)| used);
        idle.into()
    }

    fn evict_where(&self, matches: impl Fn(&Key) -> bool) {
        for shard in &self.shards {
            let removed: Vec<_> = {
                let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
                shard.keys.extract_if(|_, key| Arc::strong_count(key) == 1 && matches(key)).collect()
            };
            self.evictions.fetch_add(removed.len() as u64, Ordering::Relaxed);
        }
    }
}
