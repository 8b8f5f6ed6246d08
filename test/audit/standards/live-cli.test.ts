import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { systemFiles } from '../../../src/audit/disk/files.ts';
import { intaglio } from '../../cli/intaglio.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';
import { appendMany, machine, origin, startLog } from '../support/log.ts';
import { seededSigner } from '../support/signers.ts';

async function liveLog(context: TestContext, records: number) {
  const directory = temporaryDirectory(context);
  const { log } = await startLog(machine(systemFiles), { directory });
  await appendMany(log, records);
  const keys = join(directory, 'keys');
  const signers = [seededSigner('ed25519', origin), seededSigner('mlDsa44', origin)];
  writeFileSync(keys, signers.map(({ vkey }) => `${vkey}\n`).join(''));
  return { directory, audit: join(directory, 'audit'), keys, log };
}

test('the commands read the directory of a service, and an export of it is the same log', async (context) => {
  const { directory, audit, keys, log } = await liveLog(context, 700);
  await log.close();
  const verify = async (what: string) => {
    const outcome = await intaglio(['audit', 'verify', what, '--keys', keys, '--json']);
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    const { seconds: _, ...facts } = JSON.parse(outcome.stdout);
    return facts;
  };
  const facts = await verify(audit);
  assert.deepEqual([facts.origin, facts.size, facts.records], [origin, 702, 702]);
  const exported = join(directory, 'export');
  assert.equal((await intaglio(['audit', 'export', join(audit, 'e1'), exported])).status, 0);
  assert.deepEqual(await verify(exported), facts);

  const [proof, entry] = [join(directory, 'proof'), join(directory, 'entry')];
  const prove = ['audit', 'prove', audit, '--index', '512', '--out', proof, '--entry', entry];
  assert.equal((await intaglio(prove)).status, 0);
  assert.equal(
    (await intaglio(['audit', 'verify', '--keys', keys, '--proof', proof, '--entry', entry])).status,
    0,
  );
  const newest = await intaglio(['audit', 'tail', audit, '-n', '1']);
  assert.equal(JSON.parse(newest.stdout).type, 'shutdown');
  assert.equal((await intaglio(['audit', 'scrub', audit])).status, 0);
  assert.equal((await intaglio(['audit', 'scrub', exported])).status, 1);
});

test('a bit that changed in the directory of a service is found', async (context) => {
  const { audit, keys, log } = await liveLog(context, 300);
  await log.close();
  const wal = join(audit, 'e1', 'wal', `${'0'.repeat(20)}.wal`);
  const bytes = readFileSync(wal);
  bytes[Math.floor(bytes.length / 2)]! ^= 4;
  writeFileSync(wal, bytes);
  assert.equal((await intaglio(['audit', 'verify', audit, '--keys', keys])).status, 2);
});

test('verify and export of a damaged write-ahead file say so in a line, with status 2', async (context) => {
  const { audit, keys, log } = await liveLog(context, 3_000);
  await log.close();
  const wal = join(audit, 'e1', 'wal', `${'0'.repeat(20)}.wal`);
  const bytes = readFileSync(wal);
  bytes[Math.floor(bytes.length / 2)]! ^= 1;
  writeFileSync(wal, bytes);
  const verified = await intaglio(['audit', 'verify', audit, '--keys', keys]);
  assert.equal(verified.status, 2, verified.stderr);
  assert.match(verified.stdout, /NOT VERIFIED/);
  const exported = await intaglio(['audit', 'export', audit, join(temporaryDirectory(context), 'out')]);
  assert.equal(exported.status, 2, exported.stderr);
  assert.match(exported.stderr, /has no tile\/.*, or not all of it/);
  for (const { stderr } of [verified, exported]) assert.doesNotMatch(stderr, /RangeError|\n +at /);
});

test('keys of one type are refused without --allow-single; the JSON of the service is taken as it is', async (context) => {
  const { directory, audit, keys, log } = await liveLog(context, 20);
  await log.close();
  const vkeys = readFileSync(keys, 'utf8').trim().split('\n');
  const verify = (text: string, ...options: string[]) => {
    const file = join(directory, 'given');
    writeFileSync(file, text);
    return intaglio(['audit', 'verify', audit, '--keys', file, ...options]);
  };
  for (const vkey of vkeys) {
    const refused = await verify(vkey);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /--allow-single/);
    assert.doesNotMatch(refused.stdout, /verified/);
    const allowed = await verify(vkey, '--allow-single');
    assert.equal(allowed.status, 0, allowed.stderr);
    assert.match(allowed.stderr, /warning: .* only/);
  }
  const both = await verify(JSON.stringify({ vkeys }));
  assert.deepEqual([both.status, both.stderr], [0, '']);
  const overlapping = {
    vkeys: [vkeys[0]],
    replaced: { vkeys: vkeys.slice(1), until: '2027-01-01T00:00:00Z' },
  };
  assert.equal((await verify(JSON.stringify(overlapping))).status, 0);
  for (const text of ['{', '{}', '{"vkeys":[1]}', '{"vkeys":"x"}', '{"vkeys":[]}']) {
    const refused = await verify(text);
    assert.equal(refused.status, 1, text);
    assert.equal(refused.stderr.trimEnd().split('\n').length, 1, refused.stderr);
  }
});

test('a log that is being written verifies up to its checkpoint', async (context) => {
  const { audit, keys, log } = await liveLog(context, 300);
  let writing = true;
  const writer = (async () => {
    while (writing) await appendMany(log, 16);
  })();
  const outcome = await intaglio(['audit', 'verify', audit, '--keys', keys]);
  writing = false;
  await writer;
  await log.close();
  assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
});

test('audit accept asks the service: the first approver, the second one, and who looks what is pending', async (context) => {
  const asked: { method: string | undefined; authorization: string | undefined; body: string }[] = [];
  let status = 202;
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    assert.equal(request.url, '/v1/kms/audit/accept');
    asked.push({ method: request.method, authorization: request.headers.authorization, body });
    response.writeHead(status).end('{"state":"pending"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => server.close());
  const token = join(temporaryDirectory(context), 'token');
  writeFileSync(token, 'capability\n');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const accept = (...options: string[]) =>
    intaglio(['audit', 'accept', ...options, '--url', url, '--token-file', token]);
  assert.equal((await accept()).status, 1);
  assert.equal((await accept('--reason', 'disk', '--approval', '0123456789abcdef')).status, 1);
  assert.equal(asked.length, 0);

  const first = await accept('--reason', 'disk');
  assert.deepEqual([first.status, first.stdout], [0, '{"state":"pending"}\n']);
  assert.match(first.stderr, /nothing is accepted yet/);
  status = 200;
  const second = await accept('--approval', '0123456789abcdef');
  assert.deepEqual([second.status, second.stderr], [0, '']);
  assert.equal((await accept('--pending')).status, 0);
  const authorization = 'Bearer capability';
  assert.deepEqual(asked, [
    { method: 'POST', authorization, body: '{"reason":"disk"}' },
    { method: 'POST', authorization, body: '{"approval":"0123456789abcdef"}' },
    { method: 'GET', authorization, body: '' },
  ]);
  status = 409;
  assert.equal((await accept('--approval', '0123456789abcdef')).status, 1);
});
