import { OptionalKind } from '@sinclair/typebox';
import { largestDeadlineMs } from '../../../admission/admission.ts';
import { manifest } from '../../../core/own-package.ts';
import type { OperationName } from '../../../operations/operations.ts';
import { describedBody } from '../../json-requests.ts';
import { errorAnswer } from './answers.ts';
import { describedOperations, kidExample, type OperationDescription } from './described.ts';
import { spoken } from './failures.ts';
import { actions, fixed, prefix } from './routes.ts';
import { kidText, withPublished } from './schemas.ts';

/** Every method and path, with the operation behind it. */
export function describedRoutes(): { path: string; method: string; operation: OperationName }[] {
  const routes = Object.entries(fixed).map(([path, methods]) => ({ path, methods }));
  routes.push({ path: `${prefix}/keys/{kid}`, methods: { get: 'read' } });
  for (const [action, methods] of Object.entries(actions)) {
    routes.push({ path: `${prefix}/keys/{kid}/${action}`, methods });
  }
  for (const folder of ['tile', 'keys']) {
    routes.push({ path: `${prefix}/audit/${folder}/{file}`, methods: { get: 'audit_tile' } });
  }
  return routes.flatMap(({ path, methods }) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
}

export interface SurfaceFacts {
  readonly batchMaxItems: number;
  /** The scope that a capability needs; undefined where it is asked without one. */
  readonly scopeOf: (operation: OperationName) => string | undefined;
}

/** The surface in OpenAPI 3.1, as JSON can hold it. */
export function describeSurface({ batchMaxItems, scopeOf }: SurfaceFacts): unknown {
  const described = describedOperations(batchMaxItems);
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { path, method, operation } of describedRoutes()) {
    const methods = paths[path] ?? {};
    paths[path] = methods;
    methods[method] = {
      ...operationObject(path, method, operation, described[operation]),
      security: securityOf(scopeOf(operation)),
    };
  }
  const surface = {
    openapi: '3.1.0',
    info: {
      title: 'Intaglio',
      version: manifest.version,
      description:
        'Keys and signatures. A kid in a path may be percent-encoded or not. What is signed is exactly one of payload_b3 (the 32 bytes of a BLAKE3 digest), message_b64, digest_b64 with hash, and mu_b64.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ capability: [] }],
    paths,
    components: {
      securitySchemes: {
        capability: { type: 'http', scheme: 'bearer', description: 'a macaroon; docs/capabilities.md' },
      },
      responses: { Error: errorResponse },
    },
  };
  return JSON.parse(JSON.stringify(surface, withPublished));
}

/** OpenAPI 3.1 takes names of roles for a bearer scheme: here the scope. */
function securityOf(scope: string | undefined): object[] {
  return scope === undefined ? [] : [{ capability: [scope] }];
}

const errorResponse = {
  description: `Statuses and codes: ${[...new Set(Object.entries(spoken).map(([name, { status, code }]) => `${status} ${code ?? name}`))].join(', ')}`,
  headers: {
    'X-Request-Id': { schema: { type: 'string' } },
    'Retry-After': { schema: { type: 'integer' }, description: 'seconds; with 429 and 503' },
  },
  content: { 'application/json': { schema: errorAnswer } },
};

function operationObject(
  path: string,
  method: string,
  operation: OperationName,
  what: OperationDescription,
): object {
  const {
    summary,
    request,
    optional,
    query = {},
    status,
    answer,
    contentType = 'application/json',
    otherContentTypes = [],
    example,
  } = what;
  const action = path.slice(path.lastIndexOf('/') + 1);
  // The four ways to ask for a private key, each by two methods, are one operation.
  const operationId =
    operation === 'export'
      ? `export_${action}_${method}`
      : operation === 'audit_tile'
        ? `audit_${path.includes('/tile/') ? 'tile' : 'key_file'}`
        : operation;
  const parameters = [
    ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      name,
      in: 'path',
      required: true,
      ...(name === 'kid' ? { schema: kidText, example: kidExample } : { schema: { type: 'string' } }),
    })),
    ...Object.entries(query).map(([name, { description, ...schema }]) => ({
      name,
      in: 'query',
      required: !(OptionalKind in schema),
      description,
      schema,
    })),
    {
      name: 'X-Deadline-Ms',
      in: 'header',
      description: 'after which the answer is of no use',
      schema: { type: 'integer', minimum: 1, maximum: largestDeadlineMs },
    },
  ];
  const content = {
    [contentType]: { schema: answer ?? { type: 'string' } },
    ...Object.fromEntries(otherContentTypes.map((type) => [type, { schema: {} }])),
  };
  return {
    operationId,
    summary,
    parameters,
    ...describedBody(request, { optional, example }),
    responses: {
      ...(status < 400 ? { [status]: { description: 'done', content } } : undefined),
      ...(operation === 'audit_accept'
        ? { 202: { description: 'waits for a second person', content } }
        : undefined),
      default: { $ref: '#/components/responses/Error' },
    },
  };
}
