import assert from 'node:assert/strict';
import { call, type JsonAnswer } from '../support/service.ts';
import { type KnownKey, type Ledger, type NamedChange, versionOf } from './ledger.ts';
import type { Random } from './random.ts';

/** Quick ones: a round is about changes, not about the time that RSA takes. */
const algorithms = ['ed25519', 'ml-dsa-44', 'ml-dsa-65', 'ed25519+ml-dsa-65', 'ecdsa-p256'];

export interface LoadOptions {
  readonly service: { readonly url: string };
  readonly token: string;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly changes: number;
  readonly clients: number;
  /** After this many acknowledged changes, `onMoment` is called once. */
  readonly moment: number;
  readonly onMoment: () => void;
}

/** The service did not answer, because it is gone. */
const noAnswer = Symbol('no answer');

/** Clients that create, rotate and destroy, and sign in between, until all changes are asked for or nobody answers. */
export async function runLoad(options: LoadOptions): Promise<void> {
  let left = options.changes;
  let acknowledged = 0;
  const client = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      if ((await change(options)) === noAnswer) return;
      acknowledged += 1;
      if (acknowledged === options.moment) options.onMoment();
      if (options.random.chance(0.7) && (await sign(options)) === noAnswer) return;
    }
  };
  await Promise.all(Array.from({ length: options.clients }, client));
}

function change(options: LoadOptions): Promise<typeof noAnswer | undefined> {
  const { ledger, random } = options;
  const live = [...ledger.keys.values()].filter((key) => !key.destructionAsked);
  const kind = random.next();
  if (live.length < 5 || kind < 0.4) return create(options);
  const key = random.pick(live);
  if (kind < 0.82) return rotate(options, key);
  return destroy(options, key);
}

async function create(options: LoadOptions): Promise<typeof noAnswer | undefined> {
  const { ledger, random } = options;
  const answer = await ask(options, '/v1/kms/keys', undefined, {
    purpose: 'drill',
    alg: random.pick(algorithms),
  });
  if (answer === noAnswer) {
    ledger.unansweredCreations += 1;
    return noAnswer;
  }
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  ledger.created(answer);
  ledger.acknowledged.create += 1;
  return undefined;
}

async function rotate(options: LoadOptions, key: KnownKey): Promise<typeof noAnswer | undefined> {
  const { ledger } = options;
  const answer = await ask(options, pathOf(key, 'rotate'), key, {});
  if (answer === noAnswer) {
    key.unansweredRotations += 1;
    return noAnswer;
  }
  if (refusedAsDestroyed(key, answer)) return undefined;
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.equal(versionOf(answer.body.previous) + 1, versionOf(answer.body.kid));
  assert.ok(!key.published.has(versionOf(answer.body.kid)), 'no version is given twice');
  ledger.rotated(key, answer);
  ledger.acknowledged.rotate += 1;
  return undefined;
}

/** Half of them destroy an old version, if there is one. */
async function destroy(options: LoadOptions, key: KnownKey): Promise<typeof noAnswer | undefined> {
  const { ledger, random } = options;
  const old = key.versionSeen > 1 && random.chance(0.6) ? 1 + random.below(key.versionSeen - 1) : undefined;
  if (old === undefined) key.destructionAsked = true;
  const answer = await ask(options, pathOf(key, 'destroy'), key, old === undefined ? {} : { version: old });
  if (answer === noAnswer) {
    if (old === undefined) key.destroyed = 'perhaps';
    else if (!key.destroyedVersions.has(old)) key.destroyedVersions.set(old, 'perhaps');
    return noAnswer;
  }
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  ledger.destroyed(key, old);
  ledger.acknowledged.destroy += 1;
  return undefined;
}

async function sign(options: LoadOptions): Promise<typeof noAnswer | undefined> {
  const { ledger, random, token } = options;
  const key = random.pick([...ledger.keys.values()]);
  const payloadB3 = Array.from({ length: 64 }, () => random.below(16).toString(16)).join('');
  const answer = await post(options, token, '/v1/kms/sign', { kid: key.id, payload_b3: payloadB3 });
  if (answer === noAnswer) return noAnswer;
  if (refusedAsDestroyed(key, answer)) return undefined;
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  ledger.signed(key, payloadB3, answer);
  return undefined;
}

/** Sends a change; half of them carry an op_id, and are then remembered for the retry. */
async function ask(
  options: LoadOptions,
  path: string,
  key: KnownKey | undefined,
  request: Readonly<Record<string, unknown>>,
): Promise<JsonAnswer | typeof noAnswer> {
  const { ledger, random, token } = options;
  const named = random.chance(0.5);
  const body = named ? { ...request, op_id: random.uuid() } : request;
  const entry: NamedChange = { path, body, key, answer: undefined };
  if (named) ledger.named.push(entry);
  const answer = await post(options, token, path, body);
  if (answer === noAnswer) ledger.unanswered += 1;
  else entry.answer = answer;
  return answer;
}

async function post(
  { service }: LoadOptions,
  token: string,
  path: string,
  body: unknown,
): Promise<JsonAnswer | typeof noAnswer> {
  try {
    return await call(service, token, 'POST', path, body);
  } catch {
    // Refused, reset, or cut off in the middle of the answer.
    return noAnswer;
  }
}

function refusedAsDestroyed(key: KnownKey, answer: JsonAnswer): boolean {
  if (answer.status !== 409) return false;
  assert.ok(
    key.destructionAsked,
    `a conflict on a key that nobody destroyed: ${JSON.stringify(answer.body)}`,
  );
  return true;
}

export function pathOf(key: KnownKey, action?: 'rotate' | 'destroy'): string {
  const path = `/v1/kms/keys/${encodeURIComponent(key.id)}`;
  return action === undefined ? path : `${path}/${action}`;
}
