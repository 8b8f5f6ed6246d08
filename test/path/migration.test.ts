import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { bucketOf } from '../../src/policy/phases.ts';
import { startInProcess } from '../support/in-process.ts';
import { metric } from '../support/requests.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';

// Every phase, every mode that a call may ask for, and every kind of bundle, over one store: each purpose is in its own phase.

const hybrid = 'ed25519+ml-dsa-65';
const phases = ['none', 'off', 'or', 'and', 'pq_only'] as const;
type Phase = (typeof phases)[number];
const modes = [undefined, 'or', 'and', 'pq_only'] as const;
const tenants = 'default/off=off,default/or=or,default/and=and,default/pq_only=pq_only';

interface Sig {
  readonly kid: string;
  readonly alg?: string;
  readonly signature_b64: string;
}

const post = (service: InProcessService, path: string, body: unknown, token = service.token) =>
  call(service, token, 'POST', `/v1/kms${path}`, body);

const idOf = (kid: string) => kid.split('#')[0] as string;

function flipped(sig: Sig): Sig {
  const bytes = Buffer.from(sig.signature_b64, 'base64');
  bytes[5] = (bytes[5] as number) ^ 1;
  return { ...sig, signature_b64: bytes.toString('base64') };
}

/** The keys of one purpose, and all bundles that its signatures make; made where nothing is demanded. */
async function bundlesOf(service: InProcessService, purpose: string) {
  const create = async (alg: string, token?: string) =>
    (await post(service, '/keys', { purpose, alg }, token)).body.kid as string;
  const sign = async (kid: string, token?: string) =>
    (await post(service, '/sign', { kid: idOf(kid), payload_b3: helloWorldB3 }, token)).body.sigs as Sig[];
  const keys = {
    whole: await create(hybrid),
    other: await create(hybrid),
    gone: await create(hybrid),
    classical: await create('ed25519'),
    postQuantum: await create('ml-dsa-65'),
    composite: await create('mldsa65-ed25519'),
  };
  const [c, p] = (await sign(keys.whole)) as [Sig, Sig];
  const [, otherP] = (await sign(keys.other)) as [Sig, Sig];
  const gone = await sign(keys.gone);
  await post(service, `/keys/${encodeURIComponent(idOf(keys.gone))}/rotate`, {});
  await post(service, `/keys/${encodeURIComponent(idOf(keys.gone))}/destroy`, { version: 1 });
  await post(service, `/keys/${encodeURIComponent(idOf(keys.whole))}/rotate`, {});
  const [, secondP] = (await sign(keys.whole)) as [Sig, Sig];
  const [single] = (await sign(keys.classical)) as [Sig];
  const [pq] = (await sign(keys.postQuantum)) as [Sig];
  const [composite] = (await sign(keys.composite)) as [Sig];
  const globex = await service.mint('globex');
  const foreign = await sign(await create(hybrid, globex), globex);
  const bundles = {
    full: [c, p],
    'the other order': [p, c],
    'classical half': [c],
    'post-quantum half': [p],
    'halves of two keys': [c, otherP],
    'halves of two versions': [c, secondP],
    'classical key': [single],
    'post-quantum key': [pq],
    composite: [composite],
    'composite, wrong': [flipped(composite)],
    set: [single, pq],
    'set and its key again': [single, pq, single],
    'set with a stripped key': [c, pq],
    'whole key and a classical one': [c, p, single],
    'one half twice': [c, c],
    'full, one half twice': [c, p, c],
    'full, the post-quantum half wrong': [c, flipped(p)],
    'full, the classical half wrong': [flipped(c), p],
    'full, and a half wrong beside': [c, p, flipped(p)],
    'full, the post-quantum half named classical': [c, { ...p, alg: 'ed25519' }],
    'full, an alg that the key has not': [c, { ...p, alg: 'PS256' }],
    'of a destroyed version': gone,
    'of another tenant': foreign,
    'full, and of another tenant': [c, p, ...foreign],
  } satisfies Record<string, readonly Sig[]>;
  return { keys, bundles };
}

type Made = Awaited<ReturnType<typeof bundlesOf>>;

/**
 * One letter for each of `modes`: `+` ok; `-` not ok, a signature is not valid; `s` and `d` not ok for want of a signature, stripped
 * or downgraded; refused with 403 as `W` too weak a mode, `S` stripped, `D` downgraded, `M` mixed; `N` not found.
 */
