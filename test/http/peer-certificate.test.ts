import 'reflect-metadata';
import assert from 'node:assert/strict';
import { type webcrypto, X509Certificate } from 'node:crypto';
import test from 'node:test';
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import { identityIn } from '../../src/auth/identities/placed-identity.ts';
import { certificateMappings } from '../../src/config/identity/kinds.ts';
import { peerCertificate } from '../../src/http/listeners/peer-certificate.ts';

type Name = ConstructorParameters<typeof SubjectAlternativeNameExtension>[0];

/** As the listener makes it of what a handshake verified. */
async function shown(subject: string, names: Name) {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = (await crypto.subtle.generateKey(algorithm, false, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
  const made = await X509CertificateGenerator.createSelfSigned({
    ...{ name: subject, keys, signingAlgorithm: algorithm },
    extensions: [new SubjectAlternativeNameExtension(names)],
  });
  return peerCertificate(new X509Certificate(Buffer.from(made.rawData)));
}

const mappings = (text: string) => certificateMappings.parse(text) ?? assert.fail(text);
const uri = 'spiffe://corp.test/tenant/acme/environment/prod/plane/laptop/module/m21';
const usual = 'uri:spiffe://*/tenant/{tenant}/environment/{environment}/plane/{plane}/module/{module}';
const acme = { tenant: 'acme', environments: ['prod'], planes: ['laptop'], module: 'm21' };

test('all URIs of a certificate are told, and one of them as its SPIFFE id where it is alone', async () => {
  const one = await shown('CN=m21', [
    { type: 'url', value: uri },
    { type: 'dns', value: 'a.test' },
  ]);
  assert.deepEqual([one.uris, one.spiffe, one.dns], [[uri], uri, ['a.test']]);
  assert.deepEqual(identityIn(one, mappings(usual)), acme);
  const several = await shown('CN=m21', [
    { type: 'url', value: 'https://a.test/' },
    { type: 'url', value: uri },
  ]);
  assert.deepEqual([several.uris, several.spiffe], [['https://a.test/', uri], undefined]);
  assert.deepEqual(identityIn(several, mappings(usual)), acme);
});

test('a name that holds what looks like another is one name', async () => {
  const names = await shown('CN=m21', [{ type: 'dns', value: `a.test, URI:${uri}` }]);
  assert.deepEqual(names.uris, []);
  assert.equal(identityIn(names, mappings(usual)), undefined);
});

test('a subject is read by its attributes, and a value that holds what looks like another is one value', async () => {
  const mapping = mappings('subject:tenant=O;environment=OU;plane=L;module=CN');
  const names: Name = [{ type: 'dns', value: 'a.test' }];
  const several = await shown('C=DE, O=acme, OU=dev, OU=prod, L=laptop, CN=m21', names);
  assert.deepEqual(identityIn(several, mapping), { ...acme, environments: ['dev', 'prod'] });
  for (const value of ['m21\\,O=acme', 'm21\\+O=acme', 'm21\\\\,O\\=acme']) {
    const escaped = await shown(`OU=prod, L=laptop, CN=${value}`, names);
    assert.equal(identityIn(escaped, mapping), undefined, escaped.subject);
  }
});
