import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import {
  frameHeaderBytes,
  readFrame,
  readU64,
  writeFrameHeader,
  writeU64,
} from '../../src/audit/disk/frames.ts';
import { HeadFile, readHead } from '../../src/audit/disk/head.ts';
import {
  commitmentSalt,
  InputHasher,
  inputCommitment,
  keyedInputHash,
} from '../../src/audit/format/input-hash.ts';
import { leafHash } from '../../src/audit/format/merkle.ts';
import {
  type AuditRecord,
  composeRecord,
  encodeRecord,
  packEvent,
  parseRecord,
} from '../../src/audit/format/record.ts';
import { softwareMacKey } from '../../src/core/mac-key.ts';
import { event } from './support/log.ts';
import { MemoryFiles } from './support/memory-files.ts';

const example: AuditRecord = {
  actor: 'spiffe://acme/web-17',
  alg: 'ed25519',
  input_hash: 'sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
  key_id: 'acme/tls/ed25519/0192f7c1',
  key_version: 7,
  op_id: '0192f7c1-5b1e-7c3a-9d2e-1f2a3b4c5d6e',
  purpose: 'sign',
  result: 'ok',
  seq: 42,
  tenant: 'acme',
  ts: 1763769600123456,
  v: 1,
};

test('the example record has its bytes and its leaf', () => {
  const text = encodeRecord(example);
  assert.equal(Buffer.byteLength(text), 319);
  assert.equal(
    leafHash(Buffer.from(text)).toString('hex'),
    'a2449ad128788106fcbed67a433f7afddd06c8e928c0c4e9e2f48e58af119fde',
  );
  assert.deepEqual(parseRecord(Buffer.from(text)), example);
});

test('input hashes have the published values', () => {
  const key = softwareMacKey(hash('sha256', 'tenant audit key k1', 'buffer'));
  const digest = hash('sha256', 'test', 'hex');
  assert.equal(
    keyedInputHash(key, 'acme', 'sha256', digest),
    'e34a4e98aa799c3e32148d3f768e4e58251a2e024a6a7068c258d6e22ad3d0b5',
  );
  const salt = commitmentSalt(key, example.op_id);
  assert.equal(salt.toString('hex'), 'b2f4e06bbbf39ece76dbd6d91d3a760d');
  assert.equal(
    inputCommitment(salt, 'acme', 'sha256', digest),
    '3cf1e7b2656d0babfcd8906811122f95e6082ece59d4cbe35ce0525650a12164',
  );
});

test('a keyed input hash says nothing across tenants; a commitment is opened by its salt', () => {
  const hasher = new InputHasher(softwareMacKey(randomBytes(32)), {
    mode: 'hmac',
    modeOfTenant: { b: 'commit', c: 'plain' },
    kid: 'k1',
  });
  const digest = hash('sha256', 'payload', 'hex');
  assert.match(hasher.inputHash('a', 'op', digest), /^hmac-sha256:k1:[0-9a-f]{64}$/);
  assert.equal(hasher.inputHash('a', 'op', digest), hasher.inputHash('a', 'other', digest));
  assert.notEqual(hasher.inputHash('a', 'op', digest), hasher.inputHash('a2', 'op', digest));
  const commitment = hasher.inputHash('b', 'op', digest);
  assert.notEqual(commitment, hasher.inputHash('b', 'other', digest));
  const salt = hasher.salt('b', 'op');
  assert.equal(commitment, `commit:${inputCommitment(salt, 'b', 'blake3', digest)}`);
  assert.equal(hasher.inputHash('c', 'op', digest), `b3:${digest}`);
});

test('an input hash of a digest by another name is bound to the name, and fits a record', () => {
  const hasher = new InputHasher(softwareMacKey(randomBytes(32)), {
    mode: 'hmac',
    modeOfTenant: { b: 'commit', c: 'plain' },
    kid: 'k1',
  });
  const hashes = { sha256: 64, sha384: 96, sha512: 128, mu: 128 };
  for (const [name, digits] of Object.entries(hashes)) {
    const digest = `${name}:${'a'.repeat(digits)}`;
    assert.match(hasher.inputHash('a', 'op', digest), /^hmac-sha256:k1:[0-9a-f]{64}$/);
    const opened = inputCommitment(hasher.salt('b', 'op'), 'b', name, 'a'.repeat(digits));
    assert.equal(hasher.inputHash('b', 'op', digest), `commit:${opened}`);
    assert.equal(hasher.inputHash('c', 'op', digest), digest);
  }
  const of = (digest: string) => hasher.inputHash('a', 'op', digest);
  assert.notEqual(of(`sha512:${'a'.repeat(128)}`), of(`mu:${'a'.repeat(128)}`));
});

