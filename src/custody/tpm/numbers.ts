/** Numbers of the TPM 2.0 Library Specification, part 2 (Structures), as far as they are used here. */

export const commands = {
  nvUndefineSpace: 0x122,
  evictControl: 0x120,
  nvDefineSpace: 0x12a,
  createPrimary: 0x131,
  nvIncrement: 0x134,
  certify: 0x148,
  nvRead: 0x14e,
  create: 0x153,
  load: 0x157,
  quote: 0x158,
  rsaDecrypt: 0x159,
  sign: 0x15d,
  unseal: 0x15e,
  flushContext: 0x165,
  loadExternal: 0x167,
  nvReadPublic: 0x169,
  policyAuthorize: 0x16a,
  policyAuthValue: 0x16b,
  policyOr: 0x171,
  readPublic: 0x173,
  startAuthSession: 0x176,
  verifySignature: 0x177,
  getCapability: 0x17a,
  pcrRead: 0x17e,
  policyPcr: 0x17f,
} as const;

export const tags = {
  noSessions: 0x8001,
  sessions: 0x8002,
  attestQuote: 0x8018,
  attestCertify: 0x8017,
} as const;

export const tpmAlgorithms = {
  rsa: 0x0001,
  hmac: 0x0005,
  aes: 0x0006,
  keyedHash: 0x0008,
  sha256: 0x000b,
  sha384: 0x000c,
  sha512: 0x000d,
  null: 0x0010,
  rsassa: 0x0014,
  rsapss: 0x0016,
  oaep: 0x0017,
  ecdsa: 0x0018,
  ecc: 0x0023,
  cfb: 0x0043,
} as const;

/** TPM_ECC_NIST_P256. */
export const curveP256 = 0x0003;

export const handles = {
  owner: 0x4000_0001,
  null: 0x4000_0007,
  password: 0x4000_0009,
  /** The storage root key, where a machine keeps one (TCG TPM v2.0 Provisioning Guidance, 7.5.1). */
  persistentStorageRoot: 0x8100_0001,
} as const;

export const sessionTypes = { hmac: 0x00, policy: 0x01 } as const;
export const sessionAttributes = { continueSession: 0x01, decrypt: 0x20, encrypt: 0x40 } as const;

export const objectAttributes = {
  fixedTpm: 1 << 1,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  noDa: 1 << 10,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;

export const nvAttributes = {
  ownerWrite: 1 << 1,
  authWrite: 1 << 2,
  /** TPM_NT_COUNTER in bits 4 to 7. */
  counter: 1 << 4,
  ownerRead: 1 << 17,
  authRead: 1 << 18,
  noDa: 1 << 25,
  written: 1 << 29,
} as const;

export const capabilities = { handles: 0x1, tpmProperties: 0x6 } as const;

export const properties = {
  manufacturer: 0x105,
  vendorString1: 0x106,
  firmwareVersion1: 0x10b,
  permanent: 0x200,
  lockoutCounter: 0x20e,
  maxAuthFail: 0x20f,
  lockoutInterval: 0x210,
} as const;

/** TPMA_PERMANENT: authorizations that count towards the lock-out are refused. */
export const inLockout = 1 << 9;

/** Response codes; of format-one codes the number of the handle, session or parameter is taken off (see codeOf). */
export const responseCodes = {
  authFail: 0x08e,
  badAuth: 0x0a2,
  handle: 0x08b,
  integrity: 0x09f,
  policyFail: 0x09d,
  value: 0x084,
  signature: 0x09b,
  nvDefined: 0x14c,
  nvUninitialized: 0x14a,
  pcrChanged: 0x128,
  lockout: 0x921,
  nvRate: 0x920,
  nvUnavailable: 0x923,
  yielded: 0x908,
  testing: 0x90a,
  retry: 0x922,
  objectMemory: 0x902,
  sessionMemory: 0x903,
  failure: 0x101,
} as const;

export const pcrDigestBytes = 32;
