import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test, { after, before, describe, type TestContext } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, type InProcessService } from '../support/service.ts';
import { nodeVerifier } from '../support/signatures.ts';

/** Milliseconds of each run; the long run of 10 s is INTAGLIO_ROTATION_MS=10000. */
const runMs = Number(process.env.INTAGLIO_ROTATION_MS ?? 700);
const clients = 16;
/** A key has at most 9,990 versions, which a fast machine could reach in a longer run; then it only signs. */
const maxRotations = 9_900;

type Verifier = ReturnType<typeof nodeVerifier>;

interface Signed {
  readonly kid: string;
  readonly alg: string;
  readonly digest: Buffer;
  readonly signature: Buffer;
}

describe(`${clients} clients rotate and sign for ${runMs} ms`, { timeout: 120_000 + 6 * runMs }, () => {
  let service: InProcessService;

  before(async () => {
    service = await startInProcess();
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
    assert.equal(service.log.filter((line) => /"level":"(error|fatal)"/.test(line)).join('\n'), '');
  });

  const ask = (method: string, path: string, body?: unknown) =>
    call(service, service.token, method, `/v1/kms${path}`, body);

  async function run(t: TestContext, alg: string, keyCount: number, rotateEvery: number): Promise<void> {
    const ids: string[] = [];
    for (let n = 0; n < keyCount; n++) {
      const made = await ask('POST', '/keys', { purpose: 'rotated', alg });
      ids.push(made.body.kid.replace('#v1', ''));
    }
    const signed: Signed[] = [];
    const statuses = new Map<string, number>();
    const rotating = new Map<string, number>();
    const made = new Map<string, string[]>(ids.map((id) => [id, []]));
    const until = performance.now() + runMs;
    let sequence = 0;
    const client = async () => {
      while (performance.now() < until) {
        const n = sequence++;
        const id = ids[n % keyCount] as string;
        if (n % rotateEvery === 0 && rotating.get(id) !== maxRotations) {
          count(rotating, id);
          const { status, body } = await ask('POST', `/keys/${encodeURIComponent(id)}/rotate`);
          count(statuses, `rotate ${status}`);
          if (status === 200) made.get(id)?.push(body.kid, body.previous);
          continue;
        }
        const digest = randomBytes(32);
        const { status, body } = await ask('POST', '/sign', { kid: id, payload_b3: digest.toString('hex') });
        count(statuses, `sign ${status}`);
        if (status !== 200) continue;
        for (const sig of body.sigs) {
          assert.equal(sig.kid, body.kid);
          const signature = Buffer.from(sig.signature_b64, 'base64');
          signed.push({ kid: sig.kid, alg: sig.alg, digest, signature });
        }
      }
    };
    await Promise.all(Array.from({ length: clients }, client));

    // Every call was served: 429 would be an honest answer, but not for 16 clients.
    assert.deepEqual([...statuses.keys()].sort(), ['rotate 200', 'sign 200']);
    const verifiers = new Map<string, Verifier>();
    for (const id of ids) {
      const kids = made.get(id) as string[];
      // Each version was made once, and each rotation says truly what it replaced.
      const rotations = kids.length / 2;
      assert.deepEqual(
        kids
          .filter((_, index) => index % 2 === 0)
          .map(versionOf)
          .toSorted(ascending),
        Array.from({ length: rotations }, (_, index) => index + 2),
      );
      for (let n = 0; n < kids.length; n += 2) {
        assert.equal(versionOf(kids[n] as string), versionOf(kids[n + 1] as string) + 1);
      }
      const current = (await ask('GET', `/keys/${encodeURIComponent(id)}`)).body.current_version;
      assert.equal(current, rotations + 1);
    }
    for (const kid of new Set(signed.map((each) => each.kid))) {
      const { status, body } = await ask('GET', `/keys/${encodeURIComponent(kid)}`);
      assert.equal(status, 200);
      const [{ public: shown }] = body.versions;
      for (const part of shown.components ?? [shown]) {
        verifiers.set(`${kid} ${part.alg}`, nodeVerifier(part));
      }
    }
    for (const { kid, alg: signedAlg, digest, signature } of signed) {
      const verify = verifiers.get(`${kid} ${signedAlg}`) as Verifier;
      assert.ok(verify(signedAlg, digest, signature), `not signed by ${kid}`);
    }
    assert.ok(signed.length > 0);
    t.diagnostic(
      `${alg}, ${keyCount} keys: ${JSON.stringify(Object.fromEntries(statuses))}, ${signed.length} signatures by ${verifiers.size} keys verified`,
    );
  }

  test('one key, a rotation in four calls', (t) => run(t, 'ed25519', 1, 4));
  test('one hybrid key, a rotation in eight calls', (t) => run(t, 'ed25519+ml-dsa-65', 1, 8));
  test('seven keys, a rotation in sixteen calls', (t) => run(t, 'ml-dsa-65', 7, 16));
});

function versionOf(kid: string): number {
  return Number(kid.slice(kid.indexOf('#v') + 2));
}

function ascending(one: number, other: number): number {
  return one - other;
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
