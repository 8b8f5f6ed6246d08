import { extractMacKey, softwareMacKey } from '../../core/mac-key.ts';
import type { Engine, EngineOptions, GeneratedKey, KeyType, RootRef } from '../engine.ts';
import { EngineError } from '../engine-error.ts';
import { exportSecret, generatePrivateKey, importSecret, isKeyType, publicBytesOf } from './private-keys.ts';
import { type JoinedRoots, readOrMakeRootKey, rootKeyOf, rootMacKeyOf, rootsOf } from './root.ts';
import { createRunner } from './run.ts';
import { createSealer } from './seal.ts';
import type { DrawBytes } from './sealing.ts';

/**
 * The most memory of an opened key: an ML-DSA-87 key in OpenSSL 3.5 holds 31 polynomials of 1 KiB and its 7.5 KiB of encodings.
 * The cache counts every key as this much, since KeyObjects tell no size.
 */
const openedKeyBytes = 40 * 1024;

/**
 * OpenSSL's generators of each thread reseed after so many requests, or seven minutes (SECONDARY_RESEED_INTERVAL in its
 * crypto/rand/rand_local.h). Neither node:crypto nor its configuration file changes that.
 */
const reseedIntervalOps = 65_536;

/**
 * The engine over node:crypto (OpenSSL 3.5). Private keys are KeyObjects: their bytes lie in OpenSSL's heap, which it
 * cleanses on free, in pages that are neither locked nor kept out of core dumps. Every JavaScript buffer that held
 * secret bytes is a memory block of its own and is filled with zeros before the call returns. So is the page that is lent to the
 * source of a root key: its memory is not locked, and a core that is taken during that call shows it. MAC keys stay in such
 * buffers.
 * Deterministic ML-DSA (op 3) is BAD_INPUT here: node:crypto has no way to ask for it.
 * Caches are per instance, so one instance serves one thread; a root key may be cloned to any thread.
 * The option `reseedIntervalOps` has no effect.
 */
export function createOpensslEngine(options: EngineOptions, draw?: DrawBytes): Engine {
  const sealer = createSealer();
  // A batch touches at most a few tenants' keys; under 16 the cache would thrash even for those.
  const runner = createRunner(sealer, Math.max(16, Math.floor(options.keyCacheBytes / openedKeyBytes)), draw);

  /** Wipes `secret`. */
  function sealNew(
    root: RootRef,
    keyType: KeyType,
    tenant: string,
    aad: string,
    secret: Buffer,
    publicKey: Buffer,
  ): GeneratedKey {
    try {
      const sealed = sealer.seal(rootKeyOf(root), keyType, Buffer.from(tenant), Buffer.from(aad), secret);
      return { sealed, publicKey };
    } catch (error) {
      throw error instanceof EngineError
        ? error
        : new EngineError('SEAL_FAILED', 'the key could not be sealed');
    } finally {
      secret.fill(0);
    }
  }

  return {
    description: {
      name: 'openssl',
      libraries: { openssl: process.versions.openssl ?? 'unknown' },
      lacks: ['mu', 'digest', 'ed25519ph'],
      reseeds: { openssl: reseedIntervalOps },
    },
    openRoot: readOrMakeRootKey,
    joinRoots: (current, before): JoinedRoots => ({
      current: rootKeyOf(current),
      before: rootKeyOf(before),
    }),
    closeRoot: (root) => void rootsOf(root),

    reseal(from, to, tenant, aad, sealed) {
      const [tenantBytes, aadBytes] = [Buffer.from(tenant), Buffer.from(aad)];
      const [old, next] = [rootKeyOf(from), rootKeyOf(to)];
      const opened = sealer.open(old, tenantBytes, aadBytes, sealed);
      if (opened === undefined) return undefined;
      try {
        return sealer.seal(next, opened.keyType, tenantBytes, aadBytes, opened.secret);
      } finally {
        opened.secret.fill(0);
      }
    },

    generate(root, keyType, tenant, aad) {
      rootKeyOf(root);
      if (!isKeyType(keyType)) throw new EngineError('BAD_ARGUMENT', 'unknown key type');
      const key = generatePrivateKey(keyType);
      return sealNew(root, keyType, tenant, aad, exportSecret(keyType, key), publicBytesOf(keyType, key));
    },

    importKey(root, keyType, tenant, aad, secret) {
      const bytes = Buffer.from(secret.buffer, secret.byteOffset, secret.length);
      try {
        rootKeyOf(root);
        if (!isKeyType(keyType)) throw new EngineError('BAD_ARGUMENT', 'unknown key type');
        const key = importSecret(keyType, bytes);
        if (key === undefined) throw new EngineError('BAD_ARGUMENT', 'not a secret of this key type');
        return sealNew(root, keyType, tenant, aad, bytes, publicBytesOf(keyType, key));
      } finally {
        bytes.fill(0);
      }
    },

    run(root, request, response) {
      const { current, before } = rootsOf(root);
      runner.run(current, before, request, response);
    },
    forget: (keyNumber) => runner.forget(keyNumber),
    stats: () => ({ memoryLocked: false, cachedKeys: runner.cachedKeys() }),
    extractMacKey(secret, salt) {
      try {
        return extractMacKey(secret, salt);
      } finally {
        secret.fill(0);
      }
    },
    rootMacKey: (root, purpose) => rootMacKeyOf(rootKeyOf(root), purpose),
    macKey: softwareMacKey,
    closeMacKey: () => {},
    wipe() {
      runner.wipe();
      sealer.wipe();
    },
  };
}
