import { ok, refuse } from '../core/result.ts';
import type { KeyDescription, KeyPage, ListKeys } from '../keys/keyring.ts';
import type { KeyOperation, OperationParts } from './operation.ts';

export type ListRequest = Omit<ListKeys, 'tenant'>;

/** The tenant's keys, page by page. */
export function listKeysOperation(parts: OperationParts): KeyOperation<ListRequest, KeyPage> {
  return {
    kind: 'keys',
    name: 'list',
    scope: 'kms:read',
    facts: ({ purpose, algorithm }) => ({ purpose, alg: algorithm?.name }),
    run: (filters, { tenant }) => parts.keyring.list({ tenant, ...filters }),
  };
}

export interface KeyRead extends KeyDescription {
  readonly attestationClass: string;
}

export interface KeyNamed {
  readonly kid: string;
}

/** A key and its versions with their public parts; of a kid with `#vN` only that version. */
export function readKeyOperation(parts: OperationParts): KeyOperation<KeyNamed, KeyRead> {
  return {
    kind: 'keys',
    name: 'read',
    scope: 'kms:read',
    subjects: ({ kid }) => [kid],
    async run({ kid }, caller) {
      const described = await parts.keyring.describe(caller.tenant, kid);
      if (!described.ok) return described;
      const custody = parts.custodies.get(described.value.head.backend);
      return ok({ ...described.value, attestationClass: custody?.attestationClass ?? 'none' });
    },
  };
}

/** Every way to ask for a private key: refused, whoever asks. */
export function exportKeyOperation(): KeyOperation<KeyNamed, never> {
  return {
    kind: 'keys',
    name: 'export',
    scope: 'kms:read',
    subjects: ({ kid }) => [kid],
    run: () => refuse('ExportForbidden'),
  };
}
