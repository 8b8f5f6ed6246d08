/**
 * Verifies signatures of a service in a headless Chromium, and has it refuse altered ones: `npm run drill:browser`. The browser
 * is CHROMIUM, or the first of `browsers` on the PATH (`apt-get install --no-install-recommends chromium`); CHROMIUM_FLAGS adds
 * to its flags. Exits with 1 when it is not there, or does not agree.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { bundleForBrowser } from '../../scripts/supply/browser.js';
import { KmsClient } from '../../src/client/index.ts';
import { startService, temporaryDirectory } from '../support/service.ts';

const algorithms = ['ed25519', 'ml-dsa-65', 'ed25519+ml-dsa-65', 'ecdsa-p256', 'mldsa65-ed25519', 'rsa-2048'];
const browsers = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

const found = [process.env.CHROMIUM ?? browsers]
  .flat()
  .map((command) => ({ command, ran: spawnSync(command, ['--version'], { encoding: 'utf8' }) }))
  .find(({ ran }) => ran.status === 0);
if (found === undefined) {
  process.stderr.write(`no ${process.env.CHROMIUM ?? browsers.join(', no ')}: apt-get install chromium\n`);
  process.exit(1);
}

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
const altered = (sigs, n) => sigs.map((sig, at) => {
  if (at !== n) return sig;
  const last = sig.signature_b64.length - 5;
  const other = sig.signature_b64[last] === 'A' ? 'B' : 'A';
  return { ...sig, signature_b64: sig.signature_b64.slice(0, last) + other + sig.signature_b64.slice(last + 1) };
});
const lines = [];
for (const { alg, key, sigs } of ${JSON.stringify(cases)}) {
  const verify = (payload, some) => verifySignatures({ payloadB3: payload }, some, () => key);
  const said = [await verify(payloadB3, sigs), await verify('0'.repeat(64), sigs)];
  for (const n of sigs.keys()) said.push(await verify(payloadB3, altered(sigs, n)));
  if (sigs.length > 1) for (const one of sigs) said.push(await verify(payloadB3, [one]));
  lines.push(alg + ' ' + said.join(' ') + ' end');
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
/** A sandbox needs what root in a container has not; /dev/shm is 64 MiB there. */
const flags = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
];
const browser = spawn(
  found.command,
  [...flags, ...more, '--virtual-time-budget=20000', `--user-data-dir=${folder}/profile`, '--dump-dom', url],
  { stdio: ['ignore', 'pipe', 'pipe'] },
);
const [dom, errors] = await Promise.all([text(browser.stdout), text(browser.stderr)]);
server.close();

/** True for the signatures, false for another payload, for each altered signature, and for each alone where they are two. */
const expected = cases.map(({ alg, sigs }) => {
  const refused = 1 + sigs.length + (sigs.length > 1 ? sigs.length : 0);
  return { alg, line: `${alg} true${' false'.repeat(refused)} end` };
});
const wrong = expected.filter(({ line }) => !dom.includes(line));
const refusals = expected.reduce((sum, { line }) => sum + line.split('false').length - 1, 0);
process.stdout.write(
  wrong.length === 0
    ? `${found.ran.stdout.trim()} verifies ${algorithms.join(', ')}, and refuses ${refusals} altered signatures\n`
    : `wrong: ${wrong.map(({ alg }) => alg).join(', ')}\n${dom}\n${errors}\n`,
);
process.exit(wrong.length === 0 ? 0 : 1);
