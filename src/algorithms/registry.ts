import type { Algorithm, Component, SchemeEntry } from './descriptor.ts';
import { type KeyType, keyTypes, type Scheme, schemes } from './ids.ts';
import { sealingAlgorithms } from './sealing.ts';

/** A way to sign, and what signing and verifying cost. */
function scheme(
  alg: string,
  id: Scheme,
  maxOutputBytes: number,
  signCostUs: number,
  verifyCostUs: number,
): SchemeEntry {
  return { alg, scheme: id, maxOutputBytes, costUs: { sign: signCostUs, verify: verifyCostUs } };
}

const postQuantumTypes: ReadonlySet<KeyType> = new Set([
  keyTypes['ml-dsa-44'],
  keyTypes['ml-dsa-65'],
  keyTypes['ml-dsa-87'],
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
const ed25519 = component(
  keyTypes.ed25519,
  '302a300506032b6570032100', // RFC 8410
  scheme('ed25519', schemes.ed25519, 64, 20, 60),
);
const mlDsa44 = component(
  keyTypes['ml-dsa-44'],
  '30820532300b06096086480165030403110382052100', // RFC 9881
  scheme('ml-dsa-44', schemes['ml-dsa-44'], 2420, 100, 40),
);
const mlDsa65 = component(
  keyTypes['ml-dsa-65'],
  '308207b2300b0609608648016503040312038207a100', // RFC 9881
  scheme('ml-dsa-65', schemes['ml-dsa-65'], 3309, 160, 60),
);
const mlDsa87 = component(
  keyTypes['ml-dsa-87'],
  '30820a32300b060960864801650304031303820a2100', // RFC 9881
  scheme('ml-dsa-87', schemes['ml-dsa-87'], 4627, 220, 100),
);
const ecdsaP256 = component(
  keyTypes['ecdsa-p256'],
  '3059301306072a8648ce3d020106082a8648ce3d030107034200', // RFC 5480
  // A DER signature over P-256 has at most 72 bytes: two integers of 33 with 2 bytes of header each, and 2 around both.
  scheme('ecdsa-p256', schemes['ecdsa-p256-sha256'], 72, 40, 70),
);

function rsa(keyType: KeyType, modulusBytes: number, signCostUs: number, verifyCostUs: number): Component {
  return component(
    keyType,
    '',
    scheme('PS256', schemes.ps256, modulusBytes, signCostUs, verifyCostUs),
    scheme('RS256', schemes.rs256, modulusBytes, signCostUs, verifyCostUs),
  );
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
    components: [ed25519, mlDsa65],
    slowGeneration: false,
  },
  { name: 'ecdsa-p256', aliases: [], kind: 'signature', components: [ecdsaP256], slowGeneration: false },
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