const verdicts: Readonly<Record<keyof Made['bundles'], Readonly<Record<Phase, string>>>> = {
  full: { none: '++++', off: '++++', or: '++++', and: '+W++', pq_only: '+WW+' },
  'the other order': { none: '++++', off: '++++', or: '++++', and: '+W++', pq_only: '+WW+' },
  'classical half': { none: 's+ss', off: '++ss', or: '++ss', and: 'SWSS', pq_only: 'SWWS' },
  'post-quantum half': { none: 's+s+', off: '++s+', or: '++s+', and: 'SWSS', pq_only: '+WW+' },
  'halves of two keys': { none: 's+ss', off: '++ss', or: '++ss', and: 'MWMM', pq_only: 'MWWM' },
  'halves of two versions': { none: 's+ss', off: '++ss', or: '++ss', and: 'MWMM', pq_only: 'MWWM' },
  'classical key': { none: '+++d', off: '+++d', or: '+++d', and: 'DWDD', pq_only: 'DWWD' },
  'post-quantum key': { none: '++++', off: '++++', or: '++++', and: 'SWSS', pq_only: '+WW+' },
  composite: { none: '++++', off: '++++', or: '++++', and: '+W++', pq_only: '+WW+' },
  'composite, wrong': { none: '----', off: '----', or: '----', and: '-W--', pq_only: '-WW-' },
  set: { none: '+++d', off: '+++d', or: '+++d', and: '+W+d', pq_only: 'MWWM' },
  'set and its key again': { none: '+++d', off: '+++d', or: '+++d', and: '+W+d', pq_only: 'MWWM' },
  'set with a stripped key': { none: 's+ss', off: '++ss', or: '++ss', and: 'MWMM', pq_only: 'MWWM' },
  'whole key and a classical one': { none: '+++d', off: '+++d', or: '+++d', and: '+W+d', pq_only: 'MWWM' },
  'one half twice': { none: 's+ss', off: '++ss', or: '++ss', and: 'SWSS', pq_only: 'SWWS' },
  'full, one half twice': { none: '++++', off: '++++', or: '++++', and: '+W++', pq_only: '+WW+' },
  'full, the post-quantum half wrong': {
    none: '-+--',
    off: '++--',
    or: '++--',
    and: '-W--',
    pq_only: '-WW-',
  },
  'full, the classical half wrong': { none: '-+-+', off: '++-+', or: '++-+', and: '-W-+', pq_only: '+WW+' },
  'full, and a half wrong beside': { none: '-+--', off: '++--', or: '++--', and: '-W--', pq_only: '-WW-' },
  'full, the post-quantum half named classical': {
    ...{ none: '-+--', off: '++--', or: '++--', and: 'SWSS', pq_only: 'SWWS' },
  },
  'full, an alg that the key has not': {
    none: '-+--',
    off: '++--',
    or: '++--',
    and: 'SWSS',
    pq_only: 'SWWS',
  },
  'of a destroyed version': { none: '----', off: '----', or: '----', and: '-W--', pq_only: '-WW-' },
  'of another tenant': { none: 'NNNN', off: 'NNNN', or: 'NNNN', and: 'NNNN', pq_only: 'NNNN' },
  'full, and of another tenant': { none: 'NNNN', off: 'NNNN', or: 'NNNN', and: 'NNNN', pq_only: 'NNNN' },
};

const hints = [
  ['W', 'this mode is weaker'],
  ['S', 'stripped:'],
  ['D', 'downgraded:'],
  ['M', 'mixed:'],
  ['P', 'no post-quantum signature'],
  ['O', 'policy lets no new classical key'],
] as const;

function refusalLetter(status: number, { code, hint }: { code: string; hint: string }): string {
  if (status === 404) return 'N';
  if (status === 400 && code === 'Unsupported') return 'U';
  assert.deepEqual([status, code], [403, 'PolicyViolation'], hint);
  return hints.find(([, start]) => hint.startsWith(start))?.[0] ?? assert.fail(hint);
}

type Answer = Awaited<ReturnType<typeof post>>;

function verdictLetter({ status, body }: Answer): string {
  if (status !== 200) return refusalLetter(status, body.error);
  if (body.ok) return '+';
  const { checked, reason } = body.details;
  const valid = checked.every((one: { ok: boolean }) => one.ok);
  assert.equal(reason !== undefined, valid, 'there is a reason where every signature is valid');
  return valid ? reason[0] : '-';
}

/** One letter for each way to ask: the four modes, then by the alg `ed25519`, then by the algorithm of a hybrid key. */
const asking = [
  ...modes.map((mode) => (mode === undefined ? {} : { policy: { mode } })),
  { alg: 'ed25519' },
  { alg: hybrid },
];

/** `b` both, `c` classical, `p` post-quantum; refused as above, `P` nothing post-quantum to sign with, `U` no such alg. */
const signings: Readonly<Record<string, Readonly<Record<Phase, string>>>> = {
  whole: { none: 'bbbpcb', off: 'cbbpcb', or: 'bbbpcb', and: 'bWbSSb', pq_only: 'bWWpSb' },
  classical: { none: 'cccPcU', off: 'cccPcU', or: 'cccPcU', and: 'DWDPDU', pq_only: 'DWWPDU' },
  postQuantum: { none: 'ppppUU', off: 'ppppUU', or: 'ppppUU', and: 'SWSSUU', pq_only: 'pWWpUU' },
  set: { none: 'bbbPUU', off: 'bbbPUU', or: 'bbbPUU', and: 'bWbPUU', pq_only: 'MWWPUU' },
};

