/*
 * The audit log and the keys it speaks about: sign, rotate, append, checkpoint, crash, power cut, restore.
 * docs/models.md says what is modelled, what is left out, and which source file each action stands for.
 *
 * One process; every option of its loop is one atomic step of the system, of its surroundings or of an attacker, so the
 * checker explores every order of them. Set from outside:
 *   ATTACK   0 nobody, 1 the audit directory, 2 the key store, 3 both
 *   WITNESS  0 none, 1 asked at every start and required, 2 preferred and out of reach at start
 *   CRASHES, IO_FAULTS, REQUESTS   how much may happen
 *   MUTANT   a rule of the design left out or turned round; a property must then fail
 *   ONLY     the one property to judge; 0 is all
 *   LIMIT    claims more than the design does; a property must then fail, and its trace is the documented limit
 */

#ifndef ATTACK
#define ATTACK 0
#endif
#ifndef WITNESS
#define WITNESS 0
#endif
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef LIMIT
#define LIMIT 0
#endif
#ifndef ONLY
#define ONLY 0
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef IO_FAULTS
#define IO_FAULTS 1
#endif
#ifndef REQUESTS
#define REQUESTS 4
#endif

/* Mutants */
#define RELEASE_BEFORE_APPEND 1
#define RELEASE_BEFORE_WRITE 2
#define RELEASE_BEFORE_HEAD 3
#define SIGN_BEFORE_FDATASYNC 4
#define FDATASYNC_COUNTS_LATER_WRITES 5
#define PUBLISH_BEFORE_ANCHOR 6
#define NO_HEAD_WRITTEN_RULE 7
#define NO_BOOT_ID_RULE 8
#define SEQ_AT_REQUEST 9
#define SEQ_FROM_ANCHOR 10
#define ROTATE_BEFORE_RECORD 11
#define CHECKPOINT_OVERTAKES_ROTATION 12
#define NO_ANCHOR_BEHIND_RULE 13
#define NO_STORE_AHEAD_RULE 14
#define LOG_AHEAD_IS_TAMPERING 15
#define HOLE_IS_TAMPERING 16
#define FDATASYNC_RETRIED 17
#define RECOVERY_WITHOUT_REWRITE 18
#define SLOT_LEAK 19
#define QUEUE_DROPS_OLDEST 20
#define NO_ANCHOR_CHECK 21
#define WITNESS_BEFORE_ANCHOR 22
#define ANCHOR_OVERTAKEN 23
#define SYNCED_AT_WRITE 24
#define NO_WITNESS_CHECK 25
#define LOST_WAKE_UP 26
#define BOOT_RECORD_BEFORE_HEAD 27
#define BOOT_RECORD_BEFORE_HEAD_IS_SYNCED 28

/* Properties */
#define LOGGED 1
#define KEPT 2
#define NO_ROLLBACK 3
#define NO_KEY_ROLLBACK 4
#define NO_FORK 5
#define SEQ 6
#define VERSION_LOGGED 7
#define NO_FALSE_ALARM 8
#define PROGRESS 9
#define NO_ROLLBACK_BELOW_WITNESS 10

/* Requests: 0 sign, key 0, written; 1 rotate key 0, synced; 2 sign, key 0, synced; 3 sign, key 1, written. With a witness
   request 0 asks for `witnessed`. A record is its request's number + 1; a boot record is BOOT + n; FORGED marks a changed one. */
#define SLOTS 2
#define BOOT 4
#define FORGED 16
#define ROTATION 1
#define RECORD(r) (r + 1)
#define IS_ROTATION(x) ((x & 15) == RECORD(ROTATION))
#define KEY_OF(x) (((x & 15) == 4) -> 1 : 0)
#define HAS_KEY(x) ((x & 15) >= 1 && (x & 15) <= 4)
#define SYNCED(r) (r == 1 || r == 2)
#define WITNESSED(r) (WITNESS > 0 && r == 0)
/* At most one boot record for each end of the process and each failed fdatasync. */
#define CAPACITY (REQUESTS + CRASHES + IO_FAULTS)
#define NONE 15

/* Of a request */
#define IDLE 0
#define RESERVED 1
#define USED 2
#define APPENDED 3
#define COMMITTED 4
#define RELEASED 5
#define REFUSED 6
#define LOST 7

