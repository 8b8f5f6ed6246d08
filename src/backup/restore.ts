import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type OfflineAct, offlineActor, offlineActsText, readOfflineActs } from '../assemble/offline-acts.ts';
import { restoringName } from '../assemble/secrets.ts';
import { systemFiles } from '../audit/disk/files.ts';
import { HeadFile, readHead, unknownBootId } from '../audit/disk/head.ts';
import { auditSecretBytes, deriveSecrets } from '../audit/disk/secrets.ts';
import type { WitnessPolicy } from '../audit/witness/policy.ts';
import { extractMacKey, softwareMacKey } from '../core/mac-key.ts';
import { writePrivateFile } from '../core/private-file.ts';
import { judgeSecretDirectory, type SecretRule } from '../core/secret-file.ts';
import { StartError } from '../core/start-error.ts';
import type { OpenWith } from '../custody/root-key/age.ts';
import { heldBy, lockDirectory } from '../store/lmdb/directory-lock.ts';
import { isLater, type KnownTree, knownToDirectory, knownToWitnesses } from './known-later.ts';
import type { BackupHead, Manifest } from './manifest.ts';
import { readBackup, readBackupHead } from './read.ts';
import { BackupRefusal, type Outcome, outcomeOf } from './refusal.ts';
import {
  beginStaging,
  carryOut,
  isPlanned,
  type Plan,
  readPlan,
  removeStaging,
  stagingOf,
  type Targets,
  writePlan,
} from './staging.ts';
import { StagingSink } from './staging-sink.ts';

export interface RestoreOptions {
  readonly from: string;
  readonly opens: OpenWith;
  readonly targets: Targets;
  readonly secretRule: SecretRule;
  /** What is in the directory goes to a folder in it; otherwise it has to be empty. */
  readonly replace: boolean;
  /** The reason why the log may go back in time, for the audit log. */
  readonly acceptRollback: string | undefined;
  /** Asked what they hold. */
  readonly witnesses: WitnessPolicy | undefined;
  progress(done: number, of: number): void;
  /** Something that the operator should know, and that stops nothing. */
  warn(text: string): void;
}

export type Restored =
  | {
      readonly kind: 'restored';
      readonly head: BackupHead;
      readonly manifest: Manifest;
      /** The folder with what was there before. */
      readonly aside: string | undefined;
    }
  /** One that was killed when it was nearly done; the backup that it was of. */
  | { readonly kind: 'completed'; readonly backup: string };

/** The data directory of a backup, whole or not at all. */
export function restoreBackup(options: RestoreOptions): Promise<Outcome<Restored>> {
  return outcomeOf(async () => {
    const { dataDir } = options.targets;
    const made = makeDirectory(dataDir, options.secretRule);
    try {
      return await restoreAlone(options);
    } catch (cause) {
      if (made && readdirSync(dataDir).length === 0) rmdirSync(dataDir);
      throw cause;
    }
  });
}

async function restoreAlone(options: RestoreOptions): Promise<Restored> {
  const unlock = await lockTargets(options.targets);
  try {
    return await restoreLocked(options);
  } catch (cause) {
    // What has a plan goes on from there.
    if (!isPlanned(options.targets.dataDir)) removeStaging(options.targets);
    throw cause;
  } finally {
    await unlock();
  }
}

function makeDirectory(dataDir: string, rule: SecretRule): boolean {
  if (existsSync(dataDir)) {
    const problem = judgeSecretDirectory(dataDir, rule);
    if (problem !== undefined) throw new BackupRefusal('target_unsafe', problem);
    // Of one that is root's, as a mount may be, others may go on reading the names.
    if (statSync(dataDir).uid === process.geteuid?.()) chmodSync(dataDir, 0o700);
    return false;
  }
  if (!existsSync(dirname(dataDir)))
    throw new BackupRefusal('target_unsafe', `there is no directory ${dirname(dataDir)}`);
  mkdirSync(dataDir, { mode: 0o700 });
  return true;
}

/** Against another restore, and against a service: one may have the audit directory without the data directory. */
async function lockTargets({
  dataDir,
  auditDir = join(dataDir, 'audit'),
}: Targets): Promise<() => Promise<void>> {
  const unlocks: (() => Promise<void>)[] = [];
  for (const directory of [dataDir, join(dataDir, 'store'), auditDir]) {
    if (!existsSync(directory)) continue;
    const unlock = await lockDirectory(directory);
    if (unlock === undefined) {
      for (const each of unlocks) await each();
      throw new BackupRefusal('in_use', `${directory} is in use: ${await heldBy(directory)}`);
    }
    unlocks.push(unlock);
  }
  return async () => {
    for (const each of unlocks) await each();
  };
}

