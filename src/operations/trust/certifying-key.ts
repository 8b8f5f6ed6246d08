import { createHash } from 'node:crypto';
import { spkiOf } from '../../algorithms/public-formats.ts';
import { x509Signatures } from '../../algorithms/standard-names.ts';
import { permitsUse } from '../../algorithms/work-kinds.ts';
import { type Refused, refuse, refuseByState } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { KeyHandle, Keyring } from '../../keys/keyring.ts';
import { lifecycleParts, refusalOfModule, refusalUnlessActive } from '../lifecycle/access.ts';
import type { CryptoWork, OperationParts, Step } from '../operation.ts';
import type { TrustCall } from './requests.ts';

const otherPlace = refuse('NoCapability', 'the key is of another environment or plane');
const notAmongUsages = refuse('PolicyViolation', 'the usages of this key do not include this');
const notCurrent = refuseByState('inactive', 'only the current version signs');

/** The key that is named by a kid, or by the key_id of one of its versions. */
export function certifyingKey(
  keyring: Pick<Keyring, 'find' | 'findByKeyId'>,
  { tenant }: Caller,
  name: string,
): Step<KeyHandle> {
  return name.includes('/') ? keyring.find(tenant, name) : keyring.findByKeyId(tenant, name.toLowerCase());
}

/** The reason why a key certifies nobody there, for this caller: a key with a placement has rules of its own. */
export function refusalOfCertifying(
  parts: OperationParts,
  { head, ...handle }: KeyHandle,
  { environment, plane }: TrustCall,
  caller: Caller,
): Refused | undefined {
  const { placement } = head;
  if (placement !== undefined) {
    if (placement.environment !== environment || placement.plane !== plane) return otherPlace;
    const whole = { head, ...handle };
    const refused = refusalOfModule(whole, caller) ?? refusalUnlessActive(parts, whole);
    if (refused !== undefined) return refused;
  }
  if (!handle.current) return notCurrent;
  return permitsUse(head.usages, 'sign') ? undefined : notAmongUsages;
}

/** The limit of a day that a certificate counts towards, as any signature by the key. */
export function dailyOfCertifying(
  parts: Pick<OperationParts, 'lifecycle'>,
  { head: { id: keyId, access, placement } }: KeyHandle,
): CryptoWork['daily'] {
  if (placement === undefined) return undefined;
  const most = access?.maxUsagePerDay ?? lifecycleParts(parts).usesPerDay;
  return most === Number.POSITIVE_INFINITY ? undefined : { keyId, most };
}

/** SHA-256 of SubjectPublicKeyInfo, in hex; undefined for a key that signs no certificates. */
export function spkiSha256Of({ algorithm, version: { kid, parts } }: KeyHandle): string | undefined {
  const spki = spkiOf({ kid, algorithm, publicKeys: parts.map(({ publicKey }) => publicKey) });
  const signs = algorithm.components[0].schemes.some(({ scheme }) => x509Signatures.has(scheme));
  return spki === undefined || !signs ? undefined : sha256OfSpki(spki);
}

export function sha256OfSpki(spki: Uint8Array): string {
  return createHash('sha256').update(spki).digest('hex');
}