/** With KMS_PQ_PRODUCE_HYBRID=false; the phase `and` does without it. */
const single: typeof signings = {
  whole: { none: 'bbbpcb', off: 'cbbpcb', or: 'cbbpcb', and: '', pq_only: 'pWWpSb' },
};

function signLetter({ status, body }: Answer): string {
  if (status !== 200) return refusalLetter(status, body.error);
  const algs = (body.sigs as Sig[]).map(({ alg }) => alg).join();
  return { 'ed25519,ml-dsa-65': 'b', ed25519: 'c', 'ml-dsa-65': 'p' }[algs] ?? assert.fail(algs);
}

suite('the migration to post-quantum signatures', { timeout: 300_000 }, () => {
  const dataDir = temporaryDirectory();
  const made = {} as Record<Phase, Made>;
  let service: InProcessService;
  let refused = 0;
  const count = (letters: string) => {
    refused += [...letters].filter((letter) => 'WSDMPO'.includes(letter)).length;
  };
  const ask = async (phase: Phase, key: string) => {
    const { keys } = made[phase];
    const kids = key === 'set' ? [keys.classical, keys.postQuantum] : [keys[key as keyof typeof keys]];
    const body = { kid_set: kids.map(idOf), payload_b3: helloWorldB3 };
    let letters = '';
    for (const more of asking) letters += signLetter(await post(service, '/sign', { ...body, ...more }));
    return letters;
  };

  before(async () => {
    service = await startInProcess({ dataDir });
    for (const phase of phases) made[phase] = await bundlesOf(service, phase);
    assert.equal(await service.stop(), 0);
    service = await startInProcess({ dataDir, env: { KMS_PQ_TENANTS: tenants } });
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
  });

  for (const phase of phases) {
    test(`phase ${phase}: what each bundle is worth under each mode`, async () => {
      for (const [name, sigs] of Object.entries(made[phase].bundles)) {
        let letters = '';
        for (const mode of modes) {
          const policy = mode === undefined ? {} : { policy: { mode } };
          letters += verdictLetter(
            await post(service, '/verify', { payload_b3: helloWorldB3, sigs, ...policy }),
          );
        }
        count(letters);
        assert.equal(letters, verdicts[name as keyof Made['bundles']][phase], name);
      }
    });

    test(`phase ${phase}: what each key signs with under each mode and alg`, async () => {
      for (const [key, expected] of Object.entries(signings)) {
        const letters = await ask(phase, key);
        count(letters);
        assert.equal(letters, expected[phase], key);
      }
    });

    test(`phase ${phase}: which keys are made and rotated`, async () => {
      const last = phase === 'pq_only';
      for (const [alg, classical] of [
        ['ed25519', true],
        ['rsa-2048', true],
        ['ml-dsa-65', false],
        [hybrid, false],
        ['hmac-sha256', false],
      ] as const) {
        const answer = await post(service, '/keys', { purpose: phase, alg });
        if (last && classical) count(refusalLetter(answer.status, answer.body.error));
        else assert.equal(answer.status, 201, alg);
      }
      const rotated = await post(
        service,
        `/keys/${encodeURIComponent(idOf(made[phase].keys.classical))}/rotate`,
        {},
      );
      if (last) count(refusalLetter(rotated.status, rotated.body.error));
      else assert.equal(rotated.status, 200);
    });
  }

  test('items of a batch are judged one by one, and a bundle of two phases by the stricter one', async () => {
    const both = [...made.or.bundles['classical half'], ...made.and.bundles.full];
    const items = [made.and.bundles.full, made.and.bundles['classical half'], both].map((sigs) => ({
      sigs,
      payload_b3: helloWorldB3,
    }));
    const { body } = await post(service, '/verify/batch', { items });
    assert.equal(body.results[0].ok, true);
    const codes = body.results.slice(1).map(({ error }: { error?: { hint: string } }) => error?.hint);
    assert.match(codes[0], /^stripped/);
    assert.match(codes[1], /^mixed/);
    const signing = await post(service, '/sign/batch', {
      items: [{ kid: idOf(made.and.keys.classical), payload_b3: helloWorldB3 }],
    });
    assert.match(signing.body.results[0].error.hint, /^downgraded/);
    refused += 3;
  });

  test('each refusal is counted as pq_policy, and is on the audit log', async () => {
    assert.equal(await metric(service, 'kms_reject_total', 'reason="pq_policy"'), refused);
    const own = idOf(made.and.keys.classical);
    const { body } = await call(service, service.token, 'GET', '/v1/kms/audit/records?limit=1000');
    const kinds = (body.records as { record: { key_id: string; purpose: string; result: string } }[])
      .filter(({ record }) => record.key_id === own && record.result === 'denied:PolicyViolation')
      .map(({ record }) => record.purpose);
    assert.ok(kinds.includes('sign') && kinds.includes('verify') && kinds.includes('sign_batch'));
  });

  test('keys that sign with one half do so where the call says nothing else', async () => {
    assert.equal(await service.stop(), 0);
    service = await startInProcess({
      dataDir,
      env: { KMS_PQ_TENANTS: tenants.replace('default/and=and,', ''), KMS_PQ_PRODUCE_HYBRID: 'false' },
    });
    for (const phase of phases) {
      if (phase !== 'and') assert.equal(await ask(phase, 'whole'), single.whole?.[phase], phase);
    }
  });

  test('the phase and the percentage that are configured are metrics', async () => {
    assert.equal(await metric(service, 'kms_pq_mode', 'mode="none"'), 1);
    assert.equal(await service.stop(), 0);
    service = await startInProcess({
      dataDir,
      env: { KMS_PQ_VERIFY_MODE: 'and', KMS_PQ_ROLLOUT_PERCENT: '25' },
    });
    for (const phase of phases)
      assert.equal(await metric(service, 'kms_pq_mode', `mode="${phase}"`), phase === 'and' ? 1 : 0);
    assert.equal(await metric(service, 'kms_pq_rollout_percent'), 25);
  });

  test('a percentage parts the purposes of one tenant by their buckets', async () => {
    for (let n = 0; n < 12; n++) {
      const purpose = `p${n}`;
      const { body } = await post(service, '/keys', { purpose, alg: hybrid });
      const made = await post(service, '/sign', { kid: body.kid, payload_b3: helloWorldB3 });
      const half = await post(service, '/verify', { payload_b3: helloWorldB3, sigs: [made.body.sigs[0]] });
      assert.equal(half.status, bucketOf('default', purpose) < 25 ? 403 : 200, purpose);
    }
  });
});

