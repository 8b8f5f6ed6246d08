import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { bundleForBrowser } from '../../scripts/supply/browser.js';
import { KmsClient } from '../../src/client/index.ts';
import { startInProcess } from '../support/in-process.ts';
import { temporaryDirectory } from '../support/service.ts';

test('the browser build is one module without imports, and verifies what the service signs', async (context) => {
  const file = join(temporaryDirectory(), 'verify.mjs');
  await bundleForBrowser(file);
  assert.doesNotMatch(readFileSync(file, 'utf8'), /from ?"|require\(|node:/);
  const built = (await import(file)) as typeof import('../../src/client/browser.ts');
  const service = await startInProcess({ listen: true });
  const client = new KmsClient({ url: service.url, token: service.token });
  context.after(async () => {
    await client.close();
    await service.stop();
  });
  for (const alg of ['ed25519+ml-dsa-65', 'rsa-2048']) {
    const made = await client.createKey({ purpose: 'page', alg });
    const payload = Buffer.from('of a page');
    const { sigs } = await client.sign({ kid: made.kid, payload });
    const payloadB3 = await built.blake3Hex(payload);
    assert.equal(await built.verifySignatures({ payloadB3 }, sigs, () => made.public), true);
    assert.equal(await built.verifySignatures({ payloadB3: '0'.repeat(64) }, sigs, () => made.public), false);
  }
});
