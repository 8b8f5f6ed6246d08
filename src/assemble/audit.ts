import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Acceptance,
  type AuditLog,
  type AuditRecorder,
  createAuditRecorder,
} from '../audit/audit-log.ts';
import { storeAnchors } from '../audit/disk/anchor.ts';
import { readBootId } from '../audit/disk/head.ts';
import { auditSecretBytes, deriveSecrets } from '../audit/disk/secrets.ts';
import { type NoteKey, parseVkey } from '../audit/format/note.ts';
import { type AuditReading, startAuditReading } from '../audit/reading/read-thread.ts';
import { createTwoPersonAcceptance, type TwoPersonAcceptance } from '../audit/service/acceptance.ts';
import { KeyRotation } from '../audit/service/key-rotation.ts';
import type { AuditLogClient } from '../audit/service/log-client.ts';
import type { AuditParts } from '../audit/service/parts.ts';
import { linkSideLog, SideLog } from '../audit/service/side-log.ts';
import { startAuditLog } from '../audit/service/start-log-thread.ts';
import { parsePolicy, type WitnessPolicy } from '../audit/witness/policy.ts';
import { createWitnessing, type WitnessedLog } from '../audit/witness/witnessing.ts';
import type { Config } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { errorCode, readPrivateFile, writePrivateFile } from '../core/private-file.ts';
import type { SecretRule } from '../core/secret-file.ts';
import { StartError } from '../core/start-error.ts';
import { AttestationKeyStore } from '../custody/attestation-keys.ts';
import type { LiveRoot } from '../custody/root-key/live-root.ts';
import type { CryptoDispatch } from '../dispatch/crypto-dispatch.ts';
import type { Engine } from '../engine/engine.ts';
import type { RecordMac } from '../keys/authenticity.ts';
import { inventoryPage } from '../keys/inventory.ts';
import type { Health } from '../observe/health.ts';
import type { Logger } from '../observe/log.ts';
import type { Store } from '../store/store.ts';
import { proverOf, rotatingKeys } from './attestation.ts';

/** A log of a few million records is recovered by then; a longer one goes on while verification is served already. */
const recoveryWaitMs = 5_000;

const dayMs = 86_400_000;

export interface OpenedAudit {
  /** These three are undefined where nothing is recorded. */
  readonly recorder: AuditRecorder | undefined;
  readonly log: AuditLog | undefined;
  readonly parts: AuditParts | undefined;
  close(): Promise<void>;
}