async function restoreLocked(options: RestoreOptions): Promise<Restored> {
  const { targets, from, opens, progress } = options;
  const { dataDir, auditDir } = targets;
  const interrupted = readPlan(dataDir);
  if (interrupted !== undefined) {
    await requireSameRestore(options, interrupted);
    await carryOut(dataDir, interrupted);
    return { kind: 'completed', backup: interrupted.backup };
  }
  const before = {
    data: contentOf(dataDir),
    audit: auditDir === undefined ? [] : contentOf(auditDir),
  };
  const occupied = before.data.length > 0 ? dataDir : before.audit.length > 0 ? auditDir : undefined;
  if (occupied !== undefined && !options.replace)
    throw new BackupRefusal(
      'target_not_empty',
      `${occupied} is not empty; --replace moves aside what is there`,
    );
  if (auditDir !== undefined) mkdirSync(auditDir, { recursive: true, mode: 0o700 });
  const known = knownToDirectory({
    headPath: join(dataDir, 'audit.head'),
    auditDir: auditDir ?? join(dataDir, 'audit'),
  });
  beginStaging(targets);
  const sink = new StagingSink(targets);
  let read: { head: BackupHead; manifest: Manifest };
  try {
    read = await readBackup(from, opens, sink, progress);
  } finally {
    await sink.close();
  }
  const { head, manifest } = read;
  const later = await requireForward(options, manifest, known);
  const staged = stagingOf(dataDir);
  if (head.live) markRestored(staged);
  noteAct(staged, read, options.acceptRollback, later);
  await syncTree(staged);
  if (auditDir !== undefined) await syncTree(stagingOf(auditDir));
  const aside = occupied === undefined ? undefined : `.replaced-${Date.now()}`;
  const plan: Plan = {
    ...{ v: 1, backup: head.id, before, cleared: false },
    ...(aside === undefined ? undefined : { aside }),
    ...(auditDir === undefined ? undefined : { auditDir }),
  };
  writePlan(dataDir, plan);
  await carryOut(dataDir, plan);
  return { kind: 'restored', head, manifest, aside };
}

/** Half of one backup and half of another are none: only the restore that was interrupted is finished. */
async function requireSameRestore(
  { from, opens, targets }: RestoreOptions,
  interrupted: Plan,
): Promise<void> {
  const { id } = await readBackupHead(from, opens);
  const detail = `a restore of the backup ${interrupted.backup} to ${targets.dataDir} was interrupted`;
  if (id !== interrupted.backup)
    throw new BackupRefusal(
      'restore_under_way',
      `${detail}, and ${from} is the backup ${id}: finish that one with its own file, or empty the directory`,
    );
  if (interrupted.auditDir !== targets.auditDir)
    throw new BackupRefusal(
      'restore_under_way',
      `${detail}, whose audit directory is ${interrupted.auditDir ?? 'in the data directory'}: set KMS_AUDIT_DIR as it was`,
    );
}

/** What counts as something: not the folders of restores, nor what a file system puts there itself. */
function contentOf(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory).filter(
    (name) => name !== restoringName && name !== 'lost+found' && !name.startsWith('.replaced-'),
  );
}

/** The trees that somebody knows and the backup does not have, all of which the operator has accepted. */
async function requireForward(
  { witnesses, acceptRollback, warn }: RestoreOptions,
  { checkpoint }: Manifest,
  ofTarget: readonly KnownTree[],
): Promise<readonly KnownTree[]> {
  const held =
    witnesses === undefined || checkpoint === undefined
      ? { known: [], silent: [] }
      : await knownToWitnesses(witnesses, checkpoint);
  for (const name of held.silent) warn(`witness ${name} does not say what it holds of this log`);
  const later = [...ofTarget, ...held.known].filter((known) => isLater(known, checkpoint));
  if (later.length > 0 && acceptRollback === undefined) {
    const who = later.map(({ by, epoch, size }) => `${by} knows ${size} records of epoch ${epoch}`);
    throw new BackupRefusal(
      'older_than_known',
      `the backup has ${checkpoint?.size ?? 0} records of epoch ${checkpoint?.epoch ?? 1}, and ${who.join(', ')}: what came later would be lost; --accept-rollback <reason> restores it all the same`,
    );
  }
  return later;
}

/** The log was written on while the store was read: its HEAD tells the next start so, and demands nothing of this boot. */
function markRestored(staged: string): void {
  const path = join(staged, 'audit.head');
  const secret = readFileSync(join(staged, 'audit.secret'));
  if (secret.length !== auditSecretBytes)
    throw new BackupRefusal('damaged', 'the backup is damaged: the secret of its log has another length');
  const { head: key } = deriveSecrets(softwareMacKey(extractMacKey(secret, '')));
  const found = readHead(systemFiles, path, key);
  if (typeof found === 'string')
    throw new BackupRefusal('damaged', 'the backup is damaged: the HEAD of its log is not authentic');
  const file = new HeadFile(systemFiles, path, key, found.counter);
  try {
    // Both slots, so that none speaks of the boot before.
    for (let slot = 0; slot < 2; slot++)
      file.write({ ...found.head, bootId: unknownBootId, clean: false, restored: true });
  } finally {
    file.close();
  }
}

/** For the audit log of the service that starts there. */
function noteAct(
  staged: string,
  { head, manifest }: { head: BackupHead; manifest: Manifest },
  acceptRollback: string | undefined,
  later: readonly KnownTree[],
): void {
  const act: OfflineAct = {
    type: 'store.restored',
    ...{ atMs: Date.now(), actor: offlineActor() },
    reason: later.length === 0 ? 'a backup was restored' : (acceptRollback ?? ''),
    facts: {
      ...{ backup: head.id, created_at_ms: head.createdAtMs, size: manifest.checkpoint?.size ?? 0 },
      ...(later.length === 0
        ? undefined
        : {
            goes_back: later
              .map(({ by, epoch, size }) => `${by}: ${size} of epoch ${epoch}`)
              .join('; ')
              .slice(0, 1_000),
          }),
    },
  };
  try {
    const acts = [...readOfflineActs(staged), act];
    writePrivateFile(join(staged, 'offline-acts.json'), offlineActsText(acts), 'replace');
  } catch (cause) {
    if (cause instanceof StartError) throw new BackupRefusal('damaged', cause.message, { cause });
    throw cause;
  }
}

/** The directories too: a file is only as durable as the directory that names it. */
async function syncTree(directory: string): Promise<void> {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) await syncTree(join(directory, entry.name));
  }
  // LMDB's lock file is of the process that wrote the store.
  rmSync(join(directory, 'lock.mdb'), { force: true });
  await systemFiles.syncDirectory(directory);
}
