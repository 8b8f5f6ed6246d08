/** Numbers of PKCS#11 2.40, 3.0 (Edwards curves) and 3.2 (ML-DSA). The library in use names those of 2.40 alone. */

export const userType = 1;

export const sessionFlags = { rw: 2, serial: 4 } as const;

export const tokenFlags = {
  userPinFinalTry: 0x0002_0000,
  userPinLocked: 0x0004_0000,
} as const;

export const objectClasses = { data: 0, publicKey: 2, privateKey: 3, secretKey: 4 } as const;

export const tokenKeyTypes = {
  rsa: 0x00,
  ec: 0x03,
  genericSecret: 0x10,
  aes: 0x1f,
  ecEdwards: 0x40,
  mlDsa: 0x4a,
} as const;

export const attributes = {
  class: 0x000,
  token: 0x001,
  private: 0x002,
  label: 0x003,
  application: 0x010,
  value: 0x011,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  encrypt: 0x104,
  decrypt: 0x105,
  wrap: 0x106,
  unwrap: 0x107,
  sign: 0x108,
  verify: 0x10a,
  modulus: 0x120,
  modulusBits: 0x121,
  publicExponent: 0x122,
  valueLen: 0x161,
  extractable: 0x162,
  local: 0x163,
  neverExtractable: 0x164,
  alwaysSensitive: 0x165,
  ecParams: 0x180,
  ecPoint: 0x181,
  parameterSet: 0x61d,
} as const;

export const mechanisms = {
  rsaKeyPairGen: 0x0000,
  rsaPkcs: 0x0001,
  rsaPkcsOaep: 0x0009,
  rsaPkcsPss: 0x000d,
  mlDsaKeyPairGen: 0x001c,
  mlDsa: 0x001d,
  sha256RsaPkcs: 0x0040,
  sha384RsaPkcs: 0x0041,
  sha512RsaPkcs: 0x0042,
  sha256RsaPkcsPss: 0x0043,
  sha384RsaPkcsPss: 0x0044,
  sha512RsaPkcsPss: 0x0045,
  sha1: 0x0220,
  sha256: 0x0250,
  sha256Hmac: 0x0251,
  sha384: 0x0260,
  sha512: 0x0270,
  genericSecretKeyGen: 0x0350,
  ecKeyPairGen: 0x1040,
  ecdsa: 0x1041,
  ecdsaSha256: 0x1044,
  ecdsaSha384: 0x1045,
  ecEdwardsKeyPairGen: 0x1055,
  eddsa: 0x1057,
  aesKeyGen: 0x1080,
  aesGcm: 0x1087,
  aesKeyWrapPad: 0x210a,
  aesKeyWrapKwp: 0x210b,
} as const;

/** MGF1 with SHA-1, SHA-256, SHA-384 and SHA-512. */
export const maskFunctions = { sha1: 1, sha256: 2, sha384: 3, sha512: 4 } as const;

/** Kinds of structured mechanism parameters, as pkcs11js numbers them. */
export const parameterKinds = { aesGcm: 3, rsaOaep: 4, rsaPss: 5 } as const;

/** Return values that are told apart here. */
export const codes = {
  hostMemory: 0x02,
  generalError: 0x05,
  functionFailed: 0x06,
  argumentsBad: 0x07,
  cantLock: 0x0a,
  deviceError: 0x30,
  deviceMemory: 0x31,
  deviceRemoved: 0x32,
  encryptedDataInvalid: 0x40,
  encryptedDataLenRange: 0x41,
  keyHandleInvalid: 0x60,
  keyTypeInconsistent: 0x63,
  keyFunctionNotPermitted: 0x68,
  objectHandleInvalid: 0x82,
  operationActive: 0x90,
  operationNotInitialized: 0x91,
  pinIncorrect: 0xa0,
  pinInvalid: 0xa1,
  pinLenRange: 0xa2,
  pinExpired: 0xa3,
  pinLocked: 0xa4,
  sessionClosed: 0xb0,
  sessionHandleInvalid: 0xb3,
  tokenNotPresent: 0xe0,
  tokenNotRecognized: 0xe1,
  userAlreadyLoggedIn: 0x100,
  userNotLoggedIn: 0x101,
  wrappedKeyInvalid: 0x110,
  wrappedKeyLenRange: 0x112,
  cryptokiNotInitialized: 0x190,
  cryptokiAlreadyInitialized: 0x191,
} as const;

/** The PIN is not this user's, or may not be used. Trying it again can lock the token. */
export const pinRefusals: ReadonlySet<number> = new Set([
  codes.pinIncorrect,
  codes.pinInvalid,
  codes.pinLenRange,
  codes.pinExpired,
  codes.pinLocked,
]);

/** The session is gone; another one may do. */
export const sessionDeaths: ReadonlySet<number> = new Set([
  codes.sessionClosed,
  codes.sessionHandleInvalid,
  codes.userNotLoggedIn,
  codes.operationActive,
  codes.operationNotInitialized,
]);

/** Of the token or its module, whatever was asked. */
export const tokenTroubles: ReadonlySet<number> = new Set([
  codes.hostMemory,
  codes.generalError,
  codes.functionFailed,
  codes.deviceError,
  codes.deviceRemoved,
  codes.tokenNotPresent,
  codes.tokenNotRecognized,
  codes.cryptokiNotInitialized,
]);

/** The handle is not (any more) one of a key; finding it again may help. */
export const handleDeaths: ReadonlySet<number> = new Set([codes.keyHandleInvalid, codes.objectHandleInvalid]);
