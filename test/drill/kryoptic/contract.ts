import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { findAlgorithm } from '../../../src/algorithms/registry.ts';
import { createCancellation } from '../../../src/core/cancellation.ts';
import type { Result } from '../../../src/core/result.ts';
import type { Pkcs11Home } from '../../../src/custody/pkcs11/index.ts';
import { type BatchResult, batchOps } from '../../../src/engine/batch.ts';
import { createCostMeter } from '../../../src/queue/cost-meter.ts';
import { custodyContract, type HomeUnderTest } from '../../contracts/custody.ts';
import { openHome } from '../../support/softhsm.ts';

const module = process.env.KRYOPTIC_MODULE ?? '';
const pin = '123456';
const securityOfficerPin = '12345678';

/** A token of its own, with its PINs set. */
async function makeToken(): Promise<{ open(): Promise<Pkcs11Home>; remove(): void }> {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-kryoptic-'));
  const configuration = join(directory, 'kryoptic.conf');
  writeFileSync(
    configuration,
    `[[slots]]\nslot = 1\ndbtype = "sqlite"\ndbargs = "${join(directory, 'token.sql')}"\n`,
  );
  process.env.KRYOPTIC_CONF = configuration;
  const { PKCS11 } = (await import('pkcs11js')).default;
  const cryptoki = new PKCS11();
  cryptoki.load(module);
  cryptoki.C_Initialize();
  const [slot] = cryptoki.C_GetSlotList(true) as [Buffer];
  // PKCS#11: 32 bytes, padded with blanks.
  cryptoki.C_InitToken(slot, securityOfficerPin, 'drill'.padEnd(32));
  const session = cryptoki.C_OpenSession(slot, 6);
  cryptoki.C_Login(session, 0, securityOfficerPin);
  cryptoki.C_InitPIN(session, pin);
  cryptoki.C_Logout(session);
  cryptoki.C_CloseSession(session);
  cryptoki.C_Finalize();
  const pinFile = join(directory, 'pin');
  writeFileSync(pinFile, `${pin}\n`, { mode: 0o600 });
  return {
    open: () =>
      openHome({ module, token: { label: 'drill' }, pinFile, sessions: 2, groupReadableSecrets: false }),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

custodyContract('of Kryoptic', kryopticHome, {
  destroyEndsReferences: true,
  hidesSecrets: true,
  lacks: ['ed25519ph', 'mu', 'context'],
});

async function kryopticHome(): Promise<HomeUnderTest> {
  const token = await makeToken();
  const home = await token.open();
  return Object.assign(home, {
    privateNumbers: () => [],
    close: async () => {
      await Object.getPrototypeOf(home).close.call(home);
      token.remove();
    },
  });
}

test('OpenSSL verifies what Kryoptic signs with Ed25519 and ML-DSA-65', async (t) => {
  const token = await makeToken();
  t.after(() => token.remove());
  const home = await token.open();
  t.after(() => home.close());
  assert.ok(home.contact.up, home.contact.reason);
  const message = Buffer.from('hello world');
  for (const name of ['ed25519', 'ml-dsa-65']) {
    const algorithm = findAlgorithm(name)!;
    const [component] = algorithm.components;
    const [scheme] = component.schemes;
    const kid = `acme/p/${name}/one#v1`;
    const made = await home.generate(algorithm, 'acme', kid);
    assert.ok(made.ok, name);
    const [part] = made.value;
    const item = {
      ...{ op: batchOps.sign, scheme: scheme.scheme, keyNumber: 0, inputs: [message] },
      key: home.keyReference(part!, 0, 'acme', kid),
    };
    const { promise, resolve } = Promise.withResolvers<Result<readonly BatchResult[]>>();
    await home.carry([
      {
        ...{
          tenant: 'acme',
          callClass: 'sign',
          costUs: 1,
          offeredAtMs: 0,
          deadlineAtMs: Number.POSITIVE_INFINITY,
        },
        ...{ cancellation: createCancellation(), items: [item], meters: [createCostMeter(100)] },
        settle: resolve,
      },
    ]);
    const outcome = await promise;
    assert.ok(outcome.ok, name);
    const [signature] = outcome.value[0]!.outputs as [Uint8Array];
    const spki = Buffer.concat([component.spkiPrefix!, part!.publicKey]);
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    assert.ok(verify(null, message, key, signature), name);
  }
});
