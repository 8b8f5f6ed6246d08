import type { Algorithm, Component, SchemeEntry } from './descriptor.ts';
import { type HashName, type KeyType, keyTypes, type Scheme, schemes } from './ids.ts';
import { sealingAlgorithms } from './sealing.ts';

/** A way to sign, and what signing and verifying cost. */
function scheme(
  alg: string,
  id: Scheme,
  maxOutputBytes: number,
  signCostUs: number,
  verifyCostUs: number,
  { hash, takesContext, mu, needs, digestNeeds }: Abilities = {},
): SchemeEntry {
  const costUs = { sign: signCostUs, verify: verifyCostUs };
  // All of one shape: this is read on the way of every signature.
  return { alg, scheme: id, maxOutputBytes, costUs, hash, takesContext, mu, needs, digestNeeds };
}

type Abilities = Pick<SchemeEntry, 'hash' | 'takesContext' | 'mu' | 'needs' | 'digestNeeds'>;

/** ML-DSA takes a context, and a mu: `signMuCostUs` with AWS-LC, as the liboqs in use signs messages only. */
function mlDsaScheme(
  alg: 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87',
  maxOutputBytes: number,
  signCostUs: number,
  verifyCostUs: number,
  signMuCostUs: number,
): SchemeEntry {
  const ofMessage = scheme(alg, schemes[alg], maxOutputBytes, signCostUs, verifyCostUs, {
    takesContext: true,
  });
  const mu = scheme(alg, schemes[alg], maxOutputBytes, signMuCostUs, verifyCostUs, { needs: 'mu' });
  return { ...ofMessage, mu };
}

/** ECDSA and RSA hash the message themselves, or take its digest. */
const hashed = (hash: HashName) => ({ hash, digestNeeds: 'digest' }) as const;

const postQuantumTypes: ReadonlySet<KeyType> = new Set([
  keyTypes['ml-dsa-44'],
  keyTypes['ml-dsa-65'],
  keyTypes['ml-dsa-87'],
  // As strong as the stronger of their parts.
  keyTypes['mldsa65-ed25519'],
  keyTypes['mldsa44-ed25519'],
  keyTypes['mldsa65-p256'],
]);

function component(keyType: KeyType, spkiPrefixHex: string, ...schemes: Component['schemes']): Component {
  return {
    keyType,
    schemes,
    spkiPrefix: Buffer.from(spkiPrefixHex, 'hex'),
    postQuantum: postQuantumTypes.has(keyType),
  };
}

// Costs: one thread of a 2.6 GHz server core with the native engine; only the first few requests rely on them.
const ed25519Prefix = '302a300506032b6570032100'; // RFC 8410
const pureEd25519 = scheme('ed25519', schemes.ed25519, 64, 20, 60);
const ed25519 = component(
  keyTypes.ed25519,
  ed25519Prefix,
  pureEd25519,
  scheme('ed25519ph', schemes.ed25519ph, 64, 20, 60, { hash: 'sha512', needs: 'ed25519ph' }),
);
/** Both halves of a hybrid signature are of the same bytes. */
const ed25519OfHybrid = component(keyTypes.ed25519, ed25519Prefix, pureEd25519);
const mlDsa44 = component(
  keyTypes['ml-dsa-44'],
  '30820532300b06096086480165030403110382052100', // RFC 9881
  mlDsaScheme('ml-dsa-44', 2420, 100, 40, 120),
);
const mlDsa65 = component(
  keyTypes['ml-dsa-65'],
  '308207b2300b0609608648016503040312038207a100', // RFC 9881
  mlDsaScheme('ml-dsa-65', 3309, 160, 60, 180),
);
const mlDsa87 = component(
  keyTypes['ml-dsa-87'],
  '30820a32300b060960864801650304031303820a2100', // RFC 9881
  mlDsaScheme('ml-dsa-87', 4627, 220, 100, 320),
);
const ecdsaP256 = component(
  keyTypes['ecdsa-p256'],
  '3059301306072a8648ce3d020106082a8648ce3d030107034200', // RFC 5480
  // A DER signature over P-256 has at most 72 bytes: two integers of 33 with 2 bytes of header each, and 2 around both.
  scheme('ecdsa-p256', schemes['ecdsa-p256-sha256'], 72, 40, 70, hashed('sha256')),
  scheme('ES256', schemes['ecdsa-p256-sha256-p1363'], 64, 40, 70, hashed('sha256')),
);
const ecdsaP384 = component(
  keyTypes['ecdsa-p384'],
  '3076301006072a8648ce3d020106052b81040022036200', // RFC 5480
  // Two integers of 49.
  scheme('ecdsa-p384', schemes['ecdsa-p384-sha384'], 104, 115, 230, hashed('sha384')),
  scheme('ES384', schemes['ecdsa-p384-sha384-p1363'], 96, 115, 230, hashed('sha384')),
);

