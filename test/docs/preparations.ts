import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { generateHybridIdentity, identityToRecipient } from 'age-encryption';
import { makeTestPki } from '../support/certificates.ts';
import { certificateFiles } from '../support/listener-kinds.ts';
import { call, callForBytes, type ListeningService } from '../support/service.ts';
import { blocksOf } from './commands.ts';
import type { Desk } from './shell.ts';

export interface Prepared {
  readonly env?: Readonly<Record<string, string>>;
  /** What the page has, and what stands for it here. */
  readonly replace?: readonly (readonly [string, string])[];
}

export interface Page {
  /** Settings of a service of its own, as a process. */
  readonly serve?: (desk: Desk) => Readonly<Record<string, string>>;
  /** Puts what the page takes for granted in its place. */
  readonly prepare?: (desk: Desk, service: ListeningService) => Promise<Prepared>;
  /** Beginnings of commands that fail, as the page says. */
  readonly fails?: readonly string[];
  /** Beginnings of commands that serve until they are ended. */
  readonly serves?: readonly string[];
  /** In the output. */
  readonly says?: readonly RegExp[];
  /** After the commands. */
  readonly check?: (desk: Desk, service: ListeningService) => Promise<void>;
}

const post = async (service: ListeningService, path: string, body: unknown) => {
  const answer = await call(service, service.token, 'POST', `/v1/kms${path}`, body);
  assert.ok(answer.status < 300, JSON.stringify(answer.body));
  return answer.body;
};

async function auditVkeys(desk: Desk, service: ListeningService): Promise<void> {
  const { body } = await call(service, service.token, 'GET', '/v1/kms/audit/vkeys');
  desk.file('audit.vkeys', `${body.vkeys.join('\n')}\n`);
}

