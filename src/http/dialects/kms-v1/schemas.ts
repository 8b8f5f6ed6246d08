import { type TProperties, Type } from '@sinclair/typebox';
import { decodeBase64 } from '../../../core/bytes.ts';
import type { Failure } from '../../../core/failure.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import { environments, planes } from '../../../core/scope.ts';
import type { WireRequest } from '../../dialect.ts';
import { closed, parseQuery, type Shape } from '../../json-requests.ts';

/** An object of exactly these members and of the place that every call names. */
export function placed<Members extends TProperties>(members: Members) {
  return closed({ ...place, ...members });
}

const place = {
  tenant_id: Type.String({ minLength: 1, maxLength: 128 }),
  environment: Type.Union(environments.map((name) => Type.Literal(name))),
  plane: Type.Union(planes.map((name) => Type.Literal(name))),
};

export interface PlaceMembers {
  readonly tenant_id: string;
  readonly environment: (typeof environments)[number];
  readonly plane: (typeof planes)[number];
}

export function namedPlace({ tenant_id: tenant, environment, plane }: PlaceMembers) {
  return { tenant, environment, plane };
}

/** Any text: one that is no UUID is a key that nobody has. */
export const keyIdText = Type.String({ minLength: 1, maxLength: 64 });
export const algorithmName = Type.String({ minLength: 1, maxLength: 64 });
/** Longer than every agreement: a macaroon has 4,096 characters, and a JSON Web Token some more. */
export const approvalText = Type.String({ minLength: 1, maxLength: 8_192 });
/** RFC 9562 text form, any case. */
export const opIdText = Type.String({
  pattern: '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$',
  maxLength: 36,
});
/** Base64 (RFC 4648 section 4), padded. Code behind the schema judges it: what is none is 400 and not 422. */
export const base64Text = Type.String({ contentEncoding: 'base64' });
/** RFC 3339, UTC. */
export const momentText = Type.String({
  pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,3})?Z$',
  maxLength: 24,
});

/** Bytes of a member, of which there may be so many. */
export function decodedBytes(text: string, name: string, maxBytes: number): Result<Uint8Array> {
  const tooLarge = () => refuse('TooLarge', `${name}: at most ${maxBytes} bytes`);
  // Four characters of base64 may hold two bytes more than there may be.
  if (text.length > base64Characters(maxBytes)) return tooLarge();
  const bytes = decodeBase64(text, maxBytes + 2);
  if (bytes === undefined) return refuse('BadRequest', `${name} is not base64 with its padding`);
  return bytes.length > maxBytes ? tooLarge() : ok(bytes);
}

function base64Characters(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}

/** Reads a body of this shape and makes of it what an operation takes. A body of another shape is at fault with it. */
export function read<Body, Request>(
  shape: Shape<Body>,
  requestOf: (body: Body, request: WireRequest) => Result<Request>,
): (request: WireRequest) => Result<Request> {
  return (request) => {
    const body = shape.parse(request);
    if (!body.ok) return isJson(request) ? otherShape(body.failure) : body;
    return requestOf(body.value, request);
  };
}

/** The difference is only looked for where something is wrong. */
function isJson({ body, query }: WireRequest): boolean {
  if (query !== '') return false;
  try {
    JSON.parse(Buffer.from(body).toString());
    return true;
  } catch {
    return false;
  }
}

function otherShape(failure: Failure): Result<never> {
  return { ok: false, failure: { ...failure, code: 'BadRequest', fault: 'shape' } };
}

/** The same of the query of a request that has no body. Each parameter at most once. */
export function readQuery<Query, Request>(
  shape: Shape<Query>,
  requestOf: (query: Query, request: WireRequest) => Result<Request>,
): (request: WireRequest) => Result<Request> {
  const names = Object.keys(shape.schema.properties as object);
  return (request) => {
    if (request.body.length > 0) return noBody;
    const given = parseQuery(request.query, names);
    if (!given.ok) return otherShape(given.failure);
    const query = shape.check(given.value);
    return query.ok ? requestOf(query.value, request) : otherShape(query.failure);
  };
}

const noBody = refuse('BadRequest', 'send no body: a query says all');

export const cursorText = Type.Optional(
  Type.String({ minLength: 1, maxLength: 1_024, description: '`next_cursor` of the page before' }),
);
export const limitText = Type.Optional(
  Type.String({ pattern: '^([1-9][0-9]{0,2}|1000)$', description: '1 to 1000; 100 where it is absent' }),
);

/** The page that a query asks for. */
export function pageOf({ cursor, limit }: { readonly cursor?: string; readonly limit?: string }) {
  return { cursor, limit: limit === undefined ? undefined : Number(limit) };
}

/** UTC in RFC 3339 with milliseconds. */
export function timeText(utcMs: number): string {
  return new Date(utcMs).toISOString();
}
