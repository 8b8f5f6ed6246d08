import assert from 'node:assert/strict';
import { constants, createPublicKey, randomBytes, verify as verifies } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import type { Usage } from '../../src/algorithms/work-kinds.ts';
import type { Result } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { servedEngines } from '../support/engines.ts';
import { unwrap } from '../support/keyring.ts';
import { lifecycleCalls } from '../support/lifecycle-calls.ts';
import { agrees, openPlacedService, type PlacedService } from '../support/placed.ts';
import { placedCaller, prodLaptop } from '../support/placed-calls.ts';

const approval = agrees;
const data = Buffer.from('Hello, World!');
const aad = new Uint8Array();
const signs: readonly Usage[] = ['sign', 'verify'];
const encrypts: readonly Usage[] = ['encrypt', 'decrypt'];

/** As a dialect tells them apart. */
function refusalOf(result: Result<unknown>): string {
  if (result.ok) return 'ok';
  const { code, keyState } = result.failure;
  return keyState === undefined ? code : `${code} ${keyState}`;
}

for (const { name } of servedEngines()) {
  describe(`keys with a placement, with the ${name} engine`, { timeout: 60_000 }, () => {
    let placed: PlacedService;
    before(async () => {
      placed = await openPlacedService({ env: { KMS_ENGINE: name } });
    });
    after(() => placed.stop());

    const { generate, made, sign, verify, valid, encrypt, decrypt, rotate, revoke, archive, read } =
      lifecycleCalls(() => placed);

    test('RSA-2048 signs by PSS and by PKCS #1 v1.5, and OpenSSL verifies both by the PEM', async () => {
      const { keyId, publicKeyPem, alg } = await made({ keyType: 'RSA-2048' });
      assert.equal(alg, 'rsa-2048');
      const key = createPublicKey(publicKeyPem!);
      assert.equal(key.asymmetricKeyDetails?.modulusLength, 2048);
      const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
      for (const [asked, own, way] of [
        ['RSA-PSS-SHA256', 'PS256', pss],
        ['PS256', 'PS256', pss],
        [undefined, 'PS256', pss],
        ['RSA-PKCS1v15-SHA256', 'RS256', { key, padding: constants.RSA_PKCS1_PADDING }],
        ['RS256', 'RS256', { key, padding: constants.RSA_PKCS1_PADDING }],
        ['rs256', 'RS256', { key, padding: constants.RSA_PKCS1_PADDING }],
      ] as const) {
        const signed = unwrap(await sign(keyId, asked));
        assert.deepEqual([signed.alg, signed.keyId], [own, keyId]);
        assert.ok(verifies('sha256', data, way, signed.signature), asked);
        assert.equal(await valid(keyId, signed.signature, own), true);
        assert.equal(await valid(keyId, signed.signature, own === 'PS256' ? 'RS256' : 'PS256'), false);
      }
    });

    test('Ed25519 signs as EdDSA, by whatever name, and an empty message too', async () => {
      const { keyId, publicKeyPem } = await made();
      const key = createPublicKey(publicKeyPem!);
      for (const asked of ['EdDSA', 'Ed25519', 'ed25519', undefined]) {
        const { signature, alg } = unwrap(await sign(keyId, asked));
        assert.equal(alg, 'ed25519');
        assert.ok(verifies(null, data, key, signature));
        assert.equal(await valid(keyId, signature, asked), true);
        signature[0]! ^= 1;
        assert.equal(await valid(keyId, signature, asked), false);
        for (const length of [0, 1, 63, 65, 4_000])
          assert.equal(await valid(keyId, randomBytes(length)), false, String(length));
      }
      const empty = unwrap(await sign(keyId, undefined, undefined, { data: aad }));
      assert.ok(verifies(null, aad, key, empty.signature));
    });

    test('an algorithm of another key is refused, as is a use of another kind of key (N6)', async () => {
      const ed25519 = (await made()).keyId;
      const aes = await made({ keyType: 'AES-256', usages: encrypts });
      assert.equal(refusalOf(await sign(ed25519, 'PS256')), 'Unsupported');
      assert.equal(refusalOf(await verify(ed25519, randomBytes(64), 'RS256')), 'Unsupported');
      assert.equal(refusalOf(await encrypt(ed25519, data)), 'Unsupported');
      assert.equal(refusalOf(await sign(aes.keyId)), 'Unsupported');
      // One key has one algorithm.
      assert.equal(refusalOf(await encrypt(aes.keyId, data, { alg: 'CHACHA20-POLY1305' })), 'Unsupported');
      for (const alg of ['no such', 'constructor', '__proto__', ''])
        assert.equal(refusalOf(await sign(ed25519, alg)), 'Unsupported');
    });

    test('usages that a key was not made for are forbidden, and those that its type has not are no usages (N7)', async () => {
      const { keyId } = await made({ usages: ['sign'] });
      const { signature } = unwrap(await sign(keyId));
      assert.equal(refusalOf(await verify(keyId, signature)), 'PolicyViolation');
      for (const usages of [['encrypt'], ['sign', 'decrypt'], ['fly'], []] as unknown as Usage[][])
        assert.equal(refusalOf(await generate({ usages })), 'BadRequest');
      assert.equal(refusalOf(await generate({ keyType: 'AES-256', usages: signs })), 'BadRequest');
      for (const keyType of ['RSA-1024', 'constructor', ''])
        assert.equal(refusalOf(await generate({ keyType })), 'Unsupported');
      assert.equal(refusalOf(await generate({ keyType: 'ed25519+ml-dsa-65' })), 'Unsupported');
    });

    test('other algorithms of ours are there too', async () => {
      for (const keyType of ['ecdsa-p256', 'ml-dsa-65', 'mldsa65-ed25519']) {
        const { keyId } = await made({ keyType });
        const { signature } = unwrap(await sign(keyId));
        assert.equal(await valid(keyId, signature), true, keyType);
      }
      const { keyId } = await made({ keyType: 'chacha20-poly1305', usages: encrypts });
      const sealed = unwrap(await encrypt(keyId, data, { alg: 'CHACHA20-POLY1305' }));
      assert.deepEqual(Buffer.from(unwrap(await decrypt(keyId, sealed)).plaintext), data);
    });

    test('AES-256 gives no public key, and nothing of its answers opens what it encrypts (N1)', async () => {
      const answer = await made({ keyType: 'AES-256', usages: encrypts });
      assert.equal(answer.publicKeyPem, undefined);
      assert.equal((await read(answer.keyId)).publicKeyPem, undefined);
      assert.doesNotMatch(JSON.stringify([answer, await read(answer.keyId)]), /secret|sealed|private/i);
    });

    test('what is encrypted comes back, empty too, with the same aad and no other (N9)', async () => {
      const { keyId } = await made({ keyType: 'AES-256', usages: encrypts });
      for (const plaintext of [aad, data, randomBytes(4_096)]) {
        const sealed = unwrap(await encrypt(keyId, plaintext, { aad: Buffer.from('order 7') }));
        assert.deepEqual(
          [sealed.iv.length, sealed.ciphertext.length, sealed.alg],
          [12, plaintext.length + 16, 'aes-256-gcm'],
        );
        const opened = unwrap(
          await decrypt(keyId, sealed, { aad: Buffer.from('order 7'), alg: 'AES-256-GCM' }),
        );
        assert.deepEqual(Buffer.from(opened.plaintext), Buffer.from(plaintext));
        assert.equal(refusalOf(await decrypt(keyId, sealed)), 'BadRequest');
        assert.equal(refusalOf(await decrypt(keyId, { ...sealed, iv: randomBytes(11) })), 'BadRequest');
        const damaged = Buffer.from(sealed.ciphertext);
        damaged[0]! ^= 1;
        const wrong = await decrypt(
          keyId,
          { ...sealed, ciphertext: damaged },
          { aad: Buffer.from('order 7') },
        );
        assert.equal(refusalOf(wrong), 'BadRequest');
      }
    });

    test('another key does not open it, nor does another version of the same (N20)', async () => {
      const one = await made({ keyType: 'AES-256', usages: encrypts });
      const two = await made({ keyType: 'AES-256', usages: encrypts });
      const sealed = unwrap(await encrypt(one.keyId, data));
      assert.equal(refusalOf(await decrypt(two.keyId, sealed)), 'BadRequest');
      const { newKeyId } = unwrap(await rotate(one.keyId));
      assert.equal(refusalOf(await decrypt(newKeyId, sealed)), 'BadRequest');
      assert.deepEqual(Buffer.from(unwrap(await decrypt(one.keyId, sealed)).plaintext), data);
    });

    test('after a rotation old signatures hold and old ciphertexts open, and the old key makes nothing (N3)', async () => {
      const signing = await made();
      const { signature } = unwrap(await sign(signing.keyId));
      const turned = unwrap(await rotate(signing.keyId));
      assert.equal(turned.oldKeyId, signing.keyId);
      assert.notEqual(turned.newPublicKeyPem, signing.publicKeyPem);
      assert.equal((await read(signing.keyId)).state, 'pending_rotation');
      assert.equal((await read(turned.newKeyId)).state, 'active');
      assert.equal(await valid(signing.keyId, signature), true);
      assert.equal(await valid(turned.newKeyId, signature), false);
      assert.equal(refusalOf(await sign(signing.keyId)), 'Conflict inactive');
      assert.equal(refusalOf(await rotate(signing.keyId)), 'Conflict inactive');
      assert.equal(await valid(turned.newKeyId, unwrap(await sign(turned.newKeyId)).signature), true);

      const aes = await made({ keyType: 'AES-256', usages: encrypts });
      const sealed = unwrap(await encrypt(aes.keyId, data));
      unwrap(await rotate(aes.keyId));
      assert.equal(refusalOf(await encrypt(aes.keyId, data)), 'Conflict inactive');
      assert.deepEqual(Buffer.from(unwrap(await decrypt(aes.keyId, sealed)).plaintext), data);
      unwrap(await archive(aes.keyId));
      assert.deepEqual(Buffer.from(unwrap(await decrypt(aes.keyId, sealed)).plaintext), data);
    });

    test('an archived key makes nothing, and opens and verifies; archiving again answers the same', async () => {
      const { keyId } = await made();
      const { signature } = unwrap(await sign(keyId));
      const done = unwrap(await archive(keyId));
      assert.deepEqual(unwrap(await archive(keyId)), done);
      const shown = await read(keyId);
      assert.deepEqual([shown.state, shown.archivedAtMs], ['archived', done.archivedAtMs]);
      assert.equal(refusalOf(await sign(keyId)), 'Conflict inactive');
      assert.equal(refusalOf(await rotate(keyId)), 'Conflict inactive');
      assert.equal(await valid(keyId, signature), true);
    });

    test('a revoked key does nothing more; its signatures hold unless it was compromised (N4, N5)', async () => {
      for (const [reason, holds] of [
        ['retired', true],
        ['policy_violation', true],
        ['compromised', false],
      ] as const) {
        const { keyId, publicKeyPem } = await made();
        const { signature } = unwrap(await sign(keyId));
        const done = unwrap(await revoke(keyId, reason));
        assert.deepEqual(unwrap(await revoke(keyId, reason)), done);
        for (const result of [await sign(keyId), await rotate(keyId), await archive(keyId)])
          assert.equal(refusalOf(result), 'Conflict destroyed');
        assert.equal(await valid(keyId, signature), holds, reason);
        assert.equal(await valid(keyId, randomBytes(64)), false);
        const shown = await read(keyId);
        assert.equal(shown.state, 'destroyed');
        assert.deepEqual(shown.revoked, { reason, atMs: done.revokedAtMs });
        assert.equal(shown.publicKeyPem, publicKeyPem);
        assert.deepEqual(unwrap(await revoke(keyId, 'compromised')), done);
        assert.equal(await valid(keyId, signature), false, `${reason}, and found to be compromised`);
        assert.deepEqual(unwrap(await revoke(keyId, reason)), done);
        assert.deepEqual((await read(keyId)).revoked, { reason: 'compromised', atMs: done.revokedAtMs });
      }
      const { keyId } = await made({ keyType: 'AES-256', usages: encrypts });
      const sealed = unwrap(await encrypt(keyId, data));
      unwrap(await revoke(keyId));
      assert.equal(refusalOf(await decrypt(keyId, sealed)), 'Conflict destroyed');
      assert.equal(refusalOf(await encrypt(keyId, data)), 'Conflict destroyed');
    });

    test('a revoked old key leaves the new one, and the other way about', async () => {
      const one = await made({ keyType: 'AES-256', usages: encrypts });
      const sealed = unwrap(await encrypt(one.keyId, data));
      const { newKeyId } = unwrap(await rotate(one.keyId));
      unwrap(await revoke(newKeyId));
      assert.deepEqual(Buffer.from(unwrap(await decrypt(one.keyId, sealed)).plaintext), data);
      unwrap(await revoke(one.keyId));
      assert.equal(refusalOf(await decrypt(one.keyId, sealed)), 'Conflict destroyed');
    });

    test('created_at stays over rotation and revocation, and rotations are counted (N16)', async () => {
      const { keyId, createdAtMs } = await made();
      assert.deepEqual(
        [(await read(keyId)).createdAtMs, (await read(keyId)).rotationCount],
        [createdAtMs, 0],
      );
      const { newKeyId } = unwrap(await rotate(keyId));
      for (const each of [keyId, newKeyId]) {
        const shown = await read(each);
        assert.deepEqual([shown.createdAtMs, shown.rotationCount], [createdAtMs, 1]);
      }
      assert.equal((await read(keyId)).validFromMs, createdAtMs);
      unwrap(await revoke(newKeyId));
      assert.equal((await read(newKeyId)).createdAtMs, createdAtMs);
    });

    test('metadata says what was asked for, and the usual schedule where nothing was', async () => {
      const validUntilMs = Date.now() + 3_600_000;
      const access = { allowedModules: ['orders', 'bills'], maxUsagePerDay: 7 };
      const { keyId } = await made({ alias: 'with/everything', validUntilMs, access, keyType: 'RSA-2048' });
      const shown = await read(keyId);
      assert.deepEqual(
        [shown.alias, shown.validUntilMs, shown.access, shown.rotation, shown.keySizeBits, shown.usages],
        ['with/everything', validUntilMs, access, { afterDays: 90 }, 2048, signs],
      );
      assert.deepEqual(shown.placement, { environment: 'prod', plane: 'laptop' });
      const days = async (keyType: string, usages = signs) =>
        (await read((await made({ keyType, usages })).keyId)).rotation?.afterDays;
      assert.deepEqual(
        [await days('Ed25519'), await days('AES-256', encrypts), await days('ecdsa-p256')],
        [365, 90, undefined],
      );
      const own = await made({ rotation: { afterDays: 3 } });
      assert.deepEqual((await read(own.keyId)).rotation, { afterDays: 3 });
    });

    test('of the tenant, environment and plane of the caller, the call and the key all have to agree (N2)', async () => {
      const { keyId } = await made();
      const aes = await made({ keyType: 'AES-256', usages: encrypts });
      const sealed = unwrap(await encrypt(aes.keyId, data));
      const { signature } = unwrap(await sign(keyId));
      const other: Caller = { ...placedCaller, tenant: 'other' };
      const everywhere: Caller = {
        ...placedCaller,
        placement: { environments: 'all', planes: 'all', module: 'orders' },
      };
      const { placement: _, ...nowhere } = placedCaller;
      for (const [caller, more, expected] of [
        // Naming another tenant never helps, and without naming it there is no such key.
        [other, {}, 'NoCapability'],
        [other, { tenant: 'other' }, 'NotFound'],
        [undefined, { tenant: 'other' }, 'NoCapability'],
        [undefined, { environment: 'dev' }, 'NoCapability'],
        [undefined, { plane: 'shared' }, 'NoCapability'],
        [everywhere, { environment: 'dev' }, 'NoCapability'],
        [everywhere, { plane: 'tenant' }, 'NoCapability'],
        [everywhere, {}, 'ok'],
        [nowhere as Caller, {}, 'NoCapability'],
      ] as const) {
        const results: Result<unknown>[] = [
          await sign(keyId, undefined, caller, more),
          await verify(keyId, signature, undefined, caller, more),
          await encrypt(aes.keyId, data, more, caller),
          await decrypt(aes.keyId, sealed, more, caller),
          await placed.asked('read', { ...prodLaptop, keyId, ...more }, caller),
        ];
        if (expected !== 'ok') {
          results.push(
            await placed.asked(
              'rotate',
              { ...prodLaptop, keyId, approval, name: undefined, ...more },
              caller,
            ),
            await placed.asked(
              'revoke',
              { ...prodLaptop, keyId, approval, reason: 'retired', ...more },
              caller,
            ),
            await placed.asked('archive', { ...prodLaptop, keyId, approval, ...more }, caller),
          );
        }
        assert.deepEqual(
          results.map(refusalOf),
          results.map(() => expected),
          JSON.stringify(more),
        );
      }
      assert.equal((await read(keyId)).state, 'active');
      for (const more of [{ tenant: 'other' }, { environment: 'dev' }, { plane: 'shared' }] as const)
        assert.equal(refusalOf(await generate(more)), 'NoCapability');
    });

    test('a key_id that is not there is NotFound, whatever is asked', async () => {
      const keyId = '11111111-2222-4333-8444-555555555555';
      for (const each of [keyId, 'key-123', ''])
        for (const result of [await sign(each), await rotate(each), await revoke(each), await archive(each)])
          assert.equal(refusalOf(result), 'NotFound');
    });

    test('key_ids are taken in any case', async () => {
      const { keyId } = await made();
      const { signature, keyId: answered } = unwrap(await sign(keyId.toUpperCase()));
      assert.equal(answered, keyId);
      assert.equal(await valid(keyId.toUpperCase(), signature), true);
    });

    test('only modules that the key allows use it', async () => {
      const { keyId } = await made({ access: { allowedModules: ['bills'] } });
      assert.equal(refusalOf(await sign(keyId)), 'PolicyViolation');
      assert.equal(refusalOf(await verify(keyId, randomBytes(64))), 'PolicyViolation');
      const bills: Caller = {
        ...placedCaller,
        placement: { environments: 'all', planes: 'all', module: 'bills' },
      };
      assert.equal(refusalOf(await sign(keyId, undefined, bills)), 'ok');
    });

    test('a key that asks for an agreement is not used without one', async () => {
      const { keyId } = await made({ access: { requiresApproval: true } });
      assert.equal(refusalOf(await sign(keyId)), 'NoCapability');
      const signed = unwrap(await sign(keyId, undefined, undefined, { approval }));
      assert.equal(await valid(keyId, signed.signature), true);
    });

    test('every change needs an agreement, and without one nothing changes', async () => {
      const { keyId } = await made();
      for (const wrong of [undefined, '', 'another']) {
        const without = { approval: wrong };
        for (const result of [
          await generate(without),
          await rotate(keyId, without),
          await placed.asked('revoke', { ...prodLaptop, keyId, ...without, reason: 'retired' }),
          await placed.asked('archive', { ...prodLaptop, keyId, ...without }),
        ])
          assert.equal(refusalOf(result), 'NoCapability');
      }
      assert.deepEqual([(await read(keyId)).state, (await read(keyId)).rotationCount], ['active', 0]);
    });

    test('a signature is by the key_id that its answer names, also while the key is rotated (N25)', async () => {
      const { keyId } = await made();
      const ids = [keyId];
      const signed: { keyId: string; signature: Uint8Array }[] = [];
      const signing = Array.from({ length: 8 }, async () => {
        for (let n = 0; n < 20; n++) {
          const result = await sign(ids.at(-1)!);
          if (result.ok) signed.push({ ...result.value, signature: Uint8Array.from(result.value.signature) });
          else assert.equal(refusalOf(result), 'Conflict inactive');
        }
      });
      for (let n = 0; n < 4; n++) ids.push(unwrap(await rotate(ids.at(-1)!)).newKeyId);
      await Promise.all(signing);
      assert.ok(signed.length > 0);
      for (const { keyId: by, signature } of signed) assert.equal(await valid(by, signature), true);
    });

    test('an alias names one key, is listed, and stays over rotations', async () => {
      const { keyId } = await made({ alias: 'my-signing-key' });
      assert.equal(refusalOf(await generate({ alias: 'my-signing-key' })), 'Conflict');
      const { newKeyId } = unwrap(await rotate(keyId));
      const list = async (more: object) =>
        unwrap(
          await placed.asked('list', {
            ...{
              ...prodLaptop,
              alias: 'my-signing-key',
              state: undefined,
              cursor: undefined,
              limit: undefined,
            },
            ...more,
          }),
        ).keys.map((key) => key.keyId);
      assert.deepEqual(await list({}), [newKeyId, keyId]);
      assert.deepEqual(await list({ state: 'active' }), [newKeyId]);
      assert.deepEqual(await list({ alias: 'nothing' }), []);
    });

    test('all keys of a place are listed, page by page and by state, and none of another', async () => {
      const tenant = 'listing';
      const caller: Caller = {
        ...{ ...placedCaller, tenant },
        placement: { environments: 'all', planes: 'all', module: 'orders' },
      };
      const mine = new Set<string>();
      for (let n = 0; n < 5; n++) mine.add(unwrap(await generate({ tenant }, caller)).keyId);
      const [first] = mine as unknown as Iterable<string>;
      const asked = { ...prodLaptop, tenant };
      const turned = unwrap(
        await placed.asked('rotate', { ...asked, keyId: first!, approval, name: undefined }, caller),
      );
      mine.add(turned.newKeyId);
      unwrap(await generate({ tenant, environment: 'dev' }, caller));
      const listed: string[] = [];
      for (let cursor: string | undefined; ; ) {
        const page = unwrap(
          await placed.asked(
            'list',
            { ...asked, alias: undefined, state: undefined, cursor, limit: 2 },
            caller,
          ),
        );
        assert.ok(page.keys.length <= 2);
        listed.push(...page.keys.map(({ keyId }) => keyId));
        if (page.nextCursor === undefined) break;
        cursor = page.nextCursor;
      }
      assert.deepEqual(listed, [...mine].toSorted());
      const pending = await placed.asked(
        'list',
        { ...asked, alias: undefined, state: 'pending_rotation', cursor: undefined, limit: undefined },
        caller,
      );
      assert.deepEqual(
        unwrap(pending).keys.map(({ keyId }) => keyId),
        [first],
      );
      for (const wrong of [{ limit: 0 }, { limit: 1_001 }, { cursor: 'x' }]) {
        const more = { alias: undefined, state: undefined, cursor: undefined, limit: undefined, ...wrong };
        assert.equal(refusalOf(await placed.asked('list', { ...asked, ...more }, caller)), 'BadRequest');
      }
    });

    test('a repeated change with its op_id gets the same answer, and uses one agreement', async () => {
      const name = { id: '11111111-2222-4333-8444-555555555555' };
      const one = await made({ name, alias: 'repeated' });
      const again = await made({ name, alias: 'repeated' });
      assert.deepEqual(again, { ...one, replayed: true });
      assert.equal(refusalOf(await generate({ name, alias: 'other' })), 'Conflict');
      const turn = { name: { id: '21111111-2222-4333-8444-555555555555' } };
      const turned = unwrap(await rotate(one.keyId, turn));
      assert.deepEqual(unwrap(await rotate(one.keyId, turn)), { ...turned, replayed: true });
    });

    test('a use counts where it makes something, and nothing is made beyond the limit of a day (N13)', async () => {
      const { keyId } = await made({ access: { maxUsagePerDay: 25 } });
      const results: string[] = [];
      await Promise.all(
        Array.from({ length: 16 }, async () => {
          for (let n = 0; n < 4; n++) results.push(refusalOf(await sign(keyId)));
        }),
      );
      assert.equal(results.filter((result) => result === 'ok').length, 25);
      assert.equal(results.filter((result) => result === 'RateLimited').length, 64 - 25);
      assert.equal(await valid(keyId, randomBytes(64)), false);
      // Of all versions together.
      const { newKeyId } = unwrap(await rotate(keyId));
      assert.equal(refusalOf(await sign(newKeyId)), 'RateLimited');

      const aes = await made({ keyType: 'AES-256', usages: encrypts, access: { maxUsagePerDay: 2 } });
      const sealed = unwrap(await encrypt(aes.keyId, data));
      for (let n = 0; n < 5; n++) unwrap(await decrypt(aes.keyId, sealed));
      unwrap(await encrypt(aes.keyId, data));
      assert.equal(refusalOf(await encrypt(aes.keyId, data)), 'RateLimited');
      unwrap(await decrypt(aes.keyId, sealed));
    });
  });
}
