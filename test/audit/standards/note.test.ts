import assert from 'node:assert/strict';
import test from 'node:test';
import {
  checkpointMessage,
  ed25519CosignatureMessage,
  formatCheckpoint,
  mlDsaCosignatureMessage,
  openCheckpoint,
  parseCheckpoint,
  signCheckpoint,
  signCheckpointText,
} from '../../../src/audit/format/checkpoint.ts';
import { emptyRoot } from '../../../src/audit/format/merkle.ts';
import {
  isKeyName,
  noteKey,
  parseNote,
  parseVkey,
  signatureLine,
  signatureTypes,
  verifyNote,
} from '../../../src/audit/format/note.ts';
import { logSigners, seedOf, signerFromSeed } from '../../support/audit-notes.ts';
import { keyOf, testKeys, testOrigin, vectorFile, vectors } from './vectors.ts';

const timeS = 1_763_769_600;
const [ed25519, mlDsa, witness] = testKeys;
const root = Buffer.from(vectors.decimal_roots['70000']!, 'base64');
const checkpoint = { origin: testOrigin, size: 70_000, root };
const note = vectorFile('checkpoint');

function edit(bytes: Uint8Array, from: string | RegExp, to: string): Uint8Array {
  const text = Buffer.from(bytes).toString();
  const edited = text.replace(from, to);
  assert.notEqual(edited, text);
  return Buffer.from(edited);
}

/** The note without signature line `at`. */
function without(bytes: Uint8Array, at: number): Uint8Array {
  const [text, lines] = Buffer.from(bytes).toString().split('\n\n') as [string, string];
  const left = lines
    .trimEnd()
    .split('\n')
    .filter((_, index) => index !== at);
  return Buffer.from(`${text}\n\n${left.join('\n')}\n`);
}

test('the example of C2SP signed-note verifies', () => {
  const key = keyOf('example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k');
  const example = parseNote(
    Buffer.from(
      'This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n',
    ),
  );
  assert.ok(example.ok);
  const verified = verifyNote(example.value, [key]);
  assert.ok(verified.ok);
  assert.deepEqual(verified.value, [{ key, timeS: undefined }]);
  assert.ok(!verifyNote({ ...example.value, text: 'This is another message.\n' }, [key]).ok);
});

test('the signed checkpoint of tessera verifies', () => {
  const key = keyOf('example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx');
  const bytes = Buffer.from(
    'example.com/log/testdata\n15\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n\n— example.com/log/testdata M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=\n',
  );
  const opened = openCheckpoint(bytes, 'example.com/log/testdata', [key]);
  assert.ok(opened.ok);
  assert.equal(opened.value.size, 15);
});

test('the keys made from the seeds are the published ones', () => {
  const [signsEd25519, signsMlDsa] = logSigners();
  assert.equal(signsEd25519.vkey, ed25519.vkey);
  assert.equal(
    signsEd25519.vkey,
    'kms.example/audit/1+158384ae+AeoumZadjTzkuXNPam2WEFQpUF0u7PMRHirob7wobpEG',
  );
  assert.equal(signsMlDsa.vkey, mlDsa.vkey);
  assert.equal(mlDsa.id, 'b873f28d');
  assert.equal(mlDsa.vkey.length, 1781);
  assert.equal(witness.type, signatureTypes.ed25519Cosignature);
});

test('a checkpoint of the log and a witness opens with all three keys, with their times', () => {
  const opened = openCheckpoint(note, testOrigin, testKeys);
  assert.ok(opened.ok);
  assert.equal(opened.value.size, 70_000);
  assert.deepEqual(Buffer.from(opened.value.root), root);
  assert.deepEqual(
    opened.value.verifiedBy.map(({ key, timeS }) => [key.id, timeS]),
    [
      ['158384ae', undefined],
      ['b873f28d', timeS],
      ['8a3e8e46', timeS],
    ],
  );
});

