import type { TpmClient } from './client.ts';
import { TpmError } from './errors.ts';
import { capabilities, commands, inLockout, properties as p, responseCodes } from './numbers.ts';
import { Writer } from './wire.ts';

/** Those of the wanted properties (TPM_PT) that this TPM has. Throws a TpmError. */
export async function readProperties(
  client: TpmClient,
  wanted: readonly number[],
): Promise<ReadonlyMap<number, number>> {
  const found = new Map<number, number>();
  for (const property of wanted) {
    const { parameters } = await client.run({
      code: commands.getCapability,
      parameters: new Writer().u32(capabilities.tpmProperties).u32(property).u32(1).done(),
    });
    parameters.u8();
    parameters.u32();
    if (parameters.u32() !== 1 || parameters.u32() !== property) continue;
    found.set(property, parameters.u32());
  }
  return found;
}

export interface LockoutState {
  readonly locked: boolean;
  /** Wrong authorizations that count now, and their number that locks. */
  readonly failures: number;
  readonly limit: number;
  /** Seconds after which one less counts. */
  readonly intervalS: number;
}

/** Unclean power-offs count as well (TPM 2.0 part 1, 19.8.4). */
export async function readLockout(client: TpmClient): Promise<LockoutState> {
  const found = await readProperties(client, [
    p.permanent,
    p.lockoutCounter,
    p.maxAuthFail,
    p.lockoutInterval,
  ]);
  return {
    locked: ((found.get(p.permanent) ?? 0) & inLockout) !== 0,
    failures: found.get(p.lockoutCounter) ?? 0,
    limit: found.get(p.maxAuthFail) ?? 0,
    intervalS: found.get(p.lockoutInterval) ?? 0,
  };
}

/** Throws a TpmError where the TPM is locked out, or where one more wrong PIN would lock it. */
export async function requireTries(client: TpmClient): Promise<void> {
  const { locked, failures, limit, intervalS } = await readLockout(client);
  const remedy = `wait ${intervalS} s, or clear it: tpm2_dictionarylockout --clear-lockout`;
  if (locked)
    throw new TpmError(
      `it is locked out after too many wrong authorizations: ${remedy}`,
      responseCodes.lockout,
    );
  // A TPM that allows a single try would never be tried otherwise.
  if (failures > 0 && failures + 1 >= limit)
    throw new TpmError(
      `one more wrong PIN would lock it out (${failures} of ${limit} count): ${remedy}`,
      responseCodes.lockout,
    );
}

export interface TpmIdentity {
  readonly manufacturer: string;
  readonly model: string;
  /** Version as <major>.<minor>. */
  readonly firmware: string;
}

/** Maker and firmware, by TPM_PT_MANUFACTURER, TPM_PT_VENDOR_STRING_1 to 4 and TPM_PT_FIRMWARE_VERSION_1. */
export async function readIdentity(client: TpmClient): Promise<TpmIdentity> {
  const strings = [0, 1, 2, 3].map((index) => p.vendorString1 + index);
  const found = await readProperties(client, [p.manufacturer, ...strings, p.firmwareVersion1]);
  const text = (property: number) => textOf(found.get(property) ?? 0);
  const version = found.get(p.firmwareVersion1) ?? 0;
  return {
    manufacturer: text(p.manufacturer).trim(),
    model: strings.map(text).join('').trim(),
    firmware: `${version >>> 16}.${version & 0xffff}`,
  };
}

function textOf(value: number): string {
  return new Writer()
    .u32(value)
    .done()
    .toString('latin1')
    .replace(/[^\x20-\x7e]/g, '');
}
