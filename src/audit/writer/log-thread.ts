import { hash } from 'node:crypto';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Acceptance, AuditEvent, AuditState } from '../audit-log.ts';
import { emptyTree, type Head, HeadFile, readHead } from '../disk/head.ts';
import { epochDirectory, epochOrigin, epochsIn, hasRecords, layoutOf } from '../disk/layout.ts';
import { type KeyStatePage, LoggedKeys } from '../disk/logged-keys.ts';
import { type AuditSecrets, openSecrets } from '../disk/secrets.ts';
import { InputHasher } from '../format/input-hash.ts';
import { parseVkey } from '../format/note.ts';
import {
  type FromService,
  type LogIdentity,
  type Port,
  type ServiceData,
  statistic,
  type ToService,
  urgentMark,
  type Witnessed,
} from '../thread-messages.ts';
import { errnoOf } from './disk-failures.ts';
import { checkKeys, type KeysChecked } from './key-check.ts';
import { LogState } from './log-state.ts';
import { LogWriter } from './log-writer.ts';
import { type LogWriterStart, type ServiceParts, type Trouble, troubles } from './log-writer-parts.ts';
import { MainThread } from './main-thread.ts';
import { failureWithoutRecords, type IntegrityFailure, type Recovered, recover } from './recovery.ts';
import { repairLog } from './repair.ts';
import { scrubSlowly } from './scrub.ts';

const retryMs = 250;
const noKeys: KeyStatePage = { ids: [], states: [], next: undefined };

/** The log's thread: recovers the log, writes it, answers for its state. One for each audit directory. */
export class LogThread {
  readonly #data: ServiceData;
  readonly #parts: ServiceParts;
  readonly #port: Port<ToService, FromService>;
  readonly #secrets: AuditSecrets;
  readonly #statistics: Float64Array;
  readonly #questions: MainThread;
  #unlock: (() => Promise<void>) | undefined;
  #writer: LogWriter | undefined;
  #failure: IntegrityFailure | undefined;
  #state: AuditState = 'recovering';
  #epoch = 1;
  /** The newest one that a witness knows. */
  #witnessedEpoch = 1;
  #trouble: Trouble | undefined;
  /** The log is whole and under a checkpoint. */
  #settled = false;
  #closing = false;
  #started: Promise<void> = Promise.resolve();
  #rewriting: Promise<void> = Promise.resolve();

  constructor(data: ServiceData, port: Port<ToService, FromService>, parts: ServiceParts) {
    this.#data = data;
    this.#port = port;
    this.#parts = parts;
    this.#secrets = openSecrets(parts, data.secret);
    this.#statistics = new Float64Array(data.statistics);
    this.#questions = new MainThread(
      (message) => port.postMessage(message),
      (state, reason) => this.#enter(state, reason),
    );
    port.on('message', (message) => this.#receive(message));
  }

  start(): void {
    this.#started = this.#untilDone(() => this.#start());
  }