/* Of the log */
#define DOWN 0
#define RECOVERING 1
#define READY 2
#define UNAVAILABLE 3
#define INTEGRITY_FAILED 4

/* The records as the appender's memory has them; a prefix is in the page cache, a prefix of that on the disk. */
byte wal[CAPACITY];
byte seqOf[CAPACITY];
byte memoryLength;
byte cacheLength;
byte diskLength;
bool hole;            /* a power cut left a whole frame behind a damaged one */
bool dropped;         /* a failed fdatasync left pages clean that are not on the disk */
byte checkpointFile;  /* size in the published checkpoint, in the audit directory */

/* The key store: commits are atomic and durable. HEAD lies beside it and is synced at a clean end and at a start, before
   anything is appended; otherwise it may come back older. */
byte anchor;
byte keyVersion = 1;
byte headWritten;
byte headDurable;
bool headSameBoot = 1;
bool headClean;
byte cleanSize;       /* of the clean HEAD that the disk may still have; 0: none */
byte framesBeyond;    /* frames behind what HEAD says was written; more than 2 count as 2 */

/* A machine of somebody else */
byte witness;

/* Process memory */
byte state = READY;
byte request[REQUESTS];
byte place[REQUESTS];
byte slotsInUse;
byte seqs[2];
byte durable;
byte syncTarget;
byte step;            /* of the checkpoint under way: 1 signed, 2 anchored, 3 published */
byte size;            /* its size */
byte lastCheckpoint;
bool headDue;         /* a frame was written: its HEAD comes before the next one */
bool diskFull;
#if MUTANT == SEQ_AT_REQUEST
byte seqAtRequest[REQUESTS];
#endif
#if MUTANT == LOST_WAKE_UP
bool syncWanted;
#endif
#if MUTANT == ANCHOR_OVERTAKEN
byte lateAnchor;      /* asked of the store, which has not answered in time */
#endif

/* What may still happen */
byte crashes = CRASHES;
byte ioFaults = IO_FAULTS;
byte boots;
#if ATTACK > 0
byte attacks = 1;
bool attacked;
byte alteredFrom = NONE;
byte anchorAtRotation; /* older copies of the store with version 1 have at most this anchor, those with 2 at least */
#endif

/* What the properties remember */
byte promised;        /* size that covers every released record that must still be there */
byte promisedSynced;
byte published;
byte publishedVersion = 1;
byte committedTo[CAPACITY];   /* what signatures that count said of each leaf */
byte broken;

byte pick;            /* of choices within one step; 0 between steps */
/* Scratch of one step: no part of the state, but a search in breadth cannot leave it out. */
#ifdef BREADTH_FIRST
#define SCRATCH byte
#else
#define SCRATCH hidden byte
#endif
SCRATCH i;
SCRATCH n;
SCRATCH k;
SCRATCH accepted;
SCRATCH found;

inline hold(property, condition) {
  if
  :: (condition) || (ONLY && property != ONLY)
  :: else ->
    printf("VIOLATED %d\n", property);
    broken = property;
    assert(broken != property)
  fi
}

inline findRotation(upTo) {
  found = 0;
  for (i : 0 .. CAPACITY - 1) {
    if
    :: i < upTo && IS_ROTATION(wal[i]) -> found = 1
    :: else
    fi
  }
}

inline forget(from) {
  for (i : 0 .. CAPACITY - 1) {
    if
    :: i >= from -> wal[i] = 0; seqOf[i] = 0
    :: else
    fi
  }
}

/* A signature that counts says what the leaves are; another one may not say otherwise. */
inline commitTo(upTo) {
  for (i : 0 .. CAPACITY - 1) {
    if
    :: i < upTo ->
      hold(NO_FORK, committedTo[i] == 0 || committedTo[i] == wal[i]);
      committedTo[i] = wal[i]
    :: else
    fi
  }
}

inline assignSeq(value) {
  /* the truth: one more than the records of this key that are before it */
  n = 0;
  for (i : 0 .. CAPACITY - 1) {
    if
    :: i < memoryLength && HAS_KEY(wal[i]) && KEY_OF(wal[i]) == k -> n++
    :: else
    fi
  }
  hold(SEQ, value == n + 1);
  seqOf[memoryLength] = value
}

/* Only nobody's power cut may take acknowledged records that were not synced. An attacker who cuts the log after a power
   cut is held to what was published: HEAD may have come back older. */
