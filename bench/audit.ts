/**
 * The cost of a record: `npm exec -- node bench/audit.ts [records]`. The appender alone on a real directory; both sides with
 * the thread between them, at several loads; the start after a million records. Prints one line each.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditEvent } from '../src/audit/audit-log.ts';
import { systemFiles } from '../src/audit/disk/files.ts';
import { HeadFile } from '../src/audit/disk/head.ts';
import { layoutOf } from '../src/audit/disk/layout.ts';
import { deriveSecrets } from '../src/audit/disk/secrets.ts';
import { WalWriter } from '../src/audit/disk/wal.ts';
import { InputHasher } from '../src/audit/format/input-hash.ts';
import { packEvent } from '../src/audit/format/record.ts';
import { startAuditLog } from '../src/audit/service/start-log-thread.ts';
import { Appender } from '../src/audit/writer/appender.ts';
import { ChangesUnderWay } from '../src/audit/writer/changes-under-way.ts';
import { LogState } from '../src/audit/writer/log-state.ts';
import { systemClock } from '../src/core/clock.ts';
import { softwareMacKey } from '../src/core/mac-key.ts';
import { seededSigner } from '../test/audit/support/signers.ts';

const records = Number(process.argv[2] ?? 200_000);
const inputHash = { mode: 'hmac', modeOfTenant: {}, kid: 'k1' } as const;
const secret = new Uint8Array(32).fill(7);
const directory = mkdtempSync(join(tmpdir(), 'intaglio-audit-bench-'));
let operation = 0;

function event(): AuditEvent {
  operation++;
  return {
    actor: 'spiffe://acme/web-17',
    alg: 'ed25519',
    inputDigest: 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24',
    keyId: `acme/tls/ed25519/0192f7c1-5b1e-7c3a-9d2e-${String(operation % 50).padStart(12, '0')}`,
    keyVersion: 7,
    opId: `0192f7c1-5b1e-7c3a-9d2e-${String(operation).padStart(12, '0')}`,
    purpose: 'sign',
    result: 'ok',
    tenant: 'acme',
  };
}

/** Compose, HMAC, hash, tree, write(2), HEAD; no fdatasync, no thread. `together`: records of one flush. */
function appenderAlone(together: number): void {
  const secrets = deriveSecrets(softwareMacKey(secret));
  const own = join(directory, `alone-${together}`);
  const layout = layoutOf(own);
  systemFiles.makeDirectory(layout.wal);
  const head = new HeadFile(systemFiles, join(own, 'head'), secrets.head, 0);
  const state = new LogState();
  const tree = { size: 0, root: new Uint8Array(32) };
  const appender = new Appender({
    state,
    wal: new WalWriter(systemFiles, layout, 0, 0),
    hasher: new InputHasher(secrets.inputRoot, inputHash),
    clock: systemClock,
    changes: new ChangesUnderWay(),
    countWritten: (written) =>
      head.write({
        ...{ epoch: 1, written, bootId: '0'.repeat(32), durable: tree, checkpoint: tree },
        clean: false,
        restored: false,
        minimumIndex: 0,
      }),
  });
  const packed = Array.from({ length: 4_096 }, () => packEvent(event()) as string);
  const run = (count: number) => {
    for (let done = 0; done < count; done += together) {
      for (let n = 0; n < together; n++) appender.append(packed[(done + n) % packed.length] as string);
      appender.flush();
      appender.takeFullSegments();
    }
  };
  run(20_000);
  const started = process.cpuUsage();
  const startedMs = performance.now();
  run(records);
  const ms = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(started);
  print(`appender alone, ${together} a flush`, {
    'records/s': Math.round((records / ms) * 1000),
    'CPU us/record': (user + system) / records,
  });
}

/** Each measurement has a log of its own: what one leaves to be sealed would be done during the next. */
function start(name: string) {
  return startAuditLog(
    {
      directory: join(directory, name),
      headPath: join(directory, `${name}.head`),
      secret,
      origin: 'bench',
      inputHash,
    },
    {
      checkpointKeys: async (origin) => ({
        signers: [seededSigner('ed25519', origin), seededSigner('mlDsa44', origin)],
      }),
      anchors: undefined,
      report: (name, detail) => {
        if (detail !== 'ready') console.log(name, detail);
      },
    },
    (cause) => {
      throw cause;
    },
  );
}

