import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { registry } from '../../src/algorithms/registry.ts';
import { assertFailed } from '../support/requests.ts';
import {
  call,
  callForBytes,
  helloWorldB3,
  type InProcessService,
  type JsonAnswer,
} from '../support/service.ts';
import { nobleVerifies, nodeVerifies, type ShownKey } from '../support/signatures.ts';
import { testedServices } from '../support/tested-services.ts';

const hello = Buffer.from(helloWorldB3, 'hex');
/** The others have tests of their own. */
const signing = registry.filter(({ kind }) => kind === 'signature');
const hybridAlg = 'ed25519+ml-dsa-65';

interface Sig {
  readonly kid: string;
  readonly alg: string;
  readonly signature_b64: string;
}

interface MadeKey {
  /** With `#v1`. */
  readonly kid: string;
  readonly id: string;
  readonly shown: ShownKey;
}

/** How a key signs when nobody asks for a way. */
const defaultAlgs: Readonly<Record<string, readonly string[]>> = {
  [hybridAlg]: ['ed25519', 'ml-dsa-65'],
  'rsa-2048': ['PS256'],
  'rsa-3072': ['PS256'],
  'rsa-4096': ['PS256'],
};

for (const tested of testedServices) {
  describe(`signing and verifying with ${tested.name}`, { timeout: 180_000 }, () => {
    let service: InProcessService;
    const keys = new Map<string, MadeKey>();

    const ask = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
      call(service, service.token, method, `/v1/kms${path}`, body, headers);
    const answered = (answer: JsonAnswer, status = 200) => {
      assert.equal(answer.status, status, JSON.stringify(answer.body));
      return answer.body;
    };
    const create = async (alg: string, purpose = 'web'): Promise<MadeKey> => {
      const { kid, public: shown } = answered(await ask('POST', '/keys', { purpose, alg }), 201);
      return { kid, id: kid.replace('#v1', ''), shown };
    };
    const keyOf = (alg: string) => keys.get(alg) as MadeKey;
    const sign = async (request: Record<string, unknown>): Promise<Sig[]> =>
      answered(await ask('POST', '/sign', { payload_b3: helloWorldB3, ...request })).sigs;
    const verify = async (sigs: readonly unknown[], more: Record<string, unknown> = {}) => {
      const body = { payload_b3: helloWorldB3, sigs, ...more };
      const { cache_age_ms: age, ...answer } = answered(await ask('POST', '/verify', body));
      // A backend that can be away says how old the knowledge of it is.
      if (age !== undefined) assert.notEqual(tested.shown.backend, 'software');
      return answer;
    };

    before(async () => {
      service = await tested.start({ env: { KMS_BATCH_MAX_ITEMS: '256' } });
      await Promise.all(signing.map(async ({ name }) => keys.set(name, await create(name))));
    });
    after(async () => {
      assert.equal(await service.stop(), 0);
      assert.equal(service.log.filter((line) => /"level":"(error|fatal)"/.test(line)).join('\n'), '');
    });

    for (const { name: alg } of signing.filter(({ name }) => tested.covers(name))) {
      test(`${alg}: created, read and listed alike`, async () => {
        const { kid, shown } = keyOf(alg);
        assert.match(kid, new RegExp(`^default/web/${alg.replace('+', '\\+')}/[0-9a-f-]{36}#v1$`));
        const { versions, ...head } = answered(await ask('GET', `/keys/${encodeURIComponent(kid)}`));
        assert.deepEqual(head, {
          kid,
          alg,
          purpose: 'web',
          state: 'active',
          current_version: 1,
          ...tested.shown,
        });
        const [{ created_at, ...version }, ...others] = versions;
        assert.deepEqual(version, { kid, version: 1, state: 'active', public: shown });
        assert.deepEqual(others, []);
        assert.ok(Math.abs(Date.parse(created_at) - Date.now()) < 120_000);
        const policy = tested.shown.policy === undefined ? {} : { policy: tested.shown.policy };
        const query = `alg=${encodeURIComponent(alg)}&purpose=web`;
        const { keys: listed } = answered(await ask('GET', `/keys?${query}`));
        assert.deepEqual(listed, [
          { kid, alg, purpose: 'web', state: 'active', current_version: 1, created_at, ...policy },
        ]);
      });

      test(`${alg}: signatures verify with other libraries and here, and with a flipped bit nowhere`, async () => {
        const { kid, id, shown } = keyOf(alg);
        const algs = defaultAlgs[alg] ?? [alg];
        const digest = randomBytes(32);
        const payload_b3 = digest.toString('hex');
        for (const request of [{ kid }, { kid: id }, { kid_set: [kid] }, { kid_or_set: id }, { kid, alg }]) {
          const sigs = await sign({ ...request, payload_b3 });
          assert.deepEqual(
            sigs.map((sig) => [sig.kid, sig.alg]),
            algs.map((each) => [kid, each]),
          );
          for (const sig of sigs) assertVerifies(sig, shown, digest);
          assert.deepEqual(await verify(sigs, { payload_b3 }), {
            ok: true,
            details: {
              checked: algs.map((each) => ({ kid, alg: each, ok: true })),
              satisfied_mode: 'and',
            },
            hints: { kids: [kid], algs },
          });
        }
        const sigs = await sign({ kid, payload_b3 });
        for (const [index, sig] of sigs.entries()) {
          const verdict = await verify(sigs.with(index, flipped(sig)), { payload_b3 });
          assert.equal(verdict.ok, false);
          const expected = { kid, alg: sig.alg, ok: false, reason: 'signature_invalid' };
          assert.deepEqual(verdict.details.checked[index], expected);
        }
        const verdict = await verify(sigs, { payload_b3: flippedBit(digest, 77).toString('hex') });
        assert.equal(verdict.ok, false);
        assert.equal(verdict.details.satisfied_mode, 'none');
      });
    }

    test('RSA keys sign PS256 and RS256 as asked, and one is not taken for the other', async () => {
      for (const rsa of ['rsa-2048', 'rsa-3072', 'rsa-4096']) {
        const { kid, shown } = keyOf(rsa);
        for (const alg of ['PS256', 'RS256']) {
          const [sig] = await sign({ kid, alg });
          assert.ok(sig !== undefined && sig.alg === alg);
          assertVerifies(sig, shown, hello);
          assert.equal((await verify([sig])).ok, true);
          const other = alg === 'PS256' ? 'RS256' : 'PS256';
          assert.equal((await verify([{ ...sig, alg: other }])).ok, false);
        }
      }
    });

    test('ml-dsa is a name for ml-dsa-65', async () => {
      const { kid, shown } = await create('ml-dsa', 'alias');
      assert.match(kid, /^default\/alias\/ml-dsa-65\//);
      assert.equal(shown.alg, 'ml-dsa-65');
      const [sig] = await sign({ kid, alg: 'ml-dsa' });
      assert.ok(sig !== undefined && sig.alg === 'ml-dsa-65');
      assertVerifies(sig, shown, hello);
      assert.equal((await verify([{ ...sig, alg: 'ml-dsa' }])).ok, true);
      const listed = answered(await ask('GET', '/keys?purpose=alias&alg=ml-dsa'));
      assert.equal(listed.keys[0].kid, kid);
    });

    test('a hybrid key answers to each mode with what its signatures hold', async () => {
      const { kid } = keyOf(hybridAlg);
      const [classic, quantum] = (await sign({ kid })) as [Sig, Sig];
      const [badClassic, badQuantum] = [flipped(classic), flipped(quantum)];
      const rows: readonly [readonly Sig[], string, { or: boolean; and: boolean; pq_only: boolean }][] = [
        [[classic, quantum], 'and', { or: true, and: true, pq_only: true }],
        [[quantum, classic], 'and', { or: true, and: true, pq_only: true }],
        [[quantum], 'pq_only', { or: true, and: false, pq_only: true }],
        [[classic], 'or', { or: true, and: false, pq_only: false }],
        [[badClassic, quantum], 'pq_only', { or: true, and: false, pq_only: true }],
        [[classic, badQuantum], 'or', { or: true, and: false, pq_only: false }],
        [[badClassic, badQuantum], 'none', { or: false, and: false, pq_only: false }],
        // Twice the same half is not the whole.
        [[classic, classic], 'or', { or: true, and: false, pq_only: false }],
        [[quantum, quantum], 'pq_only', { or: true, and: false, pq_only: true }],
        // A good and a bad one of the same kind: the bad one spoils.
        [[classic, quantum, badQuantum], 'or', { or: true, and: false, pq_only: false }],
        [[classic, badClassic, quantum], 'pq_only', { or: true, and: false, pq_only: true }],
      ];
      for (const [row, [sigs, satisfied, oks]] of rows.entries()) {
        for (const mode of ['or', 'and', 'pq_only'] as const) {
          for (const named of [true, false]) {
            const sent = named ? sigs : sigs.map(({ alg: _, ...sig }) => sig);
            const verdict = await verify(sent, { policy: { mode } });
            assert.equal(verdict.ok, oks[mode], `row ${row}, ${mode}`);
            assert.equal(verdict.details.satisfied_mode, satisfied, `row ${row}, ${mode}`);
          }
        }
        assert.equal((await verify(sigs)).ok, oks.and, `row ${row}, no mode`);
        assert.equal((await verify(sigs, { policy: null })).ok, oks.and, `row ${row}, null`);
      }
      const only = await sign({ kid, policy: { mode: 'pq_only' } });
      assert.deepEqual(
        only.map(({ alg }) => alg),
        ['ml-dsa-65'],
      );
      assert.deepEqual(
        (await sign({ kid, alg: 'ed25519' })).map(({ alg }) => alg),
        ['ed25519'],
      );
    });

    test('one key satisfies pq_only when it is post-quantum, and never speaks for another key', async () => {
      const [classic] = (await sign({ kid: keyOf('ed25519').kid })) as [Sig];
      const [quantum] = (await sign({ kid: keyOf('ml-dsa-44').kid })) as [Sig];
      const ok = async (sigs: Sig[], mode: string) => (await verify(sigs, { policy: { mode } })).ok;
      assert.equal(await ok([quantum], 'pq_only'), true);
      assert.equal(await ok([classic], 'pq_only'), false);
      assert.equal(await ok([classic, quantum], 'pq_only'), false);
      assert.equal(await ok([classic, quantum], 'and'), true);
      // `or` is about the halves of one key: each named key has to hold.
      assert.equal(await ok([classic, flipped(quantum)], 'or'), false);
    });

    test('a signature that does not fit its key is not valid, and says so', async () => {
      const [sig] = (await sign({ kid: keyOf('ed25519').kid })) as [Sig];
      const { kid } = keyOf('ml-dsa-65');
      for (const [sent, alg, reason] of [
        [{ ...sig, alg: 'PS256' }, 'ed25519', 'alg_mismatch'],
        [{ ...sig, alg: 'ml-dsa-65' }, 'ed25519', 'alg_mismatch'],
        [{ ...sig, kid, alg: 'ml-dsa-65' }, 'ml-dsa-65', 'signature_invalid'],
        [{ kid, signature_b64: sig.signature_b64 }, 'ml-dsa-65', 'signature_invalid'],
        [{ kid: sig.kid, signature_b64: 'AA==' }, 'ed25519', 'signature_invalid'],
      ] as const) {
        const verdict = await verify([sent]);
        assert.deepEqual(verdict.details.checked, [{ kid: sent.kid, alg, ok: false, reason }]);
        assert.equal(verdict.ok, false);
      }
    });

    test('older versions verify after rotations, only the current one signs, destroyed ones say so', async () => {
      for (const alg of ['ed25519', hybridAlg, 'ecdsa-p256']) {
        const { kid, id } = await create(alg, 'rotating');
        const path = `/keys/${encodeURIComponent(id)}`;
        const signed: Sig[][] = [await sign({ kid })];
        for (let version = 2; version <= 4; version++) {
          const rotated = answered(await ask('POST', `${path}/rotate`));
          assert.deepEqual([rotated.kid, rotated.previous], [`${id}#v${version}`, `${id}#v${version - 1}`]);
          const sigs = await sign({ kid: id });
          for (const sig of sigs) {
            assert.equal(sig.kid, rotated.kid);
            assertVerifies(sig, rotated.public, hello);
          }
          signed.push(sigs);
          const stale = { kid: `${id}#v${version - 1}`, payload_b3: helloWorldB3 };
          assertFailed(await ask('POST', '/sign', stale), 409, 'Conflict');
        }
        for (const sigs of signed) assert.equal((await verify(sigs)).ok, true);
        // All together: four versions are four keys.
        const together = await verify(signed.flat());
        assert.equal(together.ok, true);
        assert.deepEqual(
          together.hints.kids,
          [1, 2, 3, 4].map((version) => `${id}#v${version}`),
        );
        // A signature of an older version under the kid of the current one.
        const [old] = signed as [Sig[], ...Sig[][]];
        assert.equal((await verify(old.map((sig) => ({ ...sig, kid: id })))).ok, false);

        const gone = answered(await ask('POST', `${path}/destroy`, { version: 2 }));
        assert.deepEqual(gone, { kid: `${id}#v2`, state: 'destroyed' });
        const verdict = await verify(signed[1] as Sig[]);
        assert.equal(verdict.ok, false);
        for (const each of verdict.details.checked) assert.equal(each.reason, 'destroyed');
        assert.equal(verdict.details.satisfied_mode, 'none');
        for (const index of [0, 2, 3]) assert.equal((await verify(signed[index] as Sig[])).ok, true);

        assert.equal(answered(await ask('POST', `${path}/destroy`)).state, 'destroyed');
        for (const sigs of signed) assert.equal((await verify(sigs)).ok, false);
        const read = answered(await ask('GET', path));
        assert.equal(read.state, 'destroyed');
        assert.deepEqual(
          read.versions.map((version: { version: number; state: string }) => [
            version.version,
            version.state,
          ]),
          [4, 3, 2, 1].map((version) => [version, 'destroyed']),
        );
      }
    });

    test('several keys sign together', async () => {
      const made = ['ml-dsa-44', hybridAlg, 'ecdsa-p256'].map(keyOf);
      for (const member of ['kid_set', 'kid_or_set']) {
        const request = { [member]: made.map(({ kid }) => kid), payload_b3: helloWorldB3 };
        const answer = answered(await ask('POST', '/sign', request));
        assert.equal(answer.kid, made[0]?.kid);
        assert.deepEqual(
          answer.sigs.map((sig: Sig) => sig.alg),
          ['ml-dsa-44', 'ed25519', 'ml-dsa-65', 'ecdsa-p256'],
        );
        for (const sig of answer.sigs as Sig[]) {
          assertVerifies(sig, made.find(({ kid }) => kid === sig.kid)?.shown as ShownKey, hello);
        }
        assert.equal((await verify(answer.sigs)).ok, true);
      }
    });

    for (const size of [1, 64, 256]) {
      test(`a batch of ${size}: each item its own answer, in order`, async () => {
        const algs = ['ed25519', 'ml-dsa-44', hybridAlg, 'ecdsa-p256'];
        const bad = [
          [{ kid: keyOf('ed25519').kid, payload_b3: 'x' }, 'BadRequest'],
          [{ kid: `default/web/ed25519/${randomUUID()}`, payload_b3: helloWorldB3 }, 'NotFound'],
          [{ kid: keyOf('ed25519').kid, payload_b3: helloWorldB3, alg: 'RS256' }, 'Unsupported'],
          [null, 'BadRequest'],
        ] as const;
        const isBad = (index: number) => size > 1 && index % 7 === 3;
        const badOf = (index: number) => bad[index % bad.length] as (typeof bad)[number];
        const digests = Array.from({ length: size }, () => randomBytes(32));
        const digestAt = (index: number) => digests[index] as Buffer;
        const keyAt = (index: number) => keyOf(algs[index % algs.length] as string);
        const items = digests.map((digest, index) =>
          isBad(index) ? badOf(index)[0] : { kid: keyAt(index).kid, payload_b3: digest.toString('hex') },
        );
        const signed = answered(await ask('POST', '/sign/batch', { items })).results;
        assert.equal(signed.length, size);
        for (const [index, result] of signed.entries()) {
          if (isBad(index)) {
            assert.equal(result.error.code, badOf(index)[1], `item ${index}`);
            continue;
          }
          assert.equal(result.kid, keyAt(index).kid);
          for (const sig of result.sigs) assertVerifies(sig, keyAt(index).shown, digestAt(index));
        }

        // Every fifth one is spoiled.
        const spoiled = (index: number) => index % 5 === 1;
        const checks = signed.map((result: { sigs: Sig[] }, index: number) => ({
          payload_b3: digestAt(index).toString('hex'),
          sigs: isBad(index) ? [] : result.sigs.map((sig) => (spoiled(index) ? flipped(sig) : sig)),
        }));
        const verified = answered(await ask('POST', '/verify/batch', { items: checks })).results;
        assert.equal(verified.length, size);
        for (const [index, result] of verified.entries()) {
          if (isBad(index)) {
            assert.equal(result.error.code, 'BadRequest');
            continue;
          }
          assert.equal(result.ok, !spoiled(index), `item ${index}`);
          assert.deepEqual(result.hints.kids, [keyAt(index).kid]);
        }
      });
    }

    test('a kid in a path may be percent-encoded, wholly or in part', async () => {
      const { kid, id, shown } = keyOf(hybridAlg);
      const paths = [
        encodeURIComponent(kid),
        encodeURIComponent(id),
        id,
        kid.replace('#', '%23'),
        id.replace('+', '%2B'),
        id.replace('default', '%64efault'),
      ];
      for (const path of paths) {
        const read = answered(await ask('GET', `/keys/${path}`));
        assert.equal(read.kid, kid);
        assert.deepEqual(read.versions[0].public, shown);
      }
      for (const path of [encodeURIComponent(id), id]) {
        assertFailed(await ask('GET', `/keys/${path}/export`), 403, 'ExportForbidden');
        assert.equal((await ask('GET', `/keys/${path}/rotate`)).status, 405);
      }
    });

    test('a listing is cut into pages without a gap', async () => {
      const made = await Promise.all(Array.from({ length: 7 }, () => create('ed25519', 'pages')));
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const query = `purpose=pages&limit=3${cursor === undefined ? '' : `&cursor=${cursor}`}`;
        const listed = answered(await ask('GET', `/keys?${query}`));
        assert.ok(listed.keys.length <= 3);
        seen.push(...listed.keys.map(({ kid }: { kid: string }) => kid));
        cursor = listed.next_cursor;
      } while (cursor !== undefined && seen.length < 20);
      assert.deepEqual(seen.toSorted(), made.map(({ kid }) => kid).toSorted());
    });

    test('a request id that is a UUID comes back, anything else is replaced; the others are passed on', async () => {
      const { kid } = keyOf('ed25519');
      const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
      const signWith = (headers: Record<string, string>) =>
        ask('POST', '/sign', { kid, payload_b3: helloWorldB3 }, headers);
      for (const id of [randomUUID(), randomUUID().toUpperCase()]) {
        const { headers } = await signWith({ 'x-request-id': id, 'x-corr-id': 'abc~1', traceparent });
        assert.equal(headers.get('x-request-id'), id);
        assert.equal(headers.get('x-corr-id'), 'abc~1');
        assert.equal(headers.get('traceparent'), traceparent);
      }
      for (const id of ['1', `${randomUUID()}0`, 'x'.repeat(36), `{${randomUUID()}}`]) {
        const { headers } = await signWith({
          'x-request-id': id,
          'x-corr-id': 'x'.repeat(129),
          traceparent: traceparent.toUpperCase(),
        });
        assert.match(headers.get('x-request-id') as string, /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/);
        assert.notEqual(headers.get('x-request-id'), id);
        assert.equal(headers.get('x-corr-id'), null);
        assert.equal(headers.get('traceparent'), null);
      }
      const refused = await ask('POST', '/sign', {}, { 'x-corr-id': 'c', traceparent });
      assertFailed(refused, 400, 'BadRequest');
      assert.equal(refused.headers.get('x-corr-id'), 'c');
      assert.equal(refused.headers.get('traceparent'), traceparent);
      const health = await call(service, undefined, 'GET', '/healthz', undefined, { 'x-corr-id': 'h' });
      assert.equal(health.headers.get('x-corr-id'), 'h');
      assert.ok(health.headers.get('x-request-id'));
    });

    test('health, metrics and version need no capability', async () => {
      assert.equal((await call(service, undefined, 'GET', '/healthz')).body.status, 'ok');
      assert.equal((await call(service, undefined, 'GET', '/readyz')).body.ready, true);
      const version = (await call(service, undefined, 'GET', '/version')).body;
      assert.equal(version.engine.name, service.engine);
      const metrics = await callForBytes(service, undefined, 'GET', '/metrics');
      assert.match(metrics.headers.get('content-type') as string, /^text\/plain; version=0\.0\.4/);
      const { text } = metrics;
      assert.match(text, new RegExp(`^kms_engine_info\\{engine="${service.engine}"\\} 1$`, 'm'));
      assert.match(text, /^kms_ops_total\{op="sign",alg="ml-dsa-65",result="ok"\} [1-9]/m);
      assert.match(text, /^kms_keys_total\{alg="rsa-4096"\} 1$/m);
    });
  });
}

function assertVerifies(sig: Sig, shown: ShownKey, digest: Uint8Array): void {
  const signature = Buffer.from(sig.signature_b64, 'base64');
  assert.equal(nodeVerifies(sig.alg, shown, digest, signature), true, `${sig.alg} with node:crypto`);
  if (/^(ed25519|ml-dsa-\d+)$/.test(sig.alg)) {
    assert.equal(nobleVerifies(sig.alg, shown, digest, signature), true, `${sig.alg} with noble`);
  }
}

function flipped<T extends { readonly signature_b64: string }>(sig: T): T {
  const bytes = Buffer.from(sig.signature_b64, 'base64');
  return { ...sig, signature_b64: flippedBit(bytes, bytes.length * 4 + 3).toString('base64') };
}

function flippedBit(bytes: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}