inline promiseAfterPowerCut() {
#if LIMIT == 3
  skip
#elif ATTACK == 0 || LIMIT == 4
  promised = promisedSynced
#else
  promised = published
#endif
}

inline processEnds() {
  state = DOWN;
  forget(cacheLength);
  memoryLength = cacheLength;
  slotsInUse = 0;
  seqs[0] = 0;
  seqs[1] = 0;
  durable = 0;
  syncTarget = 0;
  step = 0;
  size = 0;
  lastCheckpoint = 0;
  headDue = 0;
  diskFull = 0;
  for (i : 0 .. REQUESTS - 1) {
    place[i] = 0;
    if
    :: request[i] >= RESERVED && request[i] <= COMMITTED -> request[i] = LOST
    :: else
    fi
  }
#if MUTANT == ANCHOR_OVERTAKEN
  lateAnchor = 0;
#endif
#if MUTANT == SEQ_AT_REQUEST
  for (i : 0 .. REQUESTS - 1) { seqAtRequest[i] = 0 }
#endif
}

inline reserve(r) {
  slotsInUse++;
  request[r] = RESERVED;
#if MUTANT == SEQ_AT_REQUEST
  k = KEY_OF(RECORD(r));
  seqs[k] = seqs[k] + 1;
  seqAtRequest[r] = seqs[k];
#endif
  printf("request %d: slot reserved\n", r)
}

inline commitRotation() {
#if ATTACK > 0
  anchorAtRotation = anchor;
#endif
  keyVersion = 2
}

inline useKey(r) {
  if
  :: r == ROTATION -> printf("request %d: new version made, not usable yet\n", r)
  :: else ->
    findRotation(diskLength);
    hold(VERSION_LOGGED, keyVersion == 1 || found);
    printf("request %d: signed with version %d\n", r, keyVersion)
  fi;
#if MUTANT == ROTATE_BEFORE_RECORD
  if
  :: r == ROTATION -> commitRotation()
  :: else
  fi;
#endif
  request[r] = USED
}

inline append(r) {
  k = KEY_OF(RECORD(r));
#if MUTANT == SEQ_AT_REQUEST
  assignSeq(seqAtRequest[r]);
#else
  seqs[k] = seqs[k] + 1;
  assignSeq(seqs[k]);
#endif
  wal[memoryLength] = RECORD(r);
  place[r] = memoryLength;
  memoryLength++;
  request[r] = APPENDED;
  printf("request %d: record %d appended, seq %d\n", r, place[r], seqOf[place[r]])
}

inline release(r) {
  hold(LOGGED, request[r] >= APPENDED && place[r] < cacheLength && wal[place[r]] == RECORD(r));
  if
  :: promised < place[r] + 1 -> promised = place[r] + 1
  :: else
  fi;
  if
  :: SYNCED(r) && promisedSynced < place[r] + 1 -> promisedSynced = place[r] + 1
  :: else
  fi;
#if LIMIT == 5
  if
  :: r == ROTATION -> publishedVersion = keyVersion
  :: else
  fi;
#endif
  request[r] = RELEASED;
  place[r] = 0;
  slotsInUse--;
  printf("request %d: answer released\n", r)
}

#if MUTANT == SYNCED_AT_WRITE
#define ON_DISK(r) 1
#else
#define ON_DISK(r) (!SYNCED(r) || durable > place[r])
#endif
#if MUTANT == RELEASE_BEFORE_APPEND
#define MAY_RELEASE(r) (request[r] == USED)
#elif MUTANT == RELEASE_BEFORE_WRITE
#define MAY_RELEASE(r) (request[r] == APPENDED)
#elif MUTANT == RELEASE_BEFORE_HEAD
#define MAY_RELEASE(r) (request[r] == APPENDED && r != ROTATION && cacheLength > place[r])
#else
#define MAY_RELEASE(r) (headWritten > place[r] && headSameBoot && \
  ((request[r] == APPENDED && r != ROTATION && ON_DISK(r) && (!WITNESSED(r) || witness > place[r])) || \
  request[r] == COMMITTED))
#endif

/* Requests arrive in order and overtake each other afterwards, as many at a time as there are slots. */
#define NEXT(r) (request[r] == IDLE && (r == 0 || request[(r > 0 -> r - 1 : 0)] != IDLE))

