import { hash as hashOnce, randomBytes } from 'node:crypto';
import { type HashName, type KeyType, keyTypes, type Scheme, schemes } from '../../algorithms/ids.ts';
import { derOf, digestInfo } from '../signature-forms.ts';
import { commands, handles, tpmAlgorithms } from './numbers.ts';
import { inBytes, type Reader, Writer } from './wire.ts';

/** A way to sign in a TPM: the command, and the signature in its answer. */
export interface TpmSigningWay {
  readonly keyType: KeyType;
  readonly code: number;
  /** `digested`: the input is a digest. Undefined: it has not the length of one. */
  parameters(input: Uint8Array, digested: boolean): Buffer | undefined;
  signature(answer: Reader): Uint8Array;
}

/** An empty TPMT_TK_HASHCHECK: unrestricted keys sign digests that others have made. */
const noTicket = new Writer().u16(0x8024).u32(handles.null).sized(Buffer.alloc(0)).done();
const coordinateBytes = 32;
const modulusBytes = 256;
const hashBytes: Readonly<Record<'sha256' | 'sha384' | 'sha512', number>> = {
  sha256: 32,
  sha384: 48,
  sha512: 64,
};
type RsaHash = keyof typeof hashBytes;

function digestOf(hash: HashName & RsaHash, input: Uint8Array, digested: boolean): Buffer | undefined {
  if (!digested) return hashOnce(hash, input, 'buffer');
  return input.length === hashBytes[hash] ? Buffer.from(input) : undefined;
}

function ecdsa(finish: (signature: Buffer) => Uint8Array): TpmSigningWay {
  return {
    ...{ keyType: keyTypes['ecdsa-p256'], code: commands.sign },
    parameters(input, digested) {
      const digest = digestOf('sha256', input, digested);
      return (
        digest &&
        new Writer().sized(digest).u16(tpmAlgorithms.ecdsa).u16(tpmAlgorithms.sha256).bytes(noTicket).done()
      );
    },
    signature(answer) {
      answer.take(4);
      const number = () => inBytes(answer.sized(), coordinateBytes);
      return finish(Buffer.concat([number(), number()]));
    },
  };
}

/** TPM2_RSA_Decrypt without a scheme is the bare operation, RSASP1 of RFC 8017, over an encoded message. */
function rsa(encoded: (digest: Buffer, hash: RsaHash) => Buffer, hash: RsaHash): TpmSigningWay {
  return {
    ...{ keyType: keyTypes['rsa-2048'], code: commands.rsaDecrypt },
    parameters(input, digested) {
      const digest = digestOf(hash, input, digested);
      return digest && new Writer().sized(encoded(digest, hash)).u16(tpmAlgorithms.null).u16(0).done();
    },
    signature(answer) {
      return inBytes(answer.sized(), modulusBytes);
    },
  };
}

/** EMSA-PKCS1-v1_5 (RFC 8017, section 9.2). */
function pkcs1(digest: Buffer, hash: RsaHash): Buffer {
  const info = Buffer.concat([digestInfo[hash], digest]);
  const padding = Buffer.alloc(modulusBytes - 3 - info.length, 0xff);
  return Buffer.concat([Buffer.of(0, 1), padding, Buffer.of(0), info]);
}

/** EMSA-PSS with MGF1 by the same hash, and a salt as long as it (RFC 8017, section 9.1.1; RFC 7518, section 3.5). */
function pss(digest: Buffer, hash: RsaHash): Buffer {
  const salt = randomBytes(hashBytes[hash]);
  const seal = hashOnce(hash, Buffer.concat([Buffer.alloc(8), digest, salt]), 'buffer');
  const block = Buffer.alloc(modulusBytes - seal.length - 1);
  block[block.length - salt.length - 1] = 1;
  salt.copy(block, block.length - salt.length);
  const mask = mgf1(seal, block.length, hash);
  for (let at = 0; at < block.length; at++) block[at] = (block[at] as number) ^ (mask[at] as number);
  // The modulus has 2,048 bits, and the encoded message one fewer.
  block[0] = (block[0] as number) & 0x7f;
  return Buffer.concat([block, seal, Buffer.of(0xbc)]);
}

/** RFC 8017, appendix B.2.1. */
function mgf1(seed: Buffer, length: number, hash: RsaHash): Buffer {
  const blocks: Buffer[] = [];
  for (let counter = 0; counter * hashBytes[hash] < length; counter++)
    blocks.push(hashOnce(hash, Buffer.concat([seed, new Writer().u32(counter).done()]), 'buffer'));
  return Buffer.concat(blocks).subarray(0, length);
}

export const tpmSigningWays: Readonly<Partial<Record<Scheme, TpmSigningWay>>> = {
  [schemes['ecdsa-p256-sha256']]: ecdsa(derOf),
  [schemes['ecdsa-p256-sha256-p1363']]: ecdsa((signature) => signature),
  [schemes.ps256]: rsa(pss, 'sha256'),
  [schemes.ps384]: rsa(pss, 'sha384'),
  [schemes.ps512]: rsa(pss, 'sha512'),
  [schemes.rs256]: rsa(pkcs1, 'sha256'),
  [schemes.rs384]: rsa(pkcs1, 'sha384'),
  [schemes.rs512]: rsa(pkcs1, 'sha512'),
};
