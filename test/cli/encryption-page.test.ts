import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { startInProcess } from '../support/in-process.ts';

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'encryption.md'), 'utf8');

/** As the page calls it, for machines that have no curl. */
const curl = `
  const [, , header, url, , data] = process.argv.slice(1);
  const [name, value] = header.split(/: /);
  fetch(url, { method: 'POST', headers: { [name]: value }, body: data })
    .then((answer) => answer.text())
    .then((text) => console.log(text));
`;

test('the commands of the page on encryption do what it says', { timeout: 60_000 }, async () => {
  const service = await startInProcess({ listen: true });
  const commands = [...page.matchAll(/```sh\n(.*?)```/gs)]
    .map(([, text]) => text)
    .join('\necho\n')
    .replaceAll('http://127.0.0.1:7441', service.url)
    .replaceAll('data/bootstrap.token', join(service.dataDir, 'bootstrap.token'));
  const shell = spawn('sh', ['-e', '-c', `curl() { "$NODE" -e "$CURL" -- "$@"; }\n${commands}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, NODE: process.execPath, CURL: curl },
  });
  let output = '';
  for (const stream of [shell.stdout, shell.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  const [status] = await once(shell, 'close');
  assert.equal(status, 0, output);
  assert.doesNotMatch(output, /"error"/);
  assert.match(output, /^attack at dawn$/m);
  assert.match(output, /^ *32$/m, 'the key of 32 bytes');
  const kids = [...output.matchAll(/"kid":"([^"]*#v\d)"/g)].map(([, kid]) => (kid as string).split('/')[2]);
  assert.deepEqual(
    kids.map((kid) => kid?.split('#')[0]),
    ['xaes-256-gcm', ...Array(4).fill('x25519+ml-kem-768')],
  );
  assert.match(output, /"kid":"[^"]*#v2","wrapped_b64"/, 'rewrapped by the second version');
  assert.match(output, /"plaintext_b64":"[A-Za-z0-9+/]{43}="/);
  await service.stop();
});