#define REQUEST(r) \
  :: d_step { state == READY && NEXT(r) && slotsInUse < SLOTS && !diskFull -> reserve(r) } \
  :: d_step { state == READY && NEXT(r) && slotsInUse == SLOTS -> \
      request[r] = REFUSED; printf("request %d: refused, no slot and no key used\n", r) } \
  :: d_step { state == READY && request[r] == RESERVED -> useKey(r) } \
  :: d_step { state == READY && request[r] == RESERVED -> \
      request[r] = REFUSED; GIVE_BACK; printf("request %d: fails before the key is used\n", r) } \
  :: d_step { state == READY && request[r] == USED -> append(r) } \
  :: d_step { state == READY && MAY_RELEASE(r) -> release(r) }

#if MUTANT == SLOT_LEAK
#define GIVE_BACK skip
#else
#define GIVE_BACK slotsInUse--
#endif

/* A checkpoint does not cover a rotation that is on the log and not yet in the store. */
inline chooseSize() {
#if MUTANT == SIGN_BEFORE_FDATASYNC
  n = cacheLength;
#else
  n = durable;
#endif
#if MUTANT != CHECKPOINT_OVERTAKES_ROTATION && REQUESTS > ROTATION
  if
  :: request[ROTATION] == APPENDED && place[ROTATION] < n -> n = place[ROTATION]
  :: else
  fi
#endif
}

#if MUTANT == CHECKPOINT_OVERTAKES_ROTATION
#define HELD_BACK 0
#else
#define HELD_BACK (request[ROTATION] == APPENDED && place[ROTATION] <= lastCheckpoint)
#endif
#if MUTANT == SIGN_BEFORE_FDATASYNC
#define CHECKPOINT_DUE (cacheLength > lastCheckpoint && !HELD_BACK)
#else
#define CHECKPOINT_DUE (durable > lastCheckpoint && !HELD_BACK)
#endif

/* Which signature counts: with nobody interfering any that was made, else those that left, and where everything local
   can be put back, those a witness holds. */
#if ATTACK == 0
#define COUNTS_WHEN_SIGNED 1
#define COUNTS_WHEN_PUBLISHED 0
#elif ATTACK < 3 || LIMIT == 6
#define COUNTS_WHEN_SIGNED 0
#define COUNTS_WHEN_PUBLISHED 1
#else
#define COUNTS_WHEN_SIGNED 0
#define COUNTS_WHEN_PUBLISHED 0
#endif

/* HEAD is synced on the way. */
inline publish() {
  if
  :: !headClean -> cleanSize = 0
  :: else
  fi;
  checkpointFile = size;
  published = size;
  lastCheckpoint = size;
#if WITNESS == 0
  rememberVersion();
#endif
  if
  :: COUNTS_WHEN_PUBLISHED -> commitTo(size)
  :: else
  fi;
  printf("checkpoint %d published\n", size)
}

inline rememberVersion() {
  findRotation(size);
  if
  :: found && keyVersion == 2 -> publishedVersion = 2
  :: else
  fi
}

inline askWitness() {
  witness = size;
  rememberVersion();
  if
  :: WITNESS > 0 && ATTACK == 3 && LIMIT != 6 -> commitTo(size)
  :: else
  fi;
  printf("checkpoint %d cosigned by the witness\n", size)
}

inline writeHead() {
  headWritten = cacheLength;
  headDurable = durable;
  headSameBoot = 1;
  headClean = 0;
  framesBeyond = 0
}

inline refuseUnless(condition) {
  if
  :: (condition)
  :: else -> accepted = 0
  fi
}

#if ATTACK > 0
#define INTACT(upTo) (memoryLength >= upTo && alteredFrom >= upTo)
#else
#define INTACT(upTo) (memoryLength >= upTo)
#endif

