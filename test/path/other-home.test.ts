import assert from 'node:assert/strict';
import test from 'node:test';
import { pino } from 'pino';
import { algorithmNames, findAlgorithm, registry } from '../../src/algorithms/registry.ts';
import { defaultTuning, startCryptography } from '../../src/assemble/cryptography.ts';
import { chooseEngine } from '../../src/assemble/engine.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Result } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { StartError } from '../../src/core/start-error.ts';
import { createCostTable } from '../../src/dispatch/costs.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { createHealth } from '../../src/observe/health.ts';
import { createMetrics } from '../../src/observe/metrics.ts';
import type { CryptoOperation, CryptoWork, OperationParts } from '../../src/operations/operation.ts';
import { createOperations } from '../../src/operations/operations.ts';
import { WrappingKeys } from '../../src/operations/sealing/wrapping-keys.ts';
import { noPqPolicy } from '../../src/policy/phases.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { codeOf, testMac, unwrap } from '../support/keyring.ts';
import { MemoryHome } from '../support/memory-home.ts';
import { noRootKey, noTokens, noTrust } from '../support/operations.ts';

const tenant = 'acme';
const payloadBlake3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24';
const caller = { tenant, actor: 'tester' } as Caller;
const log = pino({ level: 'silent' });

async function startWith(...homes: readonly MemoryHome[]) {
  const loaded = loadConfig({
    argv: ['--amnesia', '--workers=1', '--sign-deadline-ms=5000', '--queue-per-tenant=256'],
    env: process.env.KMS_ENGINE === undefined ? {} : { KMS_ENGINE: process.env.KMS_ENGINE },
    cores: 2,
    algorithmNames,
    readFile: () => assert.fail('no file is named'),
  });
  assert.ok(loaded.ok);
  const chosen = chooseEngine(loaded.config, log);
  const root = chosen.engine.openRoot({ kind: 'memory' });
  const parts = { health: createHealth(), metrics: createMetrics('test'), tuning: defaultTuning };
  return startCryptography({ now: loaded.config }, log, chosen, root, parts, homes);
}

test('a key of another home is made, used and destroyed there; what needs its public key only is done by our engine', async (t) => {
  const vault = new MemoryHome('vault');
  const cryptography = await startWith(vault);
  t.after(() => cryptography.stop());
  const keyring = openKeyring({
    store: new MemoryStore(),
    custodies: cryptography.custodies,
    clock: systemClock,
    mac: testMac,
    journal: { record: async () => ({ ok: true, value: { end() {} } }) },
    onForget: cryptography.forget,
    onUnknownBackend: assert.fail,
    onCorruptRecord: assert.fail,
  });
  t.after(() => keyring.close());
  const operations = createOperations({
    keyring,
    custodies: cryptography.custodies,
    backends: cryptography.backends,
    costs: createCostTable(registry),
    allowedAlgorithms: new Set(algorithmNames),
    lacking: new Set(),
    rotationOf: () => undefined,
    maxKeysPerTenant: 10,
    audit: undefined,
    pqPolicy: noPqPolicy,
    clock: systemClock,
    timeSkewToleranceMs: 0,
    tokens: noTokens,
    trust: noTrust,
    rootKey: noRootKey,
    load: () => assert.fail(),
    mayMake: () => undefined,
    derived: () => {},
    runWork: async () => assert.fail(),
    wrappingKeys: new WrappingKeys(cryptography.custodies.get('software')!, systemClock),
  } satisfies OperationParts & { readonly tokens: unknown; readonly trust: unknown });

  async function use<Request, Answer>(operation: CryptoOperation<Request, Answer>, request: Request) {
    const { works, finish } = unwrap(await operation.plan(request, caller));
    const nowMs = systemClock.monotonicMs();
    const outcomes = await cryptography.lane.runAll(works as CryptoWork[], {
      tenant,
      offeredAtMs: nowMs,
      deadlineAtMs: nowMs + 5_000,
      cancellation: createCancellation(),
    });
    const whole = outcomes.map((outcome: Result<readonly []> | (typeof outcomes)[0]) =>
      outcome.ok ? { ok: true as const, value: { results: outcome.value, receipts: [] } } : outcome,
    );
    return unwrap(await finish(whole));
  }
  const create = async (alg: string, backend: string) =>
    unwrap(
      await keyring.create({
        tenant,
        actor: 'tester',
        purpose: 'p',
        algorithm: findAlgorithm(alg)!,
        backend,
      }),
    ).kid;
  const signWith = (kids: readonly string[]) =>
    use(operations.sign, {
      kids,
      input: payloadBlake3,
      alg: undefined,
      mode: undefined,
      opId: undefined,
      receipts: false,
    });

  const theirs = await create('ed25519', 'vault');
  const ours = await create('ed25519', 'software');
  const { signatures } = await signWith([theirs, ours, theirs]);
  assert.equal(vault.carried.length, 1);
  const verdict = await use(operations.verify, {
    input: payloadBlake3,
    signatures: signatures.map(({ kid, signature }) => ({ kid, alg: undefined, signature })),
    mode: 'and',
    window: undefined,
  });
  assert.equal(verdict.ok, true);
  assert.equal(vault.carried.length, 1);

  const secret = await create('hmac-sha256', 'vault');
  const message = Buffer.from('m');
  const { tag } = await use(operations.mac, { kid: secret, message });
  assert.equal((await use(operations.mac_verify, { kid: secret, message, tag })).ok, true);
  assert.equal(vault.carried.length, 3);

  const read = unwrap(await operations.read.run({ kid: theirs }, caller));
  assert.deepEqual([read.head.backend, read.attestationClass], ['vault', 'test']);
  assert.equal(codeOf(await keyring.create({ ...asked('rsa-2048'), backend: 'vault' })), 'Unsupported');

  unwrap(await keyring.destroy({ tenant, actor: 'tester', kid: theirs.replace('#v1', '') }));
  assert.equal(vault.keys, 1);
  assert.ok(vault.forgotten.length > 0);
  assert.equal((await signWith([ours])).signatures.length, 1);
});

function asked(alg: string) {
  return { tenant, actor: 'tester', purpose: 'p', algorithm: findAlgorithm(alg)! };
}

test('two homes of one name, one that is called as our own, and one whose name no record takes stop the start', async () => {
  await assert.rejects(startWith(new MemoryHome('one'), new MemoryHome('one')), StartError);
  await assert.rejects(startWith(new MemoryHome('software')), /two backends of the name software/);
  await assert.rejects(startWith(new MemoryHome('A token')), /A token is no name for a backend/);
});
