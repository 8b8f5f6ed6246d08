// The x509 library's container wants it.
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import test, { describe } from 'node:test';
import { Extension } from '@peculiar/x509';
import type { Clock } from '../../src/core/clock.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { type AnchorPlace, globalTenant } from '../../src/trust/anchor-records.ts';
import { type Certificate, readCertificate } from '../../src/trust/certificate.ts';
import { isListOf, readRevocationList } from '../../src/trust/crl.ts';
import { elementAt, elementsIn, signedPartsOf } from '../../src/trust/der.ts';
import {
  type BeginAnchorChange,
  maxAnchorsOfName,
  openTrustAnchors,
  type TrustAnchors,
} from '../../src/trust/trust-anchors.ts';
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
const everywhere: readonly AnchorPlace[] = [{ environment: '*', plane: '*' }];
const laptop: AnchorPlace = { environment: 'prod', plane: 'laptop' };
const on = (plane: string, environment = 'prod'): AnchorPlace => ({ environment, plane });
const begin: BeginAnchorChange = async () => ok({ end: () => {} });
const code = (result: Result<unknown>) => (result.ok ? 'ok' : result.failure.code);
const read = ({ der }: Made): Certificate => readCertificate(der) as Certificate;
const add = (
  anchors: TrustAnchors,
  made: Made,
  tenant = 'acme',
  places: readonly AnchorPlace[] = everywhere,
) => anchors.add({ tenant, certificate: made.der, type: 'root', places }, begin);
const check = async (
  anchors: TrustAnchors,
  leaf: Made,
  tenant = 'acme',
  place = laptop,
  more: { given?: readonly Made[]; atMs?: number } = {},
) => {
  const given = (more.given ?? []).map(read);
  const asked = { tenant, place, certificate: read(leaf), given, atMs: more.atMs ?? at.getTime() };
  const { verdict } = value(await anchors.check(asked));
  return verdict.valid ? 'valid' : verdict.problem;
};
const added = async (...of: Parameters<typeof add>) => value(await add(...of)).anchor;