/* Start-up, up to the point where the log is believed or not. */
inline judge() {
  accepted = 1;
#if MUTANT == HOLE_IS_TAMPERING
  refuseUnless(!hole);
#else
  refuseUnless(!hole || !headSameBoot);
#endif
#if MUTANT == NO_BOOT_ID_RULE
  refuseUnless(INTACT(headWritten));
#elif MUTANT != NO_HEAD_WRITTEN_RULE
  refuseUnless((!headSameBoot && !headClean) || INTACT(headWritten));
#endif
  refuseUnless(!headClean || memoryLength == headWritten);
  refuseUnless(!headSameBoot || framesBeyond <= 1);
  refuseUnless(INTACT(headDurable));
#if MUTANT != NO_ANCHOR_CHECK
  refuseUnless(INTACT(anchor));
#endif
  refuseUnless(INTACT(checkpointFile));
#if MUTANT != NO_ANCHOR_BEHIND_RULE
  refuseUnless(checkpointFile <= anchor);
#endif
#if WITNESS == 1 && MUTANT != NO_WITNESS_CHECK
  refuseUnless(INTACT(witness));
#if MUTANT != NO_ANCHOR_BEHIND_RULE
  refuseUnless(witness <= anchor);
#endif
#endif
  findRotation(memoryLength);
#if MUTANT != NO_STORE_AHEAD_RULE
  refuseUnless(keyVersion == 1 || found);
#endif
#if MUTANT == LOG_AHEAD_IS_TAMPERING
  refuseUnless(keyVersion == 2 || !found);
#endif
}

inline claimsOfAnAcceptedStart() {
#if ATTACK == 0
  hold(KEPT, INTACT(promised));
#endif
#if ATTACK == 1
  hold(NO_ROLLBACK, INTACT(published) && INTACT(promised));
#endif
#if ATTACK == 2
  hold(NO_ROLLBACK, INTACT(published) && INTACT(promised));
  hold(NO_KEY_ROLLBACK, keyVersion >= publishedVersion);
#endif
#if ATTACK == 3 && (WITNESS > 0 || LIMIT == 1)
#if LIMIT == 1
  hold(NO_ROLLBACK, INTACT(published));
#endif
  hold(NO_ROLLBACK_BELOW_WITNESS, INTACT(witness));
  hold(NO_KEY_ROLLBACK, keyVersion >= publishedVersion);
#endif
#if ATTACK < 2
  hold(VERSION_LOGGED, keyVersion == 1 || found);
#endif
}

inline recover() {
  judge();
  if
  :: accepted ->
    claimsOfAnAcceptedStart();
    hole = 0;
#if MUTANT != RECOVERY_WITHOUT_REWRITE
    dropped = 0;
#endif
#if ATTACK > 0
    alteredFrom = NONE;
#endif
    for (i : 0 .. CAPACITY - 1) {
      if
      :: i < memoryLength && HAS_KEY(wal[i]) ->
        k = KEY_OF(wal[i]);
        seqs[k] = seqs[k] + 1;
        hold(SEQ, seqOf[i] == seqs[k])
#if MUTANT == SEQ_FROM_ANCHOR
        ; if
        :: i >= anchor -> seqs[k] = seqs[k] - 1
        :: else
        fi
#endif
      :: else
      fi
    }
    lastCheckpoint = (checkpointFile > anchor -> checkpointFile : anchor);
    durable = (headDurable > lastCheckpoint -> headDurable : lastCheckpoint);
#if MUTANT != BOOT_RECORD_BEFORE_HEAD
    writeHead();
#if MUTANT != BOOT_RECORD_BEFORE_HEAD_IS_SYNCED
    cleanSize = 0;
#endif
#endif
    boots++;
    wal[memoryLength] = BOOT + boots;
    memoryLength++;
    state = RECOVERING;
    printf("start: %d records believed, boot record appended\n", memoryLength - 1)
  :: else ->
#if ATTACK > 0
    hold(NO_FALSE_ALARM, attacked);
#else
    hold(NO_FALSE_ALARM, 0);
#endif
    state = INTEGRITY_FAILED;
    printf("start: integrity failure, latched\n")
  fi
}

/* Whatever was not synced may be lost, from any point on, and later pages may have survived an earlier one. Of HEAD the
   newest comes back or the oldest: those in between demand neither the most nor the least. */
inline powerCut() {
  d_step { crashes--; processEnds(); pick = diskLength };
  do
  :: pick < cacheLength && !dropped -> pick++
  :: break
  od;
  if
  :: pick + 1 < cacheLength -> hole = 1
  :: skip
  fi;
  if
  :: cleanSize == 0 && headDurable > 0 -> headDurable = 0
  :: cleanSize > 0 -> d_step { headClean = 1; headWritten = cleanSize; headDurable = cleanSize }
  :: !headClean
  fi;
  d_step {
    forget(pick);
    memoryLength = pick;
    cacheLength = pick;
    diskLength = pick;
    pick = 0;
    dropped = 0;
    headSameBoot = 0;
    framesBeyond = 0;
    promiseAfterPowerCut();
    printf("POWER CUT: %d records left (hole %d), HEAD says %d durable\n", memoryLength, hole, headDurable)
  }
}

