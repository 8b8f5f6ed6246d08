import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Static, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { restoringName } from '../assemble/secrets.ts';
import { systemFiles } from '../audit/disk/files.ts';
import { writePrivateFile } from '../core/private-file.ts';
import { BackupRefusal } from './refusal.ts';

/**
 * A restore lies in a folder of the directory that it is for, so that it works where that is a mount, until it is whole. Then a
 * plan is written, the files go to their places by renames, and the folder goes last. Killed before the plan, there is no data
 * directory and the next restore begins anew; killed after it, the next restore carries the plan out. Meanwhile no service
 * starts here.
 */
const planName = '.plan';

const names = Type.Array(Type.String({ pattern: '^[^/]{1,255}$' }), { maxItems: 10_000 });
const plan = Type.Object(
  {
    v: Type.Literal(1),
    backup: Type.String(),
    /** The folder that what was here before goes to; absent where nothing was. */
    aside: Type.Optional(Type.String({ pattern: '^\\.replaced-[0-9]{1,16}$' })),
    /** Entries that go there first, of the data directory and of an audit directory that is apart. */
    before: Type.Object({ data: names, audit: names }, { additionalProperties: false }),
    /** True from when all of them have gone. */
    cleared: Type.Boolean(),
    auditDir: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
);
export type Plan = Static<typeof plan>;

/** The two directories that a restore fills; the audit directory only where it is not in the data directory. */
export interface Targets {
  readonly dataDir: string;
  readonly auditDir: string | undefined;
}

export function stagingOf(directory: string): string {
  return join(directory, restoringName);
}

/** What a restore that did not come to its plan has left is removed. */
export function beginStaging({ dataDir, auditDir }: Targets): void {
  for (const directory of directoriesOf({ dataDir, auditDir })) {
    rmSync(stagingOf(directory), { recursive: true, force: true });
    mkdirSync(stagingOf(directory), { mode: 0o700 });
  }
}

export function removeStaging(targets: Targets): void {
  for (const directory of directoriesOf(targets))
    rmSync(stagingOf(directory), { recursive: true, force: true });
}

export function isPlanned(dataDir: string): boolean {
  return existsSync(join(stagingOf(dataDir), planName));
}

/** The plan of a restore that was killed while its files went to their places. */
export function readPlan(dataDir: string): Plan | undefined {
  if (!isPlanned(dataDir)) return undefined;
  const path = join(stagingOf(dataDir), planName);
  const found: unknown = JSON.parse(readFileSync(path, 'utf8'));
  if (!Value.Check(plan, found))
    throw new BackupRefusal(
      'target_unsafe',
      `${path} is damaged: remove ${stagingOf(dataDir)} and restore again`,
    );
  return found;
}

export function writePlan(dataDir: string, made: Plan): void {
  writePrivateFile(join(stagingOf(dataDir), planName), `${JSON.stringify(made)}\n`, 'replace');
}

/** Does what the plan says, from wherever it was left. Afterwards the data directory is whole. */
export async function carryOut(dataDir: string, found: Plan): Promise<void> {
  const { auditDir, aside, before } = found;
  if (!found.cleared) {
    if (aside !== undefined) {
      moveAside(dataDir, aside, before.data);
      if (auditDir !== undefined) moveAside(auditDir, aside, before.audit);
    }
    await syncAll([dataDir, auditDir]);
    writePlan(dataDir, { ...found, cleared: true });
  }
  if (auditDir !== undefined) {
    moveUp(auditDir);
    await systemFiles.syncDirectory(auditDir);
    rmSync(stagingOf(auditDir), { recursive: true, force: true });
  }
  moveUp(dataDir);
  await systemFiles.syncDirectory(dataDir);
  rmSync(stagingOf(dataDir), { recursive: true, force: true });
  await syncAll([dataDir, auditDir]);
}

function moveAside(directory: string, aside: string, entries: readonly string[]): void {
  mkdirSync(join(directory, aside), { recursive: true, mode: 0o700 });
  for (const name of entries) {
    const from = join(directory, name);
    if (existsSync(from)) renameSync(from, join(directory, aside, name));
  }
}

function moveUp(directory: string): void {
  const staging = stagingOf(directory);
  if (!existsSync(staging)) return;
  for (const name of readdirSync(staging)) {
    // The plan, and what is left of one that was half written; no part of a backup begins with a dot.
    if (!name.startsWith('.')) renameSync(join(staging, name), join(directory, name));
  }
}

async function syncAll(directories: readonly (string | undefined)[]): Promise<void> {
  for (const directory of directories) {
    if (directory !== undefined) await systemFiles.syncDirectory(directory);
  }
}

function directoriesOf({ dataDir, auditDir }: Targets): string[] {
  return auditDir === undefined ? [dataDir] : [dataDir, auditDir];
}
