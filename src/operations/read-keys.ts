import { findAlgorithm } from '../algorithms/registry.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { ListKeys } from '../keys/keyring.ts';
import { isPurpose } from '../keys/kid.ts';
import type { KeyOperation, OperationParts } from './operation.ts';
import { parseQuery } from './parse.ts';
import { presentPublicKey, timestamp } from './present.ts';

type Filters = Omit<ListKeys, 'tenant'>;

/** GET /keys: the tenant's keys, page by page. */
export function listKeysOperation(parts: OperationParts): KeyOperation<Filters> {
  return {
    kind: 'keys',
    name: 'list',
    scope: 'kms:read',
    parse: (request) => parseFilters(request.query),
    async run(filters, caller) {
      const page = await parts.keyring.list({ tenant: caller.tenant, ...filters });
      if (!page.ok) return page;
      const keys = page.value.keys.map((head) => ({
        kid: `${head.id}#v${head.currentVersion}`,
        alg: head.alg,
        purpose: head.purpose,
        state: head.state,
        current_version: head.currentVersion,
        created_at: timestamp(head.createdAtMs),
      }));
      const { nextCursor } = page.value;
      return ok({
        status: 200,
        body: nextCursor === undefined ? { keys } : { keys, next_cursor: nextCursor },
      });
    },
  };
}

function parseFilters(query: string): Result<Filters> {
  const parsed = parseQuery(query, ['purpose', 'alg', 'cursor', 'limit']);
  if (!parsed.ok) return parsed;
  const { purpose, alg, cursor, limit } = parsed.value;
  if (purpose !== undefined && !isPurpose(purpose)) return refuse('BadRequest', 'purpose is not a purpose');
  const algorithm = alg === undefined ? undefined : findAlgorithm(alg);
  if (alg !== undefined && algorithm === undefined) return refuse('Unsupported', 'unknown alg');
  if (limit !== undefined && !/^[1-9][0-9]{0,3}$/.test(limit))
    return refuse('BadRequest', 'limit: 1 to 1000');
  if (Number(limit ?? 1) > 1000) return refuse('BadRequest', 'limit: 1 to 1000');
  return ok({
    ...(purpose === undefined ? undefined : { purpose }),
    ...(algorithm === undefined ? undefined : { algorithm }),
    ...(cursor === undefined ? undefined : { cursor }),
    ...(limit === undefined ? undefined : { limit: Number(limit) }),
  });
}

/** GET /keys/{kid}: a key and its versions with their public parts; with `#vN` only that version. */
export function readKeyOperation(parts: OperationParts): KeyOperation<string> {
  return {
    kind: 'keys',
    name: 'read',
    scope: 'kms:read',
    parse(request) {
      const query = parseQuery(request.query, []);
      return query.ok ? ok(request.kid ?? '') : query;
    },
    subjects: (kid) => [kid],
    async run(kid, caller) {
      const described = await parts.keyring.describe(caller.tenant, kid);
      if (!described.ok) return described;
      const { head, algorithm, versions } = described.value;
      return ok({
        status: 200,
        body: {
          kid: `${head.id}#v${head.currentVersion}`,
          alg: head.alg,
          purpose: head.purpose,
          state: head.state,
          current_version: head.currentVersion,
          versions: versions.map((version) => ({
            kid: version.kid,
            version: version.version,
            state: version.state,
            created_at: timestamp(version.createdAtMs),
            public: presentPublicKey(algorithm, version.publicKeys),
          })),
          backend: head.backend,
          attestation_class: parts.custodies.get(head.backend)?.attestationClass ?? 'none',
        },
      });
    },
  };
}

/** Every way to ask for a private key: refused, whoever asks. */
export function exportKeyOperation(): KeyOperation<string> {
  return {
    kind: 'keys',
    name: 'export',
    scope: 'kms:read',
    parse: ({ kid }) => ok(kid ?? ''),
    subjects: (kid) => [kid],
    run: () => refuse('ExportForbidden', 'public keys: GET /v1/kms/keys/{kid}'),
  };
}