#if ATTACK == 1 || ATTACK == 3
/* Cut to any length or change any record; put back a checkpoint file of any smaller size, one that never was included. */
inline tamper() {
  d_step { attacked = 1; pick = memoryLength };
  do
  :: pick > 0 -> pick--
  :: break
  od;
  if
  :: pick < memoryLength ->
    d_step {
      forget(pick);
      memoryLength = pick;
      cacheLength = pick;
      framesBeyond = 0;
      diskLength = (diskLength > pick -> pick : diskLength);
      printf("ATTACK: log cut to %d records\n", pick)
    }
  :: pick < memoryLength ->
    d_step { wal[pick] = wal[pick] | FORGED; alteredFrom = pick; printf("ATTACK: record %d changed\n", pick) }
  :: else
  fi;
  pick = checkpointFile;
  do
  :: pick > 0 -> pick--
  :: break
  od;
  d_step { checkpointFile = pick; pick = 0; printf("ATTACK: checkpoint file says %d\n", checkpointFile) }
}
#endif

#if ATTACK >= 2
/* Any pair of anchor and version that can have been in the store at one time, and the oldest HEAD: it demands least. */
inline restoreStore() {
  d_step { attacked = 1; headWritten = 0; headDurable = 0; headClean = 0; cleanSize = 0; framesBeyond = 0 };
  if
  :: keyVersion == 2 -> keyVersion = 1; anchor = anchorAtRotation
  :: skip
  fi;
  do
  :: anchor > (keyVersion == 2 -> anchorAtRotation : 0) -> anchor--
  :: break
  od;
  printf("ATTACK: older key store put back (anchor %d, version %d)\n", anchor, keyVersion)
}
#endif

#if MUTANT == LOST_WAKE_UP
/* A write during fdatasync wakes nobody. */
#define WAKE_SYNC syncWanted = (syncTarget == 0)
#define SYNC_AWAKE syncWanted
#else
#define WAKE_SYNC skip
#define SYNC_AWAKE 1
#endif

#define ALL_ANSWERED_FROM(r) (request[r] >= RELEASED)
#if REQUESTS == 3
#define ALL_ANSWERED (ALL_ANSWERED_FROM(0) && ALL_ANSWERED_FROM(1) && ALL_ANSWERED_FROM(2))
#else
#define ALL_ANSWERED (ALL_ANSWERED_FROM(0) && ALL_ANSWERED_FROM(1) && ALL_ANSWERED_FROM(2) && ALL_ANSWERED_FROM(3))
#endif
#define WORKING (state == READY || state == RECOVERING)

