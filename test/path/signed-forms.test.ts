import assert from 'node:assert/strict';
import { createHash, hash } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import type { Ability } from '../../src/algorithms/ids.ts';
import { schemes } from '../../src/algorithms/ids.ts';
import { isComposite, verifiesComposite } from '../support/composites.ts';
import { servedEngines } from '../support/engines.ts';
import { startInProcess } from '../support/in-process.ts';
import { nodePublicKey, nodeVerify } from '../support/node-verify.ts';
import { call, helloWorldB3, type InProcessService, type JsonAnswer } from '../support/service.ts';

const noble = { 'ml-dsa-44': ml_dsa44, 'ml-dsa-65': ml_dsa65, 'ml-dsa-87': ml_dsa87 } as const;
const message = Buffer.from('a message of an application');
const message_b64 = message.toString('base64');
const context = Buffer.from('an application');
const context_b64 = context.toString('base64');
const digestOf = (name: string) => ({ digest_b64: hash(name, message, 'base64'), hash: name });

for (const { name: engine, create } of servedEngines()) {
  describe(`what is signed, with the ${engine} engine`, { timeout: 120_000 }, () => {
    let service: InProcessService;
    const { lacks } = create().description;
    const has = (ability: Ability) => !lacks.includes(ability);
    before(async () => {
      service = await startInProcess({ env: { KMS_ENGINE: engine } });
    });
    after(() => service.stop());

    const ask = (path: string, body: unknown): Promise<JsonAnswer> =>
      call(service, service.token, 'POST', `/v1/kms${path}`, body);
    const make = async (alg: string) => {
      const { status, body } = await ask('/keys', { purpose: 'web', alg });
      assert.equal(status, 201);
      return { kid: body.kid as string, publicKey: Buffer.from(body.public.pubkey_b64, 'base64') };
    };
    /** Signs and verifies the same; undefined where both are 400 Unsupported. */
    const both = async (kid: string, input: object, alg?: string) => {
      const signed = await ask('/sign', { kid, ...input, alg });
      if (signed.status === 400) {
        assert.equal(signed.body.error.code, 'Unsupported');
        const sigs = [{ kid, alg, signature_b64: Buffer.alloc(64).toString('base64') }];
        const verified = await ask('/verify', { ...input, sigs });
        assert.deepEqual([verified.status, verified.body.error?.code], [400, 'Unsupported']);
        return undefined;
      }
      assert.equal(signed.status, 200, JSON.stringify(signed.body));
      const [sig] = signed.body.sigs;
      const verified = await ask('/verify', { ...input, sigs: [sig] });
      assert.equal(verified.body.ok, true, JSON.stringify(verified.body));
      return { alg: sig.alg as string, signature: Buffer.from(sig.signature_b64, 'base64') };
    };

    test('/version lists what the engine lacks', async () => {
      const { body } = await call(service, service.token, 'GET', '/version');
      assert.deepEqual(body.engine.lacks, engine === 'native' ? [] : ['mu', 'digest', 'ed25519ph']);
    });

    for (const alg of ['ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const) {
      test(`${alg}: a mu is signed as noble would verify it, or is refused, and is never a message`, async () => {
        const { kid, publicKey } = await make(alg);
        const shake = (...parts: readonly Uint8Array[]) =>
          hash('shake256', Buffer.concat(parts), { outputEncoding: 'buffer', outputLength: 64 });
        const mu = shake(shake(publicKey), Buffer.of(0, context.length), context, message);
        const made = await both(kid, { mu_b64: mu.toString('base64') });
        assert.equal(made !== undefined, has('mu'));
        if (made === undefined) return;
        assert.ok(noble[alg].verify(made.signature, message, publicKey, { context }));
        assert.ok(!noble[alg].verify(made.signature, mu, publicKey));
        const sigs = [{ kid, signature_b64: made.signature.toString('base64') }];
        const asMessage = await ask('/verify', { message_b64, context_b64, sigs });
        assert.equal(asMessage.body.ok, true);
        const as64Bytes = await ask('/verify', { message_b64: mu.toString('base64'), sigs });
        assert.equal(as64Bytes.body.ok, false);
      });

      test(`${alg}: a message and a payload_b3 under a context`, async () => {
        const { kid, publicKey } = await make(alg);
        for (const [input, bytes] of [
          [{ message_b64 }, message],
          [{ payload_b3: helloWorldB3 }, Buffer.from(helloWorldB3, 'hex')],
        ] as const) {
          const made = await both(kid, { ...input, context_b64 });
          assert.ok(made !== undefined && noble[alg].verify(made.signature, bytes, publicKey, { context }));
          assert.ok(!noble[alg].verify(made.signature, bytes, publicKey));
          // Without the context it is another input, here as elsewhere.
          const sigs = [{ kid, signature_b64: made.signature.toString('base64') }];
          assert.equal((await ask('/verify', { ...input, sigs })).body.ok, false);
        }
      });
    }

    for (const [alg, way, hashName, scheme] of [
      ['ecdsa-p256', 'ecdsa-p256', 'sha256', schemes['ecdsa-p256-sha256']],
      ['ecdsa-p256', 'ES256', 'sha256', schemes['ecdsa-p256-sha256-p1363']],
      ['ecdsa-p384', 'ecdsa-p384', 'sha384', schemes['ecdsa-p384-sha384']],
      ['ecdsa-p384', 'ES384', 'sha384', schemes['ecdsa-p384-sha384-p1363']],
      ['rsa-2048', 'PS256', 'sha256', schemes.ps256],
      ['rsa-2048', 'PS384', 'sha384', schemes.ps384],
      ['rsa-2048', 'PS512', 'sha512', schemes.ps512],
      ['rsa-2048', 'RS256', 'sha256', schemes.rs256],
      ['rsa-2048', 'RS384', 'sha384', schemes.rs384],
      ['rsa-2048', 'RS512', 'sha512', schemes.rs512],
    ] as const) {
      test(`${way}: by the message, and by its digest where the engine can, the same for node:crypto`, async () => {
        const { kid, publicKey } = await make(alg);
        const key = nodePublicKey(alg, publicKey);
        const whole = await both(kid, { message_b64 }, way);
        assert.ok(whole !== undefined && nodeVerify(scheme, key, message, whole.signature));
        const made = await both(kid, digestOf(hashName), way);
        assert.equal(made !== undefined, has('digest'));
        if (made !== undefined) assert.ok(nodeVerify(scheme, key, message, made.signature));
      });
    }

    test('Ed25519ph is what a digest by SHA-512 is signed with, or is refused', async () => {
      const { kid } = await make('ed25519');
      for (const [input, alg] of [
        [digestOf('sha512'), undefined],
        [{ message_b64 }, 'ed25519ph'],
        [{ payload_b3: helloWorldB3 }, 'ed25519ph'],
      ] as const) {
        const made = await both(kid, input, alg);
        assert.equal(made?.alg, has('ed25519ph') ? 'ed25519ph' : undefined);
      }
    });

    for (const alg of ['mldsa65-ed25519', 'mldsa44-ed25519', 'mldsa65-p256']) {
      test(`${alg}: message, digest and context, as other libraries put the draft's parts together`, async () => {
        assert.ok(isComposite(alg));
        const { kid, publicKey } = await make(alg);
        for (const [input, own] of [
          [{ message_b64 }, undefined],
          [digestOf('sha512'), undefined],
          [{ message_b64, context_b64 }, context],
          [{ ...digestOf('sha512'), context_b64 }, context],
        ] as const) {
          const made = await both(kid, input);
          for (const library of ['noble', 'node'] as const)
            assert.ok(
              made !== undefined && verifiesComposite(library, alg, publicKey, message, made.signature, own),
            );
        }
      });
    }

    test('a message of 64 KiB is signed, also many in a batch, and one byte more is not', async () => {
      const { kid, publicKey } = await make('ecdsa-p256');
      const long = Buffer.alloc(65_536, 7);
      const made = await both(kid, { message_b64: long.toString('base64') });
      const key = nodePublicKey('ecdsa-p256', publicKey);
      const scheme = schemes['ecdsa-p256-sha256'];
      assert.ok(made !== undefined && nodeVerify(scheme, key, long, made.signature));
      const items = Array.from({ length: 8 }, (_, index) => ({
        kid,
        message_b64: Buffer.alloc(65_536, index).toString('base64'),
      }));
      const { body } = await ask('/sign/batch', {
        items: [...items, { kid, message_b64: Buffer.alloc(65_537).toString('base64') }],
      });
      const { results } = body;
      for (const [index, { sigs }] of results.slice(0, 8).entries()) {
        const signature = Buffer.from(sigs[0].signature_b64, 'base64');
        assert.ok(nodeVerify(scheme, key, Buffer.alloc(65_536, index), signature));
      }
      assert.equal(results[8].error.code, 'BadRequest');
    });

    test('records name the input: the digest that was given, or the SHA-256 of a message', async () => {
      const own = await startInProcess({ env: { KMS_ENGINE: engine, KMS_AUDIT_INPUT_HASH: 'plain' } });
      try {
        const asks = (path: string, body: unknown) => call(own, own.token, 'POST', `/v1/kms${path}`, body);
        const { kid } = (await asks('/keys', { purpose: 'web', alg: 'mldsa44-ed25519' })).body;
        const inputs = [{ payload_b3: helloWorldB3 }, { message_b64 }, digestOf('sha512')];
        for (const input of inputs) assert.equal((await asks('/sign', { kid, ...input })).status, 200);
        const { body } = await call(own, own.token, 'GET', '/v1/kms/audit/records');
        const hashes = body.records
          .map(({ record }: { record: { alg: string; input_hash: string } }) => record)
          .filter(
            ({ alg, input_hash }: { alg: string; input_hash: string }) =>
              alg === 'mldsa44-ed25519' && input_hash !== 'none',
          )
          .map(({ input_hash }: { input_hash: string }) => input_hash);
        const hex = (name: string) => createHash(name).update(message).digest('hex');
        assert.deepEqual(hashes, [
          `b3:${helloWorldB3}`,
          `sha256:${hex('sha256')}`,
          `sha512:${hex('sha512')}`,
        ]);
      } finally {
        await own.stop();
      }
    });
  });
}
