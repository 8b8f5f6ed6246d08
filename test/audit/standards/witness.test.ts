import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { openCheckpoint, signCheckpoint } from '../../../src/audit/format/checkpoint.ts';
import { consistencyProof } from '../../../src/audit/format/merkle.ts';
import { signatureTypes } from '../../../src/audit/format/note.ts';
import {
  formatAddCheckpoint,
  originHash,
  parseAddCheckpoint,
} from '../../../src/audit/witness/add-checkpoint.ts';
import { submitCheckpoint, witnessedCheckpoint } from '../../../src/audit/witness/ask-witnesses.ts';
import { Cosigner } from '../../../src/audit/witness/cosigner.ts';
import { newSkey, parseSkey } from '../../../src/audit/witness/keys.ts';
import { type PolicyWitness, parsePolicy, thresholdPolicy } from '../../../src/audit/witness/policy.ts';
import { fileStore } from '../../../src/audit/witness/state.ts';
import { Witness } from '../../../src/audit/witness/witness.ts';
import { witnessServer } from '../../../src/audit/witness/witness-server.ts';
import { logSigners } from '../../support/audit-notes.ts';
import { decimals, MemoryTree } from '../../support/audit-trees.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';
import { keyOf, testKeys, testOrigin, vectorFile } from './vectors.ts';

const [ed25519, mlDsa] = testKeys;
const signers = logSigners();
const timeoutMs = 5_000;

