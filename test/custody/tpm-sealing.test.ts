import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { byHandle, type TpmClient } from '../../src/custody/tpm/client.ts';
import { commands, handles, objectAttributes as oa, tpmAlgorithms } from '../../src/custody/tpm/numbers.ts';
import { createPrimary } from '../../src/custody/tpm/objects.ts';
import { type PcrValues, pcrPolicy, signedBytes } from '../../src/custody/tpm/policy.ts';
import {
  newReference,
  type TpmSealedPlace,
  type TpmSealPlace,
  tpmSealing,
} from '../../src/custody/tpm/root-sealing.ts';
import { emptyPassword, sessionCipher } from '../../src/custody/tpm/session.ts';
import { readLockout } from '../../src/custody/tpm/state.ts';
import { Writer } from '../../src/custody/tpm/wire.ts';
import { createSwtpm, noSwtpm, type Swtpm, tap } from '../support/swtpm.ts';

describe('a root key sealed to a TPM', { skip: noSwtpm }, () => {
  let tpm: Swtpm;
  before(async () => {
    tpm = await createSwtpm();
  });
  after(() => tpm.remove());

  const operator = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const secret = randomBytes(32);
  const pin = Buffer.from('correct horse');

  const place = (more?: Partial<TpmSealPlace>): TpmSealPlace => ({
    ...{ tcti: tpm.tcti, pcrs: [4, 7], reference: newReference() },
    operatorKey: operator.publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
    ...more,
  });
  const sealed = async (where: TpmSealPlace, by?: Uint8Array): Promise<TpmSealedPlace> => ({
    ...where,
    ...{ sealed: await tpmSealing.seal(where, by, secret), approved: [] },
  });
  const approve = (values: PcrValues, { reference }: TpmSealPlace, key: KeyObject = operator.privateKey) => {
    const bytes = signedBytes(pcrPolicy(values), Buffer.from(reference, 'hex'));
    const signature = sign('sha256', bytes, { key, dsaEncoding: 'ieee-p1363' }).toString('base64');
    return { values, signature };
  };
  const failures = () => tpm.use(async (client) => (await readLockout(client)).failures);

  test('it opens where the PCRs are as at the sealing', async () => {
    const where = await sealed(place());
    assert.deepEqual(Buffer.from(await tpmSealing.unseal(where, undefined)), secret);
  });

  test('after a change of a PCR it is refused by its number, and opens once the operator has signed the new values', async () => {
    const where = await sealed(place());
    await tpm.extend(4);
    await assert.rejects(tpmSealing.unseal(where, undefined), /PCR 4 has a value that nobody approved/);
    const values = await tpmSealing.values(where);
    const approved = [approve(values, where)];
    assert.deepEqual(Buffer.from(await tpmSealing.unseal({ ...where, approved }, undefined)), secret);
  });

  test('the TPM takes neither the signature of another key nor one for another source', async () => {
    const where = await sealed(place());
    await tpm.extend(7);
    const values = await tpmSealing.values(where);
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    for (const approved of [[approve(values, where, stranger)], [approve(values, place())]])
      await assert.rejects(
        tpmSealing.unseal({ ...where, approved }, undefined),
        /the TPM .*: it answered|policy/,
      );
  });

  test('neither the root key nor the PIN goes over the wire in the clear, and a changed answer is found', async () => {
    const wire = await tap(tpm);
    try {
      const where = await sealed(place({ tcti: wire.tcti }), pin);
      await tpmSealing.unseal(where, pin);
      assert.ok(wire.traffic().length > 1_000);
      const hidden = [secret, secret.subarray(0, 8), pin, createHash('sha256').update(pin).digest()];
      for (const each of hidden) assert.equal(wire.traffic().indexOf(each), -1);
      // TPM2_Unseal alone answers with so many bytes.
      wire.change = (answer) => {
        if (answer.length === 117) answer[20] = (answer[20] as number) ^ 1;
        return answer;
      };
      await assert.rejects(tpmSealing.unseal(where, pin), /is not of the TPM that this session/);
    } finally {
      await wire.close();
    }
  });

  test('a TPM that is gone, or is another one, is said to be that; it opens when it is back', async () => {
    const where = await sealed(place());
    await tpm.stop();
    await assert.rejects(tpmSealing.unseal(where, undefined), /cannot be opened/);
    const other = await createSwtpm();
    try {
      const moved = { ...where, tcti: other.tcti };
      const { parent } = where.sealed;
      await assert.rejects(
        tpmSealing.seal({ ...place(moved), parent }, undefined, secret),
        /another TPM, or it was cleared/,
      );
      const values = await tpmSealing.values(moved);
      const approved = [approve(values, where)];
      await assert.rejects(
        tpmSealing.unseal({ ...moved, approved }, undefined),
        /another TPM, or it was cleared/,
      );
    } finally {
      await other.remove();
    }
    await tpm.start();
    const approved = [approve(await tpmSealing.values(where), where)];
    assert.deepEqual(Buffer.from(await tpmSealing.unseal({ ...where, approved }, undefined)), secret);
  });

  test('it is sealed under the storage root key that the machine keeps, of RSA as well, and opens without it where it was made before', async () => {
    const before = await sealed(place());
    await tpm.use(keepRsaStorageRoot);
    const where = await sealed(place());
    assert.notEqual(where.sealed.parent, before.sealed.parent);
    for (const each of [where, before])
      assert.deepEqual(Buffer.from(await tpmSealing.unseal(each, undefined)), secret);
  });

  test('a wrong PIN is tried once, and not at all where it would lock the TPM out', async () => {
    const where = await sealed(place(), pin);
    assert.deepEqual(Buffer.from(await tpmSealing.unseal(where, pin)), secret);
    const before = await failures();
    let refused = 0;
    const wrong = tpmSealing.unseal(where, Buffer.from('wrong'), () => refused++);
    await assert.rejects(wrong, /refused the PIN/);
    assert.deepEqual([refused, await failures()], [1, before + 1]);
    for (;;) {
      const { failures: count, limit } = await tpm.use(readLockout);
      if (count + 1 >= limit) break;
      await assert.rejects(tpmSealing.unseal(where, Buffer.from('wrong')), /refused the PIN/);
    }
    const last = await failures();
    await assert.rejects(
      tpmSealing.unseal(where, Buffer.from('wrong')),
      /one more wrong PIN would lock it out/,
    );
    assert.equal(await failures(), last);
  });
});

/** As a machine is provisioned: RSA-2048 at 0x81000001. */
async function keepRsaStorageRoot(client: TpmClient): Promise<void> {
  const template = new Writer()
    .u16(tpmAlgorithms.rsa)
    .u16(tpmAlgorithms.sha256)
    .u32(
      oa.fixedTpm |
        oa.fixedParent |
        oa.sensitiveDataOrigin |
        oa.userWithAuth |
        oa.noDa |
        oa.restricted |
        oa.decrypt,
    )
    .sized(Buffer.alloc(0))
    .bytes(sessionCipher)
    .u16(tpmAlgorithms.null)
    .u16(2_048)
    .u32(0)
    .sized(Buffer.alloc(0))
    .done();
  const made = await createPrimary(client, template);
  await client.using(made.handle, async () => {
    await client.run({
      ...{ code: commands.evictControl, handles: [byHandle(handles.owner), made], by: emptyPassword },
      parameters: new Writer().u32(handles.persistentStorageRoot).done(),
    });
  });
}
