import { createHash } from 'node:crypto';
import type { Algorithm } from '../../algorithms/descriptor.ts';
import { findAlgorithm } from '../../algorithms/registry.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import { authenticated, type RecordMac } from '../../keys/authenticity.ts';
import type { DescribedVersion, GivenVersion, KeyHandle, Keyring } from '../../keys/keyring.ts';
import { formatId, formatKid } from '../../keys/kid.ts';
import type { Store } from '../../store/store.ts';

export interface KekParts {
  readonly keyring: Keyring;
  readonly store: Store;
  readonly mac: RecordMac;
  /** The owner of the KEK and of all DEKs. */
  readonly tenant: string;
}

const kekPurpose = 'dek-kek';
const callersPrefix = 'dek-callers/';

/**
 * The key encryption key (KEK): a key of the keyring whose versions wrap DEKs. Its name follows from the tenant, so that there is
 * one. The root key seals it.
 */
export class Keks {
  readonly #parts: KekParts;
  /** The key's id, without a version. */
  readonly id: string;
  readonly tenant: string;
  /** Versions whose wrappings callers keep. */
  readonly #ofCallers = new Set<number>();
  /** Versions that wrap nothing more for callers: their destruction comes next. */
  readonly #retired = new Set<number>();
  /** Versions whose note was at least tried: the store may have it. */
  readonly #noting = new Set<number>();

  constructor(parts: KekParts) {
    this.#parts = parts;
    this.tenant = parts.tenant;
    this.id = formatId(parts.tenant, kekPurpose, algorithm, uuidOf(parts.tenant));
  }

  /** The version that wraps. Makes the first one where there is none. */
  async current(actor: string): Promise<Result<KeyHandle>> {
    const { keyring, tenant } = this.#parts;
    const found = await keyring.find(tenant, this.id);
    if (found.ok || found.failure.code !== 'NotFound') return found;
    const wanted = { tenant, actor, purpose: kekPurpose, algorithm, uuid: uuidOf(tenant) };
    const made = await keyring.create(wanted);
    return made.ok ? keyring.find(tenant, this.id) : made;
  }

  version(number: number): ReturnType<Keyring['find']> {
    return this.#parts.keyring.find(this.tenant, formatKid(this.id, number));
  }

  /** Newest first; none before the first DEK. */
  async versions(): Promise<Result<readonly DescribedVersion[]>> {
    const described = await this.#parts.keyring.describe(this.tenant, this.id);
    if (described.ok) return ok(described.value.versions);
    return described.failure.code === 'NotFound' ? ok([]) : described;
  }

  /** Makes a version, and gives its number. Conflict: `from` is not the current one any more. */
  async rotate(actor: string, from: number, given?: GivenVersion): Promise<Result<number>> {
    const kid = formatKid(this.id, from);
    const more = given === undefined ? undefined : { given };
    const made = await this.#parts.keyring.rotate({ tenant: this.tenant, actor, kid, ...more });
    return made.ok ? ok(from + 1) : made;
  }

  async destroy(actor: string, version: number): Promise<Refused | undefined> {
    const destroyed = await this.#parts.keyring.destroy({
      tenant: this.tenant,
      actor,
      kid: this.id,
      version,
    });
    return destroyed.ok ? undefined : destroyed;
  }

  /** Notes that callers keep wrappings of this version, which then stays for good. Durable when it resolves. */
  noteCallers(version: number): undefined | Promise<Refused | undefined> {
    if (this.#ofCallers.has(version)) return undefined;
    if (this.#retired.has(version)) return Promise.resolve(kekChanged);
    return this.#noteCallers(version);
  }

  /** Keeps this version from wrapping for callers. False: callers keep wrappings of it, or may. */
  async retire(version: number): Promise<boolean> {
    if (this.#noting.has(version)) return false;
    this.#retired.add(version);
    const callers = await this.hasCallers(version);
    if (callers.ok && !callers.value) return true;
    this.#retired.delete(version);
    return false;
  }

  async #noteCallers(version: number): Promise<Refused | undefined> {
    const key = callersKey(version);
    const { store, mac } = this.#parts;
    const value = authenticated(key, '{"v":1}', mac);
    // The mark comes before the commit: pruning may look meanwhile.
    this.#noting.add(version);
    const outcome = await store.commit([{ key, value }]);
    if (!outcome.ok) return outcome;
    this.#ofCallers.add(version);
    return undefined;
  }

  /** True: callers keep wrappings of this version. */
  async hasCallers(version: number): Promise<Result<boolean>> {
    if (this.#ofCallers.has(version)) return ok(true);
    const entry = await this.#parts.store.get(callersKey(version));
    return entry.ok ? ok(entry.value !== undefined) : entry;
  }
}

function callersKey(version: number): string {
  return `${callersPrefix}${version}`;
}

// Random nonces allow 2^31 wrappings of DEKs and callers' bytes by one version; a rotation begins anew.
const algorithm = findAlgorithm('aes-256-gcm') as Algorithm;

/** A UUID of version 8, whose bits are the application's own (RFC 9562 section 5.8). */
function uuidOf(tenant: string): string {
  const bytes = createHash('sha256').update(`intaglio dek-kek ${tenant}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** A retry meets the current KEK. */
export const kekChanged = refuse('StoreUnavailable', 'the KEK was rotated meanwhile', 100);
