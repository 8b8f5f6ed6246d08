// The x509 library's container wants it.
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { describe } from 'node:test';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509';
import { pemOf } from '../../src/algorithms/public-formats.ts';
import type { CallerPlacement } from '../../src/core/scope.ts';
import type { EnrolRequest } from '../../src/operations/trust/requests.ts';
import { readCertificate } from '../../src/trust/certificate.ts';
import { chainTimes, makeCertificate, makeKeys } from '../support/chains.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { agreedTo, here, openTrustOperations, type PlacedKey, placed } from '../support/trust.ts';

const dayMs = 86_400_000;
const web: readonly JsonGeneralName[] = [{ type: 'dns', value: 'web.example' }];

interface WantedCsr {
  readonly subject?: string;
  readonly names?: readonly JsonGeneralName[];
  readonly extensions?: readonly Extension[];
  readonly algorithm?: 'ec' | 'ed25519' | 'rsa';
}

async function makeCsr({ subject = 'CN=web.example', names, extensions = [], algorithm }: WantedCsr = {}) {
  const keys = await makeKeys(algorithm);
  const csr = await Pkcs10CertificateRequestGenerator.create({
    ...{ name: subject, keys, signingAlgorithm: { name: keys.privateKey.algorithm.name, hash: 'SHA-256' } },
    extensions: [
      ...(names === undefined ? [] : [new SubjectAlternativeNameExtension([...names])]),
      ...extensions,
    ],
  });
  return { der: new Uint8Array(csr.rawData), pem: csr.toString('pem'), keys };
}

/** A managed key, whose certificate another authority has made, as an anchor; and one of the name only. */
async function openAuthority(
  t: Parameters<typeof openTrustOperations>[0],
  more: {
    alg?: string;
    to?: Date;
    extensions?: readonly Extension[];
    joined?: boolean;
    placed?: PlacedKey;
  } = {},
) {
  const opened = openTrustOperations(t);
  const { kid, keys } = await opened.makeKey(more.alg, more.placed);
  const root = await makeCertificate({ subject: 'CN=Offline root', ca: true });
  const { alg: _, placed: _placed, joined = true, ...wanted } = more;
  const authority = await makeCertificate({
    ...{ subject: 'CN=Issuing,O=Acme', ca: true, by: root, keys, basic: { pathLength: 0 } },
    ...wanted,
  });
  const { anchor } = unwrap(
    await opened.trust.add.run(
      {
        ...{ ...agreedTo, certificate: authority.der, type: 'internal_ca', planes: undefined },
        caKid: joined ? kid : undefined,
      },
      placed,
    ),
  );
  const asking = (csr: Uint8Array, of: Partial<EnrolRequest> = {}): EnrolRequest => ({
    ...{ ...agreedTo, csr, anchorId: anchor.id, caKid: undefined, validDays: undefined, ...of },
  });
  return { ...opened, kid, keys, root, authority, anchor, asking };
}

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

