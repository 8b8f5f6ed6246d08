import assert from 'node:assert/strict';
import test, { describe, type TestContext } from 'node:test';
import { StartError } from '../../src/core/start-error.ts';
import { maxAnswerBytes } from '../../src/custody/root-key/cloud/answers.ts';
import type { CloudLimits } from '../../src/custody/root-key/cloud/limits.ts';
import {
  type CloudKind,
  type CloudSource,
  createCloudWrapping,
} from '../../src/custody/root-key/cloud/wrapping.ts';
import { crc32c } from '../../src/custody/root-key/gcp/crc32c.ts';
import {
  type Answer,
  bomb,
  drip,
  endless,
  grpcMessage,
  type Hostile,
  hostileCredential,
  startHostile,
} from '../support/cloud/hostile.ts';

/** Long enough that no bound of time is the reason. */
const patient: CloudLimits = { connectMs: 30_000, attemptMs: 30_000, attempts: 1, wholeMs: 60_000 };
const wrapped = Buffer.alloc(60, 7).toString('base64');

/** What the operator reads when the root key is asked of it: one line, with nothing secret. */
export async function saidOf(hostile: Hostile, limits: CloudLimits = patient): Promise<string> {
  const provider = async () => hostile.provider(limits) as never;
  const wrapping = createCloudWrapping(() => 'x', { aws: provider, gcp: provider, azure: provider }, limits);
  const of = { id: 'cloud', createdAtMs: 1, generation: 1, root: '0123456789abcdef', wrapped };
  const source = { ...of, ...hostile.key, ...(hostile.key.kind === 'gcp' && { keyVersion: '1' }) };
  const cause: unknown = await wrapping.unwrap(source as CloudSource).then(
    () => assert.fail('it was not refused'),
    (refusal) => refusal,
  );
  assert.ok(cause instanceof StartError, String(cause));
  for (const hidden of [hostileCredential, wrapped, '\n', 'of a stranger'])
    assert.ok(!cause.message.includes(hidden), cause.message);
  return cause.message;
}

/** Answers of a stranger that stands in the place of a KMS: each is bounded in bytes and time, and none is taken. */
export function cloudHostileContract(kind: CloudKind): void {
  const isGrpc = kind === 'gcp';
  const start = async (t: TestContext, answer: Answer) => {
    const hostile = await startHostile(kind, answer);
    t.after(() => hostile.close());
    return hostile;
  };
  /** The beginning of a body that goes on: of gRPC, that of a message of so many bytes. */
  const opening = (bytes: number) =>
    isGrpc ? grpcMessage(Buffer.from(' '), false, bytes) : Buffer.from('{"a":"');

  describe(`a stranger in the place of ${kind}`, { concurrency: true }, () => {
    test('an answer without an end is left after its bound', async (t) => {
      let bytes = 0;
      const hostile = await start(t, {
        body: endless(opening(1 << 30), (more) => {
          bytes += more;
        }),
      });
      assert.match(await saidOf(hostile), /its answer is not believed \(size\)/);
      // What lies in sockets on the way is some megabytes.
      assert.ok(bytes < maxAnswerBytes + 32 * 1_048_576, `${bytes}`);
    });

    test('an answer that inflates to 48 MiB is not inflated', async (t) => {
      const small = bomb();
      assert.ok(small.length < maxAnswerBytes);
      const hostile = await start(t, {
        body: isGrpc ? grpcMessage(small, true) : small,
        headers: isGrpc ? { 'grpc-encoding': 'gzip' } : { 'content-encoding': 'gzip' },
      });
      assert.match(await saidOf(hostile), /its answer is not believed \((size|200)\)/);
    });

    test('an answer of one byte after another ends in time', async (t) => {
      const hostile = await start(t, { body: drip(opening(1_000), 20) });
      const limits = { connectMs: 10_000, attemptMs: 300, attempts: 1, wholeMs: 20_000 };
      const startedAt = performance.now();
      assert.match(await saidOf(hostile, limits), /gave no answer in time/);
      // Far from the bound of the whole.
      assert.ok(performance.now() - startedAt < 10_000);
    });

    for (const status of [301, 302, 303, 307, 308])
      test(`a redirection (${status}) is not followed`, async (t) => {
        const other = await start(t, {});
        const location = `http://127.0.0.1:${other.port}/elsewhere`;
        const hostile = await start(t, { status, headers: { location } });
        assert.match(await saidOf(hostile), new RegExp(`its answer is not believed \\(${status}\\)`));
        assert.deepEqual(other.asked, []);
      });

    test('a page of something on the way is not taken for a word of the provider', async (t) => {
      const page: Answer = {
        ...{ status: 403, body: '<html>of a stranger</html>' },
        headers: { 'content-type': 'text/html' },
      };
      assert.match(await saidOf(await start(t, page)), /its answer is not believed \(403\)/);
    });

    test('what stands twice in an answer gives no other key than the one of the list', async (t) => {
      const [one, other] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
      for (const [body, says] of twice(kind, one, other))
        assert.match(await saidOf(await start(t, { body })), says);
    });

    test('a success that says an error, or nothing, is not taken', async (t) => {
      const error =
        '{"__type":"AccessDeniedException","error":{"code":"Forbidden","message":"of a stranger"}}';
      for (const body of isGrpc ? [grpcMessage(Buffer.alloc(0))] : [error, '', 'null', '[]', '{'])
        assert.match(await saidOf(await start(t, { body })), /its answer is not believed/, String(body));
    });
  });
}

/** Members that stand twice: the name of the key, what was unwrapped, or its checksum. */
function twice(
  kind: CloudKind,
  one: Buffer,
  other: Buffer,
): readonly (readonly [body: Uint8Array | string, says: RegExp])[] {
  const disbelieved = /its answer is not believed \((KeyId|kid|plaintext_crc32c)\)/;
  const foreign = /gives another key than the one that the list names/;
  if (kind === 'gcp') {
    // Field 1 is the plaintext; field 2 its checksum, in field 1 of an Int64Value as a varint.
    const plain = (bytes: Buffer) => Buffer.concat([Buffer.from([0x0a, bytes.length]), bytes]);
    const sum = (bytes: Buffer) => {
      const digits = [0x08];
      let left = crc32c(bytes);
      for (; left > 0x7f; left = Math.floor(left / 128)) digits.push((left % 128) | 0x80);
      digits.push(left);
      return Buffer.from([0x12, digits.length, ...digits]);
    };
    const of = (...parts: Buffer[]) => grpcMessage(Buffer.concat(parts));
    return [
      [of(plain(one), plain(other), sum(one)), disbelieved],
      [of(plain(one), sum(one), plain(other), sum(other)), foreign],
    ];
  }
  const [name, value, encoding] =
    kind === 'aws' ? (['KeyId', 'Plaintext', 'base64'] as const) : (['kid', 'value', 'base64url'] as const);
  const member = (key: string, text: string) => `${JSON.stringify(key)}:${JSON.stringify(text)}`;
  const values = [one, other].map((bytes) => member(value, bytes.toString(encoding)));
  return [
    [`{${[member(name, '$key'), member(name, 'another'), ...values]}}`, disbelieved],
    [`{${[member(name, 'another'), member(name, '$key'), ...values]}}`, foreign],
  ];
}