active proctype service() {
accept_every_cycle:
  do
  REQUEST(0)
  REQUEST(1)
  REQUEST(2)
#if REQUESTS > 3
  REQUEST(3)
#endif

  /* The store's commit of a rotation whose record is on the disk */
  :: d_step { state == READY && request[ROTATION] == APPENDED && durable > place[ROTATION] ->
      commitRotation(); request[ROTATION] = COMMITTED; printf("rotation in the store, version 2 usable\n") }

  /* Appender */
  :: d_step { WORKING && cacheLength < memoryLength && !diskFull && !headDue ->
      cacheLength = memoryLength; headDue = 1; framesBeyond = (framesBeyond < 2 -> framesBeyond + 1 : 2); WAKE_SYNC; printf("write(2): %d records in the page cache\n", cacheLength) }
  :: d_step { WORKING && (headWritten != cacheLength || headDurable != durable || !headSameBoot) ->
      writeHead(); headDue = 0;
      printf("HEAD: written %d, durable %d\n", headWritten, headDurable) }
#if MUTANT == QUEUE_DROPS_OLDEST
  :: d_step { state == READY && slotsInUse == SLOTS && request[0] == APPENDED && place[0] >= cacheLength ->
      wal[place[0]] = NONE; printf("queue full: record %d dropped\n", place[0]) }
#endif

  /* Sync thread: one fdatasync at a time, which covers what was written before it began */
  :: d_step { WORKING && syncTarget == 0 && cacheLength > durable && SYNC_AWAKE -> syncTarget = cacheLength;
      printf("fdatasync begins for %d records\n", syncTarget) }
  :: d_step { WORKING && syncTarget > 0 ->
      if
      :: dropped
      :: else -> diskLength = syncTarget
      fi;
#if MUTANT == FDATASYNC_COUNTS_LATER_WRITES
      durable = cacheLength;
#else
      durable = syncTarget;
#endif
      syncTarget = 0; printf("fdatasync returns: %d durable\n", durable) }
  :: d_step { WORKING && syncTarget > 0 && ioFaults > 0 ->
      ioFaults--; dropped = 1; syncTarget = 0;
#if MUTANT != FDATASYNC_RETRIED
      state = UNAVAILABLE;
#endif
      printf("fdatasync FAILS\n") }
  :: d_step { state == UNAVAILABLE -> processEnds(); printf("process ends itself\n") }

  /* Checkpointer */
  :: d_step { WORKING && step == 0 && CHECKPOINT_DUE -> chooseSize(); size = n; step = 1;
      if
      :: COUNTS_WHEN_SIGNED -> commitTo(size)
      :: else
      fi;
      printf("checkpoint %d signed\n", size) }
#if MUTANT == ANCHOR_OVERTAKEN
  :: d_step { WORKING && step == 1 && lateAnchor == 0 -> lateAnchor = size; step = 0; size = 0;
      printf("anchor %d takes too long, given up\n", lateAnchor) }
  :: d_step { WORKING && lateAnchor > 0 -> anchor = lateAnchor; lateAnchor = 0; printf("anchor %d arrives\n", anchor) }
#endif
#if MUTANT == PUBLISH_BEFORE_ANCHOR
  :: d_step { WORKING && step == 1 -> publish(); step = 2 }
  :: d_step { WORKING && step == 2 -> printf("checkpoint %d anchored\n", size); anchor = size; step = 0; size = 0 }
#elif MUTANT == WITNESS_BEFORE_ANCHOR
  :: d_step { WORKING && step == 1 -> askWitness(); step = 2 }
  :: d_step { WORKING && step == 2 -> anchor = size; publish(); step = 0; size = 0 }
#else
  :: d_step { WORKING && step == 1 -> anchor = size; step = 2; printf("checkpoint %d anchored\n", size) }
  :: d_step { WORKING && step == 2 -> publish();
#if WITNESS > 0
      step = 3 }
  :: d_step { WORKING && step == 3 -> askWitness();
#endif
      step = 0; size = 0 }
#endif

  /* Start-up */
  :: d_step { state == DOWN -> recover() }
  :: d_step { state == RECOVERING && step == 0 && lastCheckpoint == memoryLength && headWritten == memoryLength && headSameBoot ->
      state = READY; printf("ready\n") }

  /* Surroundings */
  :: d_step { crashes > 0 && state == READY && slotsInUse == 0 && step == 0 && lastCheckpoint == memoryLength && memoryLength > 0 && !headDue ->
      crashes--; writeHead(); headClean = 1; cleanSize = headWritten; processEnds();
      printf("clean end: %d records\n", memoryLength) }
  :: d_step { crashes > 0 && state != DOWN && state != INTEGRITY_FAILED ->
      crashes--; processEnds(); printf("PROCESS CRASH: %d records in the page cache\n", memoryLength) }
  :: atomic { crashes > 0 && state != INTEGRITY_FAILED -> powerCut() }
  :: d_step { ioFaults > 0 && WORKING && !diskFull -> ioFaults--; diskFull = 1; printf("disk full\n") }
  :: d_step { diskFull -> diskFull = 0; printf("space again\n") }
  :: d_step { crashes + ioFaults > 0 -> crashes = 0; ioFaults = 0 }
#if ATTACK > 0
  :: atomic { attacks > 0 && state == DOWN -> attacks--;
#if ATTACK >= 2
      restoreStore();
#endif
#if ATTACK != 2
      tamper()
#endif
    }
  :: d_step { attacks > 0 -> attacks = 0 }
#endif

  :: else ->
    hold(PROGRESS, state == INTEGRITY_FAILED || (state == READY && ALL_ANSWERED && slotsInUse == 0));
    break
  od
}
