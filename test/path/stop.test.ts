import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import test, { describe } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { StartError } from '../../src/core/start-error.ts';
import { startInProcess } from '../support/in-process.ts';
import { assertEnvelope, assertFailed, metric, RawConnection } from '../support/requests.ts';
import {
  call,
  helloWorldB3,
  type RunningService,
  type ServiceProcess,
  startService,
  temporaryDirectory,
} from '../support/service.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

const create = (service: RunningService, alg = 'ed25519', purpose = 'p') =>
  call(service, service.token, 'POST', '/v1/kms/keys', { purpose, alg });
const sign = (service: RunningService, kid: string) =>
  call(service, service.token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });

async function stopping(service: ServiceProcess): Promise<void> {
  while (!service.log.some((line) => line.includes('"msg":"stopping"'))) await delay(1);
}

function errorsOf(service: ServiceProcess): string {
  return service.log.filter((line) => /"level":"(error|fatal)"/.test(line)).join('\n');
}

describe('SIGTERM', { timeout: 120_000 }, () => {
  test('with calls under way: each has an answer or a closed connection, and nothing acknowledged is lost', async () => {
    const dataDir = temporaryDirectory();
    const service = await startService({ dataDir });
    const key = (await create(service)).body.kid;
    const acknowledged: string[] = [];
    const outcomes = { made: 0, signed: 0, refused: 0, closed: 0 };
    const client = async (signs: boolean) => {
      for (;;) {
        try {
          const answer = await (signs ? sign(service, key) : create(service));
          if (answer.status >= 400) {
            // A call that was let in before the stop has an answer of its own: a busy machine may refuse it for its flood.
            if (answer.status === 429) assertFailed(answer, 429, 'Backpressure');
            else assertFailed(answer, 503, 'NotReady');
            outcomes.refused++;
          } else if (signs) outcomes.signed++;
          else {
            acknowledged.push(answer.body.kid);
            outcomes.made++;
          }
        } catch (cause) {
          // fetch throws a TypeError when the connection is closed or refused; all else is the test's own.
          if (!(cause instanceof TypeError)) throw cause;
          outcomes.closed++;
          return;
        }
      }
    };
    const clients = Array.from({ length: 16 }, (_, n) => client(n % 2 === 0));
    while (outcomes.made < 40 || outcomes.signed < 40) await delay(5);
    assert.equal(await service.stop(), 0);
    await Promise.all(clients);
    assert.equal(outcomes.closed, 16);
    assert.equal(errorsOf(service), '');
    assert.ok(service.log.at(-1)?.includes('"msg":"stopped"'));

    const again = await startInProcess({ dataDir });
    for (const kid of acknowledged) assert.equal((await sign(again, kid)).status, 200, kid);
    assert.equal(await again.stop(), 0);
  });

  test('what was taken in is finished, and new calls on open connections are told to come again', async () => {
    const service = await startService({
      env: { KMS_BACKEND: 'memory', KMS_SHUTDOWN_TIMEOUT_MS: '60000' },
    });
    const key = (await create(service)).body.kid;
    const body = JSON.stringify({ kid: key, payload_b3: helloWorldB3 });
    const head = `Host: x\r\nAuthorization: Bearer ${service.token}\r\n`;
    const signRequest = `POST /v1/kms/sign HTTP/1.1\r\n${head}Content-Length: ${body.length}\r\n\r\n${body}`;
    const open = Array.from({ length: 4 }, () => new RawConnection(service.port));
    for (const connection of open) {
      connection.send(signRequest);
      assert.equal((await connection.answers(1))[0]?.status, 200);
      connection.received = '';
    }
    // Seconds of work for the one thread that makes keys.
    const slow = Array.from({ length: 3 }, () => create(service, 'rsa-4096'));
    // One is made, one lies ready for the thread, one waits: all three have been taken in.
    while ((await metric(service, 'kms_queue_depth')) === 0) await delay(1);
    const stopped = service.stop();
    await stopping(service);

    const [calling, health, ready, metrics] = open as [
      RawConnection,
      RawConnection,
      RawConnection,
      RawConnection,
    ];
    calling.send(signRequest);
    const received = await calling.closed();
    const [refused] = await calling.answers(0);
    const headers = Object.fromEntries(
      (refused?.head ?? '')
        .split('\r\n')
        .slice(1)
        .map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
    );
    assertEnvelope({ status: refused?.status ?? 0, headers, text: refused?.body ?? '' }, 503, 'NotReady');
    assert.match(received, /\r\nConnection: close\r\n/i);

    health.send(`GET /healthz HTTP/1.1\r\n${head}\r\n`);
    assert.equal((await health.answers(1))[0]?.status, 200);
    ready.send(`GET /readyz HTTP/1.1\r\n${head}\r\n`);
    const [readiness] = await ready.answers(1);
    assert.equal(readiness?.status, 503);
    assert.deepEqual(JSON.parse(readiness?.body ?? '').missing, ['draining']);
    metrics.send(`GET /metrics HTTP/1.1\r\n${head}\r\n`);
    assert.match((await metrics.answers(1))[0]?.body ?? '', /^kms_reject_total\{reason="not_ready"\} 1$/m);
    assert.equal(await new RawConnection(service.port).closed(), '');

    for (const answer of await Promise.all(slow)) assert.equal(answer.status, 201);
    assert.equal(await stopped, 0);
    for (const connection of open) await connection.closed();
    assert.equal(errorsOf(service), '');
  });

  test('an answer of several megabytes is sent whole', async () => {
    const service = await startService({
      env: { KMS_BACKEND: 'memory', KMS_QUEUE_PER_TENANT: '4096', KMS_BATCH_MAX_ITEMS: '1024' },
    });
    const kid = (await create(service, 'ml-dsa-87')).body.kid;
    const items = Array.from({ length: 1_024 }, () => ({ kid, payload_b3: helloWorldB3 }));
    const body = JSON.stringify({ items });
    const connection = new RawConnection(service.port);
    connection.send(
      `POST /v1/kms/sign/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.token}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await connection.until(() => connection.received.length > 0);
    const stopped = service.stop();
    await connection.closed();
    const [answer] = await connection.answers(0);
    assert.equal(answer?.status, 200);
    assert.equal(JSON.parse(answer?.body ?? '').results.length, 1_024);
    assert.equal(await stopped, 0);
    assert.equal(errorsOf(service), '');
  });

  test('what takes too long is left behind, and the stop goes on', async () => {
    const dataDir = temporaryDirectory();
    const service = await startService({
      dataDir,
      env: {
        KMS_SHUTDOWN_TIMEOUT_MS: '100',
        KMS_SIGN_DEADLINE_MS: '100',
        KMS_DEFAULT_DEADLINE_MS: '100',
      },
    });
    let made = await create(service);
    // A busy machine may take longer than the deadline of this service.
    while (made.status !== 201) made = await create(service);
    const before = made.body.kid;
    const slow = Array.from({ length: 4 }, () =>
      create(service, 'rsa-4096').then(
        ({ status }) => status,
        () => 'closed',
      ),
    );
    await delay(50);
    assert.equal(await service.stop(), 0);
    const outcomes = await Promise.all(slow);
    assert.ok(outcomes.includes('closed'), JSON.stringify(outcomes));
    assert.ok(errorsOf(service).includes('answering the calls under way'));

    const again = await startInProcess({ dataDir });
    const { keys } = (await call(again, again.token, 'GET', '/v1/kms/keys?alg=rsa-4096')).body;
    assert.ok(keys.length >= outcomes.filter((outcome) => outcome === 201).length);
    for (const kid of [before, ...keys.map((key: { kid: string }) => key.kid)]) {
      const answer = await sign(again, kid);
      const seen = () => JSON.stringify({ kid, answer: answer.body, before, keys, outcomes, log: again.log });
      assert.ok(answer.status === 200, seen());
    }
    assert.equal(await again.stop(), 0);
  });

  test('twice: it ends, and what was acknowledged is there', async () => {
    const dataDir = temporaryDirectory();
    const service = await startService({ dataDir });
    const kids = await Promise.all(Array.from({ length: 8 }, async () => (await create(service)).body.kid));
    const stopped = service.stop();
    process.kill(service.pid, 'SIGTERM');
    const status = await stopped;
    // A second signal may end it at once.
    assert.ok(status === 0 || status === null, `${status}`);
    const again = await startInProcess({ dataDir });
    for (const kid of kids) assert.equal((await sign(again, kid)).status, 200);
    assert.equal(await again.stop(), 0);
  });

  test('during a first start: it ends, and the next start serves', async () => {
    const dataDir = temporaryDirectory();
    for (const afterMs of [40, 150, 250, 350]) {
      const child = spawn(process.execPath, ['src/cli/main.ts', 'serve'], {
        cwd: root,
        env: { ...process.env, KMS_BIND: '127.0.0.1:0', KMS_DATA_DIR: dataDir },
        stdio: 'ignore',
      });
      const gone = once(child, 'exit');
      await delay(afterMs);
      child.kill('SIGTERM');
      const [code, signal] = await gone;
      assert.ok(code === 0 || signal === 'SIGTERM', `${code} ${signal}`);
    }
    const service = await startInProcess({ dataDir });
    const made = await create(service);
    assert.equal((await sign(service, made.body.kid)).status, 200);
    assert.equal(await service.stop(), 0);
  });
});

describe('a start that cannot be', { timeout: 120_000 }, () => {
  async function assertRefused(env: Record<string, string>, reason: RegExp): Promise<void> {
    const child = spawn(process.execPath, ['src/cli/main.ts', 'serve'], {
      cwd: root,
      env: { ...process.env, KMS_BIND: '127.0.0.1:0', ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      errors += chunk;
    });
    const [code] = await once(child, 'close');
    assert.equal(code, 1, errors);
    assert.match(errors, reason);
    // For the operator, so a sentence and no stack.
    for (const line of errors.trim().split('\n')) assert.match(line, /^intaglio: /);
  }

  /** The same where a process of its own would add nothing: each StartError is printed in one way. */
  async function assertThrown(dataDir: string, reason: RegExp): Promise<void> {
    await assert.rejects(startInProcess({ dataDir }), (cause) => {
      assert.ok(cause instanceof StartError, String(cause));
      assert.match(cause.message, reason);
      return true;
    });
  }

  test('the port is taken', async () => {
    const server: Server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const neverMade = join(temporaryDirectory(), 'never-made');
    const env = { KMS_DATA_DIR: temporaryDirectory(), KMS_BIND: `127.0.0.1:${port}` };
    await assertRefused(
      { ...env, KMS_DATA_DIR: neverMade },
      /cannot listen on 127\.0\.0\.1:\d+: is the address in use/,
    );
    assert.equal(existsSync(neverMade), false);
    server.close();
    await once(server, 'close');
    const service = await startService({ env });
    await assertRefused({ ...env, KMS_DATA_DIR: temporaryDirectory() }, /cannot listen/);
    assert.equal(await service.stop(), 0);
  });

  test('the data directory is in use, its root key is missing, another one, of a wrong length or readable by others', async () => {
    const dataDir = temporaryDirectory();
    const env = { KMS_DATA_DIR: dataDir };
    const service = await startService({ dataDir });
    const { kid } = (await create(service)).body;
    await assertRefused(env, /in use: process \d+ holds it/);
    assert.equal((await sign(service, kid)).status, 200);
    assert.equal(await service.stop(), 0);

    const file = join(dataDir, 'root.key');
    const copy = join(temporaryDirectory(), 'copy');
    copyFileSync(file, copy);
    rmSync(file);
    await assertRefused(env, /root\.key is missing, and the keys in the store are sealed under it/);
    assert.ok(!existsSync(file), 'no new one is made in its place');
    writeFileSync(file, randomBytes(32), { mode: 0o600 });
    await assertThrown(dataDir, /the root key is not the one/);
    writeFileSync(file, randomBytes(31), { mode: 0o600 });
    await assertThrown(dataDir, /must hold exactly 32 bytes/);
    copyFileSync(copy, file);
    chmodSync(file, 0o644);
    await assertThrown(dataDir, /chmod 600/);
    chmodSync(file, 0o600);

    const macaroonKey = join(dataDir, 'macaroon.key');
    chmodSync(macaroonKey, 0o640);
    await assertThrown(dataDir, /macaroon\.key may be read or written by its group \(owner \d+, mode 0640\)/);
    chmodSync(macaroonKey, 0o600);
    const again = await startInProcess({ dataDir });
    assert.equal((await sign(again, kid)).status, 200);
    assert.equal(await again.stop(), 0);
  });

  test('amnesia mode with a store that persists, or with a root key file', async () => {
    const dataDir = join(temporaryDirectory(), 'never-made');
    const env = { KMS_DATA_DIR: dataDir, KMS_AMNESIA: 'true' };
    await assertRefused({ ...env, KMS_BACKEND: 'lmdb' }, /KMS_BACKEND must be memory/);
    await assertRefused({ ...env, KMS_ROOT_KEY_FILE: '/x' }, /KMS_ROOT_KEY_FILE must not be set/);
    assert.ok(!existsSync(dataDir));
  });
});

describe('what lies on the disk', { timeout: 60_000 }, () => {
  test('in amnesia mode: nothing, not even the directory', async () => {
    const dataDir = join(temporaryDirectory(), 'never-made');
    const service = await startService({ dataDir, env: { KMS_AMNESIA: 'true' } });
    while (!service.errors().includes('/v1/kms')) await delay(1);
    const token = /Bearer ([A-Za-z0-9_-]+)/.exec(service.errors())?.[1];
    const made = await create({ ...service, token: token as string });
    assert.equal(made.status, 201);
    assert.equal((await sign({ ...service, token: token as string }, made.body.kid)).status, 200);
    assert.ok(!existsSync(dataDir));
    assert.equal(await service.stop(), 0);
    assert.ok(!existsSync(dataDir));

    const next = await startInProcess({ dataDir, env: { KMS_AMNESIA: 'true' } });
    const { status } = await sign({ ...next, token: token as string }, made.body.kid);
    assert.equal(status, 401, 'the capability is forgotten too');
    assert.equal(await next.stop(), 0);
  });

  test('otherwise: secrets for the owner alone', async () => {
    const service = await startInProcess();
    for (const file of ['root.key', 'macaroon.key', 'bootstrap.token']) {
      assert.equal(statSync(join(service.dataDir, file)).mode & 0o777, 0o600, file);
    }
    assert.equal(statSync(join(service.dataDir, 'store')).mode & 0o077, 0);
    assert.equal(await service.stop(), 0);
  });
});
