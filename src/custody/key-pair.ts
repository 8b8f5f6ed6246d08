import type { Scheme } from '../algorithms/ids.ts';
import { StartError } from '../core/start-error.ts';
import {
  type BatchItem,
  batchOps,
  batchStatuses,
  encodeBatch,
  readResults,
  responseFor,
} from '../engine/batch.ts';
import type { Engine, RootRef } from '../engine/engine.ts';

const message = Buffer.from('does this private key belong to this public key?');

/**
 * True if the private key's signatures verify with the public key; undefined: the private key does not open. Blocking, as long
 * as a signature and a verification take. Throws a StartError where it cannot be tried.
 */
export function isOfOnePiece(
  engine: Engine,
  root: RootRef,
  scheme: Scheme,
  keyReference: Uint8Array,
  publicKey: Uint8Array,
): boolean | undefined {
  const signed = runOne(engine, root, {
    op: batchOps.sign,
    scheme,
    keyNumber: 0,
    key: keyReference,
    inputs: [message],
  });
  if (signed.status === batchStatuses.keyUnusable) return undefined;
  if (signed.status !== batchStatuses.ok) throw new StartError('a private key in the store cannot be tried');
  const inputs = [message, ...signed.outputs];
  const item = { op: batchOps.verify, scheme, keyNumber: 0, key: publicKey, inputs };
  return runOne(engine, root, item).status === batchStatuses.ok;
}

function runOne(engine: Engine, root: RootRef, item: BatchItem) {
  const request = encodeBatch([item]);
  const response = responseFor(request);
  engine.run(root, request, response);
  return readResults([item], response)[0]!;
}