  #receive(message: ToService): void {
    if (typeof message === 'string') {
      // Events after a failure were refused on the other side already.
      this.#writer?.receive(message.slice(1), message[0] === urgentMark);
      return;
    }
    switch (message.kind) {
      case 'answer':
        this.#questions.answer(message.id, message.answer);
        return;
      case 'committed':
        this.#writer?.committed(message.keyId);
        return;
      case 'accept':
        this.#started = this.#started.then(() => this.#untilDone(() => this.#accept(message.acceptance)));
        return;
      case 'contradicted':
        this.#started = this.#started.then(() => this.#untilDone(() => this.#contradicted(message.detail)));
        return;
      case 'close':
        void this.#close();
    }
  }

  /** A step that throws could not read or write the directory at all. False: it did throw. */
  async #run(step: () => Promise<void>): Promise<boolean> {
    try {
      await step();
      return true;
    } catch (error) {
      this.#enter('unavailable', `the audit directory cannot be used: ${errnoOf(error)}`);
      return false;
    }
  }

  /** A disk, or a table of descriptors, that fails now may do it later. */
  async #untilDone(step: () => Promise<void>): Promise<void> {
    while (!this.#closing && !(await this.#run(step))) await sleep(retryMs);
  }

  async #start(): Promise<void> {
    const { files } = this.#parts;
    const { directory, headPath } = this.#data;
    files.makeDirectory(directory);
    // An attempt before this one left its files, and a lock that is still held.
    await this.#writer?.abandon();
    this.#writer = undefined;
    this.#unlock ??= await this.#parts.lock(directory);
    if (this.#unlock === undefined) {
      this.#enter('unavailable', 'another process writes this audit directory');
      return;
    }
    const found = readHead(files, headPath, this.#secrets.head);
    if (found === 'damaged') {
      this.#epoch = epochsIn(files, directory).at(-1) ?? 1;
      this.#fail(failureWithoutRecords('head_damaged', 'HEAD is there and no slot of it is authentic'));
      return;
    }
    this.#epoch = found === 'missing' ? 1 : found.head.epoch;
    const [identity, witnessed] = await Promise.all([
      this.#questions.identity(this.#origin()),
      this.#data.witnessed
        ? this.#questions.newestWitnessed(this.#data.origin, this.#epoch)
        : { trees: [], epoch: this.#epoch },
    ]);
    if (identity === undefined || witnessed === undefined) return;
    if (
      found === 'missing' &&
      (identity.anchor !== undefined || identity.anchorRejected || hasRecords(files, directory))
    ) {
      this.#epoch = Math.max(this.#epoch, ...epochsIn(files, directory), identity.anchor?.epoch ?? 1);
      this.#fail(failureWithoutRecords('head_missing', 'there are records or an anchor, and no HEAD'));
      return;
    }
    if (identity.anchorRejected) {
      this.#fail(failureWithoutRecords('anchor_rejected', 'the anchor in the key store is not authentic'));
      return;
    }
    const { trees, epoch } = witnessed;
    if (trees[0] !== undefined && (found === 'missing' || epoch > this.#epoch)) {
      this.#witnessedEpoch = epoch;
      const { witness, size } = trees[0];
      this.#fail(
        failureWithoutRecords(
          'contradicted',
          `witness ${witness} has cosigned ${size} records of epoch ${epoch}`,
        ),
      );
      return;
    }
    if (found === 'missing') {
      const keys = await this.#keysOfNewLog();
      if (keys === undefined) return;
      await this.#begin(1, 0, keys, (writer) => this.#boot(writer, undefined));
      return;
    }
    await this.#recover(found, identity, trees);
  }

  async #recover(
    found: { head: Head; counter: number },
    identity: LogIdentity,
    witnessed: readonly Witnessed[],
  ): Promise<void> {
    const { files } = this.#parts;
    // The store reads its keys while this thread reads the log.
    const firstKeys = this.#firstKeys();
    const recovered = this.#readBack(found, identity, witnessed);
    if (!recovered.ok) {
      this.#fail(recovered);
      return;
    }
    const checked = await this.#checkKeys(recovered.state.keys, recovered.covered, firstKeys);
    if (checked === undefined) return;
    if (!checked.ok) {
      const { size } = recovered.state;
      this.#fail({ ...checked, size, root: Buffer.from(recovered.state.root()).toString('hex') });
      return;
    }
    await repairLog(files, this.#layout(), recovered);
    await this.#reopenHead(recovered);
    const { head, headCounter } = recovered;
    const start = { ...recovered, ...head };
    await this.#write(start, headCounter + 1, checked.found, (writer) => this.#boot(writer, recovered));
  }

  #readBack(
    found: { head: Head; counter: number },
    identity: LogIdentity,
    witnessed: readonly Witnessed[],
  ): Recovered | IntegrityFailure {
    const { files, bootId } = this.#parts;
    const keys = identity.vkeys.map((vkey) => {
      const key = parseVkey(vkey);
      if (!key.ok) throw new Error('an attestation key is not a verifier key');
      return key.value;
    });
    return recover({
      ...{ files, layout: this.#layout(), origin: this.#origin(), epoch: this.#epoch, found },
      ...{ anchor: identity.anchor, anchored: this.#data.anchored, witnessed, keys, bootId },
      secrets: this.#secrets,
    });
  }

  /**
   * After a failed fdatasync nothing may be believed of what was written since the last good one: it is read back, held
   * against all that remembers it, and written anew. Tried until the disk takes it, or is found not to have it any more.
   */
  async #writeAnew(writer: LogWriter): Promise<void> {
    const { files } = this.#parts;
    await writer.quiet();
    const identity = await this.#questions.identity(this.#origin());
    if (identity === undefined || this.#closing || this.#writer !== writer) return;
    const found = readHead(files, this.#data.headPath, this.#secrets.head);
    if (typeof found === 'string') {
      await this.#latch(`head_${found}`, 'HEAD cannot be read back after a failed fdatasync');
      return;
    }
    const recovered = this.#readBack(found, identity, []);
    if (!recovered.ok) {
      await this.#latch(recovered.reason, recovered.detail);
      return;
    }
    await repairLog(files, this.#layout(), recovered);
    const { state, walFirst, walOffset } = recovered;
    if (!writer.resume({ size: state.size, root: state.root() }, walFirst, walOffset)) {
      await this.#latch('root_differs', 'after a failed fdatasync the disk has another log');
    }
  }

  async #firstKeys(): Promise<KeyStatePage | undefined> {
    return this.#data.keysLogged ? this.#questions.keysAfter(undefined) : noKeys;
  }

  /** Compares the store's keys with the log, given its records under a checkpoint; undefined: the log closes. */
  async #checkKeys(
    logged: LoggedKeys,
    covered: number,
    keys: Promise<KeyStatePage | undefined>,
  ): Promise<KeysChecked | undefined> {
    const first = await keys;
    if (first === undefined) return undefined;
    if (first === noKeys) return { ok: true, found: [] };
    return checkKeys(logged, covered, first, (after) => this.#questions.keysAfter(after));
  }

  /** A log that begins takes them as they are. */
  async #keysOfNewLog(): Promise<readonly AuditEvent[] | undefined> {
    const checked = await this.#checkKeys(new LoggedKeys(), 0, this.#firstKeys());
    return checked?.ok ? checked.found : undefined;
  }

  /**
   * Before anything is appended: whoever is killed between the boot record and the HEAD that counts it must not leave
   * records behind a HEAD that says `clean`, or one frame more each time behind a HEAD of this boot.
   */
  async #reopenHead({
    state,
    head: { checkpoint, minimumIndex, restored },
    headCounter,
  }: Recovered): Promise<void> {
    const { files, bootId } = this.#parts;
    const tree = { size: state.size, root: state.root() };
    const head = new HeadFile(files, this.#data.headPath, this.#secrets.head, headCounter);
    try {
      head.write({
        ...{ epoch: this.#epoch, bootId, written: tree, durable: tree, checkpoint },
        ...{ clean: false, restored, minimumIndex },
      });
      await head.sync();
    } finally {
      head.close();
    }
  }

  #boot(writer: LogWriter, recovered: Recovered | undefined): void {
    const { bootId } = this.#parts;
    const size = recovered?.state.size ?? 0;
    const root = Buffer.from((recovered?.state ?? new LogState()).root()).toString('hex');
    const checkpointSize = recovered?.head.checkpoint.size ?? 0;
    const facts = { boot_id: bootId, size, root, checkpoint_size: checkpointSize };
    const { torn, lost = 0 } = recovered ?? {};
    writer.note('boot', facts);
    if (torn === undefined && lost === 0) return;
    writer.note('recovery', {
      lost_records: lost,
      torn_bytes: torn?.bytes ?? 0,
      torn_sha256: torn?.sha256 ?? '',
    });
  }

  /** An empty log of this epoch. HEAD comes last: before it there is nothing that could be missed. */
  async #begin(
    epoch: number,
    counter: number,
    found: readonly AuditEvent[],
    first: (writer: LogWriter) => void,
  ): Promise<void> {
    const { files, bootId } = this.#parts;
    this.#epoch = epoch;
    const layout = this.#layout();
    files.makeDirectory(layout.wal);
    await files.syncDirectory(layout.directory);
    await files.syncDirectory(this.#data.directory);
    const head = new HeadFile(files, this.#data.headPath, this.#secrets.head, counter);
    const nothing = { written: emptyTree, durable: emptyTree, checkpoint: emptyTree };
    // Both slots: an older one would speak of another epoch.
    for (let slot = 0; slot < 2; slot++)
      head.write({ epoch, bootId, ...nothing, clean: false, restored: false, minimumIndex: 0 });
    await head.sync();
    head.close();
    await files.syncDirectory(dirname(this.#data.headPath));
    const start = {
      ...{ state: new LogState(), walFirst: 0, walOffset: 0 },
      ...{ checkpoint: emptyTree, restored: false, minimumIndex: 0 },
    };
    await this.#write(start, counter + 2, found, first);
  }

  async #write(
    start: LogWriterStart,
    counter: number,
    found: readonly AuditEvent[],
    first: (writer: LogWriter) => void,
  ): Promise<void> {
    const { files, clock, bootId, seal } = this.#parts;
    const { options, inputHash } = this.#data;
    const epoch = this.#epoch;
    const origin = this.#origin();
    const writer = new LogWriter(
      {
        ...{ files, clock, bootId, seal, options, origin, epoch },
        ...{ layout: this.#layout(), secrets: this.#secrets },
        statistics: this.#statistics,
        head: new HeadFile(files, this.#data.headPath, this.#secrets.head, counter),
        hasher: new InputHasher(this.#secrets.inputRoot, inputHash),
        sign: async ({ size, root }) => {
          const answer = await this.#questions.ask({ of: 'checkpoint', origin, epoch, size, root, bootId });
          return answer !== undefined && 'note' in answer ? answer.note : undefined;
        },
        listener: {
          written: (receipts) => this.#port.postMessage(receipts),
          durable: (size) => this.#port.postMessage({ kind: 'durable', size }),
          published: ({ size, root }, note) =>
            this.#port.postMessage({ kind: 'published', origin, size, root, note }),
          trouble: (trouble, cause) => this.#troubled(writer, trouble, cause),
          failed: (what, cause) => this.#port.postMessage({ kind: 'failed', what, cause }),
          clock: (behindUs) => this.#port.postMessage({ kind: 'clock', behindUs }),
        },
      },
      start,
    );
    this.#writer = writer;
    writer.begin(() => first(writer), found);
    // Ready means: under a checkpoint. Until the keys and the store can make one, no key is used.
    while (!(await writer.settle())) {
      if (this.#closing || this.#writer !== writer) return;
      if (this.#trouble === undefined) this.#enter('unavailable', 'the first checkpoint cannot be made yet');
      await sleep(retryMs);
    }
    this.#settled = true;
    if (this.#trouble === undefined) this.#enter('ready', undefined);
    void this.#scrub(writer);
  }

  #troubled(writer: LogWriter, trouble: Trouble | undefined, cause: string | undefined): void {
    this.#trouble = trouble;
    if (trouble === 'sync_failed') {
      this.#rewriting = this.#rewriting.then(() => this.#untilDone(() => this.#writeAnew(writer)));
    }
    if (trouble !== undefined) {
      this.#enter('unavailable', cause === undefined ? troubles[trouble] : `${troubles[trouble]} (${cause})`);
    } else if (this.#settled) this.#enter('ready', undefined);
  }

  /** Reads the sealed segments once after each start. */
  async #scrub(writer: LogWriter): Promise<void> {
    const damage = await scrubSlowly({
      ...{ files: this.#parts.files, layout: this.#layout(), statistics: this.#statistics },
      pauseMs: this.#data.options.scrubPauseMs,
      goesOn: () => !this.#closing && this.#writer === writer,
      failed: (cause) => this.#port.postMessage({ kind: 'failed', what: 'scrub', cause }),
    });
    if (damage !== undefined) await this.#latch('segment_damaged', damage);
  }

  async #contradicted(detail: string): Promise<void> {
    if (this.#writer !== undefined && !this.#closing) await this.#latch('contradicted', detail);
  }

  /** Nothing is written any more: not under a history that is in doubt. */
  async #latch(reason: IntegrityFailure['reason'], detail: string): Promise<void> {
    const writer = this.#writer;
    this.#writer = undefined;
    this.#settled = false;
    await writer?.abandon();
    const { size, root } = writer?.durable ?? emptyTree;
    this.#fail({ ok: false, reason, detail, size, root: Buffer.from(root).toString('hex') });
  }

  #fail(failure: IntegrityFailure): void {
    this.#failure = failure;
    const count = this.#statistics[statistic.integrityFailures] ?? 0;
    this.#statistics[statistic.integrityFailures] = count + 1;
    this.#enter('integrity_failed', `${failure.reason}: ${failure.detail}`);
  }

  /** The next epoch's first record says how the last one ended, as far as it could be read. */
  async #accept(acceptance: Acceptance): Promise<void> {
    const failure = this.#failure;
    if (this.#state !== 'integrity_failed' || failure === undefined) return;
    try {
      await this.#beginNext(failure, acceptance);
    } catch (error) {
      // The failure stands as before, to be accepted again.
      this.#failure = failure;
      this.#enter('integrity_failed', `${failure.reason}: the next epoch cannot begin (${errnoOf(error)})`);
    }
  }

  async #beginNext(failure: IntegrityFailure, { reason, approvers, sideLog }: Acceptance): Promise<void> {
    const { files } = this.#parts;
    const identity = await this.#questions.identity(this.#origin());
    if (identity === undefined) return;
    const { anchor } = identity;
    const epochs = [
      this.#epoch,
      this.#witnessedEpoch,
      anchor?.epoch ?? 1,
      ...epochsIn(files, this.#data.directory),
    ];
    const oldOrigin = this.#origin();
    const checkpoint = files.read(this.#layout().checkpoint) ?? Buffer.alloc(0);
    const evidence = Buffer.concat([Buffer.from(JSON.stringify(failure)), checkpoint]);
    const found = readHead(files, this.#data.headPath, this.#secrets.head);
    const counter = typeof found === 'string' ? 0 : found.counter;
    this.#failure = undefined;
    this.#enter('recovering', undefined);
    const keys = await this.#keysOfNewLog();
    if (keys === undefined) return;
    await this.#begin(Math.max(...epochs) + 1, counter, keys, (writer) => {
      writer.note('integrity', {
        old_origin: oldOrigin,
        old_size: failure.size,
        old_root: failure.root,
        failure: failure.reason,
        detail: failure.detail,
        checkpoint_sha256: hash('sha256', checkpoint, 'hex'),
        evidence_sha256: hash('sha256', evidence, 'hex'),
        reason,
        ...{ approvers: approvers.join(' '), ...sideLog },
      });
      this.#boot(writer, undefined);
    });
  }

  async #close(): Promise<void> {
    this.#closing = true;
    this.#questions.close();
    await this.#started;
    await this.#rewriting;
    try {
      await this.#writer?.close();
    } finally {
      await this.#unlock?.();
      this.#port.postMessage({ kind: 'closed' });
    }
  }

  #enter(state: AuditState, reason: string | undefined): void {
    this.#state = state;
    const directory = this.#layout().directory;
    const takesRecords =
      state === 'ready' || this.#trouble === 'disk_low' || this.#trouble === 'checkpoint_late';
    this.#port.postMessage({ kind: 'state', state, reason, directory, takesRecords });
  }

  #origin(): string {
    return epochOrigin(this.#data.origin, this.#epoch);
  }

  #layout() {
    return layoutOf(epochDirectory(this.#data.directory, this.#epoch));
  }
}

/** Keeps no thread alive: the port does that. */
const sleep = (ms: number): Promise<void> => delay(ms, undefined, { ref: false });
