import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, readSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Home, HomeContact } from '../../src/custody/custody.ts';
import { Pkcs11Home } from '../../src/custody/pkcs11/index.ts';
import { libraryMissing } from '../../src/custody/pkcs11/protocol.ts';
import { createSoftHsm, noSoftHsm, openHome } from '../support/softhsm.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const ed25519 = findAlgorithm('ed25519')!;
const skip = { skip: noSoftHsm, timeout: 60_000 };

async function opened(t: TestContext) {
  const softHsm = createSoftHsm();
  const home = await openHome(softHsm.settings(softHsm.makeToken('one')));
  t.after(async () => {
    await home.close();
    softHsm.remove();
  });
  assert.ok(home.contact.up, home.contact.reason);
  return { softHsm, home, ...watched(home.contact) };
}

/** Resolves when the contact is as wanted. */
function watched(contact: HomeContact) {
  const waiting: (() => void)[] = [];
  contact.onChange(() => {
    for (const resolve of waiting.splice(0)) resolve();
  });
  return {
    async until(up: boolean) {
      while (contact.up !== up) await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}

async function make(home: Pkcs11Home, kid: string) {
  const made = await home.generate(ed25519, 'acme', kid);
  return made.ok ? 'made' : made.failure.code;
}

test('a worker that is killed is started again, and the token opened', skip, async (t) => {
  const { home, until } = await opened(t);
  assert.equal(await make(home, 'acme/p/ed25519/a#v1'), 'made');
  for (const pid of childrenRunning('hsm.ts')) process.kill(pid, 'SIGKILL');
  await until(false);
  assert.match(home.contact.reason ?? '', /SIGKILL/);
  assert.equal(await make(home, 'acme/p/ed25519/b#v1'), 'StoreUnavailable');
  await until(true);
  assert.equal(await make(home, 'acme/p/ed25519/b#v1'), 'made');
});

test('a token that goes away is refused at once, and there again when it is back', skip, async (t) => {
  const { softHsm, home, until } = await opened(t);
  const kid = 'acme/p/ed25519/a#v1';
  const made = await home.generate(ed25519, 'acme', kid);
  assert.ok(made.ok);
  const reference = home.keyReference(made.value[0]!, 0, 'acme', kid);
  const seenAtMs = home.contact.lastContactAtMs;
  renameSync(softHsm.tokens, `${softHsm.tokens}.away`);
  // Nobody asks for anything: the sign of life of each second finds it.
  await until(false);
  const refused = await home.evidence(reference);
  assert.ok(!refused.ok && refused.failure.code === 'StoreUnavailable' && refused.failure.retryAfterMs! > 0);
  renameSync(`${softHsm.tokens}.away`, softHsm.tokens);
  await until(true);
  assert.ok(home.contact.lastContactAtMs > seenAtMs);
  const evidence = await (home as Home).evidence!(reference, Buffer.alloc(32));
  assert.ok(evidence.ok, 'the key is found again');
  const { token, key, backend } = evidence.value;
  assert.deepEqual([backend, token.label, token.manufacturer], ['pkcs11', 'one', 'SoftHSM project']);
  assert.deepEqual(key, {
    ...{ local: true, alwaysSensitive: true, neverExtractable: true, sensitive: true, extractable: false },
  });
});

/** Processes of this one whose command has this text. */
function childrenRunning(text: string): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8')
      .split(' ')
      .filter((pid) => pid !== '')
      .map(Number)
      .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text)),
  );
}

test('after the login no memory of the worker holds the PIN', skip, async (t) => {
  const softHsm = createSoftHsm();
  const pin = `pin-${randomBytes(8).toString('hex')}`;
  const home = await openHome(softHsm.settings(softHsm.makeToken('secret', pin)));
  t.after(async () => {
    await home.close();
    softHsm.remove();
  });
  // Its answer comes after what the login leaves to be done.
  assert.equal(await make(home, 'acme/p/ed25519/a#v1'), 'made');
  const [worker] = childrenRunning('hsm.ts') as [number];
  const bytes = memoryOf(worker);
  assert.ok(
    bytes.some((piece) => piece.includes('intaglio:acme/p/ed25519/a#v1/0')),
    'it is the right memory',
  );
  const needle = pin.slice(4);
  assert.deepEqual(
    bytes.filter((piece) => piece.includes(needle)).map((piece) => piece.length),
    [],
  );
});

/** All that it may write to, by its mappings. */
function memoryOf(pid: number): Buffer[] {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8')
      .split('\n')
      .flatMap((line) => {
        const [, from = '0', to = '0'] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
        const [start, end] = [Number.parseInt(from, 16), Number.parseInt(to, 16)];
        const piece = Buffer.alloc(Math.min(end - start, 2 ** 28));
        try {
          return piece.length === 0
            ? []
            : [piece.subarray(0, readSync(memory, piece, 0, piece.length, start))];
        } catch {
          // Pages of the kernel's.
          return [];
        }
      });
  } finally {
    closeSync(memory);
  }
}

test('where the library is not installed, making a key says so', { timeout: 60_000 }, async (t) => {
  // A worker as it is without the optional dependency.
  const entry = join(temporaryDirectory(t), 'hsm.mjs');
  const answered = { kind: 'away', reason: libraryMissing };
  writeFileSync(
    entry,
    `process.on('message', (all) => process.send(all.map(({ id }) => ({ id, answered: ${JSON.stringify(answered)} }))));
     process.on('disconnect', () => process.exit(0));`,
  );
  const settings = {
    ...{ module: '/nowhere.so', token: { label: 'x' }, pinFile: '/nowhere' },
    ...{ sessions: 1, groupReadableSecrets: false },
  };
  const home = new Pkcs11Home({
    ...{ backend: 'pkcs11', settings, clock: systemClock, allowCoreDumps: true },
    ...{ entry: pathToFileURL(entry), environment: process.env },
  });
  t.after(() => home.close());
  await home.open();
  const made = await home.generate(ed25519, 'acme', 'acme/p/ed25519/a#v1');
  assert.ok(!made.ok && made.failure.code === 'StoreUnavailable');
  assert.match(made.failure.hint ?? '', /pkcs11js is not installed/);
});
