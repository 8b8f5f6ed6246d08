import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { startFor } from '../faults/start-for.ts';
import { hkdf, wrapFor } from '../support/import-material.ts';
import { base64 } from '../support/sealing-client.ts';
import { call, helloWorldB3 } from '../support/service.ts';
import { dumpableMemory } from './memory.ts';
import { createFinder, distinctBytes, knownEd25519, knownRsa2048, pieces } from './secrets.ts';

const addon = join(import.meta.dirname, '..', '..', 'native', 'build', 'intaglio_native.node');
const isUnderTest = existsSync(addon) && process.env.KMS_ENGINE !== 'openssl';

test('native: no key that was imported or derived is in memory that a core dump would hold', {
  skip: isUnderTest ? false : 'the native engine is not among those under test',
}, async (context) => {
  // A user other than root may then read it.
  const service = await startFor(context, { env: { KMS_ALLOW_CORE_DUMPS: 'true', KMS_ENGINE: 'native' } });
  const good = async (method: string, path: string, body?: unknown) => {
    const answer = await call(service, service.token, method, `/v1/kms${path}`, body);
    assert.ok(answer.status < 300, `${path}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  const [ed25519, rsa] = [knownEd25519(), knownRsa2048()];
  const [parent, tagger] = [distinctBytes('of a parent'), distinctBytes('of a tag')];
  const kids: string[] = [];
  for (const wrapping of ['x25519+ml-kem-768', 'rsa-4096']) {
    const path = `/keys/import/wrapping-key?alg=${encodeURIComponent(wrapping)}`;
    const key = await good('GET', path);
    for (const [alg, secret] of [
      ['ed25519', ed25519.secret],
      ['rsa-2048', rsa.secret],
      ['hkdf-sha256', parent],
      ['hmac-sha256', tagger],
    ] as const) {
      const material = { wrapping_key_id: key.wrapping_key_id, material_b64: base64(wrapFor(key, secret)) };
      kids.push((await good('POST', '/keys/import', { purpose: 'p', alg, ...material })).kid);
    }
  }
  const labels: string[] = [];
  const [parentKid = ''] = kids.filter((kid) => kid.includes('/hkdf-'));
  for (const alg of ['ed25519', 'hmac-sha256', 'aes-256-gcm']) {
    const context = { origin: 'memory', instance: 'a', epoch: 1 };
    kids.push((await good('POST', '/derive', { kid: parentKid, context, alg })).kid);
    labels.push(`ron-kms::default::p::derive::${alg}::memory::a::1`);
  }
  for (let n = 0; n < 10; n++) {
    for (const kid of kids) {
      if (/ed25519|rsa/.test(kid)) await good('POST', '/sign', { kid, payload_b3: helloWorldB3 });
      if (kid.includes('/hmac-')) await good('POST', '/mac', { kid, message_b64: '' });
      if (kid.includes('/aes-')) await good('POST', '/encrypt', { kid, plaintext_b64: 'AAAA' });
    }
  }
  const marks = [
    ...pieces('payload digest', Buffer.from(helloWorldB3)),
    ...ed25519.marks,
    ...rsa.marks,
    ...pieces('imported parent', parent),
    ...pieces('imported tag key', tagger),
    ...labels.flatMap((label) => pieces(`derived ${label}`, hkdf(parent, label, 32))),
  ];
  const found = new Set<string>();
  const find = createFinder(marks);
  for (const part of dumpableMemory(service.pid)) for (const what of find(part)) found.add(what);
  // The search is not blind: what is public is there.
  assert.deepEqual([...found], ['payload digest']);
});
