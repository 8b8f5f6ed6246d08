import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService } from '../support/service.ts';
import { createSoftHsm, noSoftHsm } from '../support/softhsm.ts';
import { createTokenModule, noCompiler, type TokenModule } from '../support/token-module.ts';

/** Sign requests during an outage; `npm run drill:hsm` sends 5,000. */
const requests = Number(process.env.DRILL_REQUESTS ?? 300);
/** A module hangs so long: longer than an operation may take, which is 2 s. */
const hangMs = Number(process.env.DRILL_HANG_MS ?? 2_600);
const callers = 32;
/** An operation, a worker that says nothing, and a slow machine. */
const longestMs = 8_000;

interface Asked {
  readonly service: InProcessService;
  readonly theirs: string;
  readonly ours: string;
}

async function setUp(t: TestContext, env: Readonly<Record<string, string>>): Promise<Asked> {
  const service = await startInProcess({ env });
  t.after(() => service.stop());
  const makeKey = async (policy?: object): Promise<string> => {
    const body = { purpose: 'p', alg: 'ed25519', ...(policy && { policy }) };
    const made = await call(service, service.token, 'POST', '/v1/kms/keys', body);
    assert.equal(made.status, 201, JSON.stringify(made.body));
    return made.body.kid;
  };
  return { service, theirs: await makeKey({ backend: 'pkcs11' }), ours: await makeKey() };
}