export const preparations: Readonly<Record<string, Page>> = {
  'README.md': { says: [/^default\/demo\/ml-dsa-65\/\S+#v1$/m, /^signed: \S{40}\.\.\.$/m, /"ok":true/] },

  'docs/attestation.md': {
    async prepare(desk, service) {
      await auditVkeys(desk, service);
      const { kid } = await post(service, '/keys', { purpose: 'attested', alg: 'ed25519' });
      const nonce = Buffer.from('of a page').toString('base64url');
      const path = `/v1/kms/attest?kid=${encodeURIComponent(kid)}&nonce=${nonce}`;
      const evidence = await callForBytes(service, service.token, 'GET', path);
      assert.equal(evidence.status, 200, evidence.text);
      desk.file('key.evidence', evidence.text);
      const KMS_TOKEN_FILE = desk.file('token', service.token);
      return { env: { KMS_URL: service.url, KMS_TOKEN_FILE, KID: kid, NONCE: nonce } };
    },
  },

  'docs/audit-verify.md': {
    async prepare(desk, service) {
      await auditVkeys(desk, service);
      await post(service, '/audit/rotate-keys', {});
      const opId = '0196c1d2-7a3b-7c4d-8e5f-0123456789ab';
      await post(service, '/keys', { purpose: 'audited', alg: 'ed25519', op_id: opId });
      // Until a checkpoint is over the record of the new keys.
      for (;;) {
        const proof = await callForBytes(service, service.token, 'GET', '/v1/kms/audit/keys/0.tlog-proof');
        if (proof.status === 200) break;
        await delay(50);
      }
      const [program] = blocksOf('docs/audit-verify.md').filter(({ language }) => language === 'python');
      desk.file('check.py', program?.text ?? '');
      return { replace: [['<op_id>', opId]] };
    },
    serves: ['npm run -s intaglio -- witness serve'],
    says: [/^record \d+ of \d+ on /m],
  },

  'docs/audit.md': {
    // The keys of a log are replaced once in a week.
    serve: () => ({}),
    async prepare(desk, service) {
      await auditVkeys(desk, service);
      desk.file('admin.token', service.token);
      // A segment that goes there has 65,536 records: test/audit/archive.test.ts.
      desk.file('srv/audit-archive/nothing', '');
      desk.file('audit/degraded/1763769600123/1.jsonl', '{}\n');
      return { replace: [['--token-file admin.token', `--token-file admin.token --url ${service.url}`]] };
    },
    // sha256sum of the file above.
    says: [/^ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356 {2}-$/m],
  },

  'docs/backup.md': {
    async prepare(desk) {
      const identity = await generateHybridIdentity();
      desk.file('root/backup.identity', `${identity}\n`);
      desk.file('backup/nothing', '');
      desk.file('var/lib/nothing', '');
      return { replace: [['age1pq1...', await identityToRecipient(identity)]] };
    },
  },

  'docs/capabilities.md': {
    async prepare(desk, service) {
      desk.file('token.txt', service.token);
      return {};
    },
    says: [/kms:verify/],
  },

  'docs/cli.md': {
    async prepare(desk, service) {
      const KMS_TOKEN_FILE = desk.file('token', service.token);
      return { env: { KMS_URL: service.url, KMS_TOKEN_FILE } };
    },
    says: [/^ok$/m, /^of any length$/m],
  },

  'docs/configuration.md': {
    async prepare(desk) {
      desk.file('settings.yaml', 'workers: 2\n');
      return { env: { KMS_DATA_DIR: 'configured' } };
    },
  },

  'docs/encryption.md': {
    says: [
      ...[/^attack at dawn$|attack at dawn/m, /^ *32$/m, /"kid":"[^"]*#v2","wrapped_b64"/],
      /"plaintext_b64":"[A-Za-z0-9+/]{43}="/,
    ],
  },

  'docs/formats.md': {
    async prepare(desk, service) {
      const { kid } = await post(service, '/keys', { purpose: 'web', alg: 'ecdsa-p256' });
      const { csr_pem } = await post(service, '/csr', { kid, subject: 'CN=web.example' });
      desk.file('request.pem', csr_pem);
      return { env: { KMS_URL: service.url, TOKEN: service.token, KID: encodeURIComponent(kid) } };
    },
    says: [/ASN1 OID: prime256v1/, /verify OK/],
  },

  'docs/hybrid.md': { says: [/^3ab37134$/m] },

  'docs/keys.md': {
    async prepare(desk, service) {
      const path = '/v1/kms/keys/import/wrapping-key?alg=rsa-4096';
      const { body } = await call(service, service.token, 'GET', path);
      const lines = body.public.spki_b64.replace(/.{64}/g, '$&\n');
      desk.file('wrapping.pem', `-----BEGIN PUBLIC KEY-----\n${lines}\n-----END PUBLIC KEY-----\n`);
      desk.file('wrapping.id', body.wrapping_key_id);
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      desk.file('secret.der', privateKey.export({ format: 'der', type: 'pkcs8' }));
      return {};
    },
    async check(desk, service) {
      const read = (name: string) => readFileSync(join(desk.directory, name));
      const wrapping_key_id = read('wrapping.id').toString();
      const material_b64 = read('material').toString('base64');
      await post(service, '/keys/import', {
        purpose: 'web',
        alg: 'ecdsa-p256',
        wrapping_key_id,
        material_b64,
      });
    },
  },

  'docs/listeners.md': {
    serve(desk) {
      const pki = makeTestPki();
      const { certFile, keyFile, clientCaFile } = certificateFiles(pki, desk.directory);
      desk.file('ca.pem', pki.authority.cert);
      desk.file('app.pem', pki.client.cert);
      desk.file('app.key', pki.client.key);
      const tls = 'https://127.0.0.1:0?client=require';
      return {
        KMS_LISTEN: `http://127.0.0.1:0,${tls},unix:${desk.directory}/run/intaglio/kms.sock`,
        ...{ KMS_TLS_CERT_FILE: certFile, KMS_TLS_KEY_FILE: keyFile, KMS_TLS_CLIENT_CA_FILE: clientCaFile },
      };
    },
    async prepare(_, service) {
      const line = await service.logged((each) => each.includes('"msg":"listening"'));
      const { others } = JSON.parse(line) as { others: string[] };
      const tls = new URL(others.find((url) => url.startsWith('https:')) ?? '');
      return { replace: [['127.0.0.1:7443', tls.host]] };
    },
    fails: ['openssl s_client'],
    says: [/alert protocol version/, /alert certificate required/],
  },

  'docs/runbooks.md': {
    // The keys of a log are replaced once in a week.
    serve: () => ({}),
    async prepare(desk, service) {
      await auditVkeys(desk, service);
      const { kid } = await post(service, '/keys', { purpose: 'web', alg: 'ed25519' });
      const KMS_TOKEN_FILE = desk.file('admin.token', service.token);
      return { env: { KMS_URL: service.url, KMS_TOKEN_FILE, KID: kid } };
    },
  },

  'docs/operations.md': {
    async prepare(desk) {
      const key = desk.file('run/secrets/root.key', Buffer.alloc(32, 7));
      desk.file('etc/prometheus/nothing', '');
      desk.program('unwrap-root-key', `cat '${key}'`);
      return { env: { KMS_BIND: '127.0.0.1:0', KMS_DATA_DIR: 'data-of-fd' } };
    },
    serves: ['node src/cli/main.ts serve', 'unwrap-root-key'],
  },
};
