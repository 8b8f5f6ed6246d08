import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { developmentMode } from '../../support/development-mode.ts';
import { startInProcess } from '../../support/in-process.ts';
import { change, developmentClient, generate, type KmsV1Client } from '../../support/kms-v1.ts';

type Service = Awaited<ReturnType<typeof startInProcess>>;

const data = Buffer.from('Hello, World!').toString('base64');
const states = [
  'active',
  'pending_rotation',
  'archived',
  'retired',
  'policy_violation',
  'compromised',
] as const;
type Case = (typeof states)[number];

/** The key_state in which each case is. */
const shown: Readonly<Record<Case, string>> = {
  ...{ active: 'active', pending_rotation: 'pending_rotation', archived: 'archived' },
  ...{ retired: 'destroyed', policy_violation: 'destroyed', compromised: 'destroyed' },
};

type Wanted = number | readonly [status: number, code: string];
const revoked: Wanted = [409, 'KEY_REVOKED'];
const inactive: Wanted = [409, 'KEY_INACTIVE'];

/** What each operation answers in each state. */
const table: Readonly<Record<string, Readonly<Record<Case, Wanted>>>> = {
  sign: of(200, inactive, inactive, revoked),
  encrypt: of(200, inactive, inactive, revoked),
  decrypt: of(200, 200, 200, revoked),
  verify: of(200, 200, 200, 200),
  read: of(200, 200, 200, 200),
  rotate: of(200, inactive, inactive, revoked),
  archive: of(200, 200, 200, revoked),
  revoke: of(200, 200, 200, 200),
  compromise: of(200, 200, 200, 200),
};

/** The reason that a key has once it was revoked as `retired` or `compromised`: the first one, or the worst. */
const reasonAfter: Readonly<Record<string, Readonly<Record<Case, string>> | undefined>> = {
  revoke: {
    ...{ active: 'retired', pending_rotation: 'retired', archived: 'retired' },
    ...{ retired: 'retired', policy_violation: 'policy_violation', compromised: 'compromised' },
  },
  compromise: {
    ...{ active: 'compromised', pending_rotation: 'compromised', archived: 'compromised' },
    ...{ retired: 'compromised', policy_violation: 'compromised', compromised: 'compromised' },
  },
};

function of(active: Wanted, pending: Wanted, archived: Wanted, destroyed: Wanted): Record<Case, Wanted> {
  const ended = { retired: destroyed, policy_violation: destroyed, compromised: destroyed };
  return { active, pending_rotation: pending, archived, ...ended };
}

interface Made {
  readonly signing: string;
  readonly sealing: string;
  readonly signature: string;
  readonly sealed: { readonly ciphertext: string; readonly iv: string };
}

