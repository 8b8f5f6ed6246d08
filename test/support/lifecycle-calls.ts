import type { Usage } from '../../src/algorithms/work-kinds.ts';
import type { Caller } from '../../src/core/scope.ts';
import type { GenerateRequest } from '../../src/operations/lifecycle/requests.ts';
import { unwrap } from './keyring.ts';
import { agrees, type PlacedService } from './placed.ts';
import { prodLaptop } from './placed-calls.ts';

const approval = agrees;
const data = Buffer.from('Hello, World!');
const aad = new Uint8Array();
const requestSha256 = '00'.repeat(32);
const signs: readonly Usage[] = ['sign', 'verify'];

/** The calls of keys with a placement, of a key in prod / laptop that signs where nothing else is said. */
export function lifecycleCalls(placed: () => PlacedService) {
  const generate = (more: Partial<GenerateRequest> = {}, caller?: Caller) =>
    placed().asked(
      'generate',
      {
        ...{ ...prodLaptop, keyType: 'Ed25519', usages: signs, approval, requestSha256 },
        ...{ alias: undefined, validUntilMs: undefined, access: undefined, rotation: undefined },
        ...{ purpose: undefined, name: undefined, ...more },
      },
      caller,
    );
  const made = async (more?: Partial<GenerateRequest>) => unwrap(await generate(more));
  const sign = (keyId: string, alg?: string, caller?: Caller, more: object = {}) =>
    placed().asked('sign', { ...prodLaptop, keyId, data, alg, approval: undefined, ...more }, caller);
  const verify = (keyId: string, signature: Uint8Array, alg?: string, caller?: Caller, more: object = {}) =>
    placed().asked('verify', { ...prodLaptop, keyId, data, signature, alg, ...more }, caller);
  const valid = async (keyId: string, signature: Uint8Array, alg?: string) =>
    unwrap(await verify(keyId, signature, alg)).valid;
  const encrypt = (keyId: string, plaintext: Uint8Array, more: object = {}, caller?: Caller) =>
    placed().asked(
      'encrypt',
      { ...prodLaptop, keyId, plaintext, alg: undefined, aad, approval: undefined, ...more },
      caller,
    );
  const decrypt = (
    keyId: string,
    { iv, ciphertext }: { iv: Uint8Array; ciphertext: Uint8Array },
    more: object = {},
    caller?: Caller,
  ) =>
    placed().asked(
      'decrypt',
      { ...prodLaptop, keyId, iv, ciphertext, alg: undefined, aad, approval: undefined, ...more },
      caller,
    );
  const rotate = (keyId: string, more: object = {}) =>
    placed().asked('rotate', { ...prodLaptop, keyId, approval, name: undefined, ...more });
  const revoke = (keyId: string, reason: 'compromised' | 'retired' | 'policy_violation' = 'retired') =>
    placed().asked('revoke', { ...prodLaptop, keyId, approval, reason });
  const archive = (keyId: string) => placed().asked('archive', { ...prodLaptop, keyId, approval });
  const read = async (keyId: string) => unwrap(await placed().asked('read', { ...prodLaptop, keyId }));
  return { generate, made, sign, verify, valid, encrypt, decrypt, rotate, revoke, archive, read };
}
