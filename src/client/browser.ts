/** What a browser needs to verify, without the service: `npm run build:browser` makes one file of it. */
export type { Source } from './bytes.ts';
export { blake3Hex, muOf } from './hashing.ts';
export {
  locallyVerified,
  type PublicKey,
  type Signature,
  type SignedText,
  verifySignatures,
} from './local-verification.ts';
