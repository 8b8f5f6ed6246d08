import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { dekConfig, startDekService } from '../../support/serve-dek.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

const run = promisify(execFile);
const own = process.geteuid?.() ?? 0;
/** Root can be anybody. Somebody else is one user only, whose role is `encrypt`. */
const users =
  own === 0
    ? { encrypt: 60_001, decrypt: 60_002, admin: 60_003, stranger: 60_004 }
    : ({ encrypt: own } as Partial<Record<'encrypt' | 'decrypt' | 'admin' | 'stranger', number>>);

/** Paths, with bodies where it is POST, and the roles that may; everybody else is 403, and a stranger 401. */
const calls: readonly (readonly [string, unknown, readonly string[]])[] = [
  ['/create_dek_for_thread', { thread_id: 't' }, ['encrypt', 'admin']],
  ['/deks', {}, ['encrypt', 'admin']],
  ['/deks', undefined, ['encrypt', 'decrypt', 'admin']],
  ['/get_wrapped?key_id=none', undefined, ['encrypt', 'decrypt', 'admin']],
  ['/encrypt', { key_id: 'none', plaintext: '' }, ['encrypt']],
  ['/decrypt', { key_id: 'none', ciphertext: '' }, ['decrypt']],
  ['/wrap', { plaintext: '' }, ['encrypt']],
  ['/unwrap', { wrapped: 'AQEAAAAA' }, ['decrypt']],
  ['/rewrap', { key_id: 'none' }, ['admin']],
  ['/rotate_dek', { key_id: 'none' }, ['admin']],
  ['/destroy_dek', { key_id: 'none' }, ['admin']],
  ['/rotate_kek', {}, ['admin']],
  ['/keks', undefined, ['encrypt', 'decrypt', 'admin']],
];

/** Asks one call after the other, and prints their statuses. Text, as another user may not read this checkout. */
const client = `
const [socketPath, calls] = JSON.parse(process.argv[1]);
const ask = ([path, body]) => new Promise((resolve, reject) => {
  const method = body === undefined || body === null ? 'GET' : 'POST';
  const sent = require('node:http').request({ socketPath, path, method, agent: false }, (answer) => {
    answer.resume().on('end', () => resolve(answer.statusCode));
  });
  sent.on('error', reject).end(method === 'GET' ? undefined : JSON.stringify(body));
});
(async () => {
  const statuses = [];
  for (const call of calls) statuses.push(await ask(call));
  process.stdout.write(JSON.stringify(statuses));
})();`;

test('each role against each call, by users whom the kernel names; who may not is on both logs', async (t) => {
  const directory = temporaryDirectory(t);
  const { stranger, ...named } = users;
  const allowed = Object.entries(named).map(([role, uid]) => ({ uid, roles: [role] }));
  const config = dekConfig(directory, 'dek.yaml', { allowed_uids: allowed });
  // An operator may let others in: what they may do is not for the permissions to say.
  const kms = await startDekService(directory, config, {}, undefined, ['--socket-mode', '0666']);
  for (const path of [directory, dirname(kms.socket)]) chmodSync(path, 0o711);
  assert.equal(statSync(kms.socket).mode & 0o777, 0o666);
  const statusesOf = async (uid: number) => {
    const args = ['-e', client, JSON.stringify([kms.socket, calls])];
    const { stdout } = await run(process.execPath, args, {
      cwd: '/',
      ...(own === 0 ? { uid, gid: uid } : {}),
    });
    return JSON.parse(stdout) as number[];
  };
  for (const [role, uid] of Object.entries(users)) {
    const statuses = await statusesOf(uid);
    for (const [index, [path, , roles]] of calls.entries()) {
      const status = statuses[index] as number;
      const may = roles.includes(role);
      const told = `${role} ${path} ${status}`;
      if (role === 'stranger') assert.equal(status, 401, told);
      else if (may) assert.ok(status < 500 && status !== 401 && status !== 403, told);
      else assert.equal(status, 403, told);
    }
  }
  // Root, too, is nobody here.
  if (own === 0) assert.equal((await kms.ask('/keks')).status, 401);
  assert.equal((await kms.ask('/healthz')).status, 200);
  // Without a list everybody might do everything: a reload does not come to that either.
  dekConfig(directory, 'dek.yaml');
  process.kill(kms.process.pid, 'SIGHUP');
  await kms.process.logged((line) => /NOT TAKEN/.test(line) && /--socket-mode 0666/.test(line));
  await kms.process.stop();
  const lines = readFileSync(join(directory, 'data', 'kms-audit.log'), 'utf8')
    .trimEnd()
    .split('\n');
  const denied = lines
    .map((line) => JSON.parse(line).record)
    .filter(({ result }) => /^denied:/.test(result))
    .map(({ actor, purpose }) => `${actor} ${purpose}`);
  const expected = [
    ...(stranger === undefined ? [] : [`uid:${stranger} dek_decrypt`, `uid:${stranger} kek_list`]),
    `uid:${users.encrypt} dek_decrypt`,
    `uid:${users.encrypt} kek_rotate`,
  ];
  for (const each of expected) assert.ok(denied.includes(each), `${each}\n${denied.join('\n')}`);
  const strangers = denied.filter((each) => each.startsWith(`uid:${stranger} `));
  assert.equal(strangers.length, stranger === undefined ? 0 : calls.length);
});
