import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { openCapabilityKeys } from '../../src/auth/macaroon/root-key.ts';
import { judgeSecretDirectory, judgeSecretFile } from '../../src/core/secret-file.ts';
import { intaglio } from '../cli/intaglio.ts';
import { type InProcessOptions, startInProcess } from '../support/in-process.ts';
import { call, type InProcessService, temporaryDirectory } from '../support/service.ts';

const strict = { groupAllowed: false };
const lenient = { groupAllowed: true };
const user = process.geteuid?.() ?? 0;
/** Only root gives files away. */
const asRoot = user === 0 ? {} : { skip: 'another owner can only be had as root' };

describe('the rule for a secret file', () => {
  const directory = temporaryDirectory();
  const file = join(directory, 'secret');
  const judged = (mode: number, rule = strict, directoryMode = 0o700) => {
    writeFileSync(file, 'x');
    chmodSync(file, mode);
    chmodSync(directory, directoryMode);
    return judgeSecretFile(file, rule);
  };

  test('any bit for others is refused in any case, any bit for the group unless it is allowed', () => {
    for (const mode of [0o604, 0o602, 0o601, 0o644, 0o666]) {
      for (const rule of [strict, lenient]) {
        const problem = judged(mode, rule) as string;
        assert.match(problem, /by others/);
        assert.ok(problem.includes(`${file} may be`));
        assert.ok(problem.includes(`(owner ${user}, mode 0${mode.toString(8)})`), problem);
      }
    }
    for (const mode of [0o640, 0o620, 0o610, 0o660]) {
      assert.match(
        judged(mode) as string,
        /by its group \(owner \d+, mode 06\d0\).*KMS_GROUP_READABLE_SECRETS=true/,
      );
      assert.equal(judged(mode, lenient), undefined);
    }
    for (const mode of [0o600, 0o400]) assert.equal(judged(mode), undefined);
  });

  test('a directory counts by who may write there', () => {
    for (const mode of [0o700, 0o755, 0o2755]) assert.equal(judged(0o600, strict, mode), undefined);
    for (const mode of [0o770, 0o2775]) {
      assert.match(judged(0o600, strict, mode) as string, /may be written by its group/);
      assert.equal(judged(0o600, lenient, mode), undefined);
    }
    for (const mode of [0o777, 0o1777, 0o702]) {
      const problem = judged(0o600, lenient, mode) as string;
      assert.ok(problem.startsWith(`${directory} may be written by others (owner ${user}, mode`), problem);
    }
  });

  test('a file or a directory of another user is refused, one of root is not', asRoot, () => {
    const [other, ofOther] = [
      12_345,
      /belongs neither to the service's user \(0\) nor to root \(owner 12345, mode 0\d00\)/,
    ];
    assert.equal(judged(0o600), undefined);
    chownSync(file, other, 0);
    assert.match(judgeSecretFile(file, lenient) as string, ofOther);
    chownSync(file, 0, 0);
    chownSync(directory, other, 0);
    assert.match(judgeSecretFile(file, lenient) as string, ofOther);
    assert.match(judgeSecretDirectory(directory, lenient) as string, ofOther);
    chownSync(directory, 0, 0);
  });

  test('a link is judged by what it points at', () => {
    const elsewhere = temporaryDirectory();
    const link = join(elsewhere, 'link');
    symlinkSync(file, link);
    assert.equal(judged(0o600), undefined);
    chmodSync(elsewhere, 0o1777);
    assert.equal(judgeSecretFile(link, strict), undefined);
    chmodSync(directory, 0o777);
    assert.match(judgeSecretFile(link, strict) as string, /written by others/);
  });
});

/** As fsGroup of Kubernetes does it: `chmod -R g+rwX`. */
function shareWithGroup(directory: string): void {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  for (const entry of entries)
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o770 : 0o660);
  chmodSync(directory, 0o770);
}

async function startFor(context: TestContext, options: InProcessOptions): Promise<InProcessService> {
  const service = await startInProcess({ ...options, listen: false });
  context.after(() => service.stop());
  return service;
}

