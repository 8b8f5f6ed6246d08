import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, suite, test } from 'node:test';
import { wrapFor } from '../support/import-material.ts';
import { startInProcess } from '../support/in-process.ts';
import { base64, wrappingAlgorithms } from '../support/sealing-client.ts';
import { call, type InProcessService } from '../support/service.ts';
import { alterBytes, inputsOf, randomFrom } from './mutate.ts';

// Bytes near to those that open, for every route that opens: no crash, no hang, no 500, and nothing opened that was altered.
// Inputs of all fuzz tests in a run, and the seed of one that failed: DRILL_INPUTS=1000000 DRILL_SEED=7.

const inputs = { opened: inputsOf(0.25, 4_000), imported: inputsOf(0.05, 800) };
const seed = Number(process.env.DRILL_SEED ?? Date.now() % 2 ** 31);
/** Requests at a time: fewer than a queue takes. */
const atOnce = 16;

type Body = Readonly<Record<string, unknown>>;

/** A request that opens, and the members of it that are bytes. */
interface Opening {
  readonly path: string;
  readonly body: Body;
  readonly members: readonly string[];
}

suite(`bytes near to those that open, seed ${seed}`, { timeout: 7_200_000 }, () => {
  let service: InProcessService;
  const post = (path: string, body: unknown) => call(service, service.token, 'POST', `/v1/kms${path}`, body);
  const good = async (path: string, body: unknown) => {
    const answer = await post(path, body);
    assert.ok(answer.status < 300, JSON.stringify(answer.body));
    return answer.body;
  };

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

  async function fuzz(
    inputs: number,
    of: (n: number) => Promise<Opening> | Opening,
    texts: Set<string>,
  ): Promise<void> {
    for (let done = 0; done < inputs; done += atOnce) {
      const underWay = new Set<string>();
      await Promise.all(
        Array.from({ length: atOnce }, async (_, n) => {
          const { path, body, members } = await of(done + n);
          const random = randomFrom(seed + 2_654_435_761 * (done + n + 1));
          const member = members[random(members.length)] as string;
          const altered = alterBytes((body[member] as string | undefined) ?? '', random);
          // The same material twice at a time is a replay, which has an answer of its own.
          if (altered === (body[member] ?? '') || underWay.has(altered)) return;
          underWay.add(altered);
          const { status, body: answer } = await post(path, { ...body, [member]: altered });
          const where = `${path} ${member} ${altered.slice(0, 2_000)}`;
          assert.equal(status, 400, where);
          texts.add(answer.error.hint);
        }),
      );
    }
  }

  test('nothing that was altered is decrypted, unwrapped, rewrapped or unsealed, and all hear the same', async () => {
    const aad_b64 = base64('the aad of the caller');
    const plaintext_b64 = base64(randomBytes(40));
    const openings: Opening[] = [];
    for (const alg of wrappingAlgorithms) {
      const { kid } = await good('/keys', { purpose: 'fuzz', alg });
      const bound = alg === 'aes-256-kwp' ? {} : { aad_b64 };
      const wrapped = await good('/wrap', { kid, plaintext_b64, ...bound });
      const members = ['wrapped_b64', ...Object.keys(bound)];
      for (const path of ['/unwrap', '/rewrap'])
        openings.push({ path, body: { ...wrapped, ...bound }, members });
      if (!/xaes|gcm|poly/.test(alg)) continue;
      const encrypted = await good('/encrypt', { kid, plaintext_b64, aad_b64 });
      for (const path of ['/decrypt', '/rewrap'])
        openings.push({
          ...{ path, body: { ...encrypted, aad_b64 } },
          members: ['nonce_b64', 'ciphertext_b64', 'aad_b64'],
        });
    }
    const sealed = await good('/seal', { purpose: 'fuzz', plaintext_b64, aad_b64 });
    openings.push({ path: '/unseal', body: { ...sealed, aad_b64 }, members: ['sealed_b64', 'aad_b64'] });
    for (const { path, body } of openings) {
      const answer = await good(path, body);
      if (path !== '/rewrap') assert.equal(answer.plaintext_b64, plaintext_b64);
    }
    const texts = new Set<string>();
    await fuzz(inputs.opened, (n) => openings[n % openings.length] as Opening, texts);
    assert.deepEqual([...texts], ['this does not open with this key and aad']);
  });

  test('no altered key material is imported', async () => {
    const secret = randomBytes(32);
    // A wrapping key is withdrawn after 16 failures, so each round has another.
    let round: Promise<Opening> | undefined;
    const next = async (): Promise<Opening> => {
      const path = '/v1/kms/keys/import/wrapping-key';
      const { body: key } = await call(service, service.token, 'GET', path);
      const material_b64 = base64(wrapFor(key, secret));
      const named = { purpose: 'fuzz', alg: 'hmac-sha256', wrapping_key_id: key.wrapping_key_id };
      return { path: '/keys/import', body: { ...named, material_b64 }, members: ['material_b64'] };
    };
    const texts = new Set<string>();
    await fuzz(
      inputs.imported,
      (n) => {
        if (n % atOnce === 0) round = next();
        return round as Promise<Opening>;
      },
      texts,
    );
    assert.deepEqual([...texts], ['the material does not unwrap with this wrapping key']);
    const { keys } = (await call(service, service.token, 'GET', '/v1/kms/keys?alg=hmac-sha256')).body;
    assert.deepEqual(keys, []);
  });
});
