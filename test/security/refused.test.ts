import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { dekConfig } from '../support/serve-dek.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { dumpableMemory } from './memory.ts';
import { createFinder, type Mark, pieces } from './secrets.ts';

const child = join(import.meta.dirname, 'refused-child.ts');

test('a command that refuses has wiped what it had read by then: imported DEKs, master keys, shares of a root key', async (t) => {
  const directory = temporaryDirectory(t);
  const marks: Mark[] = [];
  const secret = (what: string, bytes: number) => {
    const made = randomBytes(bytes);
    marks.push(...pieces(what, made), ...pieces(`${what} in hex`, Buffer.from(made.toString('hex'))));
    return made;
  };
  const file = (name: string, content: string | Buffer) => {
    const path = join(directory, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const config = (name: string, members: object) =>
    dekConfig(directory, name, {
      master_key_hex: secret(`the key of ${name}`, 32).toString('hex'),
      ...members,
    });

  const oldKek = randomBytes(32);
  const wrap = (dek: Buffer) => {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', oldKek, nonce);
    return Buffer.concat([nonce, cipher.update(dek), cipher.final(), cipher.getAuthTag()]).toString('base64');
  };
  const line = (key_id: string) => JSON.stringify({ key_id, wrapped: wrap(secret(`DEK ${key_id}`, 32)) });
  const surplus = config('surplus.yaml', { surplus: 1 });
  const common = { oldKekFile: file('old.kek', oldKek), dataDir: join(directory, 'data') };
  const uids = [1, 1].map((uid) => ({ uid, roles: ['encrypt'] }));
  const acts = [
    ['import', { ...common, in: file('wrong.jsonl', `${line('k1')}\n${line('k2')}\n{"key_id":"x"}`) }],
    ['import', { ...common, in: file('right.jsonl', line('k3')), config: surplus }],
    ['config', surplus],
    ['config', config('uids.yaml', { allowed_uids: uids })],
    ['config', config('twice.yaml', { master_key_file: 'x' })],
    ['keyFile', file('half.kek', `${secret('a key file', 31).toString('hex')}xx`)],
    ['reseal', { oldConfig: config('old.yaml', {}), config: surplus, dataDir: common.dataDir }],
    ['join', [file('one.share', secret('a share', 33)), join(directory, 'missing.share')]],
  ];
  const kept = file('control', secret('control', 32));
  const refusing = spawn(process.execPath, [child, JSON.stringify(acts), kept], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => refusing.kill('SIGKILL'));
  assert.equal(String(await once(refusing.stdout, 'data')), 'refused\n');
  const find = createFinder(marks);
  const found = new Set<string>();
  for (const part of dumpableMemory(refusing.pid as number)) for (const what of find(part)) found.add(what);
  assert.deepEqual([...found], ['control']);
  refusing.stdin.end();
  assert.deepEqual(await once(refusing, 'exit'), [0, null]);
});
