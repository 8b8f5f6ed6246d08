import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { promisify } from 'node:util';
import library from 'macaroon';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { dischargeKey } from '../../src/auth/macaroon/dual-control.ts';
import { macaroonKeyOf } from '../../src/auth/macaroon/key.ts';
import { mintToken } from '../../src/auth/macaroon/mint.ts';
import { makeDischarge } from '../../src/auth/macaroon/third-party.ts';
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

/** In the words of pip and of go: no connection, no name, no answer, or a registry that the settings switch off. */
const unreachable =
  /connection broken by|dial tcp|no such host|i\/o timeout|connection refused|proxyconnect|handshake timeout|Client\.Timeout|lookup disabled by GOPROXY=off/i;

/** Fetches from a registry. False where that is not to be reached, and the test is skipped; what else fails, fails. */
async function fetched(context: TestContext, registry: string, fetching: Promise<unknown>): Promise<boolean> {
  try {
    await fetching;
    return true;
  } catch (error) {
    const line = /.*/.exec((error as { stderr?: string }).stderr ?? '')?.[0];
    if (!unreachable.test((error as { stderr?: string }).stderr ?? '')) throw error;
    context.skip(`${registry} is not to be reached: ${line}`);
    return false;
  }
}

/** Third-party caveats of this library, and ours that it discharges or binds. */
async function assertThirdParty(thirdParty: (...args: string[]) => Promise<string>): Promise<void> {
  const key = randomBytes(32).toString('hex');
  const asking = await thirdParty('add', minted(), key, 'who is it?');
  const discharge = await thirdParty('discharge', asking, key, 'who is it?', 'scope = kms:verify');
  const authenticator = createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: 0 });
  const taken = (token: string, discharges?: string) =>
    authenticator.authenticate({ ...bearing(token), discharges }, { utcMs: Date.now() });
  const caller = taken(asking, discharge);
  assert.ok(caller.ok, 'the discharge is taken');
  assert.deepEqual([...caller.value.scopes], ['kms:verify'], 'its caveats count');
  assert.equal(taken(asking).ok, false);
  const otherKey = randomBytes(32).toString('hex');
  const forged = await thirdParty('discharge', asking, otherKey, 'who is it?', 'scope = kms:verify');
  assert.equal(taken(asking, forged).ok, false);

  const dual = mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign'], dualControl: true });
  assert.ok(dual.ok);
  const [id] = library.importMacaroon(Buffer.from(dual.value, 'base64url')).caveats.slice(-1);
  assert.ok(id?.vid);
  const secret = dischargeKey(macaroonKeyOf(rootKey), id.identifier);
  const ours = makeDischarge(secret, id.identifier, ['operation = sign']);
  assert.ok(
    taken(dual.value, await thirdParty('bind', dual.value, ours, '-')).ok,
    'our discharge, which it bound',
  );
  assert.equal(taken(dual.value, ours).ok, false);
}

test('pymacaroons 0.13 narrows a capability, adds third-party caveats, and makes and binds discharges', {
  skip: !has('python3', '-c', 'import venv, ensurepip') && 'no python3 with venv here',
  timeout: 240_000,
}, async (context) => {
  const directory = temporaryDirectory(context);
  await run('python3', ['-m', 'venv', directory]);
  const python = join(directory, 'bin', 'python');
  const install = ['-m', 'pip', 'install', '--quiet', '--retries', '1', 'pymacaroons==0.13.0'];
  if (!(await fetched(context, "pip's registry", run(python, install)))) return;
  const script = async (name: string, ...args: string[]) =>
    (await run(python, [join(interop, name), ...args])).stdout.trim();
  assertNarrowed(await script('narrow.py', minted(), 'scope = kms:verify'));
  await assertThirdParty((...args) => script('third_party.py', ...args));
});

test('gopkg.in/macaroon.v2 narrows a capability, adds third-party caveats, and makes and binds discharges', {
  skip: !has('go', 'version') && 'no go here',
  timeout: 240_000,
}, async (context) => {
  const cwd = join(interop, 'go');
  if (!(await fetched(context, "go's module proxy", run('go', ['mod', 'download'], { cwd })))) return;
  const program = async (name: string, ...args: string[]) =>
    (await run('go', ['run', name, ...args], { cwd })).stdout.trim();
  assertNarrowed(await program('.', minted(), 'scope = kms:verify'));
  await assertThirdParty((...args) => program('./third-party', ...args));
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
