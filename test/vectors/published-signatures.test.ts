import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, hash, verify as nodeVerifies } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import test from 'node:test';
import type { Component, SchemeEntry } from '../../src/algorithms/descriptor.ts';
import { findAlgorithm, registry } from '../../src/algorithms/registry.ts';
import { type BatchOp, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { judge } from '../../src/policy/hybrid.ts';
import { aad, flipBit, runBatch, signatureOf, tenant } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import {
  type BundleVector,
  checksumsOf,
  publishedSignatures,
  type SignatureVector,
  type SignatureVectors,
} from '../support/signature-vectors.ts';

// INTAGLIO_VECTORS=write makes the vectors anew, by the native engine, and the checksums of all files.
const writing = process.env.INTAGLIO_VECTORS === 'write';
const payload_b3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24';
const message = Buffer.from('hello world');
const context = Buffer.from('intaglio test vector');
const hybridName = 'ed25519+ml-dsa-65';

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const bytesOf = (text: string) => Buffer.from(text, 'base64');
const read = <T>(name: string) => JSON.parse(readFileSync(new URL(name, publishedSignatures), 'utf8')) as T;
const engines = availableEngines().map(({ create }) => create());

if (writing) write(engines.find(({ description }) => description.name === 'native') as Engine);

const all = read<SignatureVectors[]>('signatures.json');
const bundles = read<BundleVector[]>('bundles.json');

test('the files of docs/vectors/signatures are those of its SHA256SUMS', () => {
  assert.equal(
    readFileSync(new URL('SHA256SUMS', publishedSignatures), 'utf8'),
    checksumsOf(publishedSignatures),
  );
});

test('every algorithm that signs, each of its ways, and every form that it takes has a vector', () => {
  const single = registry.filter(({ kind, components }) => kind === 'signature' && components.length === 1);
  assert.deepEqual(
    all.map(({ algorithm }) => algorithm),
    single.map(({ name }) => name),
  );
  for (const { algorithm, signatures } of all) {
    const expected = componentOf(algorithm).schemes.flatMap((scheme) => formsOf(scheme).map(nameOf));
    assert.deepEqual(signatures.map(nameOf), expected, algorithm);
  }
  const several = registry.filter(({ kind, components }) => kind === 'signature' && components.length > 1);
  assert.deepEqual(
    [...new Set(bundles.map(({ algorithm }) => algorithm))],
    several.map(({ name }) => name),
  );
});

for (const engine of engines) {
  const { name, lacks } = engine.description;
  const root = engine.openRoot({ kind: 'memory' });

  for (const { algorithm, secret_b64, pubkey_b64, spki_b64, signatures } of all) {
    const component = componentOf(algorithm);

    test(`${name}: ${algorithm}: the secret gives the public key, in both its forms`, () => {
      const key = engine.importKey(root, component.keyType, tenant, aad, bytesOf(secret_b64));
      assert.equal(base64(key.publicKey), pubkey_b64);
      assert.equal(spkiOf(component, key.publicKey), spki_b64);
    });

    test(`${name}: ${algorithm}: every signature verifies, and does not with a bit changed`, () => {
      for (const vector of signatures) {
        const scheme = schemeOf(component, vector.alg);
        const { op, inputs } = verification(vector);
        const signature = bytesOf(vector.signature_b64);
        const check = (s: Uint8Array) => {
          const [input, ...rest] = inputs as [Uint8Array, ...Uint8Array[]];
          const item = { op, scheme: scheme.scheme, keyNumber: 0, key: bytesOf(pubkey_b64) };
          return runBatch(engine, root, [{ ...item, inputs: [input, s, ...rest] }])[0]?.status;
        };
        const lacking = lackedBy(lacks, scheme, vector);
        const expected = lacking ? batchStatuses.badInput : batchStatuses.ok;
        assert.equal(check(signature), expected, nameOf(vector));
        const altered = lacking ? batchStatuses.badInput : batchStatuses.rejected;
        assert.equal(check(flipBit(signature, signature.length * 4)), altered, nameOf(vector));
      }
    });
  }
}

test('OpenSSL reads the SubjectPublicKeyInfo of all but composites, and verifies the halves of bundles by it', () => {
  for (const { algorithm, spki_b64 } of all) {
    if (algorithm.startsWith('mldsa')) continue;
    createPublicKey({ key: bytesOf(spki_b64), format: 'der', type: 'spki' });
  }
  for (const { algorithm, components, payload_b3: payload, sigs, ok } of bundles) {
    const found = findAlgorithm(algorithm);
    assert.ok(found !== undefined);
    const checked = sigs.map(({ alg, signature_b64 }) => {
      const index = components.findIndex((one) => one.alg === alg);
      const key = createPublicKey({
        key: bytesOf((components[index] as (typeof components)[0]).spki_b64),
        format: 'der',
        type: 'spki',
      });
      const valid = nodeVerifies(null, Buffer.from(payload, 'hex'), key, bytesOf(signature_b64));
      return { kid: 'one', components: found.components, component: found.components[index], valid };
    });
    for (const mode of ['or', 'and', 'pq_only'] as const)
      assert.equal(judge(checked, mode).ok, ok[mode], `${sigs.map(({ alg }) => alg)} ${mode}`);
  }
});

function componentOf(algorithm: string): Component {
  const [component] = findAlgorithm(algorithm)?.components ?? [];
  assert.ok(component !== undefined);
  return component;
}

function schemeOf({ schemes }: Component, alg: string): SchemeEntry {
  const scheme = schemes.find((one) => one.alg === alg);
  assert.ok(scheme !== undefined);
  return scheme;
}

function spkiOf({ spkiPrefix = new Uint8Array(0) }: Component, publicKey: Uint8Array): string {
  return base64(Buffer.concat([spkiPrefix, publicKey]));
}

type Form = Omit<SignatureVector, 'signature_b64'>;

/** The forms of a way, without its signatures; a mu is that of the key in whose place it stands. */
function formsOf(scheme: SchemeEntry, publicKey: Uint8Array = new Uint8Array(0)): Form[] {
  const { alg } = scheme;
  const forms: Form[] = [
    { alg, payload_b3 },
    { alg, message_b64: base64(message) },
  ];
  if (scheme.takesContext) forms.push({ alg, message_b64: base64(message), context_b64: base64(context) });
  if (scheme.hash !== undefined)
    forms.push({ alg, digest_b64: base64(hash(scheme.hash, message, 'buffer')), hash: scheme.hash });
  if (scheme.mu !== undefined) forms.push({ alg, mu_b64: base64(muOf(publicKey)) });
  return forms;
}

/** FIPS 204, algorithm 7, line 6, of the message with the context. */
function muOf(publicKey: Uint8Array): Buffer {
  const shake = (...parts: readonly Uint8Array[]) =>
    hash('shake256', Buffer.concat(parts), { outputEncoding: 'buffer', outputLength: 64 });
  return shake(shake(publicKey), Buffer.of(0, context.length), context, message);
}

function nameOf(vector: Form): string {
  const members = Object.keys(vector).filter((member) => !['alg', 'signature_b64', 'hash'].includes(member));
  return `${vector.alg}: ${members.join(' ')}`;
}

function given(vector: Form): { readonly input: Uint8Array; readonly context: readonly Uint8Array[] } {
  const text = vector.message_b64 ?? vector.digest_b64 ?? vector.mu_b64;
  return {
    input: text === undefined ? Buffer.from(vector.payload_b3 as string, 'hex') : bytesOf(text),
    context: vector.context_b64 === undefined ? [] : [bytesOf(vector.context_b64)],
  };
}

function verification(vector: Form): { readonly op: BatchOp; readonly inputs: readonly Uint8Array[] } {
  const { input, context: own } = given(vector);
  const { verify, verifyDigest, verifyMu } = batchOps;
  const op = vector.mu_b64 !== undefined ? verifyMu : vector.digest_b64 !== undefined ? verifyDigest : verify;
  return { op, inputs: [input, ...own] };
}

function lackedBy(lacks: readonly string[], scheme: SchemeEntry, vector: Form): boolean {
  const needs =
    vector.mu_b64 !== undefined
      ? scheme.mu?.needs
      : vector.digest_b64 !== undefined
        ? (scheme.digestNeeds ?? scheme.needs)
        : scheme.needs;
  return needs !== undefined && lacks.includes(needs);
}

function write(engine: Engine): void {
  const root = engine.openRoot({ kind: 'memory' });
  const single = registry.filter(({ kind, components }) => kind === 'signature' && components.length === 1);
  const made = single.map(({ name }): SignatureVectors => {
    const component = componentOf(name);
    const secret = secretOf(name);
    const secret_b64 = base64(secret);
    const key = engine.importKey(root, component.keyType, tenant, aad, secret);
    const reference = buildKeyReference(tenant, aad, key.sealed);
    const signatures = component.schemes.flatMap((scheme) =>
      formsOf(scheme, key.publicKey).map((form): SignatureVector => {
        const { input, context: own } = given(form);
        const { sign, signDigest, signMu } = batchOps;
        const op = form.mu_b64 !== undefined ? signMu : form.digest_b64 !== undefined ? signDigest : sign;
        const item = { op, scheme: scheme.scheme, keyNumber: 0, key: reference, inputs: [input, ...own] };
        return { ...form, signature_b64: base64(signatureOf(runBatch(engine, root, [item])[0])) };
      }),
    );
    const spki_b64 = spkiOf(component, key.publicKey);
    return { algorithm: name, secret_b64, pubkey_b64: base64(key.publicKey), spki_b64, signatures };
  });
  save('signatures.json', made);
  save('bundles.json', bundlesFrom(made));
  writeFileSync(new URL('SHA256SUMS', publishedSignatures), checksumsOf(publishedSignatures));
}

function save(name: string, value: unknown): void {
  writeFileSync(new URL(name, publishedSignatures), `${JSON.stringify(value, undefined, 1)}\n`);
}

/** Seeds that count up, others for composites, whose components are nobody else's; keys in PKCS#8 are made at random. */
function secretOf(name: string): Uint8Array {
  const seed = (from: number) => Buffer.from(Array.from({ length: 32 }, (_, index) => from + index));
  const pkcs8 = { format: 'der', type: 'pkcs8' } as const;
  if (name.startsWith('rsa'))
    return generateKeyPairSync('rsa', { modulusLength: Number(name.slice(4)) }).privateKey.export(pkcs8);
  if (name.startsWith('ecdsa'))
    return generateKeyPairSync('ec', { namedCurve: `P-${name.slice(-3)}` }).privateKey.export(pkcs8);
  if (name === 'mldsa65-p256') {
    const head = Buffer.from('30310201010420', 'hex');
    return Buffer.concat([seed(64), head, seed(96), Buffer.from('a00a06082a8648ce3d030107', 'hex')]);
  }
  return name.startsWith('mldsa') ? Buffer.concat([seed(64), seed(96)]) : seed(0);
}

/** A whole bundle, each half of it, and one whose classical half is spoiled. */
function bundlesFrom(made: readonly SignatureVectors[]): BundleVector[] {
  const halves = ['ed25519', 'ml-dsa-65'].map((alg) => {
    const { pubkey_b64, spki_b64, signatures } = made.find(
      ({ algorithm }) => algorithm === alg,
    ) as SignatureVectors;
    return { alg, pubkey_b64, spki_b64, signature_b64: (signatures[0] as SignatureVector).signature_b64 };
  });
  const components = halves.map(({ alg, pubkey_b64, spki_b64 }) => ({ alg, pubkey_b64, spki_b64 }));
  const sigs = halves.map(({ alg, signature_b64 }) => ({ alg, signature_b64 }));
  const [classical, postQuantum] = sigs as [(typeof sigs)[0], (typeof sigs)[0]];
  const spoiled = { ...classical, signature_b64: base64(flipBit(bytesOf(classical.signature_b64), 300)) };
  const bundle = (of: typeof sigs, or: boolean, and: boolean, pq_only: boolean): BundleVector => ({
    ...{ algorithm: hybridName, components, payload_b3, sigs: of },
    ok: { or, and, pq_only },
  });
  return [
    bundle(sigs, true, true, true),
    bundle([classical], true, false, false),
    bundle([postQuantum], true, false, true),
    bundle([spoiled, postQuantum], true, false, true),
    bundle([spoiled], false, false, false),
  ];
}