describe('keys in every state', { concurrency: false }, () => {
  let service: Service;
  let client: KmsV1Client;

  before(async () => {
    service = await startInProcess({ env: developmentMode });
    client = developmentClient(service);
  });
  after(() => service.stop());

  /** Keys in a state which it does not leave by what is asked of them. */
  const kept = new Map<Case, Promise<Made>>();
  const keptIn = (state: Case): Promise<Made> => {
    const known = kept.get(state) ?? made(state);
    kept.set(state, known);
    return known;
  };

  /** A key for a change, without anything that it made. */
  const changed = async (state: Case): Promise<Made> => {
    const signing = await generate(client, { key_type: 'Ed25519', key_usage: ['sign', 'verify'] });
    await bring(signing, state);
    return { signing, sealing: '', signature: '', sealed: { ciphertext: '', iv: '' } };
  };

  const bring = async (key: string, state: Case) => {
    if (state === 'active') return;
    const answer =
      state === 'pending_rotation'
        ? await change(client, key, 'rotate')
        : state === 'archived'
          ? await change(client, key, 'archive')
          : await change(client, key, 'revoke', { revocation_reason: state });
    assert.equal(answer.status, 200, answer.text);
  };

  /** Two keys, of which one has signed and one has encrypted, brought into a state. */
  const made = async (state: Case): Promise<Made> => {
    const signing = await generate(client, { key_type: 'Ed25519', key_usage: ['sign', 'verify'] });
    const sealing = await generate(client, { key_type: 'AES-256', key_usage: ['encrypt', 'decrypt'] });
    const signature = (await client.send('POST', '/sign', { body: { key_id: signing, data } })).body
      .signature;
    const sealed = (await client.send('POST', '/encrypt', { body: { key_id: sealing, plaintext: data } }))
      .body;
    for (const key of [signing, sealing]) await bring(key, state);
    return { signing, sealing, signature, sealed };
  };

  const ask = async (operation: string, keys: Made) => {
    const { signing: key_id, sealing, signature, sealed } = keys;
    switch (operation) {
      case 'sign':
        return client.send('POST', '/sign', { body: { key_id, data } });
      case 'verify':
        return client.send('POST', '/verify', { body: { key_id, data, signature } });
      case 'encrypt':
        return client.send('POST', '/encrypt', { body: { key_id: sealing, plaintext: data } });
      case 'decrypt':
        return client.send('POST', '/decrypt', {
          body: { key_id: sealing, ciphertext: sealed.ciphertext, iv: sealed.iv },
        });
      case 'read':
        return client.send('GET', `/keys/${key_id}?${new URLSearchParams({ ...client.place })}`);
      case 'revoke':
        return change(client, key_id, 'revoke', { revocation_reason: 'retired' });
      case 'compromise':
        return change(client, key_id, 'revoke', { revocation_reason: 'compromised' });
      default:
        return change(client, key_id, operation as 'rotate' | 'archive');
    }
  };

  for (const state of states) {
    for (const [operation, cases] of Object.entries(table)) {
      test(`${operation} with a key that is ${state}: ${[cases[state]].flat().join(' ')}`, async () => {
        const changes = ['rotate', 'archive', 'revoke', 'compromise'].includes(operation);
        const keys = await (changes ? changed(state) : keptIn(state));
        const answer = await ask(operation, keys);
        const wanted = cases[state];
        if (typeof wanted === 'number') assert.equal(answer.status, wanted, answer.text);
        else assert.deepEqual([answer.status, answer.body.error.code], wanted);
        if (operation === 'verify') assert.equal(answer.body.valid, state !== 'compromised');
        if (operation === 'decrypt' && answer.status === 200) assert.equal(answer.body.plaintext, data);
        if (operation === 'read') assert.equal(answer.body.key_state, shown[state]);
        const reason = reasonAfter[operation]?.[state];
        if (reason !== undefined) assert.equal((await ask('read', keys)).body.revocation_reason, reason);
      });
    }
  }

  test('nothing leaves destroyed, and what a key was made of does not change with it', async () => {
    const { signing } = await made('active');
    const read = async () => (await ask('read', { signing } as Made)).body;
    const before = await read();
    await change(client, signing, 'revoke', { revocation_reason: 'policy_violation' });
    for (const operation of ['rotate', 'archive'] as const)
      assert.equal((await change(client, signing, operation)).status, 409);
    const { created_at, key_state, rotation_count, revocation_reason } = await read();
    assert.deepEqual(
      { created_at, key_state, rotation_count, revocation_reason },
      {
        created_at: before.created_at,
        key_state: 'destroyed',
        rotation_count: 0,
        revocation_reason: 'policy_violation',
      },
    );
  });

  test('a second revocation answers with the time of the first', async () => {
    const { signing } = await made('active');
    const first = await change(client, signing, 'revoke', { revocation_reason: 'retired' });
    const second = await change(client, signing, 'revoke', { revocation_reason: 'compromised' });
    assert.deepEqual(second.body, first.body);
  });

  test('a compromise that comes to light after the revocation ends the trust in signatures', async () => {
    const keys = await made('active');
    await change(client, keys.signing, 'revoke', { revocation_reason: 'retired' });
    assert.equal((await ask('verify', keys)).body.valid, true);
    await change(client, keys.signing, 'revoke', { revocation_reason: 'compromised' });
    assert.equal((await ask('verify', keys)).body.valid, false);
  });

  test('a rotation makes the next key_id of one lineage, and leaves the old one verifying and decrypting', async () => {
    const { signing, signature, sealing, sealed } = await made('active');
    const { body } = await change(client, signing, 'rotate');
    assert.equal(body.old_key_id, signing);
    assert.notEqual(body.new_key_id, signing);
    assert.match(body.new_public_key, /^-----BEGIN PUBLIC KEY-----/);
    const verified = await client.send('POST', '/verify', { body: { key_id: signing, data, signature } });
    assert.equal(verified.body.valid, true);
    const signed = await client.send('POST', '/sign', { body: { key_id: body.new_key_id, data } });
    assert.equal(signed.body.key_id, body.new_key_id);
    await change(client, sealing, 'rotate');
    const { ciphertext, iv } = sealed;
    const opened = await client.send('POST', '/decrypt', { body: { key_id: sealing, ciphertext, iv } });
    assert.equal(opened.body.plaintext, data);
    const other = await client.send('POST', '/verify', {
      body: { key_id: body.new_key_id, data, signature },
    });
    assert.equal(other.body.valid, false);
  });

  test('created_at stays over rotations, rotation_count grows, and the alias leads to every version', async () => {
    const first = await generate(client, { key_type: 'Ed25519', key_usage: 'sign', key_alias: 'lineage' });
    const { body } = await change(client, first, 'rotate');
    const listed = await client.send(
      'GET',
      `/keys?${new URLSearchParams({ ...client.place, key_alias: 'lineage' })}`,
    );
    const facts = listed.body.keys.map((key: Record<string, unknown>) => [
      key.key_id,
      key.key_state,
      key.rotation_count,
    ]);
    assert.deepEqual(facts, [
      [body.new_key_id, 'active', 1],
      [first, 'pending_rotation', 1],
    ]);
    assert.equal(new Set(listed.body.keys.map((key: { created_at: string }) => key.created_at)).size, 1);
  });

  test('the metrics count versions in pending_rotation', async () => {
    const { text } = await client.send('GET', '/metrics');
    assert.match(text, /^kms_keys_total\{key_type="Ed25519",key_state="pending_rotation"\} [1-9]/m);
    assert.match(text, /^kms_keys_total\{key_type="AES-256",key_state="destroyed"\} [1-9]/m);
  });
});

test('after the grace a version that was replaced is archived, without anybody doing it', async (t) => {
  const service = await startInProcess({ env: { ...developmentMode, KMS_ROTATION_GRACE_DAYS: '0' } });
  t.after(() => service.stop());
  const client = developmentClient(service);
  const old = await generate(client, { key_type: 'Ed25519', key_usage: ['sign', 'verify'] });
  await change(client, old, 'rotate');
  const read = await client.send('GET', `/keys/${old}?${new URLSearchParams({ ...client.place })}`);
  assert.equal(read.body.key_state, 'archived');
});