async function listening(context: TestContext, server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function witnessKey(name: string, type = signatureTypes.ed25519Cosignature as 0x04 | 0x06) {
  const key = parseSkey(newSkey(name, type));
  assert.ok(key.ok);
  return key.value;
}

type Key = ReturnType<typeof witnessKey>;

async function startWitness(
  context: TestContext,
  keys: readonly Key[],
  directory = temporaryDirectory(context),
): Promise<{ witness: PolicyWitness; directory: string; errors: unknown[] }> {
  const errors: unknown[] = [];
  const core = new Witness({
    signers: keys.map(({ signer }) => signer),
    logs: new Map([[testOrigin, [ed25519, mlDsa]]]),
    store: fileStore(
      directory,
      keys.map(({ key }) => key),
    ),
    nowS: () => 1_763_769_601,
  });
  const url = await listening(
    context,
    witnessServer(core, (error) => errors.push(error)),
  );
  return { witness: { name: keys[0]!.key.name, key: keys[0]!.key, url }, directory, errors };
}

async function noteOf(tree: MemoryTree, size = tree.size): Promise<Uint8Array> {
  return signCheckpoint({ origin: testOrigin, size, root: tree.root(size) }, signers, 1_763_769_600);
}

function cosigner(
  tree: MemoryTree,
  witnesses: readonly PolicyWitness[],
  threshold: number,
  fail: 'open' | 'closed' = 'closed',
  wait = timeoutMs,
): Cosigner {
  const policy = thresholdPolicy(witnesses, threshold);
  assert.ok(policy.ok);
  return new Cosigner({
    policy: policy.value,
    fail,
    timeoutMs: wait,
    prove: (from, to) => ({ ok: true, value: consistencyProof(from, to, tree.node) }),
  });
}

async function cosign(cosigner: Cosigner, tree: MemoryTree, size = tree.size) {
  return cosigner.cosign(await noteOf(tree, size), { origin: testOrigin, size, root: tree.root(size) });
}

test('the published request reads, and is written the same', () => {
  const bytes = vectorFile('add-checkpoint-65537-70000.txt');
  const parsed = parseAddCheckpoint(bytes);
  assert.ok(parsed.ok);
  assert.deepEqual([parsed.value.old, parsed.value.proof.length], [65_537, 15]);
  assert.deepEqual(Buffer.from(formatAddCheckpoint(parsed.value)), Buffer.from(bytes));
  assert.equal(originHash(testOrigin), 'c0111b7a10314c0cfee973b7247095999c7ca3e50a89dc3f5f7fea3bc5b5425b');
  const text = Buffer.from(bytes).toString();
  for (const malformed of [
    '',
    text.slice(4),
    text.replace('old 6', 'old 06'),
    text.replace('old 65537', 'old 0'),
    text.replace('ewf+', 'ewf'),
    text.replace('ewf+MNdZ58m5lQNwiKlZW1qiTxl2/rx9d1B7gXL2kM8=\n', 'AAAA\n'),
  ]) {
    assert.ok(!parseAddCheckpoint(Buffer.from(malformed)).ok);
  }
});

test('a witness cosigns a tree as it grows, with Ed25519 and ML-DSA-44, and shows what it holds', async (context) => {
  const keys = [witnessKey('witness.example/a'), witnessKey('witness.example/a', signatureTypes.mlDsa44)];
  const { witness } = await startWitness(context, keys);
  const tree = new MemoryTree(decimals(300));
  const log = cosigner(tree, [witness], 1);
  assert.equal(await witnessedCheckpoint(witness, testOrigin, timeoutMs), 'none');
  for (const size of [100, 100, 257, 300]) {
    const outcome = await cosign(log, tree, size);
    assert.deepEqual([outcome.quorum, outcome.publish, outcome.cosignedBy], [true, true, [witness.name]]);
    assert.ok(openCheckpoint(outcome.note, testOrigin, [ed25519, mlDsa, keys[0]!.key]).ok);
  }
  const held = await witnessedCheckpoint(witness, testOrigin, timeoutMs);
  assert.ok(held !== undefined && held !== 'none');
  assert.deepEqual([held.size, Buffer.from(held.root)], [300, Buffer.from(tree.root())]);
  assert.ok(openCheckpoint(held.note, testOrigin, [ed25519, mlDsa, keys[0]!.key]).ok);
  assert.ok(
    openCheckpoint(held.note, testOrigin, [ed25519, keys[1]!.key]).ok,
    'the other key has signed too',
  );
});

test('a log that begins anew with the witness finds out where it stands', async (context) => {
  const { witness } = await startWitness(context, [witnessKey('w')]);
  const tree = new MemoryTree(decimals(50));
  assert.ok((await cosign(cosigner(tree, [witness], 1), tree, 20)).quorum);
  const outcome = await cosign(cosigner(tree, [witness], 1), tree, 50);
  assert.deepEqual([outcome.quorum, outcome.answers], [true, { w: 'cosigned' }]);
});

test('a log that went back is told that the witness is ahead; a log that forked is refused', async (context) => {
  const { witness } = await startWitness(context, [witnessKey('w')]);
  const tree = new MemoryTree(decimals(50));
  assert.ok((await cosign(cosigner(tree, [witness], 1), tree)).quorum);
  const older = await cosign(cosigner(tree, [witness], 1, 'open'), tree, 40);
  assert.deepEqual(older.ahead, { witness: 'w', size: 50 });
  assert.deepEqual([older.quorum, older.publish], [false, true]);
  const fork = new MemoryTree(decimals(49));
  for (let extra = 0; extra < 20; extra++) fork.append(Buffer.from('forked'));
  const forked = await cosign(cosigner(fork, [witness], 1), fork);
  assert.deepEqual([forked.quorum, forked.publish, forked.answers], [false, false, { w: 'refused' }]);
  const sameSize = await cosign(cosigner(fork, [witness], 1), fork, 50);
  assert.deepEqual(sameSize.answers, { w: 'refused' });
  const { checkpoints, quorum } = await cosigner(tree, [witness], 1).held(testOrigin);
  const [held] = checkpoints;
  assert.ok(quorum);
  assert.equal(held?.size, 50);
});

test('the witness remembers over restarts, and refuses to sign on top of a state that is not its own', async (context) => {
  const key = witnessKey('w');
  const first = await startWitness(context, [key]);
  const tree = new MemoryTree(decimals(50));
  await cosign(cosigner(tree, [first.witness], 1), tree, 30);
  const second = await startWitness(context, [key], first.directory);
  const forked = new MemoryTree([...decimals(29), ...decimals(20)]);
  assert.ok(!(await cosign(cosigner(forked, [second.witness], 1), forked)).quorum);
  assert.ok((await cosign(cosigner(tree, [second.witness], 1), tree)).quorum);

  const file = join(first.directory, originHash(testOrigin), 'checkpoint');
  const whole = readFileSync(file, 'utf8');
  for (const damaged of [
    whole.replace('\n50\n', '\n30\n'),
    '',
    whole.slice(0, whole.lastIndexOf('\u2014')),
  ]) {
    writeFileSync(file, damaged);
    const outcome = await cosign(cosigner(tree, [second.witness], 1), tree);
    assert.deepEqual(outcome.answers, { w: 'refused' });
  }
  assert.ok(second.errors.length >= 3);
});

test('status codes are those of the specification', async (context) => {
  const { witness } = await startWitness(context, [witnessKey('w')]);
  const tree = new MemoryTree(decimals(20));
  const post = async (body: Uint8Array) => {
    const response = await fetch(`${witness.url}/add-checkpoint`, {
      method: 'POST',
      body: Buffer.from(body),
    });
    return {
      status: response.status,
      type: response.headers.get('content-type'),
      text: await response.text(),
    };
  };
  const note = await noteOf(tree);
  const request = (old: number, proof: Uint8Array[], checkpoint = note) =>
    post(formatAddCheckpoint({ old, proof, checkpoint }));
  assert.equal((await post(Buffer.from('nonsense'))).status, 400);
  assert.equal((await post(Buffer.alloc(70_000))).status, 413);
  assert.equal((await request(21, [])).status, 400);
  const elsewhere = await signCheckpoint(
    { origin: 'elsewhere', size: 1, root: tree.root(1) },
    logSigners('elsewhere'),
    1,
  );
  assert.equal((await request(0, [], elsewhere)).status, 404);
  const oneSignature = await signCheckpoint(
    { origin: testOrigin, size: 20, root: tree.root() },
    [signers[0]],
    1,
  );
  assert.equal((await request(0, [], oneSignature)).status, 403);
  assert.deepEqual(await request(7, consistencyProof(7, 20, tree.node)), {
    status: 409,
    type: 'text/x.tlog.size',
    text: '0\n',
  });
  assert.equal((await request(0, [])).status, 200);
  assert.deepEqual((await request(0, [])).text, '20\n');
  const larger = new MemoryTree(decimals(30));
  const wrong = consistencyProof(20, 30, larger.node).reverse();
  assert.equal((await request(20, wrong, await noteOf(larger))).status, 422);
  assert.equal((await fetch(`${witness.url}/`)).status, 404);
  assert.equal((await fetch(`${witness.url}/${'0'.repeat(64)}/checkpoint`)).status, 404);
});

test('requests at the same time never take the witness back', async (context) => {
  const { witness } = await startWitness(context, [witnessKey('w')]);
  const tree = new MemoryTree(decimals(60));
  await cosign(cosigner(tree, [witness], 1), tree, 10);
  const answers = await Promise.all(
    [20, 30, 40, 50].map(async (size) =>
      submitCheckpoint(
        witness,
        { old: 10, proof: consistencyProof(10, size, tree.node), checkpoint: await noteOf(tree, size) },
        timeoutMs,
      ),
    ),
  );
  assert.equal(answers.filter(({ kind }) => kind === 'cosigned').length, 1);
  assert.equal(answers.filter(({ kind }) => kind === 'size').length, 3);
});

test('k of n: dead and lying witnesses do not count, and a slow one is not waited for', async (context) => {
  const good = await Promise.all(['a', 'b'].map((name) => startWitness(context, [witnessKey(name)])));
  const silent = await listening(
    context,
    createServer(() => undefined),
  );
  const lying = await listening(
    context,
    createServer((_, response) => response.end('\u2014 liar AAAAAAAAAAAAAAAA\n')),
  );
  const huge = await listening(
    context,
    createServer((_, response) => response.end(Buffer.alloc(200_000, 'a'))),
  );
  const witnesses = [
    ...good.map(({ witness }) => witness),
    { name: 'silent', key: witnessKey('silent').key, url: silent },
    { name: 'liar', key: witnessKey('liar').key, url: lying },
    { name: 'huge', key: witnessKey('huge').key, url: huge },
  ];
  const tree = new MemoryTree(decimals(20));
  const two = await cosign(cosigner(tree, witnesses, 2), tree);
  assert.deepEqual([two.quorum, [...two.cosignedBy].sort()], [true, ['a', 'b']]);
  const three = await cosign(cosigner(tree, witnesses, 3, 'closed', 300), tree);
  assert.deepEqual([three.quorum, three.publish], [false, false]);
  assert.deepEqual(three.answers, {
    a: 'cosigned',
    b: 'cosigned',
    silent: 'unreachable',
    liar: 'unreachable',
    huge: 'unreachable',
  });
  const open = await cosign(cosigner(tree, witnesses, 3, 'open', 300), tree);
  assert.deepEqual([open.quorum, open.publish], [false, true]);
  assert.ok((await cosign(cosigner(tree, [], 0), tree)).publish, 'no witness asked for, none missing');
});

test('policies: groups, thresholds, and every way to write one wrongly', () => {
  const key = (name: string) => witnessKey(name).key.vkey;
  const [x1, x2, x3, y1] = ['x1', 'x2', 'x3', 'y1'].map(key) as [string, string, string, string];
  const lines = [
    '# a comment',
    `log ${ed25519.vkey} https://kms.example/audit`,
    `witness X1 ${x1} https://x1.example/`,
    `\twitness  X2 ${x2}`,
    `witness X3 ${x3}`,
    `witness Y1 ${y1}`,
    'group X 2 X1 X2 X3',
    'group both all X Y1',
    'quorum both',
    '',
  ];
  const parsed = parsePolicy(lines.join('\n'));
  assert.ok(parsed.ok);
  const { policy } = parsed;
  assert.equal(policy.witnesses[0]?.url, 'https://x1.example');
  for (const [names, enough] of [
    [['X1', 'X2', 'Y1'], true],
    [['X1', 'X2', 'X3'], false],
    [['X1', 'Y1'], false],
    [[], false],
  ] as const) {
    assert.equal(policy.quorum(new Set(names)), enough);
  }
  const none = parsePolicy('quorum none');
  assert.ok(none.ok && none.policy.quorum(new Set()));
  const replaced = (from: string, to: string) => lines.join('\n').replace(from, to);
  for (const wrong of [
    '',
    replaced('quorum both', ''),
    replaced('quorum both', 'quorum both\nquorum X'),
    replaced('quorum both', 'quorum Z'),
    replaced('group X 2', 'group X 4'),
    replaced('group X 2', 'group X 0'),
    replaced('group X 2', 'group X two'),
    replaced('all X Y1', 'all X X1'),
    replaced('all X Y1', 'all X Z'),
    replaced('group X 2 X1 X2 X3', 'group X any'),
    replaced('witness X3', 'witness X1'),
    replaced('witness X3', 'witness none'),
    replaced(x3, x1.replace('x1', 'x3')),
    replaced(x3, x2),
    replaced(x3, ed25519.vkey),
    replaced(ed25519.vkey, x1),
    replaced('https://x1.example/', 'ftp://x1.example/'),
    replaced('# a comment', 'a comment'),
  ]) {
    assert.ok(!parsePolicy(wrong).ok, wrong);
  }
});

test('private keys of a witness: what is written reads back; the Go convention', () => {
  for (const type of [signatureTypes.ed25519Cosignature, signatureTypes.mlDsa44] as const) {
    const skey = newSkey('witness.example/w', type);
    const [first, second] = [parseSkey(skey), parseSkey(skey)];
    assert.ok(first.ok && second.ok);
    assert.equal(first.value.key.vkey, second.value.key.vkey);
    assert.equal(first.value.key.type, type);
    assert.ok(!parseSkey(skey.replace('example', 'elsewhere')).ok);
    assert.ok(!parseSkey(skey.slice(0, -4)).ok);
  }
  const go = parseSkey(
    'PRIVATE+KEY+example.com/log/testdata+33d7b496+AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg',
  );
  assert.ok(go.ok);
  const known = keyOf('example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx');
  assert.deepEqual(Buffer.from(go.value.key.publicKey), Buffer.from(known.publicKey));
});