test('a tenant that is called like a member of every object has the mode of all', () => {
  const hasher = new InputHasher(softwareMacKey(randomBytes(32)), {
    mode: 'commit',
    modeOfTenant: {},
    kid: 'k1',
  });
  for (const tenant of ['constructor', 'toString', '__proto__'])
    assert.equal(hasher.modeOf(tenant), 'commit', tenant);
});

test('every event that is packed becomes a canonical record that reads back', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 60 });
  const numbering = { ts: 1, seqOf: () => 1, inputHash: () => 'none' };
  fc.assert(
    fc.property(
      text,
      text,
      text,
      fc.dictionary(text, fc.oneof(text, fc.nat())),
      (actor, opId, type, data) => {
        const packed = packEvent(event({ actor, opId, type, data }));
        // Control characters in it; those are another test's.
        fc.pre(packed !== undefined);
        const { text: json } = composeRecord(packed, numbering);
        const record = parseRecord(Buffer.from(json));
        assert.ok(record !== undefined, json);
        assert.equal(record.actor, actor);
        assert.equal(record.op_id, opId);
        assert.equal(record.type, type);
        assert.deepEqual({ ...record.data }, { ...data });
      },
    ),
    { numRuns: 300 },
  );
});

test('what is not exactly a record is not read as one', () => {
  const text = encodeRecord(example);
  const others = [
    text.replace('"v":1', '"v":2'),
    text.replace('"v":1', '"v":1,"w":1'),
    text.replace('"seq":42', '"seq":42.5'),
    text.replace('"seq":42', '"seq":"42"'),
    text.replace('"seq":42', '"seq":0'),
    text.replace('"seq":42', '"seq":-1'),
    text.replace('"alg"', ' "alg"'),
    text.replace('{"actor":"spiffe://acme/web-17",', '{'),
    text.replace('ed25519"', 'ed\\u0032'),
    `${text}\n`,
    '[]',
    'null',
    '',
  ];
  for (const other of others) assert.equal(parseRecord(Buffer.from(other)), undefined, other);
});

test('frames and numbers beyond 32 bits read back', () => {
  fc.assert(
    fc.property(fc.nat(), fc.maxSafeNat(), fc.uint8Array({ maxLength: 300 }), (count, firstIndex, body) => {
      const frame = Buffer.concat([Buffer.alloc(frameHeaderBytes), body]);
      const header = { bodyLength: body.length, firstIndex, count, rootBefore: randomBytes(32) };
      writeFrameHeader(frame, header);
      const read = readFrame(frame, 0);
      assert.deepEqual({ ...read, rootBefore: Buffer.from(read?.rootBefore ?? []) }, header);
      const number = Buffer.alloc(8);
      writeU64(number, firstIndex, 0);
      assert.equal(readU64(number, 0), firstIndex);
      assert.equal(number.readBigUInt64LE(), BigInt(firstIndex));
    }),
  );
});

test('HEAD: the newest authentic slot is in force, and one torn slot spoils nothing', () => {
  const files = new MemoryFiles();
  const key = softwareMacKey(randomBytes(32));
  const file = new HeadFile(files, '/head', key, 0);
  const head = (size: number) => {
    const tree = { size, root: Uint8Array.from(randomBytes(32)) };
    const bootId = 'ab'.repeat(16);
    return {
      epoch: 3,
      written: tree,
      durable: tree,
      checkpoint: tree,
      bootId,
      clean: true,
      restored: false,
      minimumIndex: 2 ** 40,
    };
  };
  assert.equal(readHead(files, '/none', key), 'missing');
  const [first, second] = [head(2 ** 33), head(2 ** 33 + 5)];
  file.write(first);
  file.write(second);
  assert.deepEqual(readHead(files, '/head', key), { head: second, counter: 2 });
  assert.equal(readHead(files, '/head', softwareMacKey(randomBytes(32))), 'damaged');
  const damage = (at: number) =>
    files.edit('/head', (bytes) => {
      bytes[at]! ^= 1;
      return bytes;
    });
  damage(20);
  assert.deepEqual(readHead(files, '/head', key), { head: first, counter: 1 });
  damage(4_096 + 20);
  assert.equal(readHead(files, '/head', key), 'damaged');
});
