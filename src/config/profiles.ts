/** A named set of settings. What it sets may be given as well, and only as it says. */
export interface Profile {
  readonly meaning: string;
  /** By the names that a file's members have. */
  readonly settings: Readonly<Record<string, string>>;
  /** The reason for which this version does not take it. */
  readonly refused?: string;
}

/** In one table, so that the documentation and the loader say the same. Values are texts, as a variable would hold them. */
export const profiles: Readonly<Record<string, Profile>> = {
  micronode: {
    meaning:
      'A node that forgets: nothing is on disk, and keys are gone with the process. Either half of a hybrid signature does.',
    settings: { amnesia: 'true', backend: 'memory', audit: 'off', pq_verify_mode: 'or' },
  },
  macronode: {
    meaning: 'A node whose keys are in hardware and attested.',
    settings: {},
    refused: 'it needs keys in hardware with attestation, which this version does not have',
  },
};
