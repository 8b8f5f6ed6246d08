import { randomBytes } from 'node:crypto';
import { ok } from '../../core/result.ts';
import type { KeyOperation } from '../operation.ts';

export interface RandomRequest {
  /** Bytes, from 1. */
  readonly size: number;
}

/** Bytes of OpenSSL's generator, which the kernel seeds (SP 800-90A CTR_DRBG). No key takes part, so nothing is recorded. */
export function randomOperation(): KeyOperation<RandomRequest, Uint8Array> {
  return {
    ...{ kind: 'keys', name: 'random', scope: 'kms:read' },
    run: ({ size }) => ok(randomBytes(size)),
  };
}
