import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { base64 } from '../support/sealing-client.ts';
import { call, helloWorldB3, type InProcessService } from '../support/service.ts';
import { alterBytes, inputsOf, randomFrom } from './mutate.ts';

// Signatures near to valid ones, of every algorithm and form of what is signed: no crash, no hang, no 500, and none is accepted.
// Inputs of all fuzz tests in a run, and the seed of one that failed: DRILL_INPUTS=1000000 DRILL_SEED=7.

const inputs = inputsOf(0.2, 3_000);
const seed = Number(process.env.DRILL_SEED ?? Date.now() % 2 ** 31);
/** Requests at a time: fewer than a queue takes. */
const atOnce = 16;

interface Sig {
  readonly kid: string;
  readonly alg: string;
  readonly signature_b64: string;
}

interface Signed {
  readonly what: Readonly<Record<string, unknown>>;
  readonly sigs: readonly Sig[];
}

const message_b64 = base64('a message that was signed');
const context_b64 = base64('a context');

/** A key, what it signs, and the way where it has several. */
type Form = readonly [alg: string, what: Readonly<Record<string, unknown>>, way?: string];

const whole = { message_b64 };
const inContext = { message_b64, context_b64 };
const forms: readonly Form[] = [
  ...['ed25519', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87', 'ed25519+ml-dsa-65', 'mldsa65-p256'].map(
    (alg): Form => [alg, { payload_b3: helloWorldB3 }],
  ),
  ...['mldsa65-ed25519', 'mldsa44-ed25519', 'mldsa65-p256', 'ml-dsa-44'].flatMap((alg): Form[] => [
    [alg, whole],
    [alg, inContext],
  ]),
  ...['ecdsa-p256', 'ES256'].map((way): Form => ['ecdsa-p256', whole, way]),
  ...['ecdsa-p384', 'ES384'].map((way): Form => ['ecdsa-p384', whole, way]),
  ...['PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'].map((way): Form => ['rsa-2048', whole, way]),
];

suite(`signatures near to valid ones, seed ${seed}`, { timeout: 7_200_000 }, () => {
  let service: InProcessService;
  const post = (path: string, body: unknown) => call(service, service.token, 'POST', `/v1/kms${path}`, body);

  before(async () => {
    service = await startInProcess({
      env: { KMS_BACKEND: 'memory', KMS_AUDIT: 'off', KMS_LOG_LEVEL: 'error' },
    });
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
    assert.deepEqual(
      service.log.filter((line) => line.includes('a bug')),
      [],
    );
  });

  test('no altered signature, message or context verifies, whatever the algorithm', async () => {
    const kids = new Map<string, string>();
    const bundles: Signed[] = [];
    for (const [alg, what, way] of forms) {
      const kid = kids.get(alg) ?? (await post('/keys', { purpose: 'fuzz', alg })).body.kid;
      kids.set(alg, kid);
      const named = way === undefined ? {} : { alg: way };
      const signed = await post('/sign', { kid, ...named, ...what });
      assert.equal(signed.status, 200, JSON.stringify(signed.body));
      const sigs = (signed.body.sigs as Sig[]).map(({ kid, alg, signature_b64 }) => ({
        kid,
        alg,
        signature_b64,
      }));
      const { status, body } = await post('/verify', { ...what, sigs });
      assert.deepEqual([status, body.ok], [200, true], `${alg} ${way}`);
      bundles.push({ what, sigs });
    }
    let judged = 0;
    for (let done = 0; done < inputs; done += atOnce) {
      await Promise.all(
        Array.from({ length: atOnce }, async (_, n) => {
          const body = alteredBundle(bundles, done + n);
          if (body === undefined) return;
          const { status, body: answer } = await post('/verify', body);
          const where = JSON.stringify(body).slice(0, 2_000);
          assert.ok(status === 400 || (status === 200 && answer.ok === false), `${status} for ${where}`);
          if (status === 200) judged++;
        }),
      );
    }
    assert.ok(judged > inputs / 4, `${judged} came to an engine`);
  });
});

/** One of the bundles with one of its members altered; undefined where that changed nothing. */
function alteredBundle(bundles: readonly Signed[], n: number): object | undefined {
  const random = randomFrom(seed + 2_654_435_761 * (n + 1));
  const { what, sigs } = bundles[n % bundles.length] as Signed;
  const members = Object.keys(what).filter((name) => name.endsWith('_b64'));
  const member = members[random(2 * members.length + 1)];
  if (member !== undefined) {
    const altered = alterBytes(what[member] as string, random);
    return altered === what[member] ? undefined : { ...what, [member]: altered, sigs };
  }
  const at = random(sigs.length);
  const sig = sigs[at] as Sig;
  // Of a hybrid bundle both have to hold, so that one is enough.
  const signature_b64 = alterBytes(sig.signature_b64, random);
  if (signature_b64 === sig.signature_b64) return undefined;
  return { ...what, policy: { mode: 'and' }, sigs: sigs.with(at, { ...sig, signature_b64 }) };
}
