import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { byHandle, type TpmClient } from './client.ts';
import { TpmError } from './errors.ts';
import { commands, handles, objectAttributes as oa, pcrDigestBytes, tpmAlgorithms } from './numbers.ts';
import { objectName, p256Area } from './public-area.ts';
import type { Session } from './session.ts';
import { Writer } from './wire.ts';

/** Values of PCRs of the SHA-256 bank, in hex, by their numbers. */
export type PcrValues = Readonly<Record<string, string>>;

/**
 * The condition of unsealing: the PCRs are as at the sealing, or as the operator's key has signed. The operator's key signs the
 * digest of a PolicyPCR and `reference` (TPM 2.0 part 3, TPM2_PolicyAuthorize). A reference is of one source alone.
 */
export interface SealPolicy {
  /** DER, SubjectPublicKeyInfo, of P-256. */
  readonly operatorKey: Uint8Array;
  readonly reference: Uint8Array;
  /** PolicyPCR of the values at the sealing. */
  readonly sealedUnder: Uint8Array;
  /** True: a PIN is asked for as well. */
  readonly pin: boolean;
}

export interface SignedPolicy {
  /** Digest of a PolicyPCR. */
  readonly policy: Uint8Array;
  /** r and s, 32 bytes each, by ECDSA with SHA-256 over `policy | reference`. */
  readonly signature: Uint8Array;
}

const empty = Buffer.alloc(pcrDigestBytes);

function sha256(...pieces: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
}

/** The numbers of the PCRs, ascending. */
export function pcrsOf(values: PcrValues): number[] {
  return Object.keys(values)
    .map(Number)
    .sort((one, other) => one - other);
}

/** TPML_PCR_SELECTION of the SHA-256 bank. */
export function pcrSelection(pcrs: readonly number[]): Buffer {
  const bits = Buffer.alloc(3);
  for (const pcr of pcrs) bits[pcr >> 3] = (bits[pcr >> 3] as number) | (1 << (pcr & 7));
  return new Writer().u32(1).u16(tpmAlgorithms.sha256).u8(bits.length).bytes(bits).done();
}

export function pcrDigest(values: PcrValues): Buffer {
  return sha256(...pcrsOf(values).map((pcr) => Buffer.from(values[pcr] as string, 'hex')));
}

/** The digest of a policy that asks for these values alone. */
export function pcrPolicy(values: PcrValues): Buffer {
  return sha256(empty, command(commands.policyPcr), pcrSelection(pcrsOf(values)), pcrDigest(values));
}

function command(code: number): Buffer {
  return new Writer().u32(code).done();
}

function authorizedPolicy({ operatorKey, reference }: SealPolicy): Buffer {
  const byKey = sha256(empty, command(commands.policyAuthorize), objectName(operatorArea(operatorKey)));
  return sha256(byKey, reference);
}

function branches(policy: SealPolicy): readonly [Buffer, Buffer] {
  return [Buffer.from(policy.sealedUnder), authorizedPolicy(policy)];
}

/** The authPolicy of a sealed object. */
export function sealPolicyDigest(policy: SealPolicy): Buffer {
  const either = sha256(empty, command(commands.policyOr), ...branches(policy));
  return policy.pin ? sha256(either, command(commands.policyAuthValue)) : either;
}

/** The P-256 public key of this PEM, from SubjectPublicKeyInfo or a private key. Undefined: it has none. */
export function operatorKeyIn(pem: string | Uint8Array): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(pem), format: 'pem' });
    return key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? key : undefined;
  } catch {
    return undefined;
  }
}

/** The key of a DER SubjectPublicKeyInfo. */
export function operatorKeyOf(spki: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
}

/** The public area by which a TPM loads an operator's key to verify. */
function operatorArea(spki: Uint8Array): Buffer {
  const { x = '', y = '' } = operatorKeyOf(spki).export({ format: 'jwk' });
  const point = { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') };
  return p256Area({ attributes: oa.sign | oa.userWithAuth, point });
}

/** The bytes that an operator signs. */
export function signedBytes(policy: Uint8Array, reference: Uint8Array): Buffer {
  return Buffer.concat([policy, reference]);
}

/** Reads PCRs in several commands: a TPM gives some at a time. Throws a TpmError. */
export async function readPcrs(client: TpmClient, pcrs: readonly number[]): Promise<PcrValues> {
  const values: Record<string, string> = {};
  for (const asked of [...pcrs]) {
    const { parameters } = await client.run({ code: commands.pcrRead, parameters: pcrSelection([asked]) });
    parameters.u32();
    const selections = parameters.u32();
    for (let index = 0; index < selections; index++) {
      parameters.u16();
      parameters.take(parameters.u8());
    }
    if (parameters.u32() !== 1) throw new TpmError(`it has no PCR ${asked} in its SHA-256 bank`, 0);
    values[asked] = parameters.sized().toString('hex');
  }
  return values;
}

/** Meets the policy in this session. `signed`: the approval of the PCRs as they are; undefined: they are as at the sealing. */
export async function meetPolicy(
  client: TpmClient,
  session: Session,
  policy: SealPolicy,
  pcrs: readonly number[],
  signed: SignedPolicy | undefined,
): Promise<void> {
  const own = [byHandle(session.handle)];
  const run = (code: number, parameters?: Buffer) =>
    client.run({ code, handles: own, ...(parameters && { parameters }) });
  await run(commands.policyPcr, new Writer().u16(0).bytes(pcrSelection(pcrs)).done());
  if (signed !== undefined) {
    const { key, ticket } = await verified(client, policy, signed);
    const authorizes = new Writer().sized(signed.policy).sized(policy.reference).sized(key).bytes(ticket);
    await run(commands.policyAuthorize, authorizes.done());
  }
  const [first, second] = branches(policy);
  await run(commands.policyOr, new Writer().u32(2).sized(first).sized(second).done());
  if (policy.pin) await run(commands.policyAuthValue);
}

/** Has the TPM verify the operator's signature. Its ticket proves that to itself. */
async function verified(
  client: TpmClient,
  { operatorKey, reference }: SealPolicy,
  { policy, signature }: SignedPolicy,
): Promise<{ readonly key: Buffer; readonly ticket: Buffer }> {
  const area = operatorArea(operatorKey);
  const { handle } = await client.run({
    ...{ code: commands.loadExternal, givesHandle: true },
    parameters: new Writer().u16(0).sized(area).u32(handles.owner).done(),
  });
  return client.using(handle, async () => {
    const name = objectName(area);
    const { parameters } = await client.run({
      ...{ code: commands.verifySignature, handles: [{ handle, name }] },
      parameters: new Writer()
        .sized(sha256(signedBytes(policy, reference)))
        .u16(tpmAlgorithms.ecdsa)
        .u16(tpmAlgorithms.sha256)
        .sized(signature.subarray(0, 32))
        .sized(signature.subarray(32))
        .done(),
    });
    return { key: name, ticket: Buffer.from(parameters.rest()) };
  });
}