test('the signed messages are those of the specification to the byte', () => {
  const text = formatCheckpoint(checkpoint);
  assert.equal(text, `${testOrigin}\n70000\nGkzfy2Y3SgwNy+9JrL1JdtE+6GT7PLJB/JQ8rQTwL34=\n`);
  assert.equal(
    Buffer.from(ed25519CosignatureMessage(text, timeS)).toString(),
    `cosignature/v1\ntime 1763769600\n${text}`,
  );
  const vector = JSON.parse(Buffer.from(vectorFile('mldsa44.json')).toString());
  const message = Buffer.from(mlDsaCosignatureMessage(testOrigin, timeS, checkpoint));
  assert.equal(message.toString('hex'), vector.message);
  assert.equal(message.length, 108);
  assert.ok(mlDsa.verify(message, Buffer.from(vector.deterministicSignature, 'hex')));
  assert.equal(checkpointMessage(mlDsa, text, 0), undefined);
});

test('signing gives the published Ed25519 lines, and notes that open', async () => {
  const signed = Buffer.from(await signCheckpoint(checkpoint, logSigners(), timeS)).toString();
  const [ours, theirs] = [signed, Buffer.from(note).toString()].map((whole) => whole.split('\n'));
  assert.deepEqual(ours!.slice(0, 5), theirs!.slice(0, 5));
  assert.ok(openCheckpoint(Buffer.from(signed), testOrigin, [ed25519, mlDsa]).ok);
  const cosigner = signerFromSeed(
    'witness.example/w1',
    signatureTypes.ed25519Cosignature,
    Buffer.from('e266ea1fdd828ba05035617df4caeb5a04025b7b6e39b773aeb792c5041582c4', 'hex'),
  );
  assert.equal(
    await signCheckpointText(formatCheckpoint(checkpoint), cosigner, timeS),
    '— witness.example/w1 ij6ORgAAAABpIP0AnHBxpQyJkvtF1mwC2DLabN9XvikLXgi6beh4iLkoLWwD34MKcpstBXhJ61TgxaRFJ+k3Ck2MoIWyf+pPNXaBBQ==\n',
  );
});

test('a checkpoint without a signature type that is configured does not open', () => {
  assert.ok(openCheckpoint(without(note, 2), testOrigin, [ed25519, mlDsa]).ok);
  assert.ok(!openCheckpoint(without(note, 1), testOrigin, [ed25519, mlDsa]).ok);
  assert.ok(!openCheckpoint(without(note, 0), testOrigin, [ed25519, mlDsa]).ok);
  assert.ok(openCheckpoint(without(note, 0), testOrigin, [mlDsa]).ok);
  assert.ok(!openCheckpoint(note, testOrigin, []).ok);
});

test('while a key is replaced, one key of each type is enough', async () => {
  const next = signerFromSeed(testOrigin, signatureTypes.ed25519, seedOf('next'));
  const keys = [ed25519, keyOf(next.vkey), mlDsa];
  const [first, second] = logSigners();
  for (const signers of [
    [first, second],
    [first, next, second],
    [next, second],
  ]) {
    assert.ok(openCheckpoint(await signCheckpoint(checkpoint, signers, timeS), testOrigin, keys).ok);
  }
  assert.ok(!openCheckpoint(await signCheckpoint(checkpoint, [first, next], timeS), testOrigin, keys).ok);
});

test('a wrong signature by a known key refuses the whole note; by an unknown one it is passed over', () => {
  const wrongWitness = edit(note, 'ij6ORgAAAABpIP0AnHBxpQ', 'ij6ORgAAAABpIP0AnHBxpA');
  assert.ok(openCheckpoint(wrongWitness, testOrigin, [ed25519, mlDsa]).ok);
  assert.ok(!openCheckpoint(wrongWitness, testOrigin, testKeys).ok);
  const wrongTime = edit(note, 'ij6ORgAAAABpIP0A', 'ij6ORgAAAABpIP0B');
  assert.ok(!openCheckpoint(wrongTime, testOrigin, testKeys).ok);
  for (const changed of [
    edit(note, '\n70000\n', '\n70001\n'),
    edit(note, 'Gkzfy2Y3', 'Gkzfy2Y4'),
    edit(note, 'FYOErqNm2vsJ', 'FYOErqNm2vsK'),
  ]) {
    assert.ok(!openCheckpoint(changed, testOrigin, [ed25519]).ok);
  }
  const short = Buffer.from(signatureLine(ed25519, new Uint8Array(63)));
  assert.ok(openCheckpoint(Buffer.concat([note, short]), testOrigin, [ed25519]).ok, 'the first one counts');
  assert.ok(!openCheckpoint(Buffer.concat([without(note, 0), short]), testOrigin, [ed25519, mlDsa]).ok);
});

