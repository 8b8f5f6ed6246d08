import type { Config } from '../config/load.ts';
import { buildNativeCommand } from '../core/own-package.ts';
import { StartError } from '../core/start-error.ts';
import type { Engine, EngineOptions } from '../engine/engine.ts';
import { loadNativeEngine } from '../engine/native/index.ts';
import { createOpensslEngine } from '../engine/openssl/index.ts';
import type { Logger } from '../observe/log.ts';

export interface ChosenEngine {
  readonly engine: Engine;
  readonly options: EngineOptions;
}

/** OpenSSL's heap is not locked, so that no limit of the system binds its cache; each thread has one. */
const opensslKeyCacheBytes = 64 * 2 ** 20;

export function chooseEngine(config: Config, log: Logger): ChosenEngine {
  const { rngReseedIntervalOps: reseedIntervalOps, keyCacheBytes } = config;
  if (config.engine !== 'openssl') {
    const options = { reseedIntervalOps, keyCacheBytes };
    const native = loadNativeEngine(options);
    if (!('unavailable' in native)) return { engine: native, options };
    if (config.engine === 'native') throw new StartError(`KMS_ENGINE=native, but ${native.unavailable}`);
    log.warn(
      { reason: native.unavailable },
      `THE NATIVE ENGINE IS NOT IN USE: serving with OpenSSL, several times slower for ML-DSA and with keys in unlocked memory. \`${buildNativeCommand}\` says what is missing.`,
    );
  }
  const options = { reseedIntervalOps, keyCacheBytes: opensslKeyCacheBytes };
  return { engine: createOpensslEngine(options), options };
}
