/**
 * Our client against a real Open Policy Agent, built from its Go module: `npm run policy:opa`. Needs Go and its module proxy;
 * the build takes two minutes the first time. `npm test` has a stand-in.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../../../src/core/clock.ts';
import { createOpaPolicy } from '../../../src/policy/opa.ts';
import type { PolicyQuestion } from '../../../src/policy/policy.ts';

const version = 'v1.22.4';
const say = (line: string) => process.stdout.write(`${line}\n`);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

const directory = mkdtempSync(join(tmpdir(), 'intaglio-opa-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

say(`building github.com/open-policy-agent/opa ${version} …`);
execFileSync('go', ['install', `github.com/open-policy-agent/opa@${version}`], {
  env: { ...process.env, GOBIN: directory, CGO_ENABLED: '0' },
  stdio: ['ignore', 'inherit', 'inherit'],
});

const port = await freePort();
const opa = spawn(
  join(directory, 'opa'),
  [
    'run',
    '--server',
    '--addr',
    `127.0.0.1:${port}`,
    '--log-level',
    'error',
    join(import.meta.dirname, 'decision.rego'),
  ],
  { stdio: ['ignore', 'inherit', 'inherit'] },
);
process.once('exit', () => opa.kill('SIGKILL'));

for (let tries = 0; ; tries++) {
  assert.ok(tries < 300, 'OPA does not answer');
  const answers = await fetch(`http://127.0.0.1:${port}/health`).then(
    ({ ok }) => ok,
    () => false,
  );
  if (answers) break;
  await delay(100);
}

const failures: string[] = [];
const policy = createOpaPolicy({
  url: `http://127.0.0.1:${port}/v1/data/intaglio/decision`,
  clock: systemClock,
  onFailure: (cause) => failures.push(cause),
  timeoutMs: 5_000,
});
const question: PolicyQuestion = {
  ...{ tenant: 'acme', actor: 'cap:0123456789abcdef', operation: 'sign' },
  ...{ kid: 'acme/invoices/ed25519/0', purpose: 'invoices', alg: 'ed25519' },
};
const allowed = { allow: true, mode: 'and', limits: { usesPerDay: 3 } };
const denied = { allow: false, reason: 'nothing allows it' };
assert.deepEqual(await policy.decide(question), allowed);
assert.deepEqual(await policy.decide({ ...question, tenant: 'other' }), denied);
assert.deepEqual(await policy.decide({ ...question, operation: 'destroy' }), denied);
assert.equal(failures.length, 0);
say('an allowed call, another tenant, another operation: as the Rego says');

const missing = createOpaPolicy({
  url: `http://127.0.0.1:${port}/v1/data/intaglio/nothing`,
  clock: systemClock,
  onFailure: (cause) => failures.push(cause),
  timeoutMs: 5_000,
});
assert.equal((await missing.decide(question)).allow, false);
assert.deepEqual(failures, ['an answer of another form']);
say('a document that is not there: denied');

const startedMs = performance.now();
const rounds = 500;
for (let n = 0; n < rounds; n++) await policy.decide({ ...question, kid: `acme/invoices/ed25519/${n}` });
say(`one question after the other: ${((performance.now() - startedMs) / rounds).toFixed(2)} ms each`);

opa.kill('SIGTERM');
await once(opa, 'exit');
const gone = await policy.decide({ ...question, kid: 'another' });
assert.equal(gone.allow, false);
say('OPA is gone: denied');
say('done: intaglio and OPA agree');
