import { hash } from 'node:crypto';
import { type Static, type TProperties, type TSchema, Type } from '@sinclair/typebox';
import { type TypeCheck, TypeCompiler, ValueErrorType } from '@sinclair/typebox/compiler';
import { hasRepeatedMember } from '../core/repeated-members.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import { canonicalJson } from '../keys/canonical-json.ts';
import type { WireRequest } from './dialect.ts';

/** A compiled validator: refuses unknown members, says where a value is wrong but never what it held. */
export interface Shape<T> {
  /** As JSON Schema, for the published description. */
  readonly schema: TSchema;
  /** Of a value that was parsed already. */
  check(value: unknown): Result<T>;
  /** Of a request whose body is JSON; what it asks for stands there, so a query is refused. */
  parse(request: Pick<WireRequest, 'query' | 'body'>): Result<T>;
}

/** An object of exactly these members. */
export function closed<Members extends TProperties>(members: Members) {
  return Type.Object(members, { additionalProperties: false });
}

export function shapeOf<Schema extends TSchema>(schema: Schema): Shape<Static<Schema>> {
  const compiled = TypeCompiler.Compile(schema);
  const check = (value: unknown): Result<Static<Schema>> =>
    compiled.Check(value) ? ok(value) : refuseShape(compiled, value);
  return {
    schema,
    check,
    parse({ query, body }) {
      if (query !== '') return noQuery;
      const parsed = parseJson(body);
      return parsed.ok ? check(parsed.value) : parsed;
    },
  };
}

/** Reads a body of this shape and makes of it what an operation takes. */
export function typed<Body, Request>(
  shape: Shape<Body>,
  requestOf: (body: Body, request: WireRequest) => Result<Request>,
): (request: WireRequest) => Result<Request> {
  return (request) => {
    const body = shape.parse(request);
    return body.ok ? requestOf(body.value, request) : body;
  };
}

const noQuery = refuse('BadRequest', 'no query parameters here');

/** The same shape for requests that may do without a body. */
export function optionalBody<T>({ schema, check, parse }: Shape<T>): Shape<T> {
  return {
    schema,
    check,
    parse: ({ query, body }) => parse({ query, body: body.length === 0 ? emptyObject : body }),
  };
}

const emptyObject: Uint8Array = Buffer.from('{}');

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parseJson(body: Uint8Array): Result<unknown> {
  if (body.length === 0) return refuse('BadRequest', 'a JSON body is required');
  try {
    const text = utf8.decode(body);
    const value: unknown = JSON.parse(text);
    return hasRepeatedMember(text, value) ? repeatedMember : ok(value);
  } catch {
    return refuse('BadRequest', 'the body is not valid JSON');
  }
}

const repeatedMember = refuse('BadRequest', 'a member is given twice');

function refuseShape(check: TypeCheck<TSchema>, value: unknown): Refused {
  const error = check.Errors(value).First();
  if (error === undefined) return refuse('BadRequest');
  if (error.type === ValueErrorType.ObjectAdditionalProperties) {
    // The last segment is the unknown member's name, which is the caller's text and not repeated.
    const parent = error.path.slice(0, error.path.lastIndexOf('/'));
    return refuse('BadRequest', `unknown member in ${placeName(parent)}`);
  }
  if (error.type === ValueErrorType.StringMaxLength)
    return refuse(
      'BadRequest',
      `${placeName(error.path)} has more than ${error.schema.maxLength} characters`,
    );
  return refuse('BadRequest', `${placeName(error.path)} is missing or has the wrong type or form`);
}

function placeName(path: string): string {
  return path === '' ? 'the body' : path.slice(1).replaceAll('/', '.');
}

/** SHA-256 in hex of the RFC 8785 JSON of a body without its `approval_token`: how an approval names a request without a key. */
export function approvedRequestSha256(body: Readonly<Record<string, unknown>>): string {
  const { approval_token: _, ...approved } = body;
  return hash('sha256', canonicalJson(approved));
}

/** For requests that have neither query parameters nor a body. */
export function parseNothing({ query }: Pick<WireRequest, 'query'>): Result<void> {
  const parsed = parseQuery(query, []);
  return parsed.ok ? nothing : parsed;
}

const nothing = ok(undefined);

/** Query parameters, each at most once and only the named ones. */
export function parseQuery<Name extends string>(
  query: string,
  names: readonly Name[],
): Result<Partial<Record<Name, string>>> {
  const values: Partial<Record<Name, string>> = {};
  if (query === '') return ok(values);
  for (const [name, value] of new URLSearchParams(query)) {
    const known = names.find((candidate) => candidate === name);
    if (known === undefined) {
      return names.length === 0 ? noQuery : refuse('BadRequest', `query parameters: ${names.join(', ')}`);
    }
    if (values[known] !== undefined) return refuse('BadRequest', `${known} is given twice`);
    values[known] = value;
  }
  return ok(values);
}

/** The body of a request as OpenAPI describes it; no member where there is none. `optional`: it may be left away. */
export function describedBody(
  request: TSchema | undefined,
  { optional, example }: { readonly optional?: true | undefined; readonly example?: unknown },
): object {
  if (request === undefined) return {};
  const json = { schema: request, ...(example === undefined ? undefined : { example }) };
  return { requestBody: { required: optional !== true, content: { 'application/json': json } } };
}