function sign({ service }: Asked, kid: string) {
  return call(service, service.token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
}

async function verifies({ service }: Asked, sig: { kid: string; signature_b64: string }): Promise<boolean> {
  const body = { payload_b3: helloWorldB3, sigs: [{ kid: sig.kid, signature_b64: sig.signature_b64 }] };
  const answer = await call(service, service.token, 'POST', '/v1/kms/verify', body);
  return answer.status === 200 && answer.body.ok === true;
}

async function until(holds: () => Promise<boolean>, what: string, withinMs = 30_000): Promise<void> {
  for (const end = performance.now() + withinMs; performance.now() < end; await delay(50))
    if (await holds()) return;
  assert.fail(what);
}

const signs = (asked: Asked) => async () => (await sign(asked, asked.theirs)).status === 200;

/** From when the outage is known until it may be over, every answer is 503 and none waits for the token. */
interface Outage {
  known: boolean;
}

/** A turn of the loop, on a machine that others slow down: an operation that waited for the token would take 2 s. */
const atOnceMs = 1_500;

/** Every request has an answer, each signature is right, and keys of software know nothing of it. */
async function loadDuring(
  asked: Asked,
  outage: (state: Outage) => Promise<void>,
): Promise<ReadonlyMap<number, number>> {
  const statuses = new Map<number, number>();
  const state: Outage = { known: false };
  let left = requests;
  let over = false;
  const caller = async (): Promise<void> => {
    while (left > 0 || !over) {
      left--;
      const beganMs = performance.now();
      const knownBefore = state.known;
      const { status, body, headers } = await sign(asked, asked.theirs);
      const tookMs = performance.now() - beganMs;
      if (knownBefore && state.known) {
        assert.equal(status, 503, JSON.stringify(body));
        assert.equal(body.error.code, 'StoreUnavailable');
        assert.ok(tookMs < atOnceMs, `a refusal after ${tookMs} ms`);
      }
      assert.ok(tookMs < longestMs, `an answer after ${tookMs} ms`);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (status === 200) assert.ok(await verifies(asked, body.sigs[0]));
      else if (status === 503) assert.ok(Number(headers.get('retry-after')) >= 1);
      // Before the outage is known: a queue that stands, or a deadline that passed in it.
      else assert.ok(status === 429 || status === 504, JSON.stringify(body));
      // As one who retries: the outage outlasts what would be thousands of refusals.
      if (status !== 200) await delay(10);
      const own = await sign(asked, asked.ours);
      assert.equal(own.status, 200, JSON.stringify(own.body));
    }
  };
  const load = Array.from({ length: callers }, caller);
  await outage(state);
  over = true;
  await Promise.all(load);
  return statuses;
}

function module(t: TestContext): TokenModule {
  const token = createTokenModule();
  t.after(() => token.remove());
  return token;
}

test('a directory of tokens is moved away and back under load', { skip: noSoftHsm }, async (t) => {
  const softHsm = createSoftHsm();
  t.after(() => softHsm.remove());
  const asked = await setUp(t, softHsm.environment(softHsm.makeToken('moved')));
  const { body } = await sign(asked, asked.theirs);
  const statuses = await loadDuring(asked, async (state) => {
    renameSync(softHsm.tokens, `${softHsm.tokens}-away`);
    await until(async () => (await sign(asked, asked.theirs)).status === 503, 'the token is missed');
    state.known = true;
    assert.ok(await verifies(asked, body.sigs[0]));
    await delay(500);
    state.known = false;
    renameSync(`${softHsm.tokens}-away`, softHsm.tokens);
    await until(signs(asked), 'the token is found again');
  });
  assert.ok((statuses.get(503) ?? 0) > 0);
});

test('a module that hangs while it signs costs its callers two seconds, and others nothing', {
  skip: noCompiler,
}, async (t) => {
  const token = module(t);
  const asked = await setUp(t, token.environment);
  const statuses = await loadDuring(asked, async (state) => {
    token.set({ hang: `C_Sign:${hangMs}` });
    await until(async () => (await sign(asked, asked.theirs)).status === 503, 'the hang is noticed');
    // Once it is known, nobody waits: it is not open again before what hangs has come back.
    state.known = true;
    await delay(300);
    state.known = false;
    token.set({});
    await until(signs(asked), 'it signs again');
  });
  assert.ok((statuses.get(503) ?? 0) > 0);
  const { text } = await asked.service.send({ method: 'GET', path: '/metrics' });
  assert.match(text, /^io_timeouts_total\{backend="pkcs11"\} [1-9]/m);
});

test('a module that hangs in its first step is ended, and started again', { skip: noCompiler }, async (t) => {
  const token = module(t);
  const asked = await setUp(t, token.environment);
  token.set({ hang: `C_SignInit:${Math.max(hangMs, 5_000)}` });
  const beganMs = performance.now();
  assert.equal((await sign(asked, asked.theirs)).status, 503);
  assert.ok(performance.now() - beganMs < longestMs);
  token.set({});
  await until(signs(asked), 'it signs again');
});

test('a worker that is killed is started again, and its keys found', { skip: noCompiler }, async (t) => {
  const token = module(t);
  const asked = await setUp(t, token.environment);
  await loadDuring(asked, async () => {
    const [pid] = workers();
    assert.ok(pid !== undefined);
    process.kill(pid, 'SIGKILL');
    await until(async () => workers().some((other) => other !== pid) && signs(asked)(), 'it signs again');
  });
});

test('a device that is removed, and a token without memory, are refused meanwhile and used again', {
  skip: noCompiler,
}, async (t) => {
  const token = module(t);
  const asked = await setUp(t, token.environment);
  token.set({ removed: 1 });
  assert.equal((await sign(asked, asked.theirs)).status, 503);
  token.set({});
  await until(signs(asked), 'it signs again');
  token.set({ host_memory: 'C_Sign:once' });
  assert.equal((await sign(asked, asked.theirs)).status, 503);
  await until(signs(asked), 'it signs again');
});

test('sessions that are dropped when they are idle are replaced before anybody notices', {
  skip: noCompiler,
}, async (t) => {
  const token = module(t);
  const asked = await setUp(t, token.environment);
  token.set({ drop_idle_ms: 100 });
  for (let n = 0; n < 5; n++) {
    await delay(150);
    assert.equal((await sign(asked, asked.theirs)).status, 200);
  }
});

test('a PIN that the token refuses is tried once', { skip: noCompiler }, async (t) => {
  const token = module(t);
  const asked = await setUp(t, token.environment);
  token.set({ pin: '654321', removed: 1 });
  assert.equal((await sign(asked, asked.theirs)).status, 503);
  token.set({ pin: '654321' });
  await until(async () => token.wrongPins > 0, 'the PIN is tried');
  await delay(1_500);
  assert.equal(token.wrongPins, 1);
  const { body } = await call(asked.service, undefined, 'GET', '/readyz');
  assert.ok(body.degraded.includes('backend_pkcs11'));
});

/** Processes of this one that have a module. */
function workers(): readonly number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const own = readFileSync(`/proc/${name}/status`, 'utf8').includes(`PPid:\t${process.pid}\n`);
      const hsm = readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('workers/hsm');
      return own && hsm ? [Number(name)] : [];
    } catch {
      // It has ended meanwhile.
      return [];
    }
  });
}
