import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import test, { describe } from 'node:test';
import type { Clock } from '../../src/core/clock.ts';
import type { Result } from '../../src/core/result.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { type Certificate, readCertificate } from '../../src/trust/certificate.ts';
import { globalTenant, openTrustAnchors, type TrustAnchors } from '../../src/trust/trust-anchors.ts';
import { chainTimes, type Made, makeCertificate, makeList } from '../support/chains.ts';

const mac = (message: Uint8Array) => createHmac('sha256', 'a key').update(message).digest();
const { at, to } = chainTimes;

function open(nowMs = at.getTime()) {
  const store = new MemoryStore();
  const corrupt: string[] = [];
  const clock = { utcMs: () => nowMs, monotonicMs: () => 0 } as Clock;
  const parts = { store, mac, clock, onCorruptRecord: (key: string) => corrupt.push(key) };
  const later = (ms: number) => openTrustAnchors({ ...parts, clock: { ...clock, utcMs: () => ms } as Clock });
  return { store, corrupt, later, anchors: openTrustAnchors(parts) };
}

const value = <T>(result: Result<T>): T => {
  assert.ok(result.ok, JSON.stringify(result));
  return result.value;
};
const code = (result: Result<unknown>) => (result.ok ? 'ok' : result.failure.code);
const read = ({ der }: Made): Certificate => readCertificate(der) as Certificate;
const add = (anchors: TrustAnchors, made: Made, tenant = 'acme', planes: readonly string[] = []) =>
  anchors.add({ tenant, certificate: made.der, type: 'root', planes });
const check = async (anchors: TrustAnchors, leaf: Made, tenant = 'acme', plane?: string) => {
  const verdict = value(await anchors.check({ tenant, plane, certificate: read(leaf), given: [] }));
  return verdict.valid ? 'valid' : verdict.problem;
};

