import type { TSchema } from '@sinclair/typebox';
import { manifest } from '../../../core/own-package.ts';
import type { AnyEndpoint } from '../../dialect.ts';
import { describedBody } from '../../json-requests.ts';
import type { DekEndpointName } from './endpoints.ts';
import { statusOf } from './failures.ts';
import { dekRoutes } from './routes.ts';
import { answers, shapes } from './schemas.ts';

interface Description {
  readonly summary: string;
  readonly request?: TSchema;
  /** The body may be left away. */
  readonly optional?: true;
  readonly example?: unknown;
  readonly status: number;
  readonly answer: TSchema | undefined;
}

const key_id = '8f7c9f0e-2a53-4c6e-9a1b-0d6f2c1b7e55';
const hello = 'aGVsbG8=';

export const descriptions: Readonly<Record<DekEndpointName, Description>> = {
  create: {
    summary: 'A new DEK, of this id or of one that is made; an id that is taken is 409',
    ...{
      request: shapes.create.schema,
      optional: true,
      example: { key_id },
      status: 201,
      answer: answers.made,
    },
  },
  create_for_thread: {
    summary: 'A new DEK for a thread',
    ...{ request: shapes.createForThread.schema, example: { thread_id: 'thread-42' } },
    ...{ status: 200, answer: answers.made },
  },
  read: { summary: 'The wrapping of a DEK', status: 200, answer: answers.made },
  wrap: {
    summary: "Wraps a caller's bytes by the KEK",
    ...{ request: shapes.wrap.schema, example: { plaintext: hello }, status: 200, answer: answers.wrapped },
  },
  unwrap: {
    summary: 'Opens what /wrap made, with the same aad',
    ...{
      request: shapes.unwrap.schema,
      example: { wrapped: 'AQEAAAA=' },
      status: 200,
      answer: answers.plaintext,
    },
  },
  encrypt: {
    summary: 'AES-256-GCM by the newest version of a DEK',
    ...{ request: shapes.encrypt.schema, example: { key_id, plaintext: hello, aad: hello } },
    ...{ status: 200, answer: answers.ciphertext },
  },
  decrypt: {
    summary: 'Decrypts by any version of a DEK, with the same aad',
    ...{ request: shapes.decrypt.schema, example: { key_id, ciphertext: hello, aad: hello } },
    ...{ status: 200, answer: answers.plaintext },
  },
  rewrap: {
    summary: 'Wraps one DEK by the current KEK, where it is behind; 409 where it does not open',
    ...{ request: shapes.oneKey.schema, example: { key_id }, status: 200, answer: answers.made },
  },
  rotate: {
    summary: 'A new version of a DEK; the ones before it go on decrypting',
    ...{ request: shapes.oneKey.schema, example: { key_id }, status: 200, answer: answers.made },
  },
  destroy: {
    summary: 'Destroys a DEK for good: nothing decrypts what it encrypted',
    ...{ request: shapes.oneKey.schema, example: { key_id }, status: 200, answer: answers.destroyed },
  },
  rotate_kek: {
    summary: 'A new KEK, and every DEK wrapped by it; answers when all are, and 409 where one cannot be',
    ...{
      request: shapes.rotateKek.schema,
      optional: true,
      example: {},
      status: 200,
      answer: answers.rotated,
    },
  },
  list: { summary: 'DEKs in the order of their ids, 100 a page', status: 200, answer: answers.deks },
  keks: {
    summary: 'The versions of the KEK, and the progress of a rotation',
    ...{ status: 200, answer: answers.keks },
  },
};

/** The surface in OpenAPI 3.1, as JSON can hold it. */
export function describeDeks(operationOf: (name: DekEndpointName) => AnyEndpoint['operation']): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const [path, methods] of Object.entries(dekRoutes)) {
    paths[path] = Object.fromEntries(
      Object.entries(methods).map(([method, name]) => [method, operationObject(name, operationOf(name))]),
    );
  }
  const surface = {
    openapi: '3.1.0',
    info: {
      title: 'Intaglio data encryption keys',
      version: manifest.version,
      description: 'Bytes are base64 (RFC 4648, padded). docs/dek.md says the rest.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      responses: {
        Error: {
          description: [...new Set(Object.values(statusOf))].sort((a, b) => a - b).join(', '),
          content: { 'application/json': { schema: answers.error } },
        },
      },
    },
  };
  return JSON.parse(JSON.stringify(surface));
}

function parametersOf(name: DekEndpointName): object {
  const text = { in: 'query', schema: { type: 'string' } };
  if (name === 'read') return { parameters: [{ ...text, name: 'key_id', required: true }] };
  return name === 'list' ? { parameters: [{ ...text, name: 'after', required: false }] } : {};
}

function operationObject(name: DekEndpointName, operation: AnyEndpoint['operation']): object {
  const { summary, request, optional, example, status, answer } = descriptions[name];
  const content = { 'application/json': { schema: answer } };
  return {
    operationId: name,
    summary,
    ...('scope' in operation ? { description: `Needs ${operation.scope}.` } : undefined),
    ...parametersOf(name),
    ...describedBody(request, { optional, example }),
    responses: {
      [status]: { description: 'done', content },
      default: { $ref: '#/components/responses/Error' },
    },
  };
}
