import type { Change, ListRange } from './store.ts';

/** Far above the longest kid (194 characters) and its prefix, and below what LMDB takes (1,978 bytes). */
const maxKeyBytes = 512;
/** The largest record is a key version with two public keys and sealed parts, under 20 KiB. */
const maxValueBytes = 1024 * 1024;
/** Destroying a key with all its versions is one commit: up to 9,990 versions, the head and an operation. */
const maxChangesPerCommit = 10_000;
/** A page is copied out in one go on the main thread: about 2 ms. */
const maxListEntries = 1_000;

// Printable ASCII without the blank: byte order and string order are the same, and nothing needs escaping in a log.
const storeKey = new RegExp(`^[!-~]{1,${maxKeyBytes}}$`);
const storePrefix = new RegExp(`^[!-~]{0,${maxKeyBytes}}$`);

/** The bounds of the contract. Whoever breaks them has a bug, so these throw. */
export function checkKey(key: string): void {
  if (!storeKey.test(key))
    throw new RangeError(`a store key is 1 to ${maxKeyBytes} printable ASCII characters`);
}

export function checkPrefix(prefix: string): void {
  if (!storePrefix.test(prefix))
    throw new RangeError(`a prefix is 0 to ${maxKeyBytes} printable ASCII characters`);
}

export function checkRange(range: ListRange): void {
  checkPrefix(range.prefix);
  if (range.after !== undefined) checkKey(range.after);
  if (!Number.isInteger(range.limit) || range.limit < 1 || range.limit > maxListEntries) {
    throw new RangeError(`a list has 1 to ${maxListEntries} entries`);
  }
}

export function checkChanges(changes: readonly Change[]): void {
  if (changes.length < 1 || changes.length > maxChangesPerCommit) {
    throw new RangeError(`a commit has 1 to ${maxChangesPerCommit} changes`);
  }
  const keys = new Set<string>();
  for (const { key, value, expectedRevision = 0 } of changes) {
    checkKey(key);
    if (keys.has(key)) throw new RangeError('a commit changes a key only once');
    keys.add(key);
    if (value !== undefined && value.byteLength > maxValueBytes) {
      throw new RangeError(`a value has at most ${maxValueBytes} bytes`);
    }
    if (!Number.isSafeInteger(expectedRevision) || expectedRevision < 0) {
      throw new RangeError('a revision is an integer from 0');
    }
  }
}
