import type { TpmAttestation, TpmSigned } from '../custody.ts';
import type { Command, TpmClient } from './client.ts';
import { TpmError } from './errors.ts';
import { commands, objectAttributes as oa, tpmAlgorithms } from './numbers.ts';
import { createPrimary, type LoadedKey } from './objects.ts';
import { pcrDigest, pcrSelection, readPcrs } from './policy.ts';
import { p256Area, restrictedPrimary } from './public-area.ts';
import { emptyPassword, type Session } from './session.ts';
import { inBytes, type Reader, Writer } from './wire.ts';

/** PCRs that a boot extends: firmware, its settings, the boot loader, Secure Boot. */
const quotedPcrs = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const half = 32;

/**
 * A restricted signing key: it signs only structures that the TPM itself makes. The TPM derives it from the owner's seed each
 * time, so that nothing of it has to be kept.
 */
const signerTemplate = p256Area({
  attributes: restrictedPrimary | oa.sign,
  scheme: new Writer().u16(tpmAlgorithms.ecdsa).u16(tpmAlgorithms.sha256).done(),
});

/** A key that is loaded, and the session that proves its authorization. */
export interface KeyToAttest {
  readonly key: LoadedKey;
  readonly by: Session;
  readonly publicArea: Uint8Array;
}

/** Has the TPM certify the key and quote the PCRs, both with `bound` (TPM2_Certify, TPM2_Quote). Throws a TpmError. */
export async function attestKey(
  client: TpmClient,
  { key, by, publicArea }: KeyToAttest,
  bound: Uint8Array,
): Promise<TpmAttestation> {
  const signer = await createPrimary(client, signerTemplate);
  return client.using(signer.handle, async () => {
    const asked = new Writer().sized(bound).u16(tpmAlgorithms.null);
    const certified = await signedBy(client, {
      ...{ code: commands.certify, handles: [key, signer], by: [by, emptyPassword] as const },
      parameters: asked.done(),
    });
    const pcrs = await readPcrs(client, quotedPcrs);
    const quoted = await signedBy(client, {
      ...{ code: commands.quote, handles: [signer], by: emptyPassword },
      parameters: asked.bytes(pcrSelection(quotedPcrs)).done(),
    });
    // A quote ends with the digest of the PCRs (TPMS_QUOTE_INFO).
    if (!pcrDigest(pcrs).equals(quoted.attest.subarray(-half)))
      throw new TpmError('its PCRs changed while it was asked', 0);
    return { signer: signer.publicArea, publicArea, certified, quoted, pcrs };
  });
}

async function signedBy(client: TpmClient, command: Command): Promise<TpmSigned> {
  const { parameters } = await client.run(command);
  const attest = Uint8Array.from(parameters.sized());
  return { attest, signature: signatureIn(parameters) };
}

/** TPMT_SIGNATURE of ECDSA as r and s. */
function signatureIn(answer: Reader): Uint8Array {
  answer.take(4);
  const number = () => inBytes(answer.sized(), half);
  return Uint8Array.from(Buffer.concat([number(), number()]));
}
