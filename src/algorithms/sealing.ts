import type { Algorithm, Component, HpkeSuite, SchemeEntry } from './descriptor.ts';
import { keyTypes, type SealingSchemeName, schemes } from './ids.ts';
import type { AlgorithmKind } from './work-kinds.ts';

/** Rows of the registry for keys that encrypt, wrap and derive. Key type, scheme and algorithm have one name. */
type Name = Exclude<SealingSchemeName, 'rsa-oaep-sha256-kwp'>;
type CostUs = SchemeEntry['costUs'];

function row(
  name: Name,
  kind: AlgorithmKind,
  component: Pick<Component, 'spkiPrefix' | 'postQuantum'>,
  costUs: CostUs,
  more: Pick<Algorithm, 'hpke' | 'maxEncryptions'> = {},
): Algorithm {
  // Outputs are as long as what is encrypted asks for: engine/rooms.ts.
  const scheme: SchemeEntry = { alg: name, scheme: schemes[name], maxOutputBytes: 0, costUs };
  const components = [{ keyType: keyTypes[name], schemes: [scheme], ...component }] as const;
  return { name, aliases: [], kind, components, slowGeneration: false, ...more };
}

const hkdfSha256 = 0x0001;
const aes256Gcm = 0x0002;

function suite(kemId: number, kemSource: string): HpkeSuite {
  return { kemId, kdfId: hkdfSha256, aeadId: aes256Gcm, kemSource };
}

function kem(name: Name, spkiPrefixHex: string, postQuantum: boolean, costUs: CostUs, hpke: HpkeSuite) {
  return row(name, 'kem', { spkiPrefix: Buffer.from(spkiPrefixHex, 'hex'), postQuantum }, costUs, { hpke });
}

// Grover's search leaves 128 bits of a key of 256.
const secretKey = { spkiPrefix: undefined, postQuantum: true } as const;
const aeadCostUs: CostUs = {
  encrypt: 3,
  decrypt: 3,
  reencrypt: 6,
  encrypt_under: 9,
  decrypt_under: 9,
  wrap: 6,
  unwrap: 6,
  rewrap: 12,
  seal: 6,
  unseal: 6,
};
// SP 800-38D 8.3 asks for less than 2^32 random nonces of 96 bits; half of that leaves a margin.
const maxEncryptions = 2 ** 31;

// Costs: one thread of a 2.6 GHz server core with the native engine, 32 bytes of plaintext.
export const sealingAlgorithms: readonly Algorithm[] = [
  kem(
    'x25519+ml-kem-768',
    '308204d4300d060b2b0601040183e62d81c87a038204c100', // draft-connolly-cfrg-xwing-kem-10
    true,
    { encapsulate: 75, decapsulate: 50, rewrap: 130 },
    suite(0x647a, 'draft-ietf-hpke-pq-05, draft-irtf-cfrg-concrete-hybrid-kems-04'),
  ),
  kem(
    'x25519',
    '302a300506032b656e032100', // RFC 8410
    false,
    { encapsulate: 50, decapsulate: 40, rewrap: 80 },
    suite(0x0020, 'RFC 9180'),
  ),
  kem(
    'ml-kem-768',
    '308204b2300b0609608648016503040402038204a100', // RFC 9935
    true,
    { encapsulate: 20, decapsulate: 22, rewrap: 50 },
    suite(0x0041, 'draft-ietf-hpke-pq-05'),
  ),
  kem(
    'ml-kem-1024',
    '30820632300b06096086480165030404030382062100', // RFC 9935
    true,
    { encapsulate: 30, decapsulate: 40, rewrap: 75 },
    suite(0x0042, 'draft-ietf-hpke-pq-05'),
  ),
  row('xaes-256-gcm', 'aead', secretKey, aeadCostUs),
  row('aes-256-gcm', 'aead', secretKey, aeadCostUs, { maxEncryptions }),
  row('chacha20-poly1305', 'aead', secretKey, aeadCostUs, { maxEncryptions }),
  row('aes-256-kwp', 'key_wrap', secretKey, { wrap: 1, unwrap: 1, rewrap: 6 }),
  row('hkdf-sha256', 'kdf', secretKey, { derive: 50 }),
];
