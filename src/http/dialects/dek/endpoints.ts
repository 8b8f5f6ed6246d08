import { decodeBase64, encodeBase64 } from '../../../core/bytes.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import type { DescribedDek } from '../../../operations/deks/described-dek.ts';
import type { DekOperations } from '../../../operations/deks/operations.ts';
import { isWeakKey } from '../../../operations/deks/weak-key.ts';
import type { AnyEndpoint, Endpoint } from '../../dialect.ts';
import { optionalBody, parseNothing, parseQuery, typed } from '../../json-requests.ts';
import { maxBytes, shapes } from './schemas.ts';

const noBytes = new Uint8Array(0);
const badPlaintext = refuse('BadRequest', `plaintext is not base64 of at most ${maxBytes} bytes`);
const badAad = refuse('BadRequest', `aad is not base64 of at most ${maxBytes} bytes`);
const badCiphertext = refuse('BadRequest', 'ciphertext is not base64');
const weakKek = refuse('BadRequest', 'new_kek_hex is no random key: its bytes are all equal, or count');

/** The types of a request and of an answer follow from its operation. */
const typedEndpoint = <Request, Answer>(endpoint: Endpoint<Request, Answer>) => endpoint;

/** The endpoints of the surface, by name. */
export function dekEndpoints(operations: DekOperations) {
  return {
    create: typedEndpoint({
      operation: operations.dek_create,
      parse: typed(optionalBody(shapes.create), ({ key_id: id }) => ok({ id, threadId: undefined })),
      present: (made) => ({ status: 201, body: madeBody(made) }),
    }),
    create_for_thread: typedEndpoint({
      operation: operations.dek_create,
      parse: typed(shapes.createForThread, ({ thread_id: threadId }) => ok({ id: undefined, threadId })),
      present: (made) => ({ status: 200, body: madeBody(made) }),
    }),
    read: typedEndpoint({
      operation: operations.dek_read,
      parse({ query }) {
        const parsed = parseQuery(query, ['key_id']);
        if (!parsed.ok) return parsed;
        const { key_id: id } = parsed.value;
        return id === undefined ? refuse('BadRequest', 'key_id is missing in the query') : ok({ id });
      },
      present: (made) => ({ status: 200, body: madeBody(made) }),
    }),
    wrap: typedEndpoint({
      operation: operations.kek_wrap,
      parse: typed(shapes.wrap, (body) => withAad(body, () => plaintextIn(body))),
      present: ({ wrapped, kekId, kekVersion }) => ({
        status: 200,
        body: { wrapped, kek_id: kekId, kek_version: kekVersion },
      }),
    }),
    unwrap: typedEndpoint({
      operation: operations.kek_unwrap,
      parse: typed(shapes.unwrap, (body) => withAad(body, () => ok({ wrapped: body.wrapped }))),
      present: presentPlaintext,
    }),
    encrypt: typedEndpoint({
      operation: operations.dek_encrypt,
      parse: typed(shapes.encrypt, (body) =>
        withAad(body, () => {
          const plaintext = plaintextIn(body);
          return plaintext.ok ? ok({ id: body.key_id, ...plaintext.value }) : plaintext;
        }),
      ),
      present: ({ ciphertext, version }) => ({
        status: 200,
        body: { ciphertext: encodeBase64(ciphertext), key_version: version },
      }),
    }),
    decrypt: typedEndpoint({
      operation: operations.dek_decrypt,
      parse: typed(shapes.decrypt, (body) =>
        withAad(body, () => {
          const ciphertext = decodeBase64(body.ciphertext, maxBytes + 28);
          if (ciphertext === undefined) return badCiphertext;
          return ok({ id: body.key_id, ciphertext, version: body.key_version });
        }),
      ),
      present: presentPlaintext,
    }),
    rewrap: typedEndpoint({
      operation: operations.dek_rewrap,
      parse: typed(shapes.oneKey, ({ key_id: id }) => ok({ id })),
      present: (made) => ({ status: 200, body: madeBody(made) }),
    }),
    rotate: typedEndpoint({
      operation: operations.dek_rotate,
      parse: typed(shapes.oneKey, ({ key_id: id }) => ok({ id })),
      present: (made) => ({ status: 200, body: madeBody(made) }),
    }),
    destroy: typedEndpoint({
      operation: operations.dek_destroy,
      parse: typed(shapes.oneKey, ({ key_id: id }) => ok({ id })),
      present: ({ id }) => ({ status: 200, body: { status: 'ok', key_id: id } }),
    }),
    rotate_kek: typedEndpoint({
      operation: operations.kek_rotate,
      parse: typed(optionalBody(shapes.rotateKek), ({ new_kek_hex: hex }) => {
        const plainKek = hex === undefined ? undefined : Buffer.from(hex, 'hex');
        return plainKek !== undefined && isWeakKey(plainKek) ? weakKek : ok({ plainKek });
      }),
      present: ({ kekId, kekVersion, rewrapped }) => ({
        status: 200,
        body: { status: 'ok', kek_id: kekId, kek_version: kekVersion, rewrapped },
      }),
    }),
    list: typedEndpoint({
      operation: operations.dek_list,
      parse({ query }) {
        const parsed = parseQuery(query, ['after']);
        return parsed.ok ? ok({ after: parsed.value.after }) : parsed;
      },
      present: ({ deks, next }) => ({
        status: 200,
        body: {
          deks: deks.map(({ id, threadId, state, createdAtMs, versions }) => ({
            ...{ key_id: id, state, created_at: new Date(createdAtMs).toISOString() },
            ...(threadId === undefined ? undefined : { thread_id: threadId }),
            versions: versions.map(({ version, kek }) => ({ key_version: version, kek_version: kek })),
          })),
          next: next ?? null,
        },
      }),
    }),
    keks: typedEndpoint({
      operation: operations.kek_list,
      parse: parseNothing,
      present: ({ keks, rotation }) => ({
        status: 200,
        body: {
          keks: keks.map(({ kekId, kekVersion, state, createdAtMs }) => ({
            ...{ kek_id: kekId, kek_version: kekVersion, state },
            created_at: new Date(createdAtMs).toISOString(),
          })),
          rotation:
            rotation === undefined
              ? null
              : {
                  ...{ kek_version: rotation.target, rewrapped: rotation.rewrapped },
                  ...{ seen: rotation.seen, unopened: rotation.unopened },
                },
        },
      }),
    }),
  } satisfies Readonly<Record<string, AnyEndpoint>>;
}

export type DekEndpointName = keyof ReturnType<typeof dekEndpoints>;

function madeBody({ id, version, wrapped, kekId, kekVersion }: DescribedDek) {
  return { key_id: id, key_version: version, wrapped, kek_id: kekId, kek_version: kekVersion };
}

function presentPlaintext({ plaintext }: { readonly plaintext: Uint8Array }) {
  return { status: 200, body: { plaintext: encodeBase64(plaintext) } };
}

function plaintextIn({ plaintext: text }: { readonly plaintext: string }) {
  const plaintext = decodeBase64(text, maxBytes);
  return plaintext === undefined ? badPlaintext : ok({ plaintext });
}

function withAad<T extends object>(
  { aad: text }: { readonly aad?: string },
  rest: () => Result<T>,
): Result<T & { readonly aad: Uint8Array }> {
  const aad = text === undefined ? noBytes : decodeBase64(text, maxBytes);
  if (aad === undefined) return badAad;
  const others = rest();
  return others.ok ? ok({ ...others.value, aad }) : others;
}
