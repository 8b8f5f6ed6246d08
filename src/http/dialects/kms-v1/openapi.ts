import { OptionalKind, type TSchema } from '@sinclair/typebox';
import { largestDeadlineMs } from '../../../admission/admission.ts';
import { manifest } from '../../../core/own-package.ts';
import { describedBody } from '../../json-requests.ts';
import { configAnswer, errorEnvelope, healthAnswer } from './answers.ts';
import { type DescribedCall, describedCalls } from './described.ts';
import { statuses } from './failures.ts';
import { livenessPath, pathPrefix, type RouteName, routes } from './routes.ts';
import { approvalText } from './schemas.ts';

/** Every method and path with a call behind it. */
export function describedPaths(): { path: string; method: string; name: RouteName }[] {
  return Object.entries(routes).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, name]) => ({
      ...{ path: `${pathPrefix}${path}`, method, name: name as RouteName },
    })),
  );
}

const headers = {
  'X-Trace-Id': { schema: { type: 'string', pattern: '^[0-9a-f]{32}$' } },
  'X-Span-Id': { schema: { type: 'string', pattern: '^[0-9a-f]{16}$' } },
  'X-Request-Id': { schema: { type: 'string', format: 'uuid' } },
};

const errorStatuses = [...new Set([422, ...Object.values(statuses).map(([status]) => status)])].sort();

const errorResponse = {
  description: `Refused, or failed: ${errorStatuses.join(', ')}. docs/kms-v1.md says when and with which code; 422 is a body of another shape.`,
  headers: {
    ...headers,
    'Retry-After': { schema: { type: 'integer' }, description: 'seconds; with 429 and 503' },
  },
  content: { 'application/json': { schema: errorEnvelope } },
};

/** This surface in OpenAPI 3.1, as JSON can hold it. */
export function describeKmsV1(): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { path, method, name } of describedPaths()) {
    paths[path] = { ...paths[path], [method]: operationObject(path, name, describedCalls[name]) };
  }
  const described = {
    openapi: '3.1.0',
    info: {
      title: 'Intaglio: Key Management Service Module (M33)',
      version: manifest.version,
      description:
        'Keys of tenants, environments and planes. Who calls is known by a client certificate, a JSON Web Token or a capability.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ certificate: [] }, { bearer: [] }],
    paths: { ...paths, ...probePaths },
    components: {
      securitySchemes: {
        certificate: { type: 'mutualTLS' },
        bearer: { type: 'http', scheme: 'bearer', description: 'a JSON Web Token, or a capability' },
      },
      responses: { Error: errorResponse },
    },
  };
  return JSON.parse(JSON.stringify(described));
}

function probe(summary: string, content: object): object {
  return {
    get: {
      ...{ summary, security: [] },
      responses: { 200: { description: 'done', headers, content } },
    },
  };
}

const json = (schema: TSchema) => ({ 'application/json': { schema } });

const probePaths = {
  [livenessPath]: probe('Whether the service runs', json(healthAnswer)),
  [`${pathPrefix}/health`]: probe('Whether it has all that it needs', json(healthAnswer)),
  [`${pathPrefix}/config`]: probe('What holds on this surface', json(configAnswer)),
  [`${pathPrefix}/metrics`]: probe('Metrics in the text format of Prometheus', {
    'text/plain': { schema: { type: 'string' } },
  }),
  [`${pathPrefix}/openapi.json`]: probe('This description', {
    'application/json': { schema: { type: 'object' } },
  }),
};

function operationObject(path: string, name: RouteName, call: DescribedCall): object {
  const {
    summary,
    request,
    query,
    status,
    answer,
    contentType = 'application/json',
    approval,
    optional,
    example,
  } = call;
  return {
    ...{ operationId: name, summary },
    parameters: [
      ...[...path.matchAll(/\{(\w+)\}/g)].map(([, member]) => ({
        ...{ name: member, in: 'path', required: true },
        schema: { type: 'string', minLength: 1 },
      })),
      ...queryParameters(query),
      ...(approval ? [approvalHeader] : []),
      ...(name === 'listen_to_events' ? [lastEventHeader] : []),
      deadlineHeader,
    ],
    ...describedBody(request, { optional, example }),
    responses: {
      [status]: {
        description: 'done',
        headers: { ...headers, ...receiptHeader },
        content: { [contentType]: { schema: answer } },
      },
      default: { $ref: '#/components/responses/Error' },
    },
  };
}

function queryParameters(query: TSchema | undefined): object[] {
  return Object.entries<TSchema>(query?.properties ?? {}).map(([name, { description, ...schema }]) => ({
    ...{ name, in: 'query', required: !(OptionalKind in schema) },
    ...(description === undefined ? undefined : { description }),
    schema,
  }));
}

const receiptHeader = {
  'X-Receipt-Id': {
    schema: { type: 'string', format: 'uuid' },
    description: 'GET /kms/v1/receipts/{receipt_id}',
  },
};
const approvalHeader = {
  ...{ name: 'X-Approval-Token', in: 'header' },
  description: 'the agreement of a second principal, here or as approval_token',
  schema: approvalText,
};
const lastEventHeader = {
  ...{ name: 'Last-Event-ID', in: 'header', schema: { type: 'string' } },
  description: 'the id of the last event that was seen',
};
const deadlineHeader = {
  ...{ name: 'X-Deadline-Ms', in: 'header', description: 'after which the answer is of no use' },
  schema: { type: 'integer', minimum: 1, maximum: largestDeadlineMs },
};
