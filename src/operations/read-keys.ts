import { type EncodedPublicKey, encodePublicKey, type PublicFormat } from '../algorithms/public-formats.ts';
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
  /** In the format that was asked for. */
  readonly encoded: EncodedPublicKey | undefined;
}

export interface KeyNamed {
  readonly kid: string;
}

export interface ReadRequest extends KeyNamed {
  /** Of the version that the kid names, or of the current one. Unsupported where no standard has one. */
  readonly format?: PublicFormat | undefined;
}

/** A key and its versions with their public parts; of a kid with `#vN` only that version. */
export function readKeyOperation(parts: OperationParts): KeyOperation<ReadRequest, KeyRead> {
  return {
    kind: 'keys',
    name: 'read',
    scope: 'kms:read',
    subjects: ({ kid }) => [kid],
    async run({ kid, format }, caller) {
      const described = await parts.keyring.describe(caller.tenant, kid);
      if (!described.ok) return described;
      const { algorithm, versions } = described.value;
      const [newest] = versions;
      const encoded =
        format === undefined || newest === undefined
          ? undefined
          : encodePublicKey({ ...newest, algorithm }, format);
      if (format !== undefined && encoded === undefined) return noSuchFormat;
      const custody = parts.custodies.get(described.value.head.backend);
      return ok({ ...described.value, attestationClass: custody?.attestationClass ?? 'none', encoded });
    },
  };
}

const noSuchFormat = refuse('Unsupported', 'no standard has this key in this format');

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
