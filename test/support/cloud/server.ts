import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { CloudLimits } from '../../../src/custody/root-key/cloud/limits.ts';
import type { CloudKind, CloudProvider, CloudTarget } from '../../../src/custody/root-key/cloud/wrapping.ts';

/** A key as the list of sources names it. */
export interface CloudKey<K extends CloudKind = CloudKind> {
  readonly kind: K;
  readonly key: string;
  readonly algorithm: CloudTarget['algorithm'];
  readonly endpoint?: string;
}

/** A KMS that tests ask: an emulator, or a fake. */
export interface CloudServer<K extends CloudKind = CloudKind> {
  readonly kind: K;
  /** A new key, which wraps. */
  newKey(): Promise<CloudKey<K>>;
  missingKey(): CloudKey<K>;
  disable(key: CloudKey<K>): Promise<void>;
  enable(key: CloudKey<K>): Promise<void>;
  scheduleDeletion(key: CloudKey<K>): Promise<void>;
  /** By credentials of the test. */
  provider(limits: CloudLimits): CloudProvider<K>;
  close(): Promise<void>;
}

export type Fault =
  /** Asks for fewer calls, and for none before a second has passed. */
  | 'throttle'
  | 'unavailable'
  | 'hang'
  | 'cut'
  | 'denied'
  | 'no-credentials'
  /** Its clock is a day ahead, and it takes no signature of another time; where there are any. */
  | 'day-ahead'
  /** Says that another key did it. */
  | 'other-key'
  /** Gives other bytes than those that it opened. */
  | 'other-secret'
  | 'short'
  /** The checksum is not that of the bytes; where there are any. */
  | 'wrong-checksum'
  /** It was given other bytes than the caller sent; where it says so. */
  | 'unverified';

export interface FakeServer<K extends CloudKind = CloudKind> extends CloudServer<K> {
  /** The next calls of this key, or all that come, have this fault. */
  fault(key: CloudKey<K>, fault: Fault, times?: number): void;
  /** The same key at another address. */
  at(key: CloudKey<K>, origin: string): CloudKey<K>;
  /** All calls, in order. */
  readonly seen: readonly Seen[];
  /** Whatever is a credential in a request. */
  readonly credential: string;
}

/** A call, and the key that it names. */
export interface Seen {
  readonly call: string;
  readonly key: string;
}

interface KeyState {
  readonly secret: Buffer;
  state: 'enabled' | 'disabled' | 'deletion';
  fault?: Fault;
  faultTimes: number;
}

/** Keys of a fake, and what it does with them. */
export class FakeKeys {
  readonly seen: Seen[] = [];
  readonly #keys = new Map<string, KeyState>();

  add(name: string): void {
    this.#keys.set(name, { secret: randomBytes(32), state: 'enabled', faultTimes: 0 });
  }

  set(name: string, state: KeyState['state']): void {
    this.#of(name).state = state;
  }

  fault(name: string, fault: Fault, times = Number.POSITIVE_INFINITY): void {
    Object.assign(this.#of(name), { fault, faultTimes: times });
  }

  /** Undefined: no such key. */
  stateOf(name: string): KeyState['state'] | undefined {
    return this.#keys.get(name)?.state;
  }

  takeFault(name: string): Fault | undefined {
    const key = this.#keys.get(name);
    if (key === undefined || key.faultTimes === 0) return undefined;
    key.faultTimes--;
    return key.fault;
  }

  seal(name: string, plain: Uint8Array, aad: Uint8Array): Buffer {
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.#of(name).secret, iv).setAAD(aad);
    return Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  /** Undefined: it is not of this key and these data. */
  open(name: string, sealed: Uint8Array, aad: Uint8Array): Buffer | undefined {
    try {
      const bytes = Buffer.from(sealed);
      const decipher = createDecipheriv('aes-256-gcm', this.#of(name).secret, bytes.subarray(0, 12));
      decipher.setAAD(aad).setAuthTag(bytes.subarray(-16));
      return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
    } catch {
      return undefined;
    }
  }

  #of(name: string): KeyState {
    const key = this.#keys.get(name);
    if (key === undefined) throw new Error(`the fake has no key ${name}`);
    return key;
  }
}

/** As a fault says it. */
export function changedBy(fault: Fault | undefined, opened: Buffer): Buffer {
  if (fault === 'short') return opened.subarray(0, 31);
  return fault === 'other-secret' ? randomBytes(32) : opened;
}
