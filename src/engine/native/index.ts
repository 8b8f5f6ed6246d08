import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expandMessage, type MacKey, type MacKeyRef, macBytes } from '../../core/mac-key.ts';
import { ownRoot } from '../../core/own-package.ts';
import type {
  Engine,
  EngineDescription,
  EngineErrorCode,
  EngineOptions,
  GeneratedKey,
  RootRef,
  RootSource,
} from '../engine.ts';
import { EngineError } from '../engine-error.ts';

/** The exports of the addon in native/: the part of native/index.d.ts that is used here. */
interface Binding {
  describe(): Readonly<Record<string, string | boolean>>;
  configure(settings: { reseedIntervalOps: number; arenaBytes: number }): void;
  rootFromFile(path: string): number;
  rootCreateFile(path: string): number;
  rootFromDescriptor(descriptor: number): number;
  rootFromLentPage(fill: (page: Uint8Array) => void): number;
  rootRandom(): number;
  joinRoots(current: number, before: number): number;
  closeRoot(root: number): boolean;
  reseal(from: number, to: number, tenant: string, aad: string, sealed: Uint8Array): Uint8Array | null;
  closeMacKey(key: number): boolean;
  generate(root: number, keyType: number, tenant: string, aad: string): GeneratedKey;
  importKey(root: number, keyType: number, tenant: string, aad: string, secret: Uint8Array): GeneratedKey;
  run(root: number, request: Uint8Array, response: Uint8Array): void;
  forget(keyNumber: number): boolean;
  extractMacKey(secret: Uint8Array, salt: Uint8Array): number;
  rootMacKey(root: number, purpose: string): number;
  deriveMacKey(key: number, messages: readonly Uint8Array[], salt: Uint8Array): number;
  macChain(key: number, messages: readonly Uint8Array[], out: Uint8Array): void;
  wipe(): void;
  stats(): { locked: boolean; keys: number };
}

const functionNames: Readonly<Record<keyof Binding, true>> = {
  describe: true,
  configure: true,
  rootFromFile: true,
  rootCreateFile: true,
  rootFromDescriptor: true,
  rootFromLentPage: true,
  rootRandom: true,
  joinRoots: true,
  closeRoot: true,
  reseal: true,
  closeMacKey: true,
  generate: true,
  importKey: true,
  run: true,
  forget: true,
  extractMacKey: true,
  rootMacKey: true,
  deriveMacKey: true,
  macChain: true,
  wipe: true,
  stats: true,
};

/**
 * The generator of AWS-LC, which makes RSA and ECDSA keys and their signatures' random numbers: one for each thread, reseeded
 * after so many requests (kCtrDrbgReseedInterval in its crypto/fipsmodule/rand/internal.h), whatever the setting says.
 */
const awslcReseedIntervalOps = 4_096;

const addonPath = './native/build/intaglio_native.node';

export interface Unavailable {
  readonly unavailable: string;
}

/**
 * The engine in the addon of native/ (liboqs and AWS-LC), or the reason why it cannot be had. Opened keys lie in the
 * addon's own locked pages, which all threads share; a RootRef is a number that holds on every thread. The options
 * are those of the process: the first thread that loads the engine sets them.
 */
export function loadNativeEngine(options: EngineOptions): Engine | Unavailable {
  const binding = loadBinding();
  if ('unavailable' in binding) return binding;
  binding.configure({ reseedIntervalOps: options.reseedIntervalOps, arenaBytes: options.keyCacheBytes });

  return {
    description: {
      name: 'native',
      libraries: librariesOf(binding),
      lacks: [],
      reseeds: { own: options.reseedIntervalOps, 'aws-lc': awslcReseedIntervalOps },
    },
    openRoot: (source) => withEngineErrors(() => openRoot(binding, source)),
    joinRoots: (current, before) =>
      withEngineErrors(() => binding.joinRoots(rootNumberOf(current), rootNumberOf(before))),
    closeRoot: (root) => void binding.closeRoot(rootNumberOf(root)),
    reseal: (from, to, tenant, aad, sealed) =>
      withEngineErrors(
        () => binding.reseal(rootNumberOf(from), rootNumberOf(to), tenant, aad, sealed) ?? undefined,
      ),
    generate: (root, keyType, tenant, aad) =>
      withEngineErrors(() => binding.generate(rootNumberOf(root), keyType, tenant, aad)),
    importKey: (root, keyType, tenant, aad, secret) =>
      withEngineErrors(() => binding.importKey(rootNumberOf(root), keyType, tenant, aad, secret)),
    run: (root, request, response) => binding.run(rootNumberOf(root), request, response),
    forget: (keyNumber) => void binding.forget(keyNumber),
    stats() {
      const { locked, keys } = binding.stats();
      return { memoryLocked: locked, cachedKeys: keys };
    },
    extractMacKey: (secret, salt) => binding.extractMacKey(secret, Buffer.from(salt)),
    rootMacKey: (root, purpose) => withEngineErrors(() => binding.rootMacKey(rootNumberOf(root), purpose)),
    macKey: (ref) => macKey(binding, ref),
    closeMacKey(ref) {
      if (typeof ref !== 'number') throw new EngineError('BAD_ARGUMENT', 'not a MAC key of this engine');
      binding.closeMacKey(ref);
    },
    wipe: () => binding.wipe(),
  };
}