describe('trust anchors', () => {
  test('one that was added is there, by PEM too, and once', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const added = value(await add(anchors, root));
    const pem = Buffer.from(root.certificate.toString('pem'));
    const again = value(await anchors.add({ tenant: 'acme', certificate: pem, type: 'root', planes: [] }));
    assert.equal(again.id, added.id);
    assert.equal(value(await anchors.get('acme', added.id)).certificate.sha256, added.certificate.sha256);
    assert.equal(value(await anchors.list('acme', { limit: 10 })).anchors.length, 1);
    const otherType = { tenant: 'acme', certificate: root.der, type: 'internal_ca', planes: [] } as const;
    assert.equal(code(await anchors.add(otherType)), 'Conflict');
  });

  test('two callers that add the same at once add one', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => add(anchors, root)));
    assert.ok(outcomes.some(({ ok }) => ok));
    assert.equal(value(await anchors.list('acme', { limit: 10 })).anchors.length, 1);
  });

  test('garbage, what is no authority, old, early and weak ones are refused', async () => {
    const { anchors, later } = open();
    const refused = async (certificate: Uint8Array, type: 'root' | 'internal_ca' = 'internal_ca') =>
      code(await anchors.add({ tenant: 'acme', certificate, type, planes: [] }));
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const sub = await makeCertificate({ subject: 'CN=Sub', ca: true, by: root });
    assert.equal(await refused(Buffer.from('garbage')), 'BadRequest');
    assert.equal(await refused((await makeCertificate({ subject: 'CN=leaf' })).der), 'BadRequest');
    assert.equal(await refused(sub.der, 'root'), 'BadRequest');
    assert.equal(await refused(sub.der), 'ok');
    const forged = await makeCertificate({ subject: 'CN=Forged', ca: true, signedWith: root.keys });
    assert.equal(await refused(forged.der), 'BadRequest');
    const late = later(to.getTime() + 1);
    assert.equal(code(await add(late, root)), 'BadRequest');
    assert.equal(code(await add(later(0), root)), 'BadRequest');
  });

  test('no tenant sees another’s, and what GLOBAL has holds for all', async () => {
    const { anchors } = open();
    const [ours, shared] = [
      await makeCertificate({ subject: 'CN=Ours', ca: true }),
      await makeCertificate({ subject: 'CN=Shared', ca: true }),
    ];
    const { id } = value(await add(anchors, ours));
    value(await add(anchors, shared, globalTenant));
    assert.equal(code(await anchors.get('other', id)), 'NotFound');
    assert.equal(code(await anchors.remove('other', id)), 'NotFound');
    assert.equal(value(await anchors.list('other', { limit: 10 })).anchors.length, 0);
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: ours });
    const ofShared = await makeCertificate({ subject: 'CN=leaf', by: shared });
    assert.equal(await check(anchors, leaf), 'valid');
    assert.equal(await check(anchors, leaf, 'other'), 'no_path');
    assert.equal(await check(anchors, ofShared, 'other'), 'valid');
  });

  test('one that holds for a plane holds on no other', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    value(await add(anchors, root, 'acme', ['laptop']));
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root });
    assert.equal(await check(anchors, leaf, 'acme', 'laptop'), 'valid');
    assert.equal(await check(anchors, leaf, 'acme', 'product'), 'no_path');
    assert.equal(await check(anchors, leaf, 'acme'), 'no_path');
  });

  test('one that was removed holds no longer', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root });
    const { id } = value(await add(anchors, root));
    value(await anchors.remove('acme', id));
    assert.equal(await check(anchors, leaf), 'no_path');
    assert.equal(code(await anchors.remove('acme', id)), 'NotFound');
    assert.notEqual(value(await add(anchors, root)).id, id);
  });

  test('a list revokes, an older one does not replace it, and one that lapsed leaves it open', async () => {
    const { anchors, later } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const bad = await makeCertificate({ subject: 'CN=bad', by: root, serial: '0a01' });
    const good = await makeCertificate({ subject: 'CN=good', by: root, to: new Date('2030-01-01') });
    const { id } = value(await add(anchors, root));
    assert.equal(await check(anchors, bad), 'valid');
    const recent = await makeList(root, ['0a01'], { from: new Date('2026-05-01') });
    assert.equal(value(await anchors.setRevocationList('acme', id, recent)).list?.entries, 1);
    assert.equal(await check(anchors, bad), 'revoked');
    assert.equal(await check(anchors, good), 'valid');
    assert.equal(code(await anchors.setRevocationList('acme', id, await makeList(root, []))), 'Conflict');
    assert.equal(code(await anchors.setRevocationList('other', id, recent)), 'NotFound');
    const strangers = await makeCertificate({ subject: 'CN=Root', ca: true });
    assert.equal(
      code(await anchors.setRevocationList('acme', id, await makeList(strangers, []))),
      'BadRequest',
    );
    assert.equal(code(await anchors.setRevocationList('acme', id, Buffer.from('x'))), 'BadRequest');
    assert.equal(await check(later(to.getTime() - 1), good), 'valid');
  });

  test('a list that is gone from the store, or was put back, leaves revocation unknown', async () => {
    const { anchors, store } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root });
    const { id } = value(await add(anchors, root));
    const before = await makeList(root, [], { from: new Date('2026-02-01') });
    value(await anchors.setRevocationList('acme', id, before));
    value(
      await anchors.setRevocationList(
        'acme',
        id,
        await makeList(root, ['0b'], { from: new Date('2026-05-01') }),
      ),
    );
    const key = `trust/list/acme/${id}`;
    value(await store.commit([{ key, value: before }]));
    assert.equal(await check(anchors, leaf), 'revocation_unknown');
    value(await store.commit([{ key, value: undefined }]));
    assert.equal(await check(anchors, leaf), 'revocation_unknown');
  });

  test('a record that was altered, or is of another tenant, is told and trusts nobody', async () => {
    const { anchors, store, corrupt } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root });
    const { id } = value(await add(anchors, root));
    const entry = value(await store.get(`trust/anchor/acme/${id}`));
    assert.ok(entry);
    value(await store.commit([{ key: `trust/anchor/other/${id}`, value: entry.value }]));
    assert.equal(code(await anchors.get('other', id)), 'Internal');
    const altered = Uint8Array.from(entry.value);
    altered[60] = (altered[60] as number) ^ 1;
    value(await store.commit([{ key: entry.key, value: altered }]));
    assert.equal(await check(anchors, leaf), 'no_path');
    assert.ok(corrupt.length >= 2);
  });

  test('pages follow one another', async () => {
    const { anchors } = open();
    for (let n = 0; n < 5; n++)
      value(await add(anchors, await makeCertificate({ subject: `CN=Root ${n}`, ca: true })));
    const seen: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = value(await anchors.list('acme', { limit: 2, ...(after === undefined ? {} : { after }) }));
      seen.push(...page.anchors.map(({ id }) => id));
      after = page.nextCursor;
      if (after === undefined) break;
    }
    assert.equal(new Set(seen).size, 5);
    assert.equal(code(await anchors.list('acme', { limit: 2, after: '../x' })), 'BadRequest');
  });
});
