/**
 * Verifies signatures of a service in a headless Chromium: `npm run drill:browser`, with the browser in CHROMIUM or on the PATH
 * (`apt-get install chromium`); CHROMIUM_FLAGS adds to its own. Exits with 1 when it is not there, or does not agree.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { bundleForBrowser } from '../../scripts/supply/browser.js';
import { KmsClient } from '../../src/client/index.ts';
import { startService, temporaryDirectory } from '../support/service.ts';

const algorithms = ['ed25519', 'ml-dsa-65', 'ed25519+ml-dsa-65', 'ecdsa-p256', 'mldsa65-ed25519', 'rsa-2048'];

const service = await startService();
const client = new KmsClient({ url: service.url, token: service.token });
const payload = Buffer.from('of a page');
const cases = [];
for (const alg of algorithms) {
  const { kid, public: key } = await client.createKey({ purpose: 'page', alg });
  cases.push({ alg, key, sigs: (await client.sign({ kid, payload })).sigs });
}
await client.close();
await service.stop();

const folder = temporaryDirectory();
const bundle = join(folder, 'verify.js');
await bundleForBrowser(bundle);

const page = `<!doctype html><pre id="out">waiting</pre><script type="module">
import { blake3Hex, verifySignatures } from './verify.js';
const payloadB3 = await blake3Hex(new Blob(['of a page']));
const lines = [];
for (const { alg, key, sigs } of ${JSON.stringify(cases)}) {
  const good = await verifySignatures({ payloadB3 }, sigs, () => key);
  const other = await verifySignatures({ payloadB3: '0'.repeat(64) }, sigs, () => key);
  lines.push(alg + ': ' + good + ' ' + other);
}
document.getElementById('out').textContent = lines.join('; ');
</script>`;
const server = createServer(({ url }, response) => {
  const isScript = url === '/verify.js';
  response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
  response.end(isScript ? readFileSync(bundle) : page);
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const more = (process.env.CHROMIUM_FLAGS ?? '').split(' ').filter((flag) => flag !== '');
const flags = [
  ...more,
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--virtual-time-budget=20000',
  '--dump-dom',
];
const browser = spawn(
  process.env.CHROMIUM ?? 'chromium',
  [...flags, `--user-data-dir=${folder}/profile`, url],
  {
    stdio: ['ignore', 'pipe', 'inherit'],
  },
);
browser.on('error', (error) => {
  process.stderr.write(`no Chromium: ${error.message}\n`);
  process.exit(1);
});
const dom = await text(browser.stdout);
server.close();
const wrong = algorithms.filter((alg) => !dom.includes(`${alg}: true false`));
process.stdout.write(wrong.length === 0 ? `Chromium agrees on ${algorithms.join(', ')}\n` : `${dom}\n`);
process.exit(wrong.length === 0 ? 0 : 1);
