import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { mintToken } from '../../src/auth/macaroon/mint.ts';
import { bearing } from '../support/credentials.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const run = promisify(execFile);
const interop = join(import.meta.dirname, 'interop');
const rootKey = new Uint8Array(32).fill(7);

function minted(): string {
  const token = mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign', 'kms:verify'] });
  assert.ok(token.ok);
  return token.value;
}

/** A capability that another library has narrowed to verification is taken as such, and one that it forged is not. */
function assertNarrowed(narrowed: string): void {
  const authenticator = createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: 0 });
  const caller = authenticator.authenticate(bearing(narrowed), { utcMs: Date.now() });
  assert.ok(caller.ok, 'the capability is taken');
  assert.deepEqual([caller.value.tenant, [...caller.value.scopes]], ['acme', ['kms:verify']]);
  const other = createMacaroonAuthenticator({ rootKey: new Uint8Array(32), timeSkewToleranceMs: 0 });
  assert.equal(other.authenticate(bearing(narrowed), { utcMs: Date.now() }).ok, false);
}

const has = (program: string, ...args: string[]) => spawnSync(program, args).status === 0;

test('a capability that pymacaroons 0.13 has narrowed is taken', {
  skip: !has('python3', '-c', 'import venv, ensurepip') && 'no python3 with venv here',
  timeout: 120_000,
}, async (context) => {
  const directory = temporaryDirectory(context);
  await run('python3', ['-m', 'venv', directory]);
  const python = join(directory, 'bin', 'python');
  await run(python, ['-m', 'pip', 'install', '--quiet', 'pymacaroons==0.13.0']);
  const { stdout } = await run(python, [join(interop, 'narrow.py'), minted(), 'scope = kms:verify']);
  assertNarrowed(stdout.trim());
});

test('a capability that gopkg.in/macaroon.v2 has narrowed is taken', {
  skip: !has('go', 'version') && 'no go here',
  timeout: 120_000,
}, async () => {
  const { stdout } = await run('go', ['run', '.', minted(), 'scope = kms:verify'], {
    cwd: join(interop, 'go'),
  });
  assertNarrowed(stdout.trim());
});

test('only an empty location is passed over, in its place and once', () => {
  const authenticator = createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: 0 });
  const binary = Buffer.from(minted(), 'base64url');
  const takes = (inserted: number[], at = 1) => {
    const token = Buffer.concat([binary.subarray(0, at), Buffer.from(inserted), binary.subarray(at)]);
    return authenticator.authenticate(bearing(token.toString('base64url')), { utcMs: Date.now() }).ok;
  };
  assert.equal(takes([]), true);
  assert.equal(takes([1, 0]), true);
  assert.equal(takes([1, 0, 1, 0]), false);
  assert.equal(takes([1, 1, 0x61]), false);
  assert.equal(takes([1, 0], 0), false);
  assert.equal(takes([1, 0], 19), false);
});
