import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { constants, verify } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { certificateOf, startMutualTls } from '../../support/kms-v1.ts';
import { testPki } from '../../support/listener-kinds.ts';
import { temporaryDirectory } from '../../support/service.ts';

const place = { tenant_id: 'tenant123', environment: 'prod', plane: 'laptop' };

/** A Python that has httpx, which is Debian's own where it is installed. */
const python = ['/usr/bin/python3', 'python3'].find(
  (program) => spawnSync(program, ['-c', 'import httpx'], { stdio: 'ignore' }).status === 0,
);
const skip = python === undefined && 'no Python with httpx here (Debian: python3-httpx)';

test('the client example of the module makes a key and signs with it, over mutual TLS', {
  skip,
}, async (t) => {
  const tls = await startMutualTls();
  t.after(() => tls.end());
  const directory = temporaryDirectory();
  const own = certificateOf(place, 'example');
  const files = { ca: testPki.authority.cert, cert: own.cert, key: own.key };
  for (const [name, text] of Object.entries(files))
    writeFileSync(join(directory, name), text, { mode: 0o600 });
  const wanted = { key_type: 'RSA-2048', key_usage: 'sign', key_alias: 'my-signing-key' };
  const approval = await tls.client(place).approval('generate', { request: { ...place, ...wanted } });
  const { stdout } = await promisify(execFile)(
    python as string,
    [join(import.meta.dirname, 'client_example.py')],
    {
      env: {
        ...{
          PATH: process.env.PATH,
          KMS_ADDRESS: `https://localhost:${tls.service.port}`,
          KMS_APPROVAL: approval,
        },
        ...{
          KMS_CA: join(directory, 'ca'),
          KMS_CERT: join(directory, 'cert'),
          KMS_KEY: join(directory, 'key'),
        },
      },
    },
  );
  const [generated, signed] = JSON.parse(stdout);
  assert.equal(generated[0], 201);
  assert.deepEqual(Object.keys(generated[1]).sort(), ['key_id', 'public_key']);
  assert.equal(signed[0], 200);
  assert.equal(signed[1].key_id, generated[1].key_id);
  assert.match(signed[2]['x-receipt-id'], /^[0-9a-f-]{36}$/);
  const key = { key: generated[1].public_key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
  const signature = Buffer.from(signed[1].signature, 'base64');
  assert.ok(verify('sha256', Buffer.from('Hello, World!'), key, signature));
});
