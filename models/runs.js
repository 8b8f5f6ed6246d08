/** What is asked of the model: the checks that must hold, the mutants and the limits that must not. */

/**
 * @typedef {'LOGGED' | 'KEPT' | 'NO_ROLLBACK' | 'NO_KEY_ROLLBACK' | 'NO_FORK' | 'SEQ' | 'VERSION_LOGGED' | 'NO_FALSE_ALARM'
 *   | 'PROGRESS' | 'NO_ROLLBACK_BELOW_WITNESS'} Property
 */

/**
 * @typedef {object} Run
 * @property {'check' | 'mutant' | 'limit'} kind
 * @property {string} name
 * @property {string} says One line for people.
 * @property {Record<string, number>} defines
 * @property {readonly Property[]} judges Of a check: all of these hold. Of a mutant or a limit: the one that must fail.
 * @property {boolean} [cycles] Also searches for a run that never ends.
 */

/** @type {Record<Property, { number: number; says: string }>} */
export const properties = {
  LOGGED: {
    number: 1,
    says: 'an answer that leaves has its record in the log, handed to the operating system',
  },
  KEPT: { number: 2, says: 'answered records outlive a process crash; synced ones a power cut too' },
  NO_ROLLBACK: { number: 3, says: 'no start believes a log without or with other than what was published' },
  NO_KEY_ROLLBACK: {
    number: 4,
    says: 'no start believes a key store without a rotation that a checkpoint covers',
  },
  NO_FORK: { number: 5, says: 'no two signed checkpoints contradict each other, of one size or of two' },
  SEQ: { number: 6, says: 'the sequence numbers of each key are 1, 2, 3, … in the order of the log' },
  VERSION_LOGGED: { number: 7, says: 'no key version is used whose rotation is not durably on the log' },
  NO_FALSE_ALARM: {
    number: 8,
    says: 'crashes, power cuts and full or failing disks alone never latch the log',
  },
  PROGRESS: { number: 9, says: 'every run ends with every slot given back, or with the log latched' },
  NO_ROLLBACK_BELOW_WITNESS: {
    number: 10,
    says: 'no start believes less or other than what a witness has cosigned',
  },
};

/** @param {string} number */
export function propertyOf(number) {
  const found = Object.entries(properties).find(([, property]) => String(property.number) === number);
  return /** @type {Property | undefined} */ (found?.[0]);
}

/** @type {readonly Property[]} */
const always = ['LOGGED', 'SEQ', 'NO_FALSE_ALARM', 'PROGRESS', 'VERSION_LOGGED'];

/** @type {readonly Run[]} */
const checks = [
  {
    kind: 'check',
    name: 'both-with-witness',
    says: 'audit directory and key store put back or changed, a witness is asked at every start',
    defines: { ATTACK: 3, WITNESS: 1, REQUESTS: 3, CRASHES: 2, IO_FAULTS: 0 },
    judges: [...always, 'NO_FORK', 'NO_KEY_ROLLBACK', 'NO_ROLLBACK_BELOW_WITNESS'],
  },
  {
    kind: 'check',
    name: 'faults',
    says: 'two crashes or power cuts, a failed fdatasync or a full disk',
    defines: { REQUESTS: 3, CRASHES: 2, IO_FAULTS: 1 },
    judges: [...always, 'KEPT', 'NO_FORK'],
  },
  {
    kind: 'check',
    name: 'audit-directory',
    says: 'audit directory cut, changed or put back, no witness',
    defines: { ATTACK: 1, REQUESTS: 3, CRASHES: 2, IO_FAULTS: 0 },
    judges: [...always, 'NO_FORK', 'NO_ROLLBACK'],
  },
  {
    kind: 'check',
    name: 'four-requests',
    says: 'two keys, four requests, one crash or power cut, one disk fault',
    defines: { REQUESTS: 4, CRASHES: 1, IO_FAULTS: 1 },
    judges: [...always, 'KEPT', 'NO_FORK'],
  },
  {
    kind: 'check',
    name: 'key-store',
    says: 'key store with anchor and HEAD put back, no witness',
    defines: { ATTACK: 2, REQUESTS: 3, CRASHES: 2, IO_FAULTS: 0 },
    judges: ['LOGGED', 'SEQ', 'NO_FALSE_ALARM', 'PROGRESS', 'NO_FORK', 'NO_ROLLBACK', 'NO_KEY_ROLLBACK'],
  },
  {
    kind: 'check',
    name: 'no-cycle',
    says: 'no run goes on for ever: what PROGRESS judges is where every run ends',
    defines: { REQUESTS: 3, CRASHES: 1, IO_FAULTS: 1 },
    judges: ['PROGRESS'],
    cycles: true,
  },
];

const crash = { REQUESTS: 3, CRASHES: 1, IO_FAULTS: 0 };
const badDisk = { REQUESTS: 3, CRASHES: 1, IO_FAULTS: 1 };
const twoEnds = { REQUESTS: 3, CRASHES: 2, IO_FAULTS: 0 };
const auditDirectory = { ...crash, ATTACK: 1 };
const keyStore = { ...crash, ATTACK: 2 };
const witnessed = { ...crash, ATTACK: 3, WITNESS: 1 };

