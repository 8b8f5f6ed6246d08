import { spawn } from 'node:child_process';
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LoadRequest, Via } from '../load/plan.ts';
import { ask } from './client.ts';
import { firstPayload, type SignAnswer, signRequests, type UsableKey } from './requests.ts';

/** A server process, and where it listens. */
export interface ServerAt {
  readonly pid: number;
  readonly port: number;
  /** Where it does not listen on TCP. */
  readonly via?: Via;
}

/** One that a load can be aimed at. */
export interface Target extends ServerAt {
  readonly name: string;
  /** A key that signs; one signature of it was checked with node:crypto. */
  signer(alg: ComparedAlgorithm): Promise<UsableKey>;
  stop(): Promise<void>;
}

/** The algorithms that all servers of a comparison offer. */
export type ComparedAlgorithm = 'ed25519' | 'ml-dsa-65';

/** SubjectPublicKeyInfo up to the key itself (RFC 8410, RFC 9881). */
const spkiHeads: Readonly<Record<ComparedAlgorithm, string>> = {
  ed25519: '302a300506032b6570032100',
  'ml-dsa-65': '308207b2300b0609608648016503040312038207a100',
};

function publicKeyOf(alg: ComparedAlgorithm, publicKeyBase64: string): KeyObject {
  const head = Buffer.from(spkiHeads[alg], 'hex');
  const key = Buffer.concat([head, Buffer.from(publicKeyBase64, 'base64')]);
  return createPublicKey({ key, format: 'der', type: 'spki' });
}

/** A comparison of servers that do not sign would compare nothing. Throws when the signature is not one. */
export function checkSignature(
  alg: ComparedAlgorithm,
  publicKeyBase64: string,
  payload_b3: string,
  { sigs }: SignAnswer,
): void {
  const signature = Buffer.from(sigs[0]?.signature_b64 ?? '', 'base64');
  if (!verify(null, Buffer.from(payload_b3, 'hex'), publicKeyOf(alg, publicKeyBase64), signature))
    throw new Error('the server answers with something that is no signature of its key');
}

/** The line that a comparator prints when it is ready. `keys` is empty where it answers without signing. */
export interface ComparatorReady {
  readonly port: number;
  readonly keys: Readonly<Partial<Record<ComparedAlgorithm, { kid: string; pubkey_b64: string }>>>;
}

const folder = new URL('../servers/', import.meta.url);

/** As long as a capability of the product, so that all servers read as much. */
const token = 'x'.repeat(220);

/** Starts `bench/servers/<file>` as a process of its own. */
export async function startComparator(name: string, file: string): Promise<Target> {
  const child = spawn(process.execPath, [fileURLToPath(new URL(file, folder))], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(() => Promise.reject(new Error(`${file} ended before it was ready`))),
  ])) as [string];
  const ready = JSON.parse(line) as ComparatorReady;
  return {
    name,
    pid: child.pid as number,
    port: ready.port,
    async signer(alg) {
      const key = ready.keys[alg];
      if (key === undefined) return { kid: 'none', token };
      const usable = { kid: key.kid, token };
      const signed = await ask<SignAnswer>(ready.port, signRequests(usable)[0] as LoadRequest);
      checkSignature(alg, key.pubkey_b64, firstPayload, signed);
      return usable;
    },
    async stop() {
      process.off('exit', kill);
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    },
  };
}
