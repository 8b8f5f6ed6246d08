import type { LoadRequest } from '../load/plan.ts';
import { ask, askAll } from './client.ts';
import type { EngineTimes } from './engine.ts';
import type { Product } from './product.ts';
import { firstPayload, type SignAnswer, signRequests, type UsableKey, verifyRequest } from './requests.ts';
import {
  encryptingNames,
  generatedNames,
  hybrid,
  plaintextBytes,
  signingNames,
  wrappedBytes,
  wrappingNames,
} from './surface-names.ts';

/** One kind of request, and the engine's own time for what it does. */
export interface SurfaceRow {
  readonly name: string;
  /** Pieces of work in a request. */
  readonly items: number;
  /** Microseconds of one core for one piece of work, without anything around it. */
  readonly engineUs: number;
  /** Requests of one run, taken in turn. */
  requests(): readonly LoadRequest[];
}

/** As verifiers of logs and lists send them. */
const batchItems = 64;

/**
 * So many keys are rotated in turn that none has two rotations under way, and that each gets a few dozen versions in a run.
 */
const rotatedKeys = 512;

/** More than one run can derive on one machine; the same epoch again would give the key that is there. */
const derivationsOfRun = 10_000;

export async function prepareSurface(product: Product, engine: EngineTimes): Promise<readonly SurfaceRow[]> {
  const token = product.tokenOf('surface');
  const { port } = product;
  const post = (path: string, body: unknown): LoadRequest => ({
    ...{ method: 'POST', path: `/v1/kms${path}`, token },
    body: JSON.stringify(body),
  });
  const keyOf = async (alg: string): Promise<UsableKey> => {
    const { kid } = await ask<UsableKey>(port, post('/keys', { purpose: 'bench', alg }));
    return { kid, token };
  };
  const engineOf = (name: string): number => {
    const us = engine.sealing?.[name];
    if (us === undefined) throw new Error(`the engine did not time: ${name}`);
    return us;
  };
  const parts: Parts = { product, engine, post, keyOf, engineOf };
  return [
    ...(await signatureRows(parts)),
    ...(await encryptionRows(parts)),
    ...(await wrappingRows(parts)),
    await derivationRow(parts),
    ...(await keyRows(parts)),
  ];
}

interface Parts {
  readonly product: Product;
  readonly engine: EngineTimes;
  post(path: string, body: unknown): LoadRequest;
  keyOf(alg: string): Promise<UsableKey>;
  engineOf(name: string): number;
}

async function signatureRows({ product: { port }, engine, post, keyOf }: Parts): Promise<SurfaceRow[]> {
  const algorithms: { name: string; parts: readonly (typeof signingNames)[number][] }[] = [
    hybrid,
    ...signingNames.map((name) => ({ name, parts: [name] })),
  ];
  const rows: SurfaceRow[] = [];
  for (const { name, parts } of algorithms) {
    const key = await keyOf(name);
    const signing = signRequests(key);
    const signed = await ask<SignAnswer>(port, signing[0] as LoadRequest);
    const verifying = verifyRequest(key, signed, firstPayload);
    const bundle = JSON.parse(verifying.body as string) as unknown;
    const batch = post('/verify/batch', { items: Array.from({ length: batchItems }, () => bundle) });
    await mustBeTrue(port, verifying, batch);
    const engineUs = (of: 'signUs' | 'verifyUs') =>
      parts.reduce((sum, part) => sum + (engine.times[part]?.[of] ?? Number.NaN), 0);
    rows.push(
      { name: `sign ${name}`, items: 1, engineUs: engineUs('signUs'), requests: () => signing },
      { name: `verify ${name}`, items: 1, engineUs: engineUs('verifyUs'), requests: () => [verifying] },
      {
        ...{ name: `verify/batch ${name}`, items: batchItems },
        ...{ engineUs: engineUs('verifyUs'), requests: () => [batch] },
      },
    );
  }
  return rows;
}

/** An answer of 200 also says that a signature is none: that would be another cost. */
async function mustBeTrue(port: number, ...requests: readonly LoadRequest[]): Promise<void> {
  const answers = JSON.stringify(await askAll(port, requests));
  if (answers.includes('"ok":false') || !answers.includes('"ok":true'))
    throw new Error(`a signature of this service does not verify: ${answers.slice(0, 500)}`);
}

async function encryptionRows({ product: { port }, post, keyOf, engineOf }: Parts): Promise<SurfaceRow[]> {
  const plaintext_b64 = Buffer.alloc(plaintextBytes).toString('base64');
  const rows: SurfaceRow[] = [];
  for (const name of encryptingNames) {
    const { kid } = await keyOf(name);
    const encrypt = post('/encrypt', { kid, plaintext_b64 });
    const decrypt = post('/decrypt', await ask(port, encrypt));
    await ask(port, decrypt);
    for (const [what, request] of Object.entries({ encrypt, decrypt })) {
      const named = `${what} ${name}`;
      rows.push({ name: named, items: 1, engineUs: engineOf(named), requests: () => [request] });
    }
  }
  return rows;
}

async function wrappingRows({ product: { port }, post, keyOf, engineOf }: Parts): Promise<SurfaceRow[]> {
  const plaintext_b64 = Buffer.alloc(wrappedBytes).toString('base64');
  const rows: SurfaceRow[] = [];
  for (const name of wrappingNames) {
    const { kid } = await keyOf(name);
    const wrap = post('/wrap', { kid, plaintext_b64 });
    const unwrap = post('/unwrap', await ask(port, wrap));
    await ask(port, unwrap);
    for (const [what, request] of Object.entries({ wrap, unwrap })) {
      const named = `${what} ${name}`;
      rows.push({ name: named, items: 1, engineUs: engineOf(named), requests: () => [request] });
    }
  }
  return rows;
}

async function derivationRow({ post, keyOf, engineOf }: Parts): Promise<SurfaceRow> {
  const { kid } = await keyOf('hkdf-sha256');
  let epoch = 0;
  const derive = () => {
    epoch += 1;
    const context = { origin: 'edge-1.example', instance: 'a', epoch };
    return post('/derive', { kid, context, alg: 'aes-256-gcm' });
  };
  return {
    ...{ name: 'derive aes-256-gcm', items: 1, engineUs: engineOf('derive') },
    requests: () => Array.from({ length: derivationsOfRun }, derive),
  };
}

async function keyRows({ product: { port }, post, engineOf }: Parts): Promise<SurfaceRow[]> {
  const rows: SurfaceRow[] = [];
  const all: { name: string; parts: readonly string[] }[] = [
    hybrid,
    ...generatedNames.map((name) => ({ name, parts: [name] })),
  ];
  for (const { name, parts } of all) {
    const engineUs = parts.reduce((sum, part) => sum + engineOf(`generate ${part}`), 0);
    const create = post('/keys', { purpose: 'bench', alg: name });
    rows.push({ name: `create ${name}`, items: 1, engineUs, requests: () => [create] });
    const made = (await askAll(port, Array(rotatedKeys).fill(create))) as UsableKey[];
    const rotations = made.map(({ kid }) =>
      post(`/keys/${encodeURIComponent(kid.replace(/#.*/, ''))}/rotate`, {}),
    );
    rows.push({ name: `rotate ${name}`, items: 1, engineUs, requests: () => rotations });
  }
  return rows;
}