/** @type {readonly [number, string, Property, Record<string, number>, string][]} */
const mutants = [
  [1, 'release-before-append', 'LOGGED', crash, 'the answer leaves before its record is appended'],
  [2, 'release-before-write', 'LOGGED', crash, 'the answer leaves when its record is in memory'],
  [
    3,
    'release-before-head',
    'NO_ROLLBACK',
    auditDirectory,
    'the answer leaves before HEAD counts its record',
  ],
  [4, 'sign-before-fdatasync', 'NO_FORK', crash, 'a checkpoint covers what only the page cache holds'],
  [
    5,
    'fdatasync-counts-later-writes',
    'NO_FORK',
    crash,
    'what was written during fdatasync counts as durable',
  ],
  [
    6,
    'publish-before-anchor',
    'NO_ROLLBACK',
    auditDirectory,
    'a checkpoint is published before the key store knows it',
  ],
  [
    6,
    'publish-before-anchor-fork',
    'NO_FORK',
    auditDirectory,
    'the same, up to the second published history',
  ],
  [
    7,
    'no-head-written-rule',
    'NO_ROLLBACK',
    auditDirectory,
    'start-up does not ask for what HEAD says was written',
  ],
  [8, 'no-boot-id-rule', 'NO_FALSE_ALARM', crash, 'start-up asks for it after a power cut too'],
  [9, 'seq-at-request', 'SEQ', crash, 'the sequence number is assigned when the request arrives'],
  [10, 'seq-from-anchor', 'SEQ', crash, 'after a crash numbers go on from the anchor, not from the log'],
  [
    11,
    'rotate-before-record',
    'VERSION_LOGGED',
    crash,
    'the new version is in the store before its record is durable',
  ],
  [
    12,
    'checkpoint-overtakes-rotation',
    'NO_KEY_ROLLBACK',
    keyStore,
    'a checkpoint covers a rotation that the store has not yet',
  ],
  [
    13,
    'no-anchor-behind-rule',
    'NO_KEY_ROLLBACK',
    keyStore,
    'an anchor older than the published checkpoint is accepted',
  ],
  [
    14,
    'no-store-ahead-rule',
    'VERSION_LOGGED',
    auditDirectory,
    'a key version whose rotation the log lacks is accepted',
  ],
  [
    15,
    'log-ahead-is-tampering',
    'NO_FALSE_ALARM',
    crash,
    'a rotation that the store lacks always counts as tampering',
  ],
  [
    16,
    'hole-is-tampering',
    'NO_FALSE_ALARM',
    crash,
    'damage before a whole frame counts as tampering after a power cut too',
  ],
  [17, 'fdatasync-retried', 'NO_FORK', badDisk, 'fdatasync is tried again after it failed'],
  [
    18,
    'recovery-without-rewrite',
    'NO_FORK',
    badDisk,
    'a restart after a failed fdatasync syncs what it reads, and does not write it again',
  ],
  [19, 'slot-leak', 'PROGRESS', crash, 'a request that fails before it uses the key keeps its slot'],
  [20, 'queue-drops-oldest', 'LOGGED', crash, 'a full queue drops its oldest record'],
  [21, 'no-anchor-check', 'NO_ROLLBACK', auditDirectory, 'start-up does not ask for what the anchor says'],
  [
    22,
    'witness-before-anchor',
    'NO_FALSE_ALARM',
    witnessed,
    'a witness sees the checkpoint before the key store knows it',
  ],
  [23, 'anchor-overtaken', 'NO_FALSE_ALARM', crash, 'an anchor that took too long replaces a newer one'],
  [24, 'synced-at-write', 'KEPT', crash, 'an answer at level `synced` leaves before fdatasync'],
  [25, 'no-witness-check', 'NO_ROLLBACK_BELOW_WITNESS', witnessed, 'start-up does not ask the witness'],
  [26, 'lost-wake-up', 'PROGRESS', crash, 'a record written during fdatasync starts no other fdatasync'],
  [
    27,
    'boot-record-before-head',
    'NO_FALSE_ALARM',
    twoEnds,
    'a start appends its first record before it writes HEAD',
  ],
  [
    28,
    'boot-record-before-head-is-synced',
    'NO_FALSE_ALARM',
    twoEnds,
    'a start after a clean end appends before HEAD is on the disk',
  ],
];

/** @type {readonly [number, string, Property, Record<string, number>, string][]} */
const limits = [
  [
    1,
    'both-without-witness',
    'NO_ROLLBACK',
    { ...crash, ATTACK: 3 },
    'everything local put back, and no witness: believed',
  ],
  [
    2,
    'witness-out-of-reach',
    'NO_ROLLBACK_BELOW_WITNESS',
    { ...witnessed, WITNESS: 2 },
    'the same when the witness is only preferred and does not answer',
  ],
  [
    3,
    'written-and-power-cut',
    'KEPT',
    crash,
    'an answer at level `written` leaves, and a power cut takes its record',
  ],
  [
    4,
    'synced-and-cut',
    'NO_ROLLBACK',
    auditDirectory,
    'a power cut brings back an older HEAD; a synced record after the last checkpoint can be cut',
  ],
  [
    5,
    'rotation-before-its-checkpoint',
    'NO_KEY_ROLLBACK',
    keyStore,
    'a rotation is answered and the key store put back before a checkpoint covers it',
  ],
  [
    6,
    'published-not-cosigned',
    'NO_FORK',
    witnessed,
    'everything local put back between publishing and cosigning: two published histories',
  ],
];

/** @type {readonly Run[]} The longest first, so that nothing long begins last. */
export const runs = [
  ...checks,
  ...mutants.map(
    ([number, name, property, defines, says]) =>
      /** @type {Run} */ ({
        ...{ kind: 'mutant', name, says, judges: [property] },
        defines: { ...defines, MUTANT: number, ONLY: properties[property].number },
      }),
  ),
  ...limits.map(
    ([number, name, property, defines, says]) =>
      /** @type {Run} */ ({
        ...{ kind: 'limit', name, says, judges: [property] },
        defines: { ...defines, LIMIT: number, ONLY: properties[property].number },
      }),
  ),
];
