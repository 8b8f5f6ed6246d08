import type { Engine, EngineOptions } from '../../src/engine/engine.ts';
import { loadNativeEngine } from '../../src/engine/native/index.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';

export interface AvailableEngine {
  readonly name: Engine['description']['name'];
  /** Of the native engine there is one in a process, whose caches all tests share. */
  create(): Engine;
}

/** Little memory for opened keys, so that tests see them evicted. */
export const testEngineOptions: EngineOptions = { reseedIntervalOps: 1 << 16, keyCacheBytes: 1 << 20 };

const wanted = process.env.KMS_ENGINE ?? 'auto';

/**
 * The engines that can be had here: openssl always, native when its addon is built. KMS_ENGINE=native|openssl leaves
 * only that one, and throws where it cannot be had, so that a run which must test it cannot pass without.
 */
export function availableEngines(): readonly AvailableEngine[] {
  return [...nativeEngine(), ...opensslEngine()];
}

/**
 * The engine that a service here takes: tests of whole services run over it alone, and `npm run test:engine` with
 * KMS_ENGINE=openssl runs them over the other one.
 */
export function servedEngines(): readonly AvailableEngine[] {
  return availableEngines().slice(0, 1);
}

function nativeEngine(): AvailableEngine[] {
  if (wanted === 'openssl') return [];
  const engine = loadNativeEngine(testEngineOptions);
  if (!('unavailable' in engine)) return [{ name: 'native', create: () => engine }];
  if (wanted === 'native') throw new Error(`KMS_ENGINE=native: ${engine.unavailable}`);
  return [];
}

function opensslEngine(): AvailableEngine[] {
  return wanted === 'native'
    ? []
    : [{ name: 'openssl', create: () => createOpensslEngine(testEngineOptions) }];
}