/** Turns of the event loop that bring `together` records each, with `open` at most under way. */
async function bothSides(together: number, open: number, level: 'written' | 'synced'): Promise<void> {
  const log = start(`both-${together}-${level}`);
  await log.recovered();
  const waits: number[] = [];
  let underWay = 0;
  let sent = 0;
  const run = (count: number) =>
    new Promise<void>((resolve) => {
      let done = 0;
      sent = 0;
      const turn = () => {
        for (let n = 0; n < together && sent < count && underWay < open; n++) {
          if (!log.reserve(1)) break;
          sent++;
          underWay++;
          const sentMs = performance.now();
          void log.append(event(), level).then(() => {
            waits.push(performance.now() - sentMs);
            underWay--;
            if (++done === count) resolve();
          });
        }
        if (sent < count) setImmediate(turn);
      };
      turn();
    });
  await run(20_000);
  waits.length = 0;
  const usage = process.cpuUsage();
  const own = process.threadCpuUsage();
  const flushes = log.stats().flushes;
  const startedMs = performance.now();
  await run(records);
  const ms = performance.now() - startedMs;
  const all = process.cpuUsage(usage);
  const main = process.threadCpuUsage(own);
  waits.sort((a, b) => a - b);
  const allUs = (all.user + all.system) / records;
  const mainUs = (main.user + main.system) / records;
  print(`both sides, ${level}, ${together} a turn`, {
    'records/s': Math.round((records / ms) * 1000),
    'records/flush': records / (log.stats().flushes - flushes),
    'CPU us/record main': mainUs,
    'CPU us/record others': allUs - mainUs,
    'ack p50 ms': waits[Math.floor(waits.length * 0.5)] as number,
    'ack p95 ms': waits[Math.floor(waits.length * 0.95)] as number,
  });
  await log.close();
}

/** A given rate, as arrivals spread over time: the latency at a load that is not saturation. */
async function atRate(perSecond: number, level: 'written' | 'synced'): Promise<void> {
  const log = start(`rate-${perSecond}-${level}`);
  await log.recovered();
  const waits: number[] = [];
  const run = (count: number) =>
    new Promise<void>((resolve) => {
      const startedMs = performance.now();
      let [sent, done] = [0, 0];
      const turn = () => {
        const due = Math.min(count, Math.floor(((performance.now() - startedMs) * perSecond) / 1000));
        for (; sent < due; sent++) {
          if (!log.reserve(1)) throw new Error(`no room: ${log.reason}`);
          const sentMs = performance.now();
          void log.append(event(), level).then(() => {
            waits.push(performance.now() - sentMs);
            if (++done === count) resolve();
          });
        }
        if (sent < count) setTimeout(turn, 0.2);
      };
      turn();
    });
  await run(perSecond * 2);
  waits.length = 0;
  const count = perSecond * 4;
  const usage = process.cpuUsage();
  const own = process.threadCpuUsage();
  await run(count);
  const all = process.cpuUsage(usage);
  const main = process.threadCpuUsage(own);
  waits.sort((a, b) => a - b);
  print(`both sides, ${level}, ${perSecond} records/s offered`, {
    'CPU us/record main': (main.user + main.system) / count,
    'CPU us/record others': (all.user + all.system - main.user - main.system) / count,
    'ack p50 ms': waits[Math.floor(waits.length * 0.5)] as number,
    'ack p95 ms': waits[Math.floor(waits.length * 0.95)] as number,
    'ack p99 ms': waits[Math.floor(waits.length * 0.99)] as number,
  });
  await log.close();
}

/** The start after so many records in all: until `ready`, first checkpoint included. */
async function recovery(total: number): Promise<void> {
  let log = start('recovery');
  await log.recovered();
  while (log.stats().size < total) {
    const count = Math.min(2_000, total - log.stats().size);
    if (!log.reserve(count)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      continue;
    }
    await Promise.all(Array.from({ length: count }, () => log.append(event(), 'written')));
  }
  // Time for the last full segment to be sealed.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await log.close();
  const startedMs = performance.now();
  log = start('recovery');
  await log.recovered();
  print(`start after ${log.stats().size} records`, { ms: performance.now() - startedMs, state: log.state });
  await log.close();
}

function print(what: string, figures: Record<string, number | string>): void {
  const texts = Object.entries(figures).map(([name, value]) =>
    typeof value === 'number' && !Number.isInteger(value)
      ? `${name} ${value.toFixed(2)}`
      : `${name} ${value}`,
  );
  console.log(`${what}: ${texts.join(', ')}`);
}

try {
  for (const together of [1, 8, 64]) appenderAlone(together);
  for (const together of [1, 8, 32]) await bothSides(together, 256, 'written');
  await bothSides(32, 512, 'synced');
  await atRate(5_000, 'written');
  await atRate(15_000, 'written');
  await atRate(5_000, 'synced');
  if (process.argv[3] !== undefined) await recovery(Number(process.argv[3]));
} finally {
  rmSync(directory, { recursive: true });
}
