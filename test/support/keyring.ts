import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import type { RecordMac } from '../../src/keys/authenticity.ts';
import type {
  KeyHandle,
  Keyring,
  KeyringOptions,
  PrivateParts,
  RoomForKeys,
} from '../../src/keys/keyring.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { RotationSchedule } from '../../src/keys/rotation-schedule.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { FaultyStore } from './faulty-store.ts';

export const ed25519 = findAlgorithm('ed25519')!;
export const hybrid = findAlgorithm('ed25519+ml-dsa-65')!;

/** Keys whose bytes say to which kid they belong. No cryptography: the engines are tested elsewhere. */
export class NamedParts implements PrivateParts {
  readonly backend: string;
  readonly destroyed: string[] = [];
  readonly discarded: string[] = [];
  failing = false;
  holding = true;
  made = 0;
  /** The kid that was last asked for. */
  asked = '';
  beforeGenerate: (() => Promise<void>) | undefined;

  constructor(backend = 'software') {
    this.backend = backend;
  }

  async generate(
    ...[algorithm, , kid]: Parameters<PrivateParts['generate']>
  ): ReturnType<PrivateParts['generate']> {
    this.asked = kid;
    await this.beforeGenerate?.();
    if (this.failing) return refuse('Internal');
    this.made += 1;
    return ok(
      algorithm.components.map((_, index) => ({
        publicKey: Buffer.from(`public ${index} ${kid}`),
        sealed: Buffer.from(`sealed ${index} ${kid}`),
      })),
    );
  }

  holds(): boolean {
    return this.holding;
  }

  async destroy(...[, versions]: Parameters<PrivateParts['destroy']>): ReturnType<PrivateParts['destroy']> {
    if (this.failing) return refuse('StoreUnavailable');
    this.destroyed.push(...versions.map(({ kid }) => kid));
    return ok(undefined);
  }

  async discard(...[, versions]: Parameters<PrivateParts['destroy']>): Promise<void> {
    this.discarded.push(...versions.map(({ kid }) => kid));
  }

  keyReference(...[part, index, tenant, kid]: Parameters<PrivateParts['keyReference']>): Uint8Array {
    return Buffer.from(
      `reference ${index} ${tenant} ${kid} ${part.sealed === undefined ? '' : Buffer.from(part.sealed)}`,
    );
  }
}

/** As the engines make them, under a key of the tests. */
export const testMac: RecordMac = (message) => createHmac('sha256', 'of the tests').update(message).digest();

export class SetClock {
  nowMs = 1_800_000_000_000;
  monotonicMs(): number {
    return this.nowMs;
  }
  utcMs(): number {
    return this.nowMs;
  }
}

export interface Bench {
  readonly keyring: Keyring;
  readonly store: FaultyStore;
  readonly inner: Store;
  readonly custody: NamedParts;
  readonly clock: SetClock;
  readonly schedule: RotationSchedule;
  readonly forgotten: number[];
  readonly corrupt: string[];
  /** Store keys of heads whose backend is not there. */
  readonly unknown: string[];
  /** Versioned kids whose key may be in its home without a record. */
  readonly left: string[];
}

export function makeKeyring(
  t: { after(undo: () => Promise<void>): void },
  options: Partial<KeyringOptions> = {},
  inner: Store = new MemoryStore(),
  room?: RoomForKeys,
  others: readonly PrivateParts[] = [],
): Bench {
  const store = new FaultyStore(inner);
  const custody = new NamedParts();
  const clock = new SetClock();
  const schedule = new RotationSchedule();
  const forgotten: number[] = [];
  const corrupt: string[] = [];
  const unknown: string[] = [];
  const left: string[] = [];
  const keyring = openKeyring(
    {
      store,
      custodies: new Map([custody, ...others].map((one) => [one.backend, one])),
      clock,
      mac: testMac,
      room,
      journal: { record: async () => ({ ok: true, value: { end: () => {} } }) },
      onHead: (head) => schedule.heard(head),
      onForget: (keyNumber) => void forgotten.push(keyNumber),
      onCorruptRecord: (storeKey) => void corrupt.push(storeKey),
      onUnknownBackend: (storeKey) => void unknown.push(storeKey),
      onLeftInHome: (kid) => void left.push(kid),
    },
    options,
  );
  t.after(() => keyring.close());
  return { keyring, store, inner, custody, clock, schedule, forgotten, corrupt, unknown, left };
}

export function unwrap<T>(result: Result<T>): T {
  assert.ok(result.ok, `refused: ${result.ok ? '' : JSON.stringify(result.failure)}`);
  return result.value;
}

export function codeOf(result: Result<unknown>): string {
  return result.ok ? 'ok' : result.failure.code;
}

/** The version in the handle is all of one piece: its number, kid, public and private parts belong together. */
export function assertConsistent(handle: KeyHandle): void {
  const { version, head, algorithm, current } = handle;
  assert.equal(version.kid, `${head.id}#v${version.version}`);
  assert.equal(version.parts.length, algorithm.components.length);
  version.parts.forEach((part, index) => {
    assert.equal(part.component, algorithm.components[index]);
    assert.equal(Buffer.from(part.publicKey).toString(), `public ${index} ${version.kid}`);
    const expected = `reference ${index} ${head.tenant} ${version.kid} sealed ${index} ${version.kid}`;
    assert.equal(Buffer.from(part.keyReference).toString(), current ? expected : '');
  });
  if (current) assert.equal(version.version, head.currentVersion);
}

/** For what happens in the background; gives up after far longer than it can take. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let waited = 0; !(await condition()); waited += 1) {
    assert.ok(waited < 10_000, 'it never happened');
    await delay(1);
  }
}