describe('enrolment', () => {
  for (const alg of ['ecdsa-p256', 'ed25519', 'rsa-2048', 'ml-dsa-65'])
    test(`a request is signed by a managed ${alg} key, and its chain is valid`, async (t) => {
      const { trust, run, asking, authority, anchor, kid, recorded, clock, asked } = await openAuthority(t, {
        alg,
      });
      const csr = await makeCsr({ names: web });
      const { certificate, issuerDer } = unwrap(await run(trust.enrol, asking(csr.der)));
      assert.deepEqual(Buffer.from(issuerDer), Buffer.from(authority.der));
      assert.equal(certificate.kid, kid);
      const made = new X509Certificate(certificate.der);
      assert.equal(made.subject, 'CN=web.example');
      assert.equal(made.subjectAltName, 'DNS:web.example');
      assert.equal(made.ca, false);
      const facts = readCertificate(certificate.der);
      assert.equal(facts?.serial, certificate.id);
      assert.match(certificate.id, /^(00)?[0-9a-f]{32}$/);
      assert.equal(facts.authorityKeyId?.id, readCertificate(authority.der)?.subjectKeyId?.id);
      assert.deepEqual(facts.extendedKeyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
      assert.equal(facts.keyUsage?.digitalSignature, true);
      assert.equal(certificate.notAfterMs, clock.nowMs + 90 * dayMs);
      assert.ok(certificate.notBeforeMs < clock.nowMs);

      const chain = [certificate.der];
      const asks = { ...here, chain, purpose: 'server_auth', atMs: undefined } as const;
      const verdict = unwrap(await trust.validate.run(asks, placed));
      assert.deepEqual([verdict.valid, verdict.anchorId], [true, anchor.id]);

      assert.equal(asked.at(-1)?.operation, 'certificate_enrol');
      const record = recorded.at(-1);
      assert.equal(record?.type, 'certificate.issued');
      assert.equal(record.data?.serial, certificate.id);
      assert.equal(record.data.kid, kid);
      const listed = await trust.certificates.run({ ...here, cursor: undefined, limit: undefined }, placed);
      assert.deepEqual(unwrap(listed).certificates, [certificate]);
    });

  test('openssl verifies what was issued', {
    skip: hasOpenssl ? false : 'there is no openssl',
  }, async (t) => {
    const { trust, run, asking, authority, root } = await openAuthority(t);
    const scratch = temporaryDirectory(t);
    const file = (name: string, der: Uint8Array) => {
      writeFileSync(join(scratch, name), pemOf('CERTIFICATE', der));
      return join(scratch, name);
    };
    for (const [n, wanted] of (
      [
        { names: web },
        { subject: '', names: web },
        { algorithm: 'rsa' },
        { algorithm: 'ed25519', names: [{ type: 'url', value: 'spiffe://acme/web' }] },
      ] satisfies WantedCsr[]
    ).entries()) {
      const csr = await makeCsr(wanted);
      const { certificate } = unwrap(await run(trust.enrol, asking(Buffer.from(csr.pem))));
      const { stdout, stderr, status } = spawnSync('openssl', [
        ...['verify', '-x509_strict', '-purpose', 'sslserver', '-no-CApath', '-no-CAstore'],
        ...['-attime', String(chainTimes.at.getTime() / 1_000), '-CAfile', file('root.pem', root.der)],
        ...['-untrusted', file('sub.pem', authority.der), file(`${n}.pem`, certificate.der)],
      ]);
      assert.equal(status, 0, `${stdout}${stderr}`);
    }
  });

  test('a request as openssl makes it is taken, names of all kinds as they are', {
    skip: hasOpenssl ? false : 'there is no openssl',
  }, async (t) => {
    const { trust, run, asking } = await openAuthority(t);
    const scratch = temporaryDirectory(t);
    const names = 'DNS:*.web.example,IP:2001:db8::1,IP:10.0.0.1,email:me@web.example,URI:spiffe://acme/web';
    const made = spawnSync('openssl', [
      ...['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', join(scratch, 'key.pem')],
      ...['-subj', '/C=AT/O=Acme GmbH/CN=Wéb, one', '-utf8', '-addext', `subjectAltName=${names}`],
      ...['-addext', 'extendedKeyUsage=clientAuth', '-addext', 'keyUsage=digitalSignature'],
    ]);
    assert.equal(made.status, 0, String(made.stderr));
    const { certificate } = unwrap(await run(trust.enrol, asking(made.stdout)));
    const { subject, subjectAltName, keyUsage } = new X509Certificate(certificate.der);
    assert.equal(subject, 'C=AT\nO=Acme GmbH\nCN=Wéb\\, one');
    assert.equal(
      subjectAltName,
      'DNS:*.web.example, IP Address:2001:DB8:0:0:0:0:0:1, IP Address:10.0.0.1, email:me@web.example, URI:spiffe://acme/web',
    );
    assert.deepEqual(keyUsage, ['1.3.6.1.5.5.7.3.2']);
  });

  test('the key is found by its public key where nobody has named it, and another one is refused', async (t) => {
    const { trust, run, asking, kid, makeKey } = await openAuthority(t, { joined: false });
    const csr = await makeCsr();
    assert.equal(unwrap(await run(trust.enrol, asking(csr.der))).certificate.kid, kid);
    assert.equal(unwrap(await run(trust.enrol, asking(csr.der, { caKid: kid }))).certificate.kid, kid);
    const other = await makeKey();
    assert.equal(codeOf(await run(trust.enrol, asking(csr.der, { caKid: other.kid }))), 'BadRequest');
  });

  test('a key with a placement certifies in its place, for its modules, and so often in a day', async (t) => {
    const place = { environment: 'prod', plane: 'laptop' } as const;
    const access = { allowedModules: ['m1'], maxUsagePerDay: 7 };
    const { trust, run, asking, kid, keyring } = await openAuthority(t, {
      placed: { placement: place, access },
    });
    const csr = await makeCsr();
    const { keyId = '' } = unwrap(await keyring.find('acme', kid)).version;
    const asked = asking(csr.der, { caKid: keyId.toUpperCase() });
    assert.equal(unwrap(await run(trust.enrol, asked)).certificate.kid, kid);
    const plan = unwrap(await trust.enrol.plan(asked, placed));
    const [work] = plan.works;
    assert.deepEqual(work !== undefined && 'daily' in work && work.daily, {
      keyId: kid.split('#')[0],
      most: 7,
    });
    const placement = { ...placed.placement, module: 'm2' } as CallerPlacement;
    assert.equal(codeOf(await run(trust.enrol, asked, { ...placed, placement })), 'PolicyViolation');
    for (const caKid of ['nonsense', crypto.randomUUID(), 'other/p/ed25519/x'])
      assert.match(codeOf(await run(trust.enrol, asking(csr.der, { caKid }))), /NotFound|BadRequest/);
  });

  test('an anchor whose key is not managed here enrols nobody, and joins no key of another public key', async (t) => {
    const { trust, run, asking, root, kid } = await openAuthority(t);
    const csr = await makeCsr();
    const wish = { ...agreedTo, certificate: root.der, type: 'root', planes: undefined } as const;
    assert.equal(codeOf(await trust.add.run({ ...wish, caKid: kid }, placed)), 'BadRequest');
    const { anchor } = unwrap(await trust.add.run({ ...wish, caKid: undefined }, placed));
    const asked = asking(csr.der, { anchorId: anchor.id });
    assert.equal(codeOf(await run(trust.enrol, asked)), 'Unsupported');
  });

  test('without agreement nothing is signed, and what is refused anyhow uses no agreement', async (t) => {
    const { trust, run, asking, asked, recorded } = await openAuthority(t);
    const csr = await makeCsr();
    const before = asked.length;
    const code = async (of: EnrolRequest) => codeOf(await run(trust.enrol, of));
    assert.equal(await code(asking(Buffer.from('x'))), 'BadRequest');
    assert.equal(await code(asking(csr.der, { validDays: 398 })), 'BadRequest');
    assert.equal(await code(asking(csr.der, { validDays: 0 })), 'BadRequest');
    assert.equal(await code(asking(csr.der, { anchorId: crypto.randomUUID() })), 'NotFound');
    assert.equal(await code(asking(csr.der, { tenant: 'GLOBAL' })), 'NoCapability');
    assert.equal(await code(asking(csr.der, { plane: 'product' })), 'NoCapability');
    assert.equal(asked.length, before);
    assert.equal(await code(asking(csr.der, { approval: undefined })), 'NoCapability');
    assert.equal(recorded.filter(({ type }) => type === 'certificate.issued').length, 0);
  });

  test('no certificate outlives its authority’s, or leaves without its record', async (t) => {
    const to = new Date(chainTimes.at.getTime() + 10 * dayMs);
    const { trust, run, asking, clock, log } = await openAuthority(t, { to });
    const csr = await makeCsr();
    const { certificate } = unwrap(await run(trust.enrol, asking(csr.der)));
    assert.equal(certificate.notAfterMs, to.getTime());
    assert.equal(codeOf(await run(trust.enrol, asking(csr.der, { validDays: 11 }))), 'BadRequest');
    const week = unwrap(await run(trust.enrol, asking(csr.der, { validDays: 7 }))).certificate;
    assert.equal(week.notAfterMs, clock.nowMs + 7 * dayMs);
    log.full = true;
    assert.equal(codeOf(await run(trust.enrol, asking(csr.der))), 'AuditUnavailable');
    log.full = false;
    const page = await trust.certificates.run({ ...here, cursor: undefined, limit: 1 }, placed);
    const { certificates, nextCursor } = unwrap(page);
    assert.deepEqual(certificates, [week], 'the one that ends first');
    const rest = await trust.certificates.run({ ...here, cursor: nextCursor, limit: 10 }, placed);
    assert.deepEqual(unwrap(rest).certificates, [certificate]);
    clock.nowMs = to.getTime() + 1;
    assert.equal(codeOf(await run(trust.enrol, asking(csr.der, { validDays: 1 }))), 'BadRequest');
  });

  test('a key that was rotated signs no certificates of the version before', async (t) => {
    const { trust, run, asking, keyring, kid } = await openAuthority(t);
    const [id = ''] = kid.split('#');
    unwrap(await keyring.rotate({ tenant: 'acme', actor: 'tester', kid: id }));
    const csr = await makeCsr();
    assert.equal(codeOf(await run(trust.enrol, asking(csr.der))), 'Conflict');
  });

  test('an authority certifies only names within its constraints', async (t) => {
    // Permitted: hosts below this one.
    const within = Buffer.concat([Buffer.from('3014a0123010820e', 'hex'), Buffer.from('inside.example')]);
    const constraints = new Extension('2.5.29.30', true, within);
    const { trust, run, asking } = await openAuthority(t, { extensions: [constraints] });
    const inside = await makeCsr({
      subject: 'CN=me',
      names: [{ type: 'dns', value: 'a.inside.example' }],
    });
    const outside = await makeCsr({ subject: 'CN=me', names: web });
    assert.equal(codeOf(await run(trust.enrol, asking(inside.der))), 'ok');
    assert.equal(codeOf(await run(trust.enrol, asking(outside.der))), 'BadRequest');
  });

  describe('requests that are not taken', () => {
    const cases: Readonly<Record<string, readonly [WantedCsr, RegExp]>> = {
      'for an authority': [{ extensions: [new BasicConstraintsExtension(true)] }, /authorities/],
      'for who signs certificates': [
        {
          extensions: [new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.digitalSignature)],
        },
        /authorities/,
      ],
      'for who signs revocation lists': [
        { extensions: [new KeyUsagesExtension(KeyUsageFlags.cRLSign)] },
        /usage/,
      ],
      'for a responder': [{ extensions: [new ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.9'])] }, /usage/],
      'with an extension that is not issued': [
        { extensions: [new Extension('1.2.3.4', false, Uint8Array.of(5, 0))] },
        /extension/,
      ],
      'without any name': [{ subject: '' }, /neither/],
      'with a control character': [{ subject: 'CN=a\u0007b' }, /subject/],
      'with an attribute that is not issued': [{ subject: 'CN=a,2.5.4.65=b' }, /subject/],
      'with a host that is none': [{ names: [{ type: 'dns', value: 'a b.example' }] }, /alternative/],
      'with a name of another kind': [{ names: [{ type: 'id', value: '1.2.3' }] }, /alternative/],
      'with too many names': [
        {
          names: Array.from({ length: 101 }, (_, n) => ({ type: 'dns', value: `h${n}.example` }) as const),
        },
        /alternative/,
      ],
    };
    for (const [name, [wanted, hint]] of Object.entries(cases))
      test(name, async (t) => {
        const { trust, run, asking } = await openAuthority(t);
        const csr = await makeCsr(wanted);
        const refused = await run(trust.enrol, asking(csr.der));
        assert.equal(codeOf(refused), 'BadRequest');
        assert.match(refused.ok ? '' : (refused.failure.hint ?? ''), hint);
      });

    test('cut short anywhere, changed, or signed by another', async (t) => {
      const { trust, run, asking } = await openAuthority(t);
      const { der } = await makeCsr();
      const code = async (csr: Uint8Array) => codeOf(await run(trust.enrol, asking(csr)));
      for (let length = 0; length < der.length; length += 7)
        assert.equal(await code(der.subarray(0, length)), 'BadRequest', String(length));
      assert.equal(await code(Buffer.concat([der, Uint8Array.of(0)])), 'BadRequest');
      const changed = Uint8Array.from(der);
      const place = Buffer.from(changed).indexOf('web.example');
      changed[place] = 'b'.charCodeAt(0);
      assert.equal(await code(changed), 'BadRequest');
      assert.equal(await code(der), 'ok');
    });
  });
});
