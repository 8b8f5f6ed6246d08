import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, createPublicKey } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { startInProcess } from '../../support/in-process.ts';
import { call, type InProcessService, temporaryDirectory } from '../../support/service.ts';

// OPENSSL names another command than the one of the path: `npm run openssl:interop` makes one of OpenSSL 3.5, which has ML-DSA.
const command = process.env.OPENSSL ?? 'openssl';
/** A command that was only built has no configuration, which `req` asks for. */
const env = { ...process.env, OPENSSL_CONF: '/dev/null' };
const openssl = (...args: readonly string[]) => spawnSync(command, args, { encoding: 'utf8', env });
const skip = openssl('version').status !== 0 && 'there is no openssl command';
const hasMlDsa = /ML-DSA-65/.test(openssl('list', '-signature-algorithms').stdout ?? '');
const skipSsh = spawnSync('ssh-keygen', ['-?']).error !== undefined && 'there is no ssh-keygen';

const pss = ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:digest'];
/** How `openssl dgst` verifies a JWT of this alg; null: `openssl pkeyutl -rawin`. */
const ofJws: Readonly<Record<string, readonly string[] | null>> = {
  EdDSA: null,
  ES256: ['-sha256'],
  ES384: ['-sha384'],
  ...Object.fromEntries(['256', '384', '512'].map((bits) => [`RS${bits}`, [`-sha${bits}`]])),
  ...Object.fromEntries(['256', '384', '512'].map((bits) => [`PS${bits}`, [`-sha${bits}`, ...pss]])),
  ...{ 'ML-DSA-44': null, 'ML-DSA-65': null, 'ML-DSA-87': null },
};
const rsa = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
/** The algs of JWTs by the algorithm of the key. */
const algorithms: Readonly<Record<string, readonly string[]>> = {
  ed25519: ['EdDSA'],
  'ecdsa-p256': ['ES256'],
  'ecdsa-p384': ['ES384'],
  'rsa-2048': rsa,
  ...(hasMlDsa ? { 'ml-dsa-44': ['ML-DSA-44'], 'ml-dsa-65': ['ML-DSA-65'], 'ml-dsa-87': ['ML-DSA-87'] } : {}),
};

const directory = temporaryDirectory();
const file = (name: string, bytes: string | Uint8Array) => {
  const path = join(directory, name);
  writeFileSync(path, bytes);
  return path;
};
let service: InProcessService;
const kids: Record<string, string> = {};
const ask = async (path: string, body: unknown) => {
  const answer = await call(service, service.token, 'POST', `/v1/kms${path}`, body);
  assert.ok(answer.status < 300, JSON.stringify(answer.body));
  return answer.body;
};
const formatOf = async (kid: string, format: string) => {
  const path = `/v1/kms/keys/${encodeURIComponent(kid)}?format=${format}`;
  return (await service.send({ method: 'GET', path, token: service.token, headers: {} })).text;
};

before(async () => {
  service = await startInProcess();
  for (const alg of Object.keys(algorithms)) kids[alg] = (await ask('/keys', { purpose: 'web', alg })).kid;
});
after(() => service.stop());

for (const [alg, algs] of Object.entries(algorithms)) {
  test(`openssl's command takes the public key, the certification request and the tokens of ${alg}`, {
    skip,
  }, async () => {
    const kid = kids[alg] as string;
    const pem = await formatOf(kid, 'pem');
    const key = file('public.pem', pem);
    const read = openssl('pkey', '-pubin', '-in', key);
    assert.deepEqual([read.status, read.stdout], [0, pem], read.stderr);

    const { csr_pem } = await ask('/csr', { kid, subject: 'CN=web.example,O=Example' });
    // OpenSSL 3.0 exits with 0 in both cases, and says it on the other stream than 3.5.
    const saidOf = (name: string, request: string) => {
      const { stdout, stderr } = openssl('req', '-verify', '-noout', '-pubkey', '-in', file(name, request));
      return stderr + stdout;
    };
    const said = saidOf('request.pem', csr_pem);
    assert.match(said, /verify OK/);
    assert.ok(said.includes(pem));
    assert.doesNotMatch(saidOf('altered.pem', withLastByteAltered(csr_pem)), /verify OK/);

    for (const jws of algs) {
      const { token } = await ask('/jwt', { kid, header: { alg: jws }, claims: { sub: 'alice' } });
      const [header, claims, signature] = token.split('.');
      const bytes = Buffer.from(signature, 'base64url');
      const signatureFile = file('signature', jws.startsWith('ES') ? derOf(bytes) : bytes);
      const digest = ofJws[jws];
      const verify = (signed: string) => {
        const message = file('message', signed);
        return digest
          ? openssl('dgst', ...digest, '-verify', key, '-signature', signatureFile, message)
          : openssl(
              ...['pkeyutl', '-verify', '-rawin', '-pubin', '-inkey', key],
              ...['-in', message, '-sigfile', signatureFile],
            );
      };
      const good = verify(`${header}.${claims}`);
      assert.equal(good.status, 0, `${jws}: ${good.stderr}${good.stdout}`);
      assert.notEqual(verify(`${header}.${claims}x`).status, 0, jws);
    }
  });
}

