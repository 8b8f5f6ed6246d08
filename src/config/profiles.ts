/** A named set of settings. What it sets may be given as well, and only as it says. */
export interface Profile {
  readonly meaning: string;
  /** By the names that a file's members have. */
  readonly settings: Readonly<Record<string, string>>;
}

/** In one table, so that the documentation and the loader say the same. Values are texts, as a variable would hold them. */
export const profiles: Readonly<Record<string, Profile>> = {
  micronode: {
    meaning:
      'A node that forgets: nothing is on disk, and keys are gone with the process. Either half of a hybrid signature does.',
    settings: { amnesia: 'true', backend: 'memory', audit: 'off', pq_verify_mode: 'or' },
  },
  macronode: {
    meaning:
      'A node with keys in hardware: it needs a token, lets no key sign without evidence of where it is, and is not ready while the token is away. A hybrid signature counts with both halves only.',
    settings: {
      attest_require: 'true',
      attest_fail_open: 'false',
      backends_required: 'true',
      pq_verify_mode: 'and',
    },
  },
};
