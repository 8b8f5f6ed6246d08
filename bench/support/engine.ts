import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { KeyTypeName } from '../../src/algorithms/ids.ts';
import type { EngineDescription } from '../../src/engine/engine.ts';

/** The task of the process that runs the engine in a loop, as JSON on its command line. */
export interface EngineTask {
  readonly engine: 'auto' | 'native' | 'openssl';
  readonly keyTypes: readonly KeyTypeName[];
  /** For each key type, and each of signing and verifying. */
  readonly windowMs: number;
  /** True: also what encrypts, wraps and derives, and the making of keys. */
  readonly sealing?: boolean;
}

export interface EngineTimes {
  readonly description: EngineDescription;
  readonly times: Readonly<Partial<Record<KeyTypeName, OperationTimes>>>;
  /** Where it was asked for: microseconds of one core by the name of the work, as servers/sealing-loop.ts gives it. */
  readonly sealing?: Readonly<Record<string, number>>;
}

/** Microseconds of one core for one operation: the median of many short samples. */
export interface OperationTimes {
  readonly signUs: number;
  readonly verifyUs: number;
}

const loop = fileURLToPath(new URL('../servers/engine-loop.ts', import.meta.url));

/** The engine alone, in a process of its own; undefined where it cannot be had. */
export async function timeEngine(task: EngineTask): Promise<EngineTimes | undefined> {
  const child = spawn(process.execPath, [loop, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const answer = await text(child.stdout);
  if (answer === '') throw new Error('the engine ended without an answer');
  return (JSON.parse(answer) as EngineTimes | null) ?? undefined;
}

/** The engine that the product chooses on this machine. */
export async function describeEngine(): Promise<EngineDescription> {
  const timed = await timeEngine({ engine: 'auto', keyTypes: [], windowMs: 0 });
  return (timed as EngineTimes).description;
}
