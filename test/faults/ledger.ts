import type { JsonAnswer } from '../support/service.ts';

/** What was promised about one key, and what may have happened to it without an answer. */
export interface KnownKey {
  /** Without a version. */
  readonly id: string;
  /** The `public` member of answers, by version. */
  readonly published: Map<number, unknown>;
  /** The greatest version that any answer has named. */
  versionSeen: number;
  /** Rotations that were asked for and never answered. */
  unansweredRotations: number;
  /** Whether anybody has ever asked for the destruction of the whole key: until then nothing refuses. */
  destructionAsked: boolean;
  destroyed: 'no' | 'perhaps' | 'yes';
  readonly destroyedVersions: Map<number, 'perhaps' | 'yes'>;
  readonly signatures: Signed[];
}

/** A sign answer: one signature, or the two of a hybrid key. */
export interface Signed {
  /** With its version. */
  readonly kid: string;
  readonly payloadB3: string;
  readonly sigs: readonly { readonly kid: string; readonly alg: string; readonly signature_b64: string }[];
}

/** A change under an op_id of the client's. */
export interface NamedChange {
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** The key that it is about, unless it makes one. */
  readonly key: KnownKey | undefined;
  answer: Pick<JsonAnswer, 'status' | 'body'> | undefined;
}

/** All that clients of the service know, whatever becomes of the service. */
export class Ledger {
  readonly keys = new Map<string, KnownKey>();
  /** Of the present round. */
  readonly named: NamedChange[] = [];
  /** Creations of the present round that were never answered, at most so many unknown keys may appear. */
  unansweredCreations = 0;
  acknowledged = { create: 0, rotate: 0, destroy: 0 };
  unanswered = 0;
  signatures = 0;

  created(answer: JsonAnswer): KnownKey {
    const { kid, public: published } = answer.body;
    const key = this.adopt(idOf(kid));
    key.versionSeen = Math.max(key.versionSeen, 1);
    key.published.set(1, published);
    return key;
  }

  rotated(key: KnownKey, answer: JsonAnswer): void {
    const version = versionOf(answer.body.kid);
    key.published.set(version, answer.body.public);
    key.versionSeen = Math.max(key.versionSeen, version);
  }

  destroyed(key: KnownKey, version: number | undefined): void {
    if (version !== undefined) {
      key.destroyedVersions.set(version, 'yes');
      return;
    }
    key.destructionAsked = true;
    key.destroyed = 'yes';
  }

  signed(key: KnownKey, payloadB3: string, answer: JsonAnswer): void {
    const { kid, sigs } = answer.body;
    key.signatures.push({ kid, payloadB3, sigs });
    key.versionSeen = Math.max(key.versionSeen, versionOf(kid));
    this.signatures += 1;
  }

  /** A key of this id: the known one, or a new one of which nothing is known yet. */
  adopt(id: string): KnownKey {
    const known = this.keys.get(id);
    if (known !== undefined) return known;
    const key: KnownKey = {
      id,
      published: new Map(),
      versionSeen: 0,
      unansweredRotations: 0,
      destructionAsked: false,
      destroyed: 'no',
      destroyedVersions: new Map(),
      signatures: [],
    };
    this.keys.set(id, key);
    return key;
  }
}

export function idOf(kid: string): string {
  return kid.split('#')[0] as string;
}

export function versionOf(kid: string): number {
  return Number(kid.split('#v')[1]);
}