/** By the algorithm of the key: the name of the signature in SSH, and how the service signs in it. */
const ssh: Readonly<Record<string, { readonly name: string; readonly alg: string }>> = {
  ed25519: { name: 'ssh-ed25519', alg: 'ed25519' },
  'ecdsa-p256': { name: 'ecdsa-sha2-nistp256', alg: 'ES256' },
  'ecdsa-p384': { name: 'ecdsa-sha2-nistp384', alg: 'ES384' },
  'rsa-2048': { name: 'rsa-sha2-512', alg: 'RS512' },
};

for (const [alg, { name, alg: way }] of Object.entries(ssh)) {
  test(`ssh-keygen takes the public key of ${alg}, and verifies a file that the service signed`, {
    skip: skipSsh,
  }, async () => {
    const kid = kids[alg] as string;
    const line = await formatOf(kid, 'ssh');
    const listed = spawnSync('ssh-keygen', ['-l', '-f', file('key.pub', line)], { encoding: 'utf8' });
    assert.ok(listed.stdout.includes(kid), listed.stderr);

    // PROTOCOL.sshsig of OpenSSH.
    const namespace = sshString('file');
    const none = sshString('');
    const sha512 = sshString('sha512');
    const signed = Buffer.concat([
      ...[Buffer.from('SSHSIG'), namespace, none, sha512],
      sshString(createHash('sha512').update('of a file').digest()),
    ]);
    const { sigs } = await ask('/sign', { kid, alg: way, message_b64: signed.toString('base64') });
    const bytes = Buffer.from(sigs[0].signature_b64, 'base64');
    const signature = way.startsWith('ES') ? Buffer.concat(halvesOf(bytes).map(sshString)) : bytes;
    const [, publicKey = ''] = line.split(' ');
    const blob = Buffer.concat([
      ...[Buffer.from('SSHSIG'), Buffer.from([0, 0, 0, 1]), sshString(Buffer.from(publicKey, 'base64'))],
      ...[namespace, none, sha512],
      sshString(Buffer.concat([sshString(name), sshString(signature)])),
    ]);
    const armored = blob.toString('base64').replace(/.{70}/g, '$&\n');
    const signers = file('signers', `alice namespaces="file" ${line}`);
    const given = ['-f', signers, '-I', 'alice', '-n', 'file', '-s'];
    const path = file('file.sig', `-----BEGIN SSH SIGNATURE-----\n${armored}\n-----END SSH SIGNATURE-----\n`);
    const verify = (input: string) =>
      spawnSync('ssh-keygen', ['-Y', 'verify', ...given, path], { input, encoding: 'utf8' });
    const good = verify('of a file');
    assert.equal(good.status, 0, good.stderr + good.stdout);
    assert.notEqual(verify('of another file').status, 0);
  });
}

/** A request ends with its signature. */
function withLastByteAltered(pem: string): string {
  const der = Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');
  der[der.length - 1] = (der.at(-1) as number) ^ 1;
  const label = 'CERTIFICATE REQUEST-----';
  return `-----BEGIN ${label}\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END ${label}\n`;
}

/** r and s of r || s, as positive integers in as few bytes as hold them. */
function halvesOf(signature: Buffer): Buffer[] {
  const half = signature.length / 2;
  return [signature.subarray(0, half), signature.subarray(half)].map((integer) => {
    let start = 0;
    while (integer[start] === 0 && start < half - 1) start++;
    const bytes = integer.subarray(start);
    return (bytes[0] as number) > 127 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes;
  });
}

/** ECDSA-Sig-Value (RFC 3279) of r || s, of curves whose signatures are below 128 bytes. */
function derOf(signature: Buffer): Buffer {
  const integers = halvesOf(signature).flatMap((integer) => [Buffer.from([2, integer.length]), integer]);
  const content = Buffer.concat(integers);
  return Buffer.concat([Buffer.from([0x30, content.length]), content]);
}

function sshString(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

test('a public key in PEM holds what the service says of it', async () => {
  for (const alg of Object.keys(algorithms)) {
    const kid = kids[alg] as string;
    const path = `/v1/kms/keys/${encodeURIComponent(kid)}`;
    const { body } = await call(service, service.token, 'GET', path);
    const spki = createPublicKey(await formatOf(kid, 'pem')).export({ format: 'der', type: 'spki' });
    assert.ok(JSON.stringify(body).includes(spki.toString('base64')), alg);
  }
});
