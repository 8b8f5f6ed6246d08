import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Static, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import type { AuditEvent, AuditRecorder } from '../audit/audit-log.ts';
import type { Config } from '../config/load.ts';
import { errorCode, writePrivateFile } from '../core/private-file.ts';
import { StartError } from '../core/start-error.ts';
import { pause } from '../keys/background.ts';
import type { Logger } from '../observe/log.ts';
import { operatorTenant } from '../operations/admin.ts';

/**
 * An act of an operator on a data directory whose service is stopped. It waits in a file there until the service has put it on
 * the audit log.
 */
const offlineAct = Type.Object(
  {
    type: Type.Union([
      Type.Literal('store.accepted'),
      Type.Literal('store.restored'),
      /** Keys that were there before the store had a head were taken as they are: once, or somebody took the head away. */
      Type.Literal('store.sealed'),
      /** Other values of PCRs open a root key that a TPM keeps. */
      Type.Literal('root.approved'),
    ]),
    atMs: Type.Integer({ minimum: 0 }),
    /** The user of the operating system, as `uid:<number>`; or the store itself. */
    actor: Type.String({ pattern: '^[\\x21-\\x7e]{1,200}$' }),
    reason: Type.String({ maxLength: 500 }),
    /** For the record: bounded, as a record has 4 KiB. */
    facts: Type.Record(Type.String(), Type.Union([Type.String({ maxLength: 2_000 }), Type.Integer()])),
  },
  { additionalProperties: false },
);
export type OfflineAct = Static<typeof offlineAct>;

const fileName = 'offline-acts.json';
/** More acts than a person carries out between two starts. */
const maxActs = 32;
const file = Type.Object(
  { v: Type.Literal(1), acts: Type.Array(offlineAct, { maxItems: maxActs }) },
  { additionalProperties: false },
);

export function offlineActor(): string {
  return `uid:${process.geteuid?.() ?? 0}`;
}

/** In the order in which they were carried out. Throws a StartError where the file is not one of these. */
export function readOfflineActs(dataDir: string): readonly OfflineAct[] {
  const path = join(dataDir, fileName);
  if (!existsSync(path)) return [];
  try {
    const parsed: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (Value.Check(file, parsed)) return parsed.acts;
  } catch (cause) {
    if (!(cause instanceof SyntaxError))
      throw new StartError(`${path} cannot be read (${errorCode(cause)})`, { cause });
  }
  throw new StartError(`${path} is damaged: it says what operators did while the service was stopped`);
}

/** Durable when it returns. Throws a StartError where too many wait. */
export function addOfflineAct(dataDir: string, act: OfflineAct): void {
  writeOfflineActs(dataDir, [...readOfflineActs(dataDir), act]);
}

export function writeOfflineActs(dataDir: string, acts: readonly OfflineAct[]): void {
  if (acts.length > maxActs) throw new StartError('too many acts wait for the audit log: start the service');
  writePrivateFile(join(dataDir, fileName), offlineActsText(acts), 'replace');
}

export function offlineActsText(acts: readonly OfflineAct[]): string {
  return `${JSON.stringify({ v: 1, acts })}\n`;
}

const retryMs = 1_000;

/** Puts the acts that wait on the audit log, in the background, and then removes their file. Never rejects. */
export function recordOfflineActs(
  config: Config,
  log: Logger,
  recorder: AuditRecorder | undefined,
): { close(): Promise<void> } {
  const acts = config.amnesia ? [] : readOfflineActs(config.dataDir);
  const stop = new AbortController();
  const recorded = (async () => {
    let done = 0;
    for (const act of acts) {
      log.warn({ ...act }, 'this was done to the data directory while no service ran');
      if (recorder !== undefined && !(await record(recorder, act, stop.signal))) break;
      done++;
    }
    if (done === 0) return;
    // With what came meanwhile, such as an approval of a TPM's PCRs: the next start tells of that.
    const left = readOfflineActs(config.dataDir).slice(done);
    if (left.length > 0) writeOfflineActs(config.dataDir, left);
    else rmSync(join(config.dataDir, fileName), { force: true });
  })().catch((cause: unknown) => {
    // The next start does it again.
    log.error({ err: cause }, 'the audit log was not told of all acts of operators');
  });
  return {
    close() {
      stop.abort();
      return recorded;
    },
  };
}

/** False: the service stopped before it was on the log. */
async function record(recorder: AuditRecorder, act: OfflineAct, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    if (recorder.reserve(1) === undefined && (await recorder.append(eventOf(act), 'synced')).ok) return true;
    await pause(retryMs, signal);
  }
  return false;
}

function eventOf({ type, atMs, actor, reason, facts }: OfflineAct): AuditEvent {
  return {
    ...{ actor, alg: 'none', inputDigest: undefined, keyId: `${operatorTenant}/-`, keyVersion: 0 },
    ...{ opId: randomUUID(), purpose: 'operator', result: 'ok', tenant: operatorTenant, type },
    data: { ...facts, reason, at_ms: atMs },
  };
}
