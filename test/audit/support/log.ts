import { after } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import type { AuditEvent } from '../../../src/audit/audit-log.ts';
import type { Anchor } from '../../../src/audit/disk/anchor.ts';
import type { Files } from '../../../src/audit/disk/files.ts';
import { sealSegment } from '../../../src/audit/disk/segments.ts';
import { AuditLogClient } from '../../../src/audit/service/log-client.ts';
import type { AuditLogParts } from '../../../src/audit/service/parts.ts';
import {
  defaultLogOptions,
  type LogOptions,
  type ServiceData,
  statisticsBytes,
} from '../../../src/audit/thread-messages.ts';
import { LogThread } from '../../../src/audit/writer/log-thread.ts';
import { ok } from '../../../src/core/result.ts';
import { MemoryFiles } from './memory-files.ts';
import { seededSigner } from './signers.ts';

/** A machine: its disk, its key store, the boot it is in. */
export interface Machine {
  files: Files;
  anchor: Anchor | undefined;
  bootId: string;
  nowMs: number | undefined;
}

export function machine(files: Files = new MemoryFiles()): Machine {
  return { files, anchor: undefined, bootId: '1'.repeat(32), nowMs: undefined };
}

export const auditDirectory = '/data/audit';
export const headPath = '/data/audit.head';
export const origin = 'kms.example/audit/1';

/** Fast enough for tests, and no ballast to fill memory with. */
const options: LogOptions = { ...defaultLogOptions, ballastBytes: 0, spaceIntervalMs: 20, scrubPauseMs: 0 };

export interface RunningLog {
  readonly log: AuditLogClient;
  readonly reports: string[];
  readonly checkpoints: { size: number; root: string }[];
  /** As kill -9: nothing more is sent or answered, and nothing more is written by this process. */
  kill(): void;
}

export interface StartOptions {
  readonly options?: Partial<LogOptions>;
  readonly parts?: Partial<AuditLogParts>;
  readonly directory?: string;
}

// A test that fails leaves its channels open, and open channels keep the process.
const running = new Set<() => void>();
after(() => {
  for (const end of running) end();
});

/** The log's two sides, joined by a channel in one thread. */
export async function startLog(on: Machine, start: StartOptions = {}): Promise<RunningLog> {
  const { port1, port2 } = new MessageChannel();
  const reports: string[] = [];
  const checkpoints: { size: number; root: string }[] = [];
  const directory = start.directory ?? '/data';
  const data: ServiceData = {
    directory: `${directory}/audit`,
    headPath: `${directory}/audit.head`,
    secret: new Uint8Array(32).fill(7),
    origin,
    inputHash: { mode: 'hmac', modeOfTenant: { plainly: 'plain', closely: 'commit' }, kid: 'k1' },
    options: { ...options, ...start.options },
    statistics: new SharedArrayBuffer(statisticsBytes),
    anchored: true,
    keysLogged: start.parts?.keys !== undefined,
    witnessed: start.parts?.witnessed !== undefined,
  };
  const { files, bootId } = on;
  let dead = false;
  const mortalFiles = untilDead(files, () => dead);
  const service = new LogThread(data, port2, {
    files: mortalFiles,
    bootId,
    clock: { monotonicMs: () => performance.now(), utcMs: () => on.nowMs ?? Date.now() },
    lock: async () => async () => {},
    seal: (layout, segment, snapshot) => sealSegment(mortalFiles, layout, segment, snapshot),
  });
  const log = new AuditLogClient(data, port1, {
    checkpointKeys: async (name) => ({
      signers: [seededSigner('ed25519', name), seededSigner('mlDsa44', name)],
    }),
    anchors: {
      load: async () => ok(on.anchor),
      save: async (anchor) => {
        on.anchor = anchor;
        checkpoints.push({ size: anchor.size, root: Buffer.from(anchor.root).toString('hex') });
        return ok(undefined);
      },
    },
    report: (event, detail) => reports.push(`${event} ${detail}`),
    ...start.parts,
  });
  const end = () => {
    dead = true;
    running.delete(end);
    port1.close();
    port2.close();
  };
  running.add(end);
  service.start();
  await log.recovered();
  const close = log.close.bind(log);
  log.close = () => close().then(end);
  return {
    ...{ log, reports, checkpoints },
    kill: end,
  };
}

/** The file system as a process sees it that may be dead: then it does nothing any more. */
function untilDead(files: Files, dead: () => boolean): Files {
  const check = () => {
    if (dead()) throw new Error('the process is gone');
  };
  return new Proxy(files, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (name !== 'close') check();
        const result = value.apply(target, args);
        return name === 'open' ? untilDead(result as Files, dead) : result;
      };
    },
  });
}

let operations = 0;

export function event(over: Partial<AuditEvent> = {}): AuditEvent {
  return {
    actor: 'spiffe://acme/web-17',
    alg: 'ed25519',
    inputDigest: 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24',
    keyId: 'acme/tls/ed25519/0192f7c1',
    keyVersion: 7,
    opId: `0192f7c1-5b1e-7c3a-9d2e-${String(operations++).padStart(12, '0')}`,
    purpose: 'sign',
    result: 'ok',
    tenant: 'acme',
    ...over,
  };
}

/** Appends `count` records one after the other's turn, `together` at a time; the receipts' indexes. */
export async function appendMany(log: AuditLogClient, count: number, together = 8): Promise<number[]> {
  const indexes: number[] = [];
  for (let done = 0; done < count; done += together) {
    const size = Math.min(together, count - done);
    // A machine that others keep busy may have checkpoints that come late.
    await until(() => log.reserve(size), `room for ${size} records`);
    const outcomes = await Promise.all(
      Array.from({ length: size }, (_, n) =>
        log.append(event({ keyId: `acme/k${(done + n) % 3}` }), 'written'),
      ),
    );
    for (const outcome of outcomes) {
      if (!outcome.ok) throw new Error('refused');
      indexes.push(outcome.value.index);
    }
  }
  return indexes;
}

/** For what happens in the background; gives up after far longer than it can take, `longerMs` more. */
export async function until(holds: () => boolean, what: string, longerMs = 0): Promise<void> {
  for (let waited = 0; !holds(); waited += 5) {
    if (waited > 20_000 + longerMs) throw new Error(`it never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