function rsa(keyType: KeyType, modulusBytes: number, signCostUs: number, verifyCostUs: number): Component {
  const way = (alg: string, id: Scheme, hash: HashName) =>
    scheme(alg, id, modulusBytes, signCostUs, verifyCostUs, hashed(hash));
  return component(
    keyType,
    '',
    way('PS256', schemes.ps256, 'sha256'),
    way('RS256', schemes.rs256, 'sha256'),
    way('PS384', schemes.ps384, 'sha384'),
    way('PS512', schemes.ps512, 'sha512'),
    way('RS384', schemes.rs384, 'sha384'),
    way('RS512', schemes.rs512, 'sha512'),
  );
}

/** Composite ML-DSA; the prefixes hold the OIDs 1.3.6.1.5.5.7.6.48, .39 and .45. Their digest is the draft's pre-hash. */
function composite(
  alg: 'mldsa65-ed25519' | 'mldsa44-ed25519' | 'mldsa65-p256',
  spkiPrefixHex: string,
  maxOutputBytes: number,
  signCostUs: number,
  verifyCostUs: number,
): Algorithm {
  const more = { hash: 'sha512', takesContext: true } as const;
  const way = scheme(alg, schemes[alg], maxOutputBytes, signCostUs, verifyCostUs, more);
  return {
    name: alg,
    aliases: [],
    kind: 'signature',
    components: [{ ...component(keyTypes[alg], spkiPrefixHex, way), composite: true }],
    slowGeneration: false,
  };
}

const hmacSha256: Component = {
  keyType: keyTypes['hmac-sha256'],
  schemes: [
    {
      alg: 'hmac-sha256',
      scheme: schemes['hmac-sha256'],
      maxOutputBytes: 32,
      costUs: { mac: 2, verify_mac: 2 },
    },
  ],
  spkiPrefix: undefined,
  // Grover's search leaves 128 bits of a key of 256.
  postQuantum: true,
};

/** One entry per algorithm, of whatever kind. */
export const registry: readonly Algorithm[] = [
  { name: 'ed25519', aliases: [], kind: 'signature', components: [ed25519], slowGeneration: false },
  { name: 'ml-dsa-44', aliases: [], kind: 'signature', components: [mlDsa44], slowGeneration: false },
  { name: 'ml-dsa-65', aliases: ['ml-dsa'], kind: 'signature', components: [mlDsa65], slowGeneration: false },
  { name: 'ml-dsa-87', aliases: [], kind: 'signature', components: [mlDsa87], slowGeneration: false },
  {
    name: 'ed25519+ml-dsa-65',
    aliases: [],
    kind: 'signature',
    components: [ed25519OfHybrid, mlDsa65],
    slowGeneration: false,
  },
  { name: 'ecdsa-p256', aliases: [], kind: 'signature', components: [ecdsaP256], slowGeneration: false },
  { name: 'ecdsa-p384', aliases: [], kind: 'signature', components: [ecdsaP384], slowGeneration: false },
  composite('mldsa65-ed25519', '308207d1300a06082b06010505070630038207c100', 3373, 160, 100),
  composite('mldsa44-ed25519', '30820551300a06082b060105050706270382054100', 2484, 115, 85),
  composite('mldsa65-p256', '308207f2300a06082b0601050507062d038207e200', 3381, 180, 135),
  {
    name: 'rsa-2048',
    aliases: [],
    kind: 'signature',
    components: [rsa(keyTypes['rsa-2048'], 256, 550, 25)],
    slowGeneration: true,
  },
  {
    name: 'rsa-3072',
    aliases: [],
    kind: 'signature',
    components: [rsa(keyTypes['rsa-3072'], 384, 1700, 45)],
    slowGeneration: true,
  },
  {
    name: 'rsa-4096',
    aliases: [],
    kind: 'signature',
    components: [rsa(keyTypes['rsa-4096'], 512, 3800, 75)],
    slowGeneration: true,
  },
  { name: 'hmac-sha256', aliases: [], kind: 'mac', components: [hmacSha256], slowGeneration: false },
  ...sealingAlgorithms,
];

const byName = new Map<string, Algorithm>();
for (const algorithm of registry) {
  for (const name of [algorithm.name, ...algorithm.aliases]) byName.set(name, algorithm);
}

/** The algorithm of this name or alias, or undefined. Look it up once, at the edge, and hand the descriptor down. */
export function findAlgorithm(name: string): Algorithm | undefined {
  return byName.get(name);
}

/** The canonical names, as `KMS_ALLOWED_ALGS` takes them. */
export const algorithmNames: readonly string[] = registry.map((algorithm) => algorithm.name);