/** Why the engine cannot be had; undefined where it can. Sets nothing. */
export function nativeEngineProblem(): string | undefined {
  const binding = loadBinding();
  return 'unavailable' in binding ? binding.unavailable : undefined;
}

function loadBinding(): Binding | Unavailable {
  let loaded: unknown;
  try {
    loaded = createRequire(ownRoot)(addonPath);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return {
      unavailable:
        code === 'MODULE_NOT_FOUND' ? 'the addon is not built' : 'the addon is there but does not load',
    };
  }
  return bindingOf(loaded) ?? { unavailable: 'the addon is of another version of Intaglio' };
}

/** A MAC key that `extractMacKey` of the engine made in this process. Throws where the addon is not. */
export function openNativeMacKey(ref: MacKeyRef): MacKey {
  const binding = loadBinding();
  if ('unavailable' in binding) throw new Error(binding.unavailable);
  return macKey(binding, ref);
}

/** `path`: what is expanded on the way, so that an expanded key is nowhere in memory. */
function macKey(binding: Binding, ref: MacKeyRef, path: readonly Uint8Array[] = []): MacKey {
  if (typeof ref !== 'number') throw new EngineError('BAD_ARGUMENT', 'not a MAC key of this engine');
  return {
    mac(...messages) {
      const mac = Buffer.allocUnsafe(macBytes);
      binding.macChain(ref, path.length === 0 ? messages : [...path, ...messages], mac);
      return mac;
    },
    expand: (info) => macKey(binding, ref, [...path, expandMessage(info)]),
    derive: (info, salt = '') =>
      macKey(binding, binding.deriveMacKey(ref, [...path, expandMessage(info)], Buffer.from(salt))),
  };
}

/** For a worker whose main thread has already loaded the addon: a failure here is a bug, and thrown. */
export function createNativeEngine(options: EngineOptions): Engine {
  const loaded = loadNativeEngine(options);
  if ('unavailable' in loaded) throw new Error(loaded.unavailable);
  return loaded;
}

/** An addon left over from an older checkout is refused here, and not by a TypeError at the first signature. */
function bindingOf(loaded: unknown): Binding | undefined {
  if (typeof loaded !== 'object' || loaded === null) return undefined;
  const functions = loaded as Record<string, unknown>;
  return Object.keys(functionNames).every((name) => typeof functions[name] === 'function')
    ? (loaded as Binding)
    : undefined;
}

function openRoot(binding: Binding, source: RootSource): number {
  switch (source.kind) {
    case 'file':
      return binding.rootFromFile(source.path);
    case 'file-create':
      return binding.rootCreateFile(source.path);
    case 'descriptor':
      return binding.rootFromDescriptor(source.descriptor);
    case 'lent-page':
      return fillLentPage(binding, source.fill);
    case 'memory':
      return binding.rootRandom();
  }
}

/** Throws what `fill` throws. */
function fillLentPage(binding: Binding, fill: (page: Uint8Array) => void): number {
  let thrown: { readonly cause: unknown } | undefined;
  try {
    return binding.rootFromLentPage((page) => {
      try {
        fill(page);
      } catch (cause) {
        thrown = { cause };
        throw cause;
      }
    });
  } catch (error) {
    throw thrown === undefined ? error : thrown.cause;
  }
}

/** Versions as they are, and of the CPU's features what was found: `avx2` or `portable` for ML-DSA. */
/** The first digits of the SHA-256 of what the set-up built: two machines can be seen to run the same. */
function buildOf(): string | undefined {
  try {
    const stamp = readFileSync(new URL('native/build/stamp.json', ownRoot), 'utf8');
    return /"library": "([0-9a-f]{12})/.exec(stamp)?.[1];
  } catch {
    return undefined;
  }
}

function librariesOf(binding: Binding): EngineDescription['libraries'] {
  const { mldsaAvx2, ...versions } = binding.describe();
  const libraries: Record<string, string> = { mldsa: mldsaAvx2 === true ? 'avx2' : 'portable' };
  for (const [name, version] of Object.entries(versions)) libraries[name] = String(version);
  const build = buildOf();
  if (build !== undefined) libraries.build = build;
  return libraries;
}

const engineCodes: Readonly<Record<EngineErrorCode, true>> = {
  ROOT_PERMISSIONS: true,
  ROOT_LENGTH: true,
  ROOT_MISSING: true,
  ROOT_EXISTS: true,
  BAD_ARGUMENT: true,
  SEAL_FAILED: true,
  IO: true,
};

/** The addon knows more codes than the engine's contract; what they all have in common is in its message. */
function withEngineErrors<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    const { code = '', message } = error as Error & { code?: string };
    if (code === 'ROOT_NOT_REGULAR') throw new EngineError('ROOT_PERMISSIONS', message);
    if (Object.hasOwn(engineCodes, code)) throw new EngineError(code as EngineErrorCode, message);
    throw error;
  }
}

function rootNumberOf(root: RootRef): number {
  if (typeof root === 'number') return root;
  throw new EngineError('BAD_ARGUMENT', 'not a root key of this engine');
}
