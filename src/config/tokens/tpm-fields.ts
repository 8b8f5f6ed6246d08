import { field } from '../field.ts';
import type { Kind } from '../kinds.ts';

/** Named as tpm2-tss does. */
const tpmPlace: Kind<string> = {
  accepts: 'none, device: and a path, swtpm:path= and the path of a socket, or swtpm:host=…,port=…',
  parse: (given) =>
    typeof given === 'string' &&
    /^(none|device:\/[^\0]{1,200}|swtpm:path=\/[^\0,]{1,100}|swtpm:host=[A-Za-z0-9.:-]{1,253},port=[0-9]{1,5})$/.test(
      given,
    )
      ? given
      : undefined,
  format: (value) => value,
};

/** Of the owner's indices (TCG Registry of Reserved TPM 2.0 Handles, 2.2.2); at others lie certificates of the TPM's maker. */
const leastNvIndex = 0x1800000;
const mostNvIndex = 0x1bfffff;

const nvIndex: Kind<number> = {
  accepts: 'none, or an index from 0x1800000 to 0x1bfffff in hexadecimal digits with 0x before them',
  parse(given) {
    if (given === 'none' || given === 0) return 0;
    const isHex = typeof given === 'string' && /^0x0?1[0-9a-fA-F]{6}$/.test(given);
    const index = isHex ? Number(given) : given;
    if (typeof index !== 'number' || !Number.isInteger(index)) return undefined;
    return index >= leastNvIndex && index <= mostNvIndex ? index : undefined;
  },
  format: (value) => (value === 0 ? 'none' : `0x${value.toString(16).padStart(8, '0')}`),
};

/** Settings of a service that uses the TPM of its machine. */
export const tpmFields = {
  tpm: field(
    'KMS_TPM',
    tpmPlace,
    'none',
    'The TPM 2.0 of this machine: `device:/dev/tpmrm0`, or a software TPM as `swtpm:path=SOCKET` or `swtpm:host=HOST,port=N`; docs/tpm.md. With one there is a backend `tpm`, whose keys never leave it. A root key that is sealed to a TPM names its own.',
  ),
  tpmCounter: field(
    'KMS_TPM_COUNTER',
    nvIndex,
    { text: 'none', from: () => 0 },
    'Index in the memory of KMS_TPM, such as 0x01800100, of a counter against which the store and the audit log are held: a data directory that was put back is refused at a start. It is made where it is missing, counts once a minute at most and at each stop, and a start without the TPM is refused.',
  ),
};