describe('trust anchors', () => {
  test('one that was added is there, by PEM too, and once', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const first = await added(anchors, root);
    const pem = Buffer.from(root.certificate.toString('pem'));
    const asPem = { tenant: 'acme', certificate: pem, type: 'root', places: everywhere } as const;
    const again = value(await anchors.add(asPem, begin));
    assert.equal(again.known, true);
    assert.equal(again.anchor.id, first.id);
    const { certificate } = value(await anchors.get('acme', first.id));
    assert.deepEqual(certificate, first.certificate);
    assert.equal(certificate.subject, 'CN=Root');
    assert.equal(value(await anchors.list('acme', { limit: 10 })).anchors.length, 1);
    const otherType = {
      tenant: 'acme',
      certificate: root.der,
      type: 'internal_ca',
      places: everywhere,
    } as const;
    assert.equal(code(await anchors.add(otherType, begin)), 'Conflict');
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
      code(await anchors.add({ tenant: 'acme', certificate, type, places: everywhere }, begin));
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
    const { id } = await added(anchors, ours);
    value(await add(anchors, shared, globalTenant));
    assert.equal(code(await anchors.get('other', id)), 'NotFound');
    assert.equal(code(await anchors.remove('other', id, begin)), 'NotFound');
    assert.deepEqual(
      value(await anchors.list('other', { limit: 10 })).anchors.map(({ tenant }) => tenant),
      [globalTenant],
    );
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: ours });
    const ofShared = await makeCertificate({ subject: 'CN=leaf', by: shared });
    assert.equal(await check(anchors, leaf), 'valid');
    assert.equal(await check(anchors, leaf, 'other'), 'no_path');
    assert.equal(await check(anchors, ofShared, 'other'), 'valid');
  });

  test('one that holds in a place holds in no other', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    value(await add(anchors, root, 'acme', [laptop]));
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root });
    assert.equal(await check(anchors, leaf, 'acme', on('laptop')), 'valid');
    assert.equal(await check(anchors, leaf, 'acme', on('product')), 'no_path');
    assert.equal(await check(anchors, leaf, 'acme', on('laptop', 'dev')), 'no_path');
  });

  test('one that was removed holds no longer', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root });
    const { id } = await added(anchors, root);
    value(await anchors.remove('acme', id, begin));
    assert.equal(await check(anchors, leaf), 'no_path');
    assert.equal(code(await anchors.remove('acme', id, begin)), 'NotFound');
    assert.notEqual((await added(anchors, root)).id, id);
  });

  test('a list revokes, an older one does not replace it, and one that lapsed leaves it open', async () => {
    const { anchors, later } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const bad = await makeCertificate({ subject: 'CN=bad', by: root, serial: '0a01' });
    const good = await makeCertificate({ subject: 'CN=good', by: root, to: new Date('2030-01-01') });
    const { id } = await added(anchors, root);
    assert.equal(await check(anchors, bad), 'valid');
    const recent = await makeList(root, ['0a01'], { from: new Date('2026-05-01') });
    assert.equal(value(await anchors.setRevocationList('acme', id, recent, begin)).list?.entries, 1);
    assert.equal(await check(anchors, bad), 'revoked');
    assert.equal(await check(anchors, good), 'valid');
    assert.equal(
      code(await anchors.setRevocationList('acme', id, await makeList(root, []), begin)),
      'Conflict',
    );
    assert.equal(code(await anchors.setRevocationList('other', id, recent, begin)), 'NotFound');
    const strangers = await makeCertificate({ subject: 'CN=Root', ca: true });
    assert.equal(
      code(await anchors.setRevocationList('acme', id, await makeList(strangers, []), begin)),
      'BadRequest',
    );
    assert.equal(code(await anchors.setRevocationList('acme', id, Buffer.from('x'), begin)), 'BadRequest');
    assert.equal(await check(anchors, good, 'acme', laptop, { atMs: to.getTime() }), 'valid');
    const lapsed = { atMs: to.getTime() + 1 };
    const longRoot = await makeCertificate({ subject: 'CN=Long', ca: true, to: new Date('2031-01-01') });
    const ofLong = await makeCertificate({ subject: 'CN=leaf', by: longRoot, to: new Date('2030-01-01') });
    const long = await added(anchors, longRoot);
    value(await anchors.setRevocationList('acme', long.id, await makeList(longRoot, []), begin));
    assert.equal(await check(anchors, ofLong, 'acme', laptop, lapsed), 'revocation_unknown');
    const early = await makeList(longRoot, [], { to: new Date('2026-02-01') });
    assert.equal(code(await later(to.getTime()).setRevocationList('acme', id, early, begin)), 'BadRequest');
  });

  test('lists follow one another by their numbers and times, and the same one again changes nothing', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const { id } = await added(anchors, root);
    const numbered = (number: number, from: string, serials: readonly string[] = []) =>
      makeList(root, serials, {
        from: new Date(from),
        extensions: [new Extension('2.5.29.20', false, Uint8Array.of(2, 1, number))],
      });
    const set = async (list: Uint8Array) => code(await anchors.setRevocationList('acme', id, list, begin));
    const fifth = await numbered(5, '2026-03-01');
    assert.equal(await set(fifth), 'ok');
    assert.equal(await set(fifth), 'ok');
    assert.equal(value(await anchors.get('acme', id)).list?.number, '5');
    assert.equal(await set(await numbered(5, '2026-03-02', ['0b'])), 'Conflict');
    assert.equal(await set(await numbered(4, '2026-03-02')), 'Conflict');
    assert.equal(await set(await numbered(6, '2026-02-01')), 'Conflict');
    assert.equal(await set(await makeList(root, [], { from: new Date('2026-04-01') })), 'Conflict');
    assert.equal(await set(await numbered(6, '2026-03-01')), 'ok');
  });

  test('a list of twenty thousand is read, and says who is in it', async () => {
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const small = await makeList(root, ['0a01']);
    const parts = signedPartsOf(small);
    assert.ok(parts);
    const element = (tag: number, ...contents: readonly Uint8Array[]) => {
      const content = Buffer.concat(contents);
      const length = Buffer.from(content.length.toString(16).padStart(6, '0'), 'hex');
      return Buffer.concat([
        Buffer.of(tag),
        content.length < 128 ? length.subarray(2) : Buffer.of(0x83),
        ...(content.length < 128 ? [] : [length]),
        content,
      ]);
    };
    const fields = elementsIn(small, parts.inner) ?? [];
    const bytesOf = ({ start, end }: { start: number; end: number }) => small.subarray(start, end);
    const date = bytesOf(fields[3]!);
    const serialOf = (n: number) => Buffer.from((0x100000 + n).toString(16), 'hex');
    const reason = Buffer.from('300c300a0603551d1504030a0101', 'hex');
    const entries = Array.from({ length: 20_000 }, (_, n) =>
      element(0x30, element(2, serialOf(n)), date, ...(n % 2 === 0 ? [reason] : [])),
    );
    const inner = fields.map((field, n) => (n === 5 ? element(0x30, ...entries) : bytesOf(field)));
    const [, algorithm, signature] = elementsIn(small, elementAt(small, 0)!) ?? [];
    const large = element(0x30, element(0x30, ...inner), bytesOf(algorithm!), bytesOf(signature!));
    const list = readRevocationList(large);
    assert.equal(list?.serials.size, 20_000);
    assert.ok(list.serials.has('104e1f'));
    assert.equal(isListOf(list, read(root)), false);
    assert.equal(readRevocationList(large.subarray(0, -1)), undefined);
  });

  test('an authority’s list holds for each of its certificates, by whomever they are', async () => {
    const { anchors } = open();
    const [one, other] = [
      await makeCertificate({ subject: 'CN=One', ca: true }),
      await makeCertificate({ subject: 'CN=Other', ca: true }),
    ];
    const sub = await makeCertificate({ subject: 'CN=Sub', ca: true, by: one });
    const crossed = await makeCertificate({ subject: 'CN=Sub', ca: true, by: other, keys: sub.keys });
    const bad = await makeCertificate({ subject: 'CN=bad', by: sub, serial: '0a01' });
    value(await add(anchors, other));
    const wish = { tenant: 'acme', certificate: sub.der, type: 'internal_ca', places: [laptop] } as const;
    const { anchor } = value(await anchors.add(wish, begin));
    value(await anchors.setRevocationList('acme', anchor.id, await makeList(sub, ['0a01']), begin));
    assert.equal(await check(anchors, bad, 'acme', on('product'), { given: [crossed] }), 'revoked');
  });

  test('the same certificate again is trusted in further places, and not in fewer', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const places = async (...wished: AnchorPlace[]) =>
      (await added(anchors, root, 'acme', wished)).places
        .map((at) => `${at.environment}/${at.plane}`)
        .join(' ');
    assert.equal(await places(laptop), 'prod/laptop');
    assert.equal(await places(on('tenant', 'dev')), 'prod/laptop dev/tenant');
    assert.equal(await places(laptop), 'prod/laptop dev/tenant');
    assert.equal(await places(on('*')), 'prod/laptop dev/tenant prod/*');
    assert.equal(await places(on('shared')), 'prod/laptop dev/tenant prod/*');
  });

  test('nothing is changed to which nobody agrees, and whoever agrees is told what and how it ended', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const wish = { tenant: 'acme', certificate: root.der, type: 'root', places: [laptop] } as const;
    const nobody: BeginAnchorChange = async () => refuse('NoCapability');
    assert.equal(code(await anchors.add(wish, nobody)), 'NoCapability');
    assert.equal(value(await anchors.list('acme', { limit: 10 })).anchors.length, 0);
    const told: string[] = [];
    const tells: BeginAnchorChange = async ({ kind }) =>
      ok({ end: (failure) => void told.push(`${kind} ${failure ?? 'ok'}`) });
    const { anchor } = value(await anchors.add(wish, tells));
    value(await anchors.add(wish, tells));
    value(await anchors.add({ ...wish, places: everywhere }, tells));
    value(await anchors.setRevocationList('acme', anchor.id, await makeList(root, []), tells));
    assert.equal(code(await anchors.remove('acme', anchor.id, nobody)), 'NoCapability');
    value(await anchors.remove('acme', anchor.id, tells));
    assert.deepEqual(told, ['added ok', 'known ok', 'extended ok', 'list_set ok', 'removed ok']);
  });

  test('one that names a managed key has its public key', async () => {
    const { anchors } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const { spkiSha256 } = read(root);
    const wish = { tenant: 'acme', certificate: root.der, type: 'root', places: everywhere } as const;
    const kid = 'acme/ca/ed25519/0192f7c1-5b1e-7c3a-9d2e-000000000000#v1';
    const strange = { kid, spkiSha256: '00' };
    assert.equal(code(await anchors.add({ ...wish, ca: strange }, begin)), 'BadRequest');
    value(await anchors.add(wish, begin));
    const { anchor, known } = value(await anchors.add({ ...wish, ca: { kid, spkiSha256 } }, begin));
    assert.deepEqual([known, anchor.caKid], [true, kid]);
    assert.equal(value(await anchors.get('acme', anchor.id)).caKid, kid);
  });

  test('only so many have one name, as each is tried', async () => {
    const { anchors } = open();
    for (let n = 0; n < maxAnchorsOfName; n++)
      value(await add(anchors, await makeCertificate({ subject: 'CN=Root', ca: true })));
    const more = await makeCertificate({ subject: 'CN=Root', ca: true });
    assert.equal(code(await add(anchors, more)), 'TooLarge');
    assert.equal(code(await add(anchors, more, 'other')), 'ok');
  });

  test('a list that is gone from the store, or was put back, leaves revocation unknown', async () => {
    const { anchors, store } = open();
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root });
    const { id } = await added(anchors, root);
    const before = await makeList(root, [], { from: new Date('2026-02-01') });
    value(await anchors.setRevocationList('acme', id, before, begin));
    value(
      await anchors.setRevocationList(
        'acme',
        id,
        await makeList(root, ['0b'], { from: new Date('2026-05-01') }),
        begin,
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
    const { id } = await added(anchors, root);
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
      value(
        await add(
          anchors,
          await makeCertificate({ subject: `CN=Root ${n}`, ca: true }),
          n === 4 ? globalTenant : 'acme',
          n === 3 ? [laptop] : everywhere,
        ),
      );
    const seen: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = value(await anchors.list('acme', { limit: 2, ...(after === undefined ? {} : { after }) }));
      seen.push(...page.anchors.map(({ id }) => id));
      after = page.nextCursor;
      if (after === undefined) break;
    }
    assert.equal(new Set(seen).size, 5);
    assert.equal(seen.length, 5);
    const countAt = async (place: AnchorPlace) =>
      value(await anchors.list('acme', { limit: 10, place })).anchors.length;
    assert.deepEqual([await countAt(laptop), await countAt(on('tenant'))], [5, 4]);
    assert.equal(value(await anchors.list(globalTenant, { limit: 10 })).anchors.length, 1);
    assert.equal(code(await anchors.list('acme', { limit: 0 })), 'BadRequest');
    assert.equal(code(await anchors.list('acme', { limit: 2, after: '../x' })), 'BadRequest');
  });
});
