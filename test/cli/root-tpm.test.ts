import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createSwtpm, noSwtpm } from '../support/swtpm.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { intaglio } from './intaglio.ts';

async function good(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await intaglio(['root', ...args]);
  assert.equal(status, 0, stderr);
  return stdout;
}

async function refused(says: RegExp, ...args: readonly string[]): Promise<void> {
  const { status, stderr } = await intaglio(['root', ...args]);
  assert.notEqual(status, 0);
  assert.match(stderr, says);
}

test('a root key in a TPM alone: a changed boot is refused until the operator, elsewhere, has approved it', {
  skip: noSwtpm,
  timeout: 120_000,
}, async (t) => {
  const place = temporaryDirectory(t);
  const tpm = await createSwtpm();
  try {
    const dataDir = join(place, 'data');
    const file = (name: string, content: string) => {
      const path = join(place, name);
      writeFileSync(path, content, { mode: 0o600 });
      return path;
    };
    const operator = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const publicKey = file(
      'operator.pub.pem',
      operator.publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    );
    const privateKey = file(
      'operator.pem',
      operator.privateKey
        .export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'stable' })
        .toString(),
    );
    const [passphrase, another] = [file('passphrase', 'stable\n'), file('another', 'barn\n')];
    const pin = file('pin', 'horse\n');
    const of = ['--data-dir', dataDir];
    const seal = ['--operator-key', publicKey, '--tcti', tpm.tcti, '--pin-file', pin];
    await refused(
      /is the private key, which belongs to the operator's machine alone/,
      ...['init', '--tpm', '--operator-key', privateKey, '--tcti', tpm.tcti, ...of],
    );
    assert.match(await good('init', '--tpm', ...seal, ...of), /opened as a start does it/);
    assert.equal(existsSync(join(dataDir, 'root.key')), false);

    await tpm.extend(4);
    await refused(/PCR 4 has a value that nobody approved/, 'status', ...of);
    const request = join(place, 'request.json');
    const approval = join(place, 'approval.json');
    await good('tpm', 'request', '--out', request, ...of);
    const authorize = ['tpm', 'authorize', '--key', privateKey, '--request', request, '--out', approval];
    await refused(/not its passphrase/, ...authorize, '--passphrase-file', another);
    const shown = await intaglio(['root', ...authorize, '--passphrase-file', passphrase]);
    assert.equal(shown.status, 0);
    assert.match(shown.stderr, /for the source tpm of reference [0-9a-f]{32}\n/);
    assert.match(shown.stderr, /PCR 4 [0-9a-f]{64}\n/);
    assert.match(await good('tpm', 'accept', approval, ...of), /under 2 sets/);
    assert.match(await good('status', ...of), /tpm \(tpm, .*\): opens/);

    assert.match(readFileSync(join(dataDir, 'offline-acts.json'), 'utf8'), /"type":"root.approved"/);
    assert.doesNotMatch(readFileSync(join(dataDir, 'root-sources.json'), 'utf8'), /horse/);
  } finally {
    await tpm.remove();
  }
});