describe('a start', { timeout: 120_000 }, () => {
  const original = temporaryDirectory();
  let token: string;
  before(async () => {
    const service = await startInProcess({ dataDir: original });
    token = service.token;
    assert.equal(await service.stop(), 0);
  });
  const copy = () => {
    const dataDir = join(temporaryDirectory(), 'data');
    cpSync(original, dataDir, { recursive: true });
    chmodSync(dataDir, 0o700);
    return dataDir;
  };

  test('takes secrets behind links as Kubernetes mounts them, also after a change of what they point at', async (context) => {
    const dataDir = copy();
    const mount = temporaryDirectory();
    chmodSync(mount, 0o1777);
    mkdirSync(join(mount, '..2026_1'), { mode: 0o755 });
    symlinkSync('..2026_1', join(mount, '..data'));
    symlinkSync('..data/root.key', join(mount, 'root.key'));
    for (const name of ['root.key', 'macaroon.key', 'audit.secret']) {
      renameSync(join(dataDir, name), join(mount, '..2026_1', name));
      chmodSync(join(mount, '..2026_1', name), 0o400);
      if (name !== 'root.key') symlinkSync(join(mount, '..data', name), join(dataDir, name));
    }
    const env = { KMS_ROOT_KEY_FILE: join(mount, 'root.key') };
    const service = await startFor(context, { dataDir, env });
    assert.equal((await call(service, token, 'GET', '/v1/kms/keys')).status, 200);
    assert.equal(await service.stop(), 0);
    chmodSync(join(mount, '..2026_1', 'root.key'), 0o444);
    await assert.rejects(
      startFor(context, { dataDir, env }),
      /root\.key may be read or written by others \(owner \d+, mode 0444\)/,
    );
    rmSync(join(mount, '..data'));
    await assert.rejects(
      startFor(context, { dataDir, env }),
      /root\.key is missing, and the keys in the store are sealed under it/,
    );
  });

  test('takes what fsGroup leaves with KMS_GROUP_READABLE_SECRETS=true only', async (context) => {
    const dataDir = copy();
    shareWithGroup(dataDir);
    await assert.rejects(
      startFor(context, { dataDir }),
      /data may be written by its group \(owner \d+, mode 0770\)/,
    );
    chmodSync(dataDir, 0o700);
    await assert.rejects(
      startFor(context, { dataDir }),
      /root\.key may be read or written by its group \(owner \d+, mode 0660\)/,
    );
    const env = { KMS_GROUP_READABLE_SECRETS: 'true' };
    for (const engine of ['auto', 'openssl']) {
      shareWithGroup(dataDir);
      const service = await startFor(context, { dataDir, env: { ...env, KMS_ENGINE: engine } });
      assert.equal((await call(service, token, 'GET', '/v1/kms/keys')).status, 200);
      assert.equal(await service.stop(), 0);
    }
  });

  test('refuses each secret that others may read, and a data directory that others may write, also a new one', async (context) => {
    const dataDir = copy();
    for (const name of ['root.key', 'macaroon.key', 'audit.secret', 'bootstrap.token']) {
      chmodSync(join(dataDir, name), 0o604);
      await assert.rejects(
        startFor(context, { dataDir }),
        new RegExp(`${join(dataDir, name)} may be read or written by others \\(owner ${user}, mode 0604\\)`),
      );
      chmodSync(join(dataDir, name), 0o600);
    }
    const fresh = temporaryDirectory();
    for (const directory of [dataDir, fresh]) {
      chmodSync(directory, 0o777);
      await assert.rejects(
        startFor(context, { dataDir: directory }),
        /may be written by others \(owner \d+, mode 0777\)/,
      );
    }
    assert.deepEqual(readdirSync(fresh), []);
  });

  test('refuses a key file of another user', asRoot, async (context) => {
    const dataDir = copy();
    chownSync(join(dataDir, 'root.key'), 12_345, 0);
    await assert.rejects(
      startFor(context, { dataDir }),
      /root\.key belongs neither .* \(owner 12345, mode 0600\)/,
    );
    assert.ok(existsSync(join(dataDir, 'root.key')));
  });
});

test('commands hold to the same rule: token mint, and the keys of a witness', {
  timeout: 60_000,
}, async () => {
  const dataDir = temporaryDirectory();
  assert.ok(openCapabilityKeys({ dataDir, amnesia: false, secretRule: strict }).ok);
  const witness = join(dataDir, 'witness');
  assert.equal((await intaglio(['witness', 'init', '--name', 'w.example', '--dir', witness])).status, 0);
  const mint = ['token', 'mint', '--tenant', 'a', '--scope', 'kms:sign', '--data-dir', dataDir];
  const vkeys = ['witness', 'vkeys', '--dir', witness];
  const allowed = { env: { KMS_GROUP_READABLE_SECRETS: 'true' } };
  for (const [command, file] of [
    [mint, join(dataDir, 'macaroon.key')],
    [vkeys, join(witness, 'keys')],
  ] as const) {
    chmodSync(file, 0o640);
    const refused = await intaglio(command);
    assert.deepEqual([refused.status, refused.stdout], [1, '']);
    assert.ok(
      refused.stderr.includes(`${file} may be read or written by its group (owner ${user}, mode 0640)`),
    );
    assert.equal((await intaglio(command, allowed)).status, 0);
    chmodSync(file, 0o644);
    const others = await intaglio(command, allowed);
    assert.equal(others.status, 1);
    assert.match(others.stderr, /by others/);
  }
});
