import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { threadEntry } from '../../core/own-package.ts';
import { StartError } from '../../core/start-error.ts';
import type { RootSource } from '../../engine/engine.ts';
import type { Surroundings } from './secret-place.ts';

/** A memory file system. The file has a name for a moment, and no core dump has its bytes. */
const memoryDirectory = '/dev/shm';
/** Time to type a passphrase. Without a terminal it is over in seconds. */
const longestMs = 300_000;
const maxProblemBytes = 4_096;

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
/** Proxies of Node itself see tokens of a cloud in the clear. The flag is of Node 24.5; before it, a cloud refuses their variable. */
const flags = ['--no-warnings', ...(major > 24 || minor >= 5 ? ['--no-use-env-proxy'] : [])];

/** `open`: by this source of the list. `renew`: a new root key of this generation, in all sources of the list. */
export type Errand =
  | { readonly do: 'open'; readonly id: string }
  | { readonly do: 'renew'; readonly generation: number };

/** The argument of the process. */
export interface ErrandNote {
  readonly errand: Errand;
  readonly dataDir: string;
  readonly groupAllowed: boolean;
  /** The descriptor that takes the 32 bytes, at offset 0. */
  readonly out: number;
}

/**
 * Opens or makes a root key in a process of its own, which ends before the key is used. Passphrase, shares and key are in that
 * process's memory alone, and it has no core dumps. The key comes in a memory file without a name, which the engine reads and
 * closes. Throws a StartError with the words of the process.
 */
export async function rootKeyApart(
  errand: Errand,
  around: Surroundings,
  descriptors: readonly number[] = [],
  deadlineMs: number = longestMs,
): Promise<RootSource> {
  const memory = openMemory();
  try {
    await run(errand, around, memory, descriptors, deadlineMs);
  } catch (cause) {
    closeSync(memory);
    throw cause;
  }
  return { kind: 'descriptor', descriptor: memory };
}

function openMemory(): number {
  if (!existsSync(memoryDirectory))
    throw new StartError(`${memoryDirectory} is missing: a root key is handed over in memory only`);
  const path = join(memoryDirectory, `intaglio-${randomBytes(12).toString('hex')}`);
  const file = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  return file;
}

async function run(
  errand: Errand,
  { dataDir, rule }: Surroundings,
  memory: number,
  descriptors: readonly number[],
  deadlineMs: number,
): Promise<void> {
  // Descriptors that the list names keep their numbers in the process.
  const out = Math.max(2, ...descriptors) + 1;
  // Standard input ends with this process, however it ends.
  const stdio: ('inherit' | 'ignore' | 'pipe' | number)[] = ['pipe', 'ignore', 'pipe'];
  for (let number = 3; number < out; number++) stdio.push(descriptors.includes(number) ? number : 'ignore');
  stdio.push(memory);
  const note: ErrandNote = { errand, dataDir, groupAllowed: rule.groupAllowed, out };
  const child = spawn(
    process.execPath,
    [...flags, fileURLToPath(threadEntry('root-sources')), JSON.stringify(note)],
    // Nothing that it does holds this up.
    { stdio, timeout: deadlineMs, killSignal: 'SIGKILL' },
  );
  // It may have ended first.
  child.stdin?.on('error', () => {});
  let problem = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    problem = (problem + text).slice(-maxProblemBytes);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new StartError(saidIn(problem) || 'the root key could not be opened in time');
}

/** Before its reason the process writes NUL. With NODE_DEBUG, Node writes requests and their tokens to the same place. */
function saidIn(written: string): string {
  const [, reason = ''] = written.split('\0');
  return reason.trim();
}
