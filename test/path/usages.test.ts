import assert from 'node:assert/strict';
import test, { after, before, describe } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService, type JsonAnswer } from '../support/service.ts';

const zeros = (bytes: number) => Buffer.alloc(bytes).toString('base64');
const opId = '00000000-0000-4000-8000-000000000001';

describe('usages of keys', { timeout: 60_000 }, () => {
  let service: InProcessService;

  const ask = (method: string, path: string, body?: unknown) =>
    call(service, service.token, method, `/v1/kms${path}`, body);
  const create = (alg: string, usages: unknown, more: object = {}) =>
    ask('POST', '/keys', { purpose: 'p', alg, policy: { usages }, ...more });
  const made = async (alg: string, usages: unknown): Promise<string> => {
    const { status, body } = await create(alg, usages);
    assert.equal(status, 201, JSON.stringify(body));
    return body.kid.replace('#v1', '');
  };
  const codeOf = ({ status, body }: JsonAnswer) => (status < 300 ? 'ok' : `${status} ${body.error.code}`);
  const usesOf = async (id: string) => ({
    sign: codeOf(await ask('POST', '/sign', { kid: id, payload_b3: helloWorldB3 })),
    verify: codeOf(
      await ask('POST', '/verify', {
        payload_b3: helloWorldB3,
        sigs: [{ kid: id, signature_b64: zeros(64) }],
      }),
    ),
    mac: codeOf(await ask('POST', '/mac', { kid: id, message_b64: '' })),
    mac_verify: codeOf(await ask('POST', '/mac/verify', { kid: id, message_b64: '', mac_b64: zeros(32) })),
  });
  const forbidden = '403 PolicyViolation';

  before(async () => {
    service = await startInProcess();
  });
  after(() => service.stop());

  test('a key does what its policy names and nothing else, also as a later version and after a restart', async () => {
    const signer = await made('ed25519', ['sign']);
    const verifier = await made('ed25519', ['verify']);
    const tagger = await made('hmac-sha256', ['mac']);
    const checker = await made('hmac-sha256', ['mac_verify']);
    const all = await made('ed25519', ['verify', 'sign']);
    const none = '400 Unsupported';
    const expectAll = async () => {
      assert.deepEqual(await usesOf(signer), { sign: 'ok', verify: forbidden, mac: none, mac_verify: none });
      assert.deepEqual(await usesOf(verifier), {
        ...{ sign: forbidden, verify: 'ok', mac: none, mac_verify: none },
      });
      assert.deepEqual(await usesOf(tagger), { sign: none, verify: none, mac: 'ok', mac_verify: forbidden });
      assert.deepEqual(await usesOf(checker), { sign: none, verify: none, mac: forbidden, mac_verify: 'ok' });
      assert.deepEqual(await usesOf(all), { sign: 'ok', verify: 'ok', mac: none, mac_verify: none });
    };
    await expectAll();
    for (const id of [signer, verifier, tagger, checker, all]) {
      assert.equal((await ask('POST', `/keys/${id}/rotate`)).status, 200);
    }
    await expectAll();
    const { dataDir } = service;
    assert.equal(await service.stop(), 0);
    service = await startInProcess({ dataDir });
    await expectAll();
  });

  test('one item of a batch that the key may not do fails alone', async () => {
    const signer = await made('ed25519', ['sign']);
    const verifier = await made('ed25519', ['verify']);
    const items = [signer, verifier].map((kid) => ({ kid, payload_b3: helloWorldB3 }));
    const { status, body } = await ask('POST', '/sign/batch', { items });
    assert.equal(status, 200);
    assert.deepEqual([body.results[0].error, body.results[1].error.code], [undefined, 'PolicyViolation']);
  });

  test('metadata shows the usages in one order, and nothing where nothing is limited', async () => {
    const limited = await made('ed25519', ['verify', 'sign']);
    const free = (await ask('POST', '/keys', { purpose: 'free', alg: 'ed25519' })).body.kid.replace(
      '#v1',
      '',
    );
    assert.deepEqual((await ask('GET', `/keys/${limited}`)).body.policy, { usages: ['sign', 'verify'] });
    assert.equal('policy' in (await ask('GET', `/keys/${free}`)).body, false);
    const { keys } = (await ask('GET', '/keys')).body;
    const listed = (id: string) => keys.find(({ kid }: { kid: string }) => kid.startsWith(id));
    assert.deepEqual(listed(limited).policy, { usages: ['sign', 'verify'] });
    assert.equal('policy' in listed(free), false);
  });

  test('usages that are unknown, impossible, empty, repeated or of a wrong type are 400', async () => {
    for (const usages of [
      ...[
        ['fly'],
        ['encrypt'],
        ['sign', 'mac'],
        [],
        ['sign', 'sign'],
        'sign',
        null,
        {},
        [1],
        [null],
        [['sign']],
      ],
      ...[['Sign'], ['generate'], ['constructor'], Array(1_000).fill('sign')],
    ]) {
      assert.equal(codeOf(await create('ed25519', usages)), '400 BadRequest', JSON.stringify(usages));
    }
  });

  test('a repeated create is the same request whatever the order of its usages, and another with other usages', async () => {
    const first = await create('ed25519', ['sign', 'verify'], { op_id: opId });
    const again = await create('ed25519', ['verify', 'sign'], { op_id: opId });
    assert.equal(again.body.kid, first.body.kid);
    assert.equal(codeOf(await create('ed25519', ['sign'], { op_id: opId })), '409 Conflict');
    const unlimited = await ask('POST', '/keys', { purpose: 'p', alg: 'ed25519', op_id: opId });
    assert.equal(codeOf(unlimited), '409 Conflict');
  });
});
