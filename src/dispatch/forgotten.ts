/**
 * A ring in shared memory tells worker threads with caches of their own which opened keys to wipe. Messages would not do: a
 * worker that waits for a job in Atomics.wait reads none. A worker that slept through a whole ring wipes all.
 */
const ringSlots = 1024;

/** Word 0 counts the key numbers ever written; the ring follows. */
export function createForgottenRing(): SharedArrayBuffer {
  return new SharedArrayBuffer((1 + ringSlots) * Uint32Array.BYTES_PER_ELEMENT);
}

/** Called by the main thread only. */
export function announceForgotten(ring: SharedArrayBuffer, keyNumber: number): void {
  const words = new Uint32Array(ring);
  const count = Atomics.load(words, 0);
  Atomics.store(words, 1 + (count % ringSlots), keyNumber);
  Atomics.store(words, 0, (count + 1) >>> 0);
}

/** A function that a worker calls before each job; it hands on what was announced since the last call. */
export function createForgottenReader(
  ring: SharedArrayBuffer,
  forget: (keyNumber: number) => void,
  forgetAll: () => void,
): () => void {
  const words = new Uint32Array(ring);
  let seen = Atomics.load(words, 0);
  return () => {
    const count = Atomics.load(words, 0);
    if (count === seen) return;
    const missed = (count - seen) >>> 0;
    if (missed >= ringSlots) forgetAll();
    else for (let n = 0; n < missed; n++) forget(Atomics.load(words, 1 + (((seen + n) >>> 0) % ringSlots)));
    seen = count;
  };
}