/** The audit log as the configuration wants it: recovered, or on the way to it. */
export async function openAudit(
  config: Config,
  log: Logger,
  parts: {
    readonly engine: Engine;
    readonly root: LiveRoot;
    readonly store: Store;
    readonly mac: RecordMac;
    readonly lane: CryptoDispatch;
    readonly health: Health;
    /** True if the system takes its time from others; undefined where it cannot be asked. */
    readonly clockSynchronised: () => boolean | undefined;
    /** The log's thread has ended unasked. */
    readonly died: (cause: unknown) => void;
  },
): Promise<OpenedAudit> {
  const { engine, root, store, mac, lane, health } = parts;
  if (config.audit === 'off') {
    return { recorder: undefined, log: undefined, parts: undefined, close: async () => {} };
  }
  // Whatever can refuse the start comes before the first thread.
  const policy = readPolicy(config);
  const secret = engine.extractMacKey(
    openSecret(join(config.dataDir, 'audit.secret'), auditSecretBytes, {
      groupAllowed: config.groupReadableSecrets,
    }),
    '',
  );
  const attestationKeys = await AttestationKeyStore.open(engine, root.ref, store);
  root.onChange((ref) => attestationKeys.useRoot(ref));
  root.onRefresh(() => attestationKeys.reload());
  const keys = rotatingKeys(attestationKeys, lane);
  const reading: AuditReading = startAuditReading(() => auditLog.directory);
  const rotation = new KeyRotation({
    ...{ keys, log: () => auditLog, clock: systemClock, overlapMs: config.auditKeyOverlapMs },
    prove: proverOf(reading),
    report: (done, detail) => log[done ? 'info' : 'warn']({ event: 'audit_keys', detail }, 'audit'),
  });
  const witnessedLog: WitnessedLog = {
    keys: (origin) => rotation.signers(origin).flatMap(({ vkey }) => noteKeyOf(vkey)),
    extent: () => auditLog.stats(),
    contradicted: (detail) => auditLog.contradicted(detail),
  };
  const witnessing = policy && createWitnessing(policy, config.auditWitnessFailure, reading, witnessedLog);
  const sideLog = new SideLog({
    directory: join(config.auditDir, 'degraded'),
    origin: config.auditOrigin,
    bootId: readBootId(),
    clock: systemClock,
  });
  let threadLives = true;
  const auditLog: AuditLogClient = startAuditLog(
    {
      directory: config.auditDir,
      headPath: join(config.dataDir, 'audit.head'),
      secret,
      origin: config.auditOrigin,
      inputHash: { mode: config.auditInputHash, modeOfTenant: {}, kid: '1' },
      options: {
        checkpointRecords: config.auditCheckpointRecords,
        checkpointIntervalMs: config.auditCheckpointIntervalMs,
        retainMs: config.auditRetention.days * dayMs,
      },
    },
    {
      checkpointKeys: async (origin) => ({ signers: rotation.signers(origin) }),
      macKey: engine.macKey,
      anchors: storeAnchors(store, deriveSecrets(engine.macKey(secret)).anchor),
      keys: { page: (after) => inventoryPage(store, mac, after) },
      ...(witnessing === undefined
        ? undefined
        : {
            witnessed: (origin) => witnessing.held(origin),
            witness: (checkpoint) => witnessing.cosign(checkpoint),
          }),
      report(event, detail) {
        const isReady = event === 'audit_state' && detail === 'ready';
        log[isReady ? 'info' : 'warn']({ event, detail }, 'audit');
        if (isReady) void linkSideLog(sideLog, auditLog);
      },
    },
    (cause) => {
      if (!threadLives) return;
      threadLives = false;
      parts.died(cause);
    },
  );
  health.condition('audit_ready', 'required', () => threadLives && auditLog.state === 'ready');
  const clock = watchClock(parts.clockSynchronised);
  health.condition('clock', 'wanted', () => clock.synchronised && auditLog.stats().clockBehindMs === 0);
  await Promise.race([
    auditLog.recovered(),
    new Promise((resolve) => setTimeout(resolve, recoveryWaitMs).unref()),
  ]);
  rotation.start();
  return {
    recorder: createAuditRecorder(auditLog, sideLog),
    log: auditLog,
    parts: {
      reading,
      rotation,
      witnessed: config.auditWitnessPolicy !== 'none',
      acceptance: acceptanceOf(auditLog, sideLog, log),
    },
    async close() {
      clock.end();
      await rotation.close();
      await auditLog.close();
      await sideLog.close();
      await reading.close();
    },
  };
}

/** A loss that two persons accept is told, and goes onto the log with the totals of what was done without records. */
function acceptanceOf(auditLog: AuditLog, sideLog: SideLog, log: Logger): TwoPersonAcceptance {
  const accept = async (acceptance: Acceptance) => {
    log.warn({ event: 'audit_accepted', ...acceptance }, 'audit');
    const sealed = await sideLog.seal();
    const accepted = await auditLog.accept({
      ...acceptance,
      ...(sealed === undefined ? undefined : { sideLog: { ...sealed.facts } }),
    });
    await sealed?.settle(accepted.ok);
    return accepted;
  };
  return createTwoPersonAcceptance(auditLog, accept, systemClock);
}

/** Chrony and ntpd are asked by the kernel every 64 s and more. */
const clockWatchMs = 60_000;

/** Asks once a minute; a system that cannot be asked is believed. */
function watchClock(synchronised: () => boolean | undefined): {
  readonly synchronised: boolean;
  end(): void;
} {
  let holds = synchronised() !== false;
  const timer = setInterval(() => {
    holds = synchronised() !== false;
  }, clockWatchMs).unref();
  return {
    get synchronised() {
      return holds;
    },
    end: () => clearInterval(timer),
  };
}

function noteKeyOf(vkey: string): NoteKey[] {
  const parsed = parseVkey(vkey);
  return parsed.ok ? [parsed.value] : [];
}

/** Undefined where the configuration names none. Throws a StartError where it cannot be read. */
function readPolicy({ auditWitnessPolicy: file }: Config): WitnessPolicy | undefined {
  if (file === 'none') return undefined;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new StartError(`the witness policy ${file} cannot be read (${errorCode(cause)})`, { cause });
  }
  const parsed = parsePolicy(text);
  if (!parsed.ok) throw new StartError(`the witness policy ${file}: ${parsed.problem}`);
  return parsed.policy;
}

function openSecret(path: string, length: number, rule: SecretRule): Uint8Array {
  const read = readPrivateFile(path, length, rule);
  if (read.ok) return read.bytes;
  if (!read.missing) throw new StartError(read.problem);
  const secret = randomBytes(length);
  try {
    writePrivateFile(path, secret, 'create');
  } catch (cause) {
    throw new StartError(`${path} cannot be made (${errorCode(cause)})`, { cause });
  }
  return secret;
}
