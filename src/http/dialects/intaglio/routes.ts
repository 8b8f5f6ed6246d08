import { ownMember } from '../../../core/own-member.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import type { OperationName } from '../../../operations/operations.ts';

export const prefix = '/v1/kms';
const keysPrefix = `${prefix}/keys/`;
const auditPrefix = `${prefix}/audit/`;
/** Folders of an exported log. */
const auditFiles = [`${auditPrefix}tile/`, `${auditPrefix}keys/`];
const auditTemplates = Object.fromEntries(auditFiles.map((folder) => [folder, `${folder}{file}`]));

/** Paths without a kid in them. */
export const fixed: Readonly<Record<string, Readonly<Record<string, OperationName>>>> = {
  [`${prefix}/keys`]: { post: 'create', get: 'list' },
  [`${prefix}/keys/import`]: { post: 'import' },
  [`${prefix}/keys/import/wrapping-key`]: { get: 'import_wrapping_key' },
  [`${prefix}/sign`]: { post: 'sign' },
  [`${prefix}/sign/batch`]: { post: 'sign_batch' },
  [`${prefix}/verify`]: { post: 'verify' },
  [`${prefix}/verify/batch`]: { post: 'verify_batch' },
  [`${prefix}/jwks`]: { get: 'jwks' },
  [`${prefix}/jwt`]: { post: 'jwt' },
  [`${prefix}/csr`]: { post: 'csr' },
  [`${prefix}/attest`]: { get: 'attest' },
  [`${prefix}/mac`]: { post: 'mac' },
  [`${prefix}/mac/verify`]: { post: 'mac_verify' },
  [`${prefix}/encrypt`]: { post: 'encrypt' },
  [`${prefix}/encrypt/batch`]: { post: 'encrypt_batch' },
  [`${prefix}/decrypt`]: { post: 'decrypt' },
  [`${prefix}/decrypt/batch`]: { post: 'decrypt_batch' },
  [`${prefix}/wrap`]: { post: 'wrap' },
  [`${prefix}/unwrap`]: { post: 'unwrap' },
  [`${prefix}/rewrap`]: { post: 'rewrap' },
  [`${prefix}/datakey`]: { post: 'datakey' },
  [`${prefix}/random`]: { post: 'random' },
  [`${prefix}/derive`]: { post: 'derive' },
  [`${prefix}/seal`]: { post: 'seal' },
  [`${prefix}/unseal`]: { post: 'unseal' },
  [`${prefix}/admin/load`]: { get: 'load' },
  [`${prefix}/admin/root`]: { get: 'root' },
  [`${prefix}/admin/root/rotate`]: { post: 'root_rotate' },
  [`${prefix}/audit/checkpoint`]: { get: 'audit_checkpoint' },
  [`${prefix}/audit/proof`]: { get: 'audit_proof' },
  [`${prefix}/audit/vkeys`]: { get: 'audit_vkeys' },
  [`${prefix}/audit/rotate-keys`]: { post: 'audit_rotate_keys' },
  [`${prefix}/audit/records`]: { get: 'audit_records' },
  [`${prefix}/audit/accept`]: { post: 'audit_accept', get: 'audit_pending' },
  [`${prefix}/token`]: { post: 'token_exchange' },
  [`${prefix}/token/mint`]: { post: 'token_mint' },
  [`${prefix}/token/discharge`]: { post: 'token_discharge' },
  [`${prefix}/token/revoke`]: { post: 'token_revoke' },
  [`${prefix}/token/keys`]: { get: 'token_keys', post: 'token_rotate_key' },
};

/** Actions that may follow a kid. A kid ends in a UUID or a version, so that none of these can be a part of one. */
export const actions: Readonly<Record<string, Readonly<Record<string, OperationName>>>> = {
  rotate: { post: 'rotate' },
  destroy: { post: 'destroy' },
  import: { post: 'import_version' },
  export: { get: 'export', post: 'export' },
  private: { get: 'export', post: 'export' },
  secret: { get: 'export', post: 'export' },
  backup: { get: 'export', post: 'export' },
};

/** The endpoints by operation, or whatever else a test puts in their place. */
type Endpoints<Endpoint> = Readonly<Record<OperationName, Endpoint>>;

interface FoundRoute<Endpoint> {
  readonly endpoint: Endpoint;
  readonly named: string | undefined;
  readonly template: string;
}

/** The templates of keys, by action; made once. */
const keyTemplate = `${keysPrefix}{kid}`;
const actionTemplates: Readonly<Record<string, string>> = Object.fromEntries(
  Object.keys(actions).map((action) => [action, `${keyTemplate}/${action}`]),
);

/** Method and path to an endpoint. Paths are taken as they are: `..`, `//` and a different case are other paths. */
export function findRoute<Endpoint>(
  endpoints: Endpoints<Endpoint>,
  method: string,
  path: string,
): Result<FoundRoute<Endpoint>> {
  const methods = fixed[path];
  if (methods !== undefined && Object.hasOwn(fixed, path))
    return choose(endpoints, methods, method, undefined, path);
  const folder = auditFiles.find((files) => path.startsWith(files));
  if (folder !== undefined)
    return choose(
      endpoints,
      { get: 'audit_tile' },
      method,
      path.slice(auditPrefix.length),
      auditTemplates[folder] as string,
    );
  if (!path.startsWith(keysPrefix)) return refuse('NotFound', 'no such path');

  const rest = path.slice(keysPrefix.length);
  const slash = rest.lastIndexOf('/');
  const last = slash === -1 ? '' : rest.slice(slash + 1);
  const action = ownMember(actions, last);
  const kid = decodePath(action === undefined ? rest : rest.slice(0, slash));
  if (kid === undefined) return refuse('BadRequest', 'the path is not valid percent-encoding');
  const template = action === undefined ? keyTemplate : (actionTemplates[last] as string);
  return choose(endpoints, action ?? { get: 'read' }, method, kid, template);
}

function choose<Endpoint>(
  endpoints: Endpoints<Endpoint>,
  methods: Readonly<Record<string, OperationName>>,
  method: string,
  named: string | undefined,
  template: string,
): Result<FoundRoute<Endpoint>> {
  // The listener leaves out the body (RFC 9110 section 9.3.2).
  const served = method === 'head' ? 'get' : method;
  if (!Object.hasOwn(methods, served)) {
    const names = Object.keys(methods).flatMap((name) => (name === 'get' ? ['get', 'head'] : [name]));
    return { ok: false, failure: { code: 'MethodNotAllowed', allow: names.join(', ').toUpperCase() } };
  }
  return ok({ endpoint: endpoints[methods[served] as OperationName], named, template });
}

function decodePath(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
