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
  /** All DEKs are this tenant's. */
  readonly tenant: string;
}

const kekPurpose = 'dek-kek';
const callersPrefix = 'dek-callers/';

/**
 * The key encryption key (KEK): a key of the keyring whose versions wrap DEKs. Its name follows from the tenant, so that there is
 * one, and no record says which. The root key seals it and is none of its versions.
 */
export class Keks {
  readonly #parts: KekParts;
  /** Without a version. */
  readonly id: string;
  readonly tenant: string;
  /** Versions whose wrappings callers keep. */
  readonly #ofCallers = new Set<number>();
  /** Versions that are about to be destroyed: they wrap nothing more for callers. */
  readonly #retired = new Set<number>();
  /** Versions that callers have asked for: at least one commit says so, or tried to. */
  readonly #noting = new Set<number>();

  constructor(parts: KekParts) {
    this.#parts = parts;
    this.tenant = parts.tenant;
    this.id = formatId(parts.tenant, kekPurpose, algorithm, uuidOf(parts.tenant));
  }

  /** The version that wraps. The first one is made when it is needed. */
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

  /** The number of the new version, which is current. Conflict: `from` is not the current one any more. */
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

  /** This version wraps something that callers keep: nobody here knows when it is needed no more. Durable when it resolves. */
  noteCallers(version: number): undefined | Promise<Refused | undefined> {
    if (this.#ofCallers.has(version)) return undefined;
    if (this.#retired.has(version)) return Promise.resolve(kekChanged);
    return this.#noteCallers(version);
  }

  /** Wraps nothing more for callers from now on. False: callers keep something of it, or it is not known whether they do. */
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
    // Before it is in the store: a look for what is needed no more may come meanwhile.
    this.#noting.add(version);
    const outcome = await store.commit([{ key, value }]);
    if (!outcome.ok) return outcome;
    this.#ofCallers.add(version);
    return undefined;
  }

  /** True if callers keep what this version wrapped. */
  async hasCallers(version: number): Promise<Result<boolean>> {
    if (this.#ofCallers.has(version)) return ok(true);
    const entry = await this.#parts.store.get(callersKey(version));
    return entry.ok ? ok(entry.value !== undefined) : entry;
  }
}

function callersKey(version: number): string {
  return `${callersPrefix}${version}`;
}

// Nonces are drawn for each wrapping, of a DEK or of a caller's bytes: 2^31 of them, and a rotation begins anew.
const algorithm = findAlgorithm('aes-256-gcm') as Algorithm;

/** RFC 9562 section 5.8: a UUID whose bits are somebody's own. */
function uuidOf(tenant: string): string {
  const bytes = createHash('sha256').update(`intaglio dek-kek ${tenant}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** The call is repeated with the KEK of now. */
export const kekChanged = refuse('StoreUnavailable', 'the KEK was rotated meanwhile', 100);
