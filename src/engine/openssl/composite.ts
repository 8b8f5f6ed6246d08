import { hash, type KeyObject } from 'node:crypto';
import type { KeyType } from '../engine.ts';
import { both, CompositeKey, noContext, type OpensslKeyType, type SignatureScheme, single } from './keys.ts';

/**
 * Composite ML-DSA (draft-ietf-lamps-pq-composite-sigs, bytes fixed since -15): both parts sign
 * M' = Prefix || Label || len(ctx) || ctx || SHA-512(M), and ML-DSA does so with the Label as its own context. Keys and
 * signatures are those of ML-DSA, which have one length each, and then those of the traditional algorithm.
 */
const prefix = Buffer.from('CompositeAlgorithmSignatures2025');
const preHash = 'sha512';
const preHashBytes = 64;

const seedBytes = 32;

/** The secret is ML-DSA's seed and then the traditional secret, as the draft serialises private keys. */
export function compositeKeyType(mlDsa: OpensslKeyType, traditional: OpensslKeyType): OpensslKeyType {
  return {
    generate: () => new CompositeKey(single(mlDsa.generate()), single(traditional.generate())),
    exportSecret(key) {
      const parts = [mlDsa.exportSecret(both(key).mlDsa), traditional.exportSecret(both(key).traditional)];
      const secret = Buffer.allocUnsafeSlow(parts.reduce((sum, { length }) => sum + length, 0));
      let end = 0;
      for (const part of parts) {
        secret.set(part, end);
        end += part.length;
        part.fill(0);
      }
      return secret;
    },
    importSecret: (secret) =>
      new CompositeKey(
        single(mlDsa.importSecret(secret.subarray(0, seedBytes))),
        single(traditional.importSecret(secret.subarray(seedBytes))),
      ),
    exportPublic: (key) =>
      Buffer.concat([mlDsa.exportPublic(both(key).mlDsa), traditional.exportPublic(both(key).traditional)]),
  };
}

interface CompositeParts {
  readonly keyType: KeyType;
  readonly label: string;
  readonly mlDsa: SignatureScheme;
  /** Of the ML-DSA part. */
  readonly publicBytes: 1312 | 1952;
  readonly signatureBytes: 2420 | 3309;
  readonly traditional: SignatureScheme;
}

/** A digest is the message's SHA-512, made by the caller (the draft's section on external pre-hashing). */
export function compositeScheme(parts: CompositeParts): SignatureScheme {
  const { keyType, mlDsa, publicBytes, signatureBytes, traditional } = parts;
  const label = Buffer.from(parts.label);

  function representative(bytes: Uint8Array, form: 'message' | 'digest', context: Uint8Array): Buffer {
    const digest = form === 'message' ? hash(preHash, bytes, 'buffer') : bytes;
    return Buffer.concat([prefix, label, Buffer.of(context.length), context, digest]);
  }

  return {
    kind: 'signature',
    keyTypes: [keyType],
    digestBytes: preHashBytes,
    takesContext: true,
    sign({ bytes, form, context }, key) {
      const { mlDsa: one, traditional: other } = both(key);
      const message = representative(bytes, form, context);
      return Buffer.concat([
        mlDsa.sign({ bytes: message, form: 'message', context: label }, one),
        traditional.sign({ bytes: message, form: 'message', context: noContext }, other),
      ]);
    },
    parsePublic(bytes) {
      const one = mlDsa.parsePublic(bytes.subarray(0, publicBytes));
      const other = traditional.parsePublic(bytes.subarray(publicBytes));
      return one === undefined || other === undefined
        ? undefined
        : new CompositeKey(single(one), single(other));
    },
    verify({ bytes, form, context }, key, publicKey, signature) {
      const { mlDsa: one, traditional: other } = both(key);
      const message = representative(bytes, form, context);
      const good = (
        scheme: SignatureScheme,
        ownContext: Uint8Array,
        part: KeyObject,
        own: Uint8Array,
        sig: Uint8Array,
      ) => scheme.verify({ bytes: message, form: 'message', context: ownContext }, part, own, sig);
      return (
        good(mlDsa, label, one, publicKey.subarray(0, publicBytes), signature.subarray(0, signatureBytes)) &&
        good(
          traditional,
          noContext,
          other,
          publicKey.subarray(publicBytes),
          signature.subarray(signatureBytes),
        )
      );
    },
  };
}
