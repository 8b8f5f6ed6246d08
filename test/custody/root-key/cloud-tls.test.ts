import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import type { CloudLimits } from '../../../src/custody/root-key/cloud/limits.ts';
import { saidOf } from '../../contracts/cloud-hostile.ts';
import { makeCertificate, type TestCertificate } from '../../support/certificates.ts';
import { startHostile } from '../../support/cloud/hostile.ts';

// gRPC's own roots would count in place of those of Node, and Node's switch would make all of this pass.
delete process.env.GRPC_DEFAULT_SSL_ROOTS_FILE_PATH;

const dayMs = 86_400_000;
const limits: CloudLimits = { connectMs: 30_000, attemptMs: 30_000, attempts: 1, wholeMs: 60_000 };
const name = [['CN', 'localhost']] as const;
const dns = ['localhost'];
const authority = makeCertificate({ subject: [['CN', 'test authority']], isCa: true });
const stranger = makeCertificate({ subject: [['CN', 'another authority']], isCa: true });

const certificates: Readonly<Record<string, readonly [TestCertificate, RegExp]>> = {
  'of another name': [
    makeCertificate({ subject: [['CN', 'other']], issuer: authority, dns: ['kms.other.example'] }),
    /ERR_TLS_CERT_ALTNAME_INVALID/,
  ],
  'that is expired': [
    makeCertificate({ subject: name, issuer: authority, dns, notAfterMs: Date.now() - dayMs }),
    /CERT_HAS_EXPIRED/,
  ],
  'of an authority that nobody knows': [
    makeCertificate({ subject: name, issuer: stranger, dns }),
    /UNABLE_TO_VERIFY_LEAF_SIGNATURE/,
  ],
  'that it has signed itself': [makeCertificate({ subject: name, dns }), /DEPTH_ZERO_SELF_SIGNED_CERT/],
};

describe('the certificate of a cloud KMS', { concurrency: true }, () => {
  const known = getCACertificates('default');
  before(() => {
    setDefaultCACertificates([...known, authority.cert]);
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  });
  after(() => {
    setDefaultCACertificates(known);
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  });
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const gcpCredentials = {
    client_email: 'root@fake.example',
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };

  for (const kind of ['aws', 'gcp', 'azure'] as const) {
    for (const [what, [tls, code]] of Object.entries(certificates))
      test(`one ${what} is not taken, nothing is sent, and the operator reads why (${kind})`, async (t) => {
        const hostile = await startHostile(kind, {}, { tls, gcpCredentials });
        t.after(() => hostile.close());
        const said = await saidOf(hostile, limits);
        assert.match(
          said,
          /its TLS connection is not taken \(\w+\), and nothing was sent.*NODE_EXTRA_CA_CERTS/,
        );
        assert.match(said, code);
        assert.deepEqual(hostile.asked, []);
      });

    test(`one of a known authority is taken (${kind})`, async (t) => {
      const tls = makeCertificate({ subject: name, issuer: authority, dns });
      const hostile = await startHostile(kind, {}, { tls, gcpCredentials });
      t.after(() => hostile.close());
      assert.match(await saidOf(hostile, limits), /its answer is not believed/);
      assert.ok(hostile.asked.length > 0);
    });

    test(`a server without TLS at an address of https is asked nothing (${kind})`, async (t) => {
      const plain = await startHostile(kind, {}, { gcpCredentials });
      t.after(() => plain.close());
      const { key, port } = plain;
      const address = `https://127.0.0.1:${port}`;
      const at =
        key.kind === 'azure' ? { key: key.key.replace(/^http:..[^/]+/, address) } : { endpoint: address };
      const provider = () => plain.provider(limits);
      const moved = { ...plain, key: { ...key, ...at }, provider };
      assert.match(await saidOf(moved, limits), /its TLS connection is not taken \(EPROTO\)|does not answer/);
      assert.deepEqual(plain.asked, []);
    });
  }
});
