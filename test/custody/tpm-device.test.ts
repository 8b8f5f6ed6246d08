import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { keyTypes, schemes } from '../../src/algorithms/ids.ts';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { systemClock } from '../../src/core/clock.ts';
import { StartError } from '../../src/core/start-error.ts';
import { TpmClient } from '../../src/custody/tpm/client.ts';
import { TpmDevice } from '../../src/custody/tpm/device.ts';
import { TpmError } from '../../src/custody/tpm/errors.ts';
import { TpmHome } from '../../src/custody/tpm/index.ts';
import { authFor } from '../../src/custody/tpm/key-blob.ts';
import { TpmKeys } from '../../src/custody/tpm/keys.ts';
import { openSession, openStorageRoot } from '../../src/custody/tpm/objects.ts';
import { tpmSealing } from '../../src/custody/tpm/root-sealing.ts';
import { readIdentity, readLockout } from '../../src/custody/tpm/state.ts';
import {
  deviceTransport,
  openTransport,
  type TpmTransport,
  tpmPlaceOf,
} from '../../src/custody/tpm/transport.ts';
import { batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { createSwtpm, noSwtpm, type Swtpm, tap } from '../support/swtpm.ts';

describe('the way to a TPM', { skip: noSwtpm }, () => {
  let tpm: Swtpm;
  before(async () => {
    tpm = await createSwtpm();
  });
  after(() => tpm.remove());

  /** A file as the kernel has it: what is read is the answer to what was written. `hold`: it does not answer before that. */
  function file(behind: TpmTransport, hold: Promise<void> = Promise.resolve()) {
    let answer = Buffer.alloc(0);
    return {
      async write(command: Buffer) {
        await hold;
        answer = Buffer.from(await behind.send(command, 1_000));
        return { bytesWritten: command.length, buffer: command };
      },
      async read(into: Buffer) {
        return { bytesRead: answer.copy(into), buffer: into };
      },
      close: () => behind.close(),
    } as unknown as Parameters<typeof deviceTransport>[0];
  }

  test('a device is written a command and read its answer', async () => {
    const behind = await openTransport({ socket: tpm.socket });
    const client = new TpmClient(deviceTransport(file(behind), '/dev/tpm-of-test'));
    const { manufacturer, firmware } = await readIdentity(client);
    assert.equal(manufacturer, 'IBM');
    assert.match(firmware, /^\d+\.\d+$/);
    await client.close();
  });

  test('a device that does not answer is given up, and not opened again before it has', async () => {
    const behind = await openTransport({ socket: tpm.socket });
    const { promise, resolve } = Promise.withResolvers<void>();
    const path = '/dev/tpm-that-hangs';
    const hung = deviceTransport(file(behind, promise), path);
    const command = Buffer.from('80010000000c0000017b0008', 'hex');
    await assert.rejects(hung.send(command, 10), /does not answer in time/);
    await assert.rejects(hung.send(command, 10), /did not answer before/);
    await assert.rejects(openTransport({ device: path }), /has not answered an earlier command yet/);
    await hung.close();
    resolve();
    const opened = () => openTransport({ device: path }).catch(String);
    while (String(await opened()).includes('has not answered')) await sleep(1);
    assert.match(String(await opened()), /ENOENT/);
  });

  test('what names no TPM is none, and what is none cannot be opened', async () => {
    assert.deepEqual(tpmPlaceOf('swtpm:host=127.0.0.1,port=2321'), { host: '127.0.0.1', port: 2_321 });
    for (const text of ['', 'device:tpm0', 'swtpm:path=x', 'swtpm:host=a,port=99999', 'tabrmd:'])
      assert.equal(tpmPlaceOf(text), undefined, text);
    await assert.rejects(openTransport({ socket: `${tpm.socket}.no` }), TpmError);
  });

  test('what a process that was killed has left loaded is flushed', async () => {
    for (let killed = 0; killed < 3; killed++)
      await tpm.use(async (client) => {
        const root = await openStorageRoot(client, undefined);
        await openSession(client, 'hmac', root);
        await openSession(client, 'policy', root);
      });
    const device = new TpmDevice({ socket: tpm.socket });
    const home = new TpmHome({ backend: 'tpm', device, clock: systemClock });
    await home.open();
    const made = await home.generate(findAlgorithm('ecdsa-p256')!, 'acme', 'acme/p/ecdsa-p256/a#v1');
    assert.ok(made.ok);
    await home.close();
    await device.close();
  });

  test('a key under another name is refused by the TPM itself, and does not count towards its lock-out', async () => {
    const device = new TpmDevice({ socket: tpm.socket });
    const keys = new TpmKeys(device);
    const failures = () => device.use(async (client) => (await readLockout(client)).failures);
    const before = await failures();
    const { sealed } = await keys.make(
      keyTypes['ecdsa-p256'],
      authFor(Buffer.from('acme'), Buffer.from('a#v1/0')),
    );
    const sign = async (tenant: string, part: string) => {
      const key = buildKeyReference(tenant, part, sealed);
      const scheme = schemes['ecdsa-p256-sha256'];
      return (await keys.run({ op: batchOps.sign, scheme, keyNumber: 0, key, inputs: [Buffer.from('m')] }))
        .status;
    };
    assert.equal(await sign('acme', 'a#v1/0'), batchStatuses.ok);
    for (let time = 0; time < 10; time++)
      assert.equal(await sign('acme', 'a#v2/0'), batchStatuses.keyUnusable);
    assert.equal(await failures(), before);
    assert.equal(await sign('acme', 'a#v1/0'), batchStatuses.ok);
    await device.close();
  });

  test('work goes one at a time, and a connection that ended is opened again', async () => {
    const device = new TpmDevice({ socket: tpm.socket });
    let running = 0;
    const each = async (client: TpmClient) => {
      assert.equal(++running, 1);
      await readLockout(client);
      running--;
    };
    await Promise.all([device.use(each), device.use(each), device.use(each)]);
    assert.equal(device.connections, 1);
    await tpm.stop();
    await assert.rejects(device.use(each), TpmError);
    await tpm.start();
    running = 0;
    await device.use(each);
    assert.ok(device.connections > 1);
    await device.close();
    await assert.rejects(device.use(each), /it is closed/);
  });

  test('an answer that no TPM gives ends the connection, and the home says that it is away', async () => {
    const wire = await tap(tpm);
    const device = new TpmDevice({ socket: wire.socket });
    const home = new TpmHome({ backend: 'tpm', device, clock: systemClock });
    try {
      wire.change = () => Buffer.alloc(10, 0xff);
      await home.open();
      assert.equal(home.contact.up, false);
      assert.match(home.contact.reason ?? '', /no length that an answer can have/);
      wire.change = (answer) => answer;
      await home.open();
      assert.equal(home.contact.up, true);
    } finally {
      await home.close();
      await device.close();
      await wire.close();
    }
  });

  test('whatever stands in the place of any one answer, a key is sealed or the TPM is said to be at fault', async () => {
    const wire = await tap(tpm);
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const where = {
      ...{ tcti: wire.tcti, pcrs: [4], reference: '00'.repeat(16) },
      operatorKey: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
    };
    const changes: readonly ((answer: Buffer) => Buffer)[] = [
      // In the point of a storage root key, so that it lies on no curve.
      (answer) => flipped(answer, 109),
      (answer) => flipped(answer, 1),
      (answer) => sizedAs(answer.subarray(0, Math.max(10, answer.length - 3))),
      (answer) => sizedAs(Buffer.concat([answer, Buffer.alloc(5)])),
      (answer) => Buffer.concat([answer, answer]),
      (answer) => sizedAs(Buffer.from(answer).fill(0, 10)),
      (answer) => sizedAs(Buffer.from(answer.subarray(0, 10))),
    ];
    let answers = 0;
    try {
      wire.change = (answer) => {
        answers++;
        return answer;
      };
      await tpmSealing.seal(where, undefined, randomBytes(32));
      const all = answers;
      for (let at = 0; at < all; at++)
        for (const [index, change] of changes.entries()) {
          // All of them where nothing vouches for the answer yet.
          if (at > 10 && at % changes.length !== index) continue;
          answers = 0;
          wire.change = (answer) => (answers++ === at ? change(answer) : answer);
          await tpmSealing.seal(where, undefined, randomBytes(32)).catch((cause: Error) => {
            assert.ok(cause instanceof StartError, `${index} at ${at}: ${cause.stack}`);
          });
        }
      wire.change = (answer) => answer;
      await tpmSealing.seal(where, undefined, randomBytes(32));
    } finally {
      await wire.close();
    }
  });
});

function flipped(answer: Buffer, at: number): Buffer {
  const changed = Buffer.from(answer);
  if (at < changed.length) changed[at] = (changed[at] as number) ^ 1;
  return changed;
}

function sizedAs(answer: Buffer): Buffer {
  const sized = Buffer.from(answer);
  sized.writeUInt32BE(sized.length, 2);
  return sized;
}
