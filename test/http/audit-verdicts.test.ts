import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { mintFor } from '../support/requests.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';

const dataDir = temporaryDirectory();
let service: InProcessService;

before(async () => {
  service = await startInProcess({ dataDir });
});
after(() => service.stop());

const scopes = ['kms:create', 'kms:sign', 'kms:verify', 'kms:rotate', 'kms:destroy', 'kms:audit'];

interface Signature {
  readonly kid: string;
  readonly alg: string;
  readonly signature_b64: string;
}

/** A tenant of its own, for whom the log is empty. */
class Tenant {
  readonly #token: string;
  #read = 0;

  constructor(name: string) {
    this.#token = mintFor(dataDir, { tenant: name, scopes });
  }

  async key(alg: string): Promise<string> {
    return (await this.post('/v1/kms/keys', { purpose: 'test', alg })).kid;
  }

  async sign(kid: string): Promise<readonly Signature[]> {
    return (await this.post('/v1/kms/sign', { kid, payload_b3: helloWorldB3 })).sigs;
  }

  // biome-ignore lint/suspicious/noExplicitAny: answers of every shape
  async post(path: string, body: object): Promise<any> {
    const answer = await call(service, this.#token, 'POST', path, body);
    assert.ok(answer.status < 300, `${path}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  /** Verifies, and gives the answer's verdict and what the records of it say, by kid. */
  async verify(sigs: readonly Signature[], mode = 'and') {
    await this.verdicts();
    const answer = await this.post('/v1/kms/verify', { payload_b3: helloWorldB3, sigs, policy: { mode } });
    return { answer: answer.ok as boolean, recorded: await this.verdicts() };
  }

  /** Of the verifications since it was asked last. */
  async verdicts(): Promise<Record<string, string>> {
    const path = `/v1/kms/audit/records?limit=1000&from=${this.#read}`;
    const { records } = (await call(service, this.#token, 'GET', path)).body as {
      records: {
        index: number;
        record: { key_id: string; key_version: number; purpose: string; result: string };
      }[];
    };
    this.#read = (records.at(-1)?.index ?? this.#read - 1) + 1;
    const verifications = records.filter(({ record }) => record.purpose.startsWith('verify'));
    return Object.fromEntries(
      verifications.map(({ record }) => [`${record.key_id}#v${record.key_version}`, record.result]),
    );
  }
}

function altered(signature: Signature): Signature {
  const bytes = Buffer.from(signature.signature_b64, 'base64');
  bytes[10] = (bytes[10] as number) ^ 1;
  return { ...signature, signature_b64: bytes.toString('base64') };
}

test('the record of a verification says whether the signature is valid', async () => {
  const tenant = new Tenant('single');
  const kid = await tenant.key('ed25519');
  const [signature] = await tenant.sign(kid);
  assert.ok(signature);
  assert.deepEqual(await tenant.verify([signature]), { answer: true, recorded: { [kid]: 'ok' } });
  assert.deepEqual(await tenant.verify([altered(signature)]), {
    answer: false,
    recorded: { [kid]: 'invalid' },
  });
});

test('each key’s record has the verdict on its own signatures', async () => {
  const tenant = new Tenant('several');
  const [good, bad] = [await tenant.key('ed25519'), await tenant.key('ml-dsa-65')];
  const sigs = [...(await tenant.sign(good)), ...(await tenant.sign(bad)).map(altered)];
  assert.deepEqual(await tenant.verify(sigs), {
    answer: false,
    recorded: { [good]: 'ok', [bad]: 'invalid' },
  });
});

test('a hybrid key’s verdict is by the mode that was asked for', async () => {
  const tenant = new Tenant('hybrid');
  const kid = await tenant.key('ed25519+ml-dsa-65');
  const [classical, postQuantum] = (await tenant.sign(kid)) as [Signature, Signature];
  const half = [altered(classical), postQuantum];
  assert.deepEqual(await tenant.verify([classical, postQuantum]), {
    answer: true,
    recorded: { [kid]: 'ok' },
  });
  assert.deepEqual(await tenant.verify(half), { answer: false, recorded: { [kid]: 'invalid' } });
  assert.deepEqual(await tenant.verify(half, 'or'), { answer: true, recorded: { [kid]: 'ok' } });
});

test('a version that is destroyed makes nothing valid', async () => {
  const tenant = new Tenant('destroyed');
  const kid = await tenant.key('ed25519');
  const sigs = await tenant.sign(kid);
  await tenant.post(`/v1/kms/keys/${encodeURIComponent(kid.replace('#v1', ''))}/destroy`, {});
  assert.deepEqual(await tenant.verify(sigs), { answer: false, recorded: { [kid]: 'invalid' } });
});

test('so do the records of a batch, and the log replays them at the next start', async () => {
  const tenant = new Tenant('batch');
  const [good, bad] = [await tenant.key('ed25519'), await tenant.key('ed25519')];
  const item = (sigs: readonly Signature[]) => ({ payload_b3: helloWorldB3, sigs });
  const items = [item(await tenant.sign(good)), item((await tenant.sign(bad)).map(altered))];
  const answer = await tenant.post('/v1/kms/verify/batch', { items });
  assert.deepEqual(
    answer.results.map(({ ok }: { ok: boolean }) => ok),
    [true, false],
  );
  assert.equal(await service.stop(), 0);
  service = await startInProcess({ dataDir });
  assert.deepEqual((await call(service, undefined, 'GET', '/readyz')).body.missing, []);
  assert.deepEqual(await tenant.verdicts(), { [good]: 'ok', [bad]: 'invalid' });
});