test('the profile micronode takes either half', async () => {
  const service = await startInProcess({ env: { KMS_PROFILE: 'micronode' } });
  try {
    assert.equal(await metric(service, 'kms_pq_mode', 'mode="or"'), 1);
    assert.equal(await metric(service, 'kms_pq_rollout_percent'), 100);
  } finally {
    await service.stop();
  }
});

test('the phase changes without a restart, for whole calls at a time', async () => {
  const service = await startInProcess({ env: { KMS_PQ_VERIFY_MODE: 'or' } });
  try {
    const { body } = await post(service, '/keys', { purpose: 'p', alg: hybrid });
    const { sigs } = (await post(service, '/sign', { kid: body.kid, payload_b3: helloWorldB3 })).body;
    const item = { payload_b3: helloWorldB3, sigs: [sigs[0]] };
    const bucket = bucketOf('default', 'p');
    for (const [env, status] of [
      [{}, 200],
      [{ KMS_PQ_VERIFY_MODE: 'and', KMS_PQ_ROLLOUT_PERCENT: String(bucket) }, 200],
      [{ KMS_PQ_VERIFY_MODE: 'and', KMS_PQ_ROLLOUT_PERCENT: String(bucket + 1) }, 403],
      [{ KMS_PQ_VERIFY_MODE: 'and', KMS_PQ_TENANTS: 'default=or' }, 200],
      [{ KMS_PQ_VERIFY_MODE: 'or', KMS_PQ_TENANTS: 'default=or,default/p=pq_only' }, 403],
      // Contradictory, so that what was there stays.
      [{ KMS_PQ_VERIFY_MODE: 'and', KMS_PQ_PRODUCE_HYBRID: 'false' }, 403],
      [{}, 200],
    ] as const) {
      service.reload(env);
      assert.equal((await post(service, '/verify', item)).status, status, JSON.stringify(env));
    }
    const items = Array.from({ length: 16 }, () => item);
    const asking: Promise<Set<boolean>>[] = [];
    for (let n = 0; n < 60; n++) {
      asking.push(
        post(service, '/verify/batch', { items }).then(
          ({ body: { results } }) => new Set(results.map(({ ok }: { ok?: boolean }) => ok === true)),
        ),
      );
      // Calls before it are in any state now: sent, planned, verified.
      await new Promise((resolve) => setImmediate(resolve));
      service.reload({ KMS_PQ_VERIFY_MODE: n % 2 === 0 ? 'and' : 'or' });
    }
    const verdicts = await Promise.all(asking);
    assert.ok(verdicts.every(({ size }) => size === 1));
    assert.equal(new Set(verdicts.flatMap((one) => [...one])).size, 2, 'both phases were met');
  } finally {
    await service.stop();
  }
});
