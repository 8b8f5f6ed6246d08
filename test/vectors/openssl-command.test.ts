import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { batchStatuses } from '../../src/engine/batch.ts';
import { verifyOne } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { publishedSignatures, type SignatureVectors } from '../support/signature-vectors.ts';

// OPENSSL names another command than the one of the path: docs/signing.md makes one of OpenSSL 3.5, which has ML-DSA.
const command = process.env.OPENSSL ?? 'openssl';
const found = spawnSync(command, ['version'], { encoding: 'utf8' });
const skip = found.status !== 0 && 'there is no openssl command';
const hasMlDsa = /ML-DSA-65/.test(
  spawnSync(command, ['list', '-signature-algorithms'], { encoding: 'utf8' }).stdout ?? '',
);

/** Options of `openssl dgst` by the name of the way; undefined: signed whole, by `openssl pkeyutl -rawin`. */
const digestOptions: Readonly<Record<string, readonly string[] | undefined>> = {
  'ecdsa-p256': ['-sha256'],
  'ecdsa-p384': ['-sha384'],
  ...Object.fromEntries(['256', '384', '512'].map((bits) => [`RS${bits}`, [`-sha${bits}`]])),
  ...Object.fromEntries(['256', '384', '512'].map((bits) => [`PS${bits}`, pssOptions(bits)])),
};

function pssOptions(bits: string): readonly string[] {
  const padding = ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:digest'];
  return [`-sha${bits}`, ...padding];
}

const vectors = JSON.parse(
  readFileSync(new URL('signatures.json', publishedSignatures), 'utf8'),
) as SignatureVectors[];
const wanted = vectors.filter(
  ({ algorithm }) => /^(rsa|ecdsa|ed25519)/.test(algorithm) || (hasMlDsa && algorithm.startsWith('ml-dsa')),
);
const directory = mkdtempSync(join(tmpdir(), 'intaglio-openssl-'));
after(() => rmSync(directory, { recursive: true }));
const engines = availableEngines().map(({ create }) => create());

for (const { algorithm, secret_b64, pubkey_b64, spki_b64, signatures } of wanted) {
  test(`openssl's command verifies the signatures of ${algorithm}, and its own verify here`, { skip }, () => {
    const file = (name: string, bytes: Uint8Array) => {
      const path = join(directory, `${algorithm}-${name}`);
      writeFileSync(path, bytes);
      return path;
    };
    const publicKey = file('public.der', Buffer.from(spki_b64, 'base64'));
    const privateKey = file('private.der', pkcs8Of(algorithm, Buffer.from(secret_b64, 'base64')));
    const ran = (args: readonly string[]) => spawnSync(command, args, { encoding: 'utf8' });
    let checked = 0;
    for (const { alg, message_b64, context_b64, signature_b64 } of signatures) {
      const options = digestOptions[alg];
      const whole = alg === 'ed25519' || alg.startsWith('ml-dsa');
      if (message_b64 === undefined || (options === undefined && !whole)) continue;
      const context =
        context_b64 === undefined
          ? []
          : ['-pkeyopt', `hexcontext-string:${Buffer.from(context_b64, 'base64').toString('hex')}`];
      const message = file('message', Buffer.from(message_b64, 'base64'));
      const altered = file('altered', Buffer.from('another message'));
      const signature = file('signature', Buffer.from(signature_b64, 'base64'));
      const verify = (of: string) =>
        options === undefined
          ? ran([
              ...['pkeyutl', '-verify', '-rawin', '-pubin', '-keyform', 'DER', '-inkey', publicKey],
              ...['-in', of, '-sigfile', signature, ...context],
            ])
          : ran(['dgst', ...options, '-keyform', 'DER', '-verify', publicKey, '-signature', signature, of]);
      assert.equal(verify(message).status, 0, `${alg}: ${verify(message).stderr}`);
      assert.notEqual(verify(altered).status, 0, alg);
      checked += 1;
      if (context_b64 !== undefined) continue;
      const own = join(directory, `${algorithm}-own`);
      const signed =
        options === undefined
          ? ran([
              'pkeyutl',
              '-sign',
              '-rawin',
              '-keyform',
              'DER',
              '-inkey',
              privateKey,
              '-in',
              message,
              '-out',
              own,
            ])
          : ran(['dgst', ...options, '-keyform', 'DER', '-sign', privateKey, '-out', own, message]);
      assert.equal(signed.status, 0, `${alg}: ${signed.stderr}`);
      const scheme = findAlgorithm(algorithm)?.components[0].schemes.find((one) => one.alg === alg);
      assert.ok(scheme !== undefined);
      for (const engine of engines) {
        const root = engine.openRoot({ kind: 'memory' });
        const key = Buffer.from(pubkey_b64, 'base64');
        const bytes = Buffer.from(message_b64, 'base64');
        const status = verifyOne(engine, root, scheme.scheme, key, bytes, readFileSync(own));
        assert.equal(status, batchStatuses.ok, `${engine.description.name} ${alg}`);
      }
    }
    assert.ok(checked > 0);
  });
}

function pkcs8Of(algorithm: string, secret: Buffer): Buffer {
  if (/^(rsa|ecdsa)/.test(algorithm)) return secret;
  const format = algorithm === 'ed25519' ? 'raw-private' : 'raw-seed';
  const key = createPrivateKey({ key: secret, format, asymmetricKeyType: algorithm as 'ed25519' });
  return key.export({ format: 'der', type: 'pkcs8' });
}
