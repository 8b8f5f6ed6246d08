import { ok, type Result } from '../../../core/result.ts';

export const pathPrefix = '/kms/v1';
export const ownPaths = `${pathPrefix}/`;
/** Liveness stands outside of the prefix. */
export const livenessPath = '/health';

/** The calls of this surface, as its metrics name them, by path and method. A segment in braces stands for any one. */
export const routes = {
  '/keys': { post: 'generate_key', get: 'list_keys' },
  '/keys/{key_id}': { get: 'read_key' },
  '/keys/{key_id}/rotate': { post: 'rotate_key' },
  '/keys/{key_id}/revoke': { post: 'revoke_key' },
  '/keys/{key_id}/archive': { post: 'archive_key' },
  '/sign': { post: 'sign' },
  '/verify': { post: 'verify' },
  '/encrypt': { post: 'encrypt' },
  '/decrypt': { post: 'decrypt' },
  '/trust-anchors': { post: 'add_trust_anchor', get: 'list_trust_anchors' },
  '/trust-anchors/validate': { post: 'validate_chain' },
  '/trust-anchors/{trust_anchor_id}': { get: 'read_trust_anchor', delete: 'remove_trust_anchor' },
  '/trust-anchors/{trust_anchor_id}/crl': { post: 'set_revocation_list' },
  '/certificates': { post: 'enrol_certificate', get: 'list_certificates' },
  '/receipts': { get: 'list_receipts' },
  '/receipts/{receipt_id}': { get: 'read_receipt' },
  '/events': { get: 'listen_to_events' },
  '/webhooks': { post: 'create_webhook', get: 'list_webhooks' },
  '/webhooks/{webhook_id}': { delete: 'delete_webhook' },
} as const satisfies Readonly<Record<string, Readonly<Record<string, string>>>>;

/** Answered without a caller, by GET. */
export const probes = {
  [livenessPath]: 'liveness',
  [`${pathPrefix}/health`]: 'health',
  [`${pathPrefix}/config`]: 'config',
  [`${pathPrefix}/metrics`]: 'metrics',
  [`${pathPrefix}/openapi.json`]: 'openapi',
} as const;

type Routes = typeof routes;
/** Every call that has a route. */
export type RouteName = { [Path in keyof Routes]: Routes[Path][keyof Routes[Path]] }[keyof Routes];

interface FoundRoute<Endpoint> {
  readonly endpoint: Endpoint;
  readonly named: string | undefined;
  readonly template: string;
}

type Methods = Readonly<Record<string, RouteName>>;
interface Known {
  readonly template: string;
  readonly methods: Methods;
}

/** By the path with `*` in the place of a segment in braces; made once. */
const table: ReadonlyMap<string, Known> = new Map(
  Object.entries(routes).map(([path, methods]) => [
    path.replace(/\{[^}]+\}/, '*'),
    { template: `${pathPrefix}${path}`, methods },
  ]),
);

const noSuchPath: Result<never> = {
  ok: false,
  failure: { code: 'NotFound', hint: 'no such path', fault: 'path' },
};
const badPath: Result<never> = {
  ok: false,
  failure: { code: 'BadRequest', hint: 'the path is not valid percent-encoding' },
};

/** Method and path to an endpoint. Paths are taken as they are: `..`, `//` and a different case are other paths. */
export function routeAt<Endpoint>(
  endpoints: Readonly<Record<RouteName, Endpoint>>,
  method: string,
  path: string,
): Result<FoundRoute<Endpoint>> {
  if (Object.hasOwn(probes, path)) return notAllowed(['get']);
  if (!path.startsWith(ownPaths)) return noSuchPath;
  const rest = path.slice(pathPrefix.length);
  const fixed = table.get(rest);
  if (fixed !== undefined && !rest.includes('*')) return choose(endpoints, fixed, method, undefined);
  const [, folder = '', segment = '', ...more] = rest.split('/');
  const known = table.get(`/${[folder, '*', ...more].join('/')}`);
  if (known === undefined || segment === '') return noSuchPath;
  const named = decoded(segment);
  return named === undefined ? badPath : choose(endpoints, known, method, named);
}

function choose<Endpoint>(
  endpoints: Readonly<Record<RouteName, Endpoint>>,
  { methods, template }: Known,
  method: string,
  named: string | undefined,
): Result<FoundRoute<Endpoint>> {
  // The listener leaves out the body (RFC 9110 section 9.3.2).
  const served = method === 'head' ? 'get' : method;
  if (!Object.hasOwn(methods, served)) return notAllowed(Object.keys(methods));
  return ok({ endpoint: endpoints[methods[served] as RouteName], named, template });
}

function notAllowed(methods: readonly string[]): Result<never> {
  const allow = methods.flatMap((name) => (name === 'get' ? ['get', 'head'] : [name]));
  return { ok: false, failure: { code: 'MethodNotAllowed', allow: allow.join(', ').toUpperCase() } };
}

/** The methods of a path, for a preflight; undefined where there is no such path. */
export function methodsOf(path: string): string | undefined {
  const found = routeAt({} as Record<RouteName, undefined>, '', path);
  return found.ok || found.failure.code !== 'MethodNotAllowed' ? undefined : found.failure.allow;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