test('a checkpoint of another log does not open, even under the same keys', async () => {
  assert.ok(!openCheckpoint(note, 'kms.example/audit/2', testKeys).ok);
  const other = await signCheckpoint({ ...checkpoint, origin: 'kms.example/audit/2' }, logSigners(), timeS);
  assert.ok(!openCheckpoint(other, testOrigin, testKeys).ok);
});

test('malformed notes are refused', () => {
  const text = Buffer.from(note).toString();
  const line = text.slice(text.indexOf('—'));
  for (const malformed of [
    '',
    'text\n',
    'text\n\n',
    text.slice(0, -1),
    text.replace('—', '-'),
    text.replace('— kms', '—  kms'),
    text.replace('\n\n', '\n'),
    text.replace('audit', 'au\tdit'),
    text.replace('audit', 'au\rdit'),
    text.replace('FYOE', 'FY-E'),
    `${text}\n`,
    `text\n\n${line.repeat(101)}`,
    'text\n\n— name AAAA\n',
    'text\n\n— na+me AAAAAAA=\n',
  ]) {
    assert.ok(!parseNote(Buffer.from(malformed)).ok, JSON.stringify(malformed.slice(0, 80)));
  }
  assert.ok(!parseNote(Buffer.concat([Buffer.from([0xff]), note])).ok);
  assert.ok(!parseNote(Buffer.alloc(1_000_001, 'a')).ok);
  assert.ok(parseNote(Buffer.from(`one\n\ntwo\n\n${line}`)).ok, 'the last blank line is the one that splits');
});

test('malformed checkpoints are refused', () => {
  const body = (origin: string, size: string, text = root.toString('base64')) =>
    `${origin}\n${size}\n${text}\n`;
  assert.ok(parseCheckpoint(body('log', '1')).ok);
  assert.ok(parseCheckpoint(`${body('log', '1')}extension\n`).ok);
  for (const malformed of [
    body('', '1'),
    body('lo g', '1'),
    body('log', '01'),
    body('log', '-1'),
    body('log', '1.0'),
    body('log', '1e3'),
    body('log', ''),
    body('log', '9007199254740992'),
    body('log', '99999999999999999999'),
    body('log', '1', root.subarray(1).toString('base64')),
    body('log', '1', root.toString('base64').slice(0, -1)),
    body('log', '0'),
    'log\n1\n',
  ]) {
    assert.ok(!parseCheckpoint(malformed).ok, malformed);
  }
  assert.ok(parseCheckpoint(body('log', '0', Buffer.from(emptyRoot).toString('base64'))).ok);
  assert.ok(parseCheckpoint(body('log', '9007199254740991')).ok);
});

test('verifier keys with a wrong name, id, length or type are refused', () => {
  const [, id, encoded] = ed25519.vkey.split('+') as [string, string, string];
  assert.ok(parseVkey(ed25519.vkey).ok);
  for (const wrong of [
    '',
    `kms.example/audit/2+${id}+${encoded}`,
    `kms.example/audit/1+158384af+${encoded}`,
    `kms.example/audit/1+${id}+${encoded.slice(0, -4)}`,
    `kms.example/audit/1+${id}+!${encoded.slice(1)}`,
    `kms.example/audit/1+${id}+${encoded.replace('Aeo', 'Auo')}`,
    `${ed25519.vkey}\n`,
    `+${id}+${encoded}`,
  ]) {
    assert.ok(!parseVkey(wrong).ok, wrong);
  }
  assert.throws(() => noteKey('a name', signatureTypes.ed25519, new Uint8Array(32)), RangeError);
  assert.throws(() => noteKey('name', signatureTypes.mlDsa44, new Uint8Array(32)), RangeError);
  assert.ok(
    isKeyName('x'.repeat(255)) && !isKeyName('x'.repeat(256)) && !isKeyName('\u00a0') && !isKeyName('\ud800'),
  );
});

test('a key that is no point on the curve verifies nothing and throws nothing', () => {
  const key = noteKey('name', signatureTypes.ed25519, Buffer.alloc(32, 0xff));
  assert.equal(key.verify(Buffer.from('text'), Buffer.alloc(64, 1)), false);
});
