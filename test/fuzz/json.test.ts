import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, suite, test } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService } from '../support/service.ts';
import { inputsOf, mutateBody, randomFrom } from './mutate.ts';

// Bodies near to valid ones, for every route that takes one: no crash, no hang, no 500, and nothing accepted that was not signed.
// Inputs of all fuzz tests in a run, and the seed of one that failed: DRILL_INPUTS=1000000 DRILL_SEED=7.

const inputs = { bundles: inputsOf(0.2, 6_000), parsers: inputsOf(0.3, 6_000) };
const seed = Number(process.env.DRILL_SEED ?? Date.now() % 2 ** 31);
/** Requests at a time: fewer than a queue takes. */
const atOnce = 16;

interface Described {
  readonly paths: Readonly<
    Record<string, { post?: { requestBody?: { content: { 'application/json'?: { example?: unknown } } } } }>
  >;
}

/** The published example of every route that has one; routes that are added come with theirs. */
const examples = Object.entries(
  (JSON.parse(readFileSync(new URL('../../docs/openapi.json', import.meta.url), 'utf8')) as Described).paths,
).flatMap(([path, { post }]) => {
  const example = post?.requestBody?.content['application/json']?.example;
  return example === undefined ? [] : [{ path, example }];
});

interface Bundle {
  readonly payload_b3: string;
  readonly sigs: readonly { readonly kid: string; readonly signature_b64: string }[];
}

suite(`bodies near to valid ones, seed ${seed}`, { timeout: 7_200_000 }, () => {
  let service: InProcessService;
  let bundles: Bundle[];
  const post = (path: string, body: unknown) => call(service, service.token, 'POST', path, body);

  before(async () => {
    service = await startInProcess({
      env: { KMS_BACKEND: 'memory', KMS_AUDIT: 'off', KMS_LOG_LEVEL: 'error' },
    });
    bundles = [];
    for (const alg of ['ed25519+ml-dsa-65', 'ecdsa-p256', 'ml-dsa-44']) {
      const { body } = await post('/v1/kms/keys', { purpose: 'fuzz', alg });
      const signed = await post('/v1/kms/sign', { kid: body.kid, payload_b3: helloWorldB3 });
      bundles.push({ payload_b3: helloWorldB3, sigs: signed.body.sigs });
    }
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
    assert.deepEqual(
      service.log.filter((line) => line.includes('a bug')),
      [],
    );
  });

  /** Sends bodies made from the seeds in turn; `judge` says what is wrong with an answer of 200. */
  async function fuzz(
    inputs: number,
    seeds: readonly { readonly path: string; readonly example: unknown }[],
    judge: (body: string, answer: { ok?: boolean }) => boolean,
  ): Promise<number> {
    let accepted = 0;
    for (let done = 0; done < inputs; done += atOnce) {
      await Promise.all(
        Array.from({ length: atOnce }, async (_, n) => {
          const { path, example } = seeds[(done + n) % seeds.length] as (typeof seeds)[0];
          const sent = mutateBody(example, randomFrom(seed + 2_654_435_761 * (done + n + 1)));
          const { status, text } = await service.send({
            ...{ method: 'POST', path: path.replace(/\{.*\}/, 'x'), token: service.token },
            body: sent,
          });
          const where = `${path} ${sent.slice(0, 2_000)}`;
          // 503 is a bound that was reached: of keys of the service, of its store.
          assert.ok((status >= 200 && status < 500) || status === 503, `${status} for ${where}`);
          const answer = JSON.parse(text) as { ok?: boolean; error?: { code: string } };
          if (status >= 400) assert.equal(typeof answer.error?.code, 'string', where);
          else {
            accepted++;
            assert.ok(judge(sent, answer), `accepted: ${where}`);
          }
        }),
      );
    }
    return accepted;
  }

  test('no altered bundle verifies, and each is answered', async () => {
    const signed = new Set(
      bundles.flatMap(({ sigs }) => sigs.map(({ kid, signature_b64 }) => `${kid} ${signature_b64}`)),
    );
    const seeds = bundles.map((example) => ({ path: '/v1/kms/verify', example }));
    const accepted = await fuzz(inputs.bundles, seeds, (sent, { ok }) => {
      if (ok !== true) return true;
      // A body that still says what was signed: with its members doubled, without its alg, with a policy.
      const { payload_b3, sigs } = JSON.parse(sent) as Bundle;
      const current = (kid: string) => (kid.includes('#') ? kid : `${kid}#v1`);
      return (
        payload_b3 === helloWorldB3 &&
        sigs.every(({ kid, signature_b64 }) => signed.has(`${current(kid)} ${signature_b64}`))
      );
    });
    assert.ok(accepted > 0, 'some bodies are well-formed');
  });

  test('every parser of the surface refuses or answers', async () => {
    assert.ok(examples.length > 10);
    await fuzz(inputs.parsers, examples, () => true);
  });
});
