import type { Algorithm } from '../algorithms/descriptor.ts';
import { findAlgorithm } from '../algorithms/registry.ts';
import { decodeBase64, encodeBase64 } from '../core/bytes.ts';
import { createCancellation } from '../core/cancellation.ts';
import type { Clock } from '../core/clock.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { CryptoDispatch } from '../dispatch/crypto-dispatch.ts';
import { batchOps } from '../engine/batch.ts';
import { buildKeyReference, serviceKeyPartName, serviceTenant } from '../engine/key-reference.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../keys/authenticity.ts';
import { serviceKeyPrefix } from '../keys/codec.ts';
import type { PrivateParts } from '../keys/keyring.ts';
import { softwareBackend } from '../keys/record.ts';
import { createCostMeter } from '../queue/cost-meter.ts';
import type { Store } from '../store/store.ts';

export interface ServiceKeyParts {
  readonly store: Store;
  readonly mac: RecordMac;
  readonly custody: Pick<PrivateParts, 'generate'>;
  readonly lane: CryptoDispatch;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

const algorithm = findAlgorithm('hmac-sha256') as Algorithm;
const maxSealedBytes = 4_096;
const deadlineMs = 5_000;

/** A MAC key of the service's own, sealed as all keys are, and of no tenant. Made when it is used for the first time. */
export class ServiceKey {
  readonly #parts: ServiceKeyParts;
  readonly #name: string;
  readonly #meter = createCostMeter(5);

  constructor(parts: ServiceKeyParts, name: string) {
    this.#parts = parts;
    this.#name = name;
  }

  /** HMAC-SHA-256 under it, by the crypto workers. */
  async tag(message: Uint8Array): Promise<Result<Uint8Array>> {
    const sealed = await this.#sealed();
    if (!sealed.ok) return sealed;
    const { lane, clock } = this.#parts;
    const [component] = algorithm.components;
    const key = buildKeyReference(serviceTenant, serviceKeyPartName(this.#name), sealed.value);
    const { scheme } = component.schemes[0];
    const item = { op: batchOps.mac, scheme, keyNumber: 0, key, inputs: [message], home: softwareBackend };
    const offeredAtMs = clock.monotonicMs();
    const terms = { tenant: serviceTenant, offeredAtMs, deadlineAtMs: offeredAtMs + deadlineMs };
    const [outcome] = await lane.runAll([{ kind: 'mac', items: [item], meters: [this.#meter] }], {
      ...{ ...terms, cancellation: createCancellation(), ownWork: true },
    });
    if (outcome?.ok === false) return outcome;
    const tag = outcome?.value[0]?.outputs[0];
    // A view into the whole batch's answer.
    return tag === undefined ? refuse('Internal') : ok(Uint8Array.from(tag));
  }

  /** Read each time: it may have been sealed anew. Whoever writes first has made it. */
  async #sealed(): Promise<Result<Uint8Array>> {
    const { store, mac, custody } = this.#parts;
    const storeKey = `${serviceKeyPrefix}${this.#name}`;
    const found = await store.get(storeKey);
    if (!found.ok) return found;
    if (found.value !== undefined) return sealedIn(storeKey, found.value.value, mac);
    const made = await custody.generate(algorithm, serviceTenant, serviceKeyName(this.#name));
    if (!made.ok) return made;
    const sealed = made.value[0]?.sealed;
    if (sealed === undefined) return refuse('Internal');
    const rest = JSON.stringify([encodeBase64(sealed)]);
    const value = authenticated(storeKey, JSON.stringify({ v: 1, alg: algorithm.name }), mac, rest);
    const outcome = await store.commit([{ key: storeKey, value, expectedRevision: 0 }]);
    if (!outcome.ok) return outcome;
    return outcome.value.committed ? ok(sealed) : this.#sealed();
  }
}

function serviceKeyName(name: string): string {
  return serviceKeyPartName(name).replace(/\/0$/, '');
}

function sealedIn(storeKey: string, value: Uint8Array, mac: RecordMac): Result<Uint8Array> {
  const opened = openAuthenticated(storeKey, value, mac);
  if (opened === undefined) return refuse('Internal');
  try {
    const [sealed] = JSON.parse(Buffer.from(opened.rest).toString()) as string[];
    const bytes = decodeBase64(sealed ?? '', maxSealedBytes);
    return bytes === undefined ? refuse('Internal') : ok(bytes);
  } catch {
    return refuse('Internal');
  }
}
