import {
  checkpointMessage,
  openCheckpoint,
  parseCheckpoint,
  signCheckpointText,
} from '../format/checkpoint.ts';
import { emptyRoot, verifyConsistency } from '../format/merkle.ts';
import { type NoteKey, type NoteSigner, parseNote, verifyNote } from '../format/note.ts';
import { originHash, parseAddCheckpoint, sizeContentType } from './add-checkpoint.ts';
import type { WitnessStore } from './state.ts';

/** A witness: cosigns a log's checkpoints as long as each tree continues the one before (C2SP tlog-witness). */

export interface WitnessSettings {
  /** Its own keys; each adds a line to the answer. */
  readonly signers: readonly NoteSigner[];
  /** The logs that it watches: the keys, under the name that is the log's origin. */
  readonly logs: ReadonlyMap<string, readonly NoteKey[]>;
  readonly store: WitnessStore;
  /** Seconds since 1970. */
  nowS(): number;
}

export interface WitnessResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

function plain(status: number, body = ''): WitnessResponse {
  return { status, contentType: 'text/plain; charset=utf-8', body };
}

export class Witness {
  readonly #settings: WitnessSettings;
  /** One request a log at a time: looking at the old size and keeping the new one are one step. */
  readonly #queues = new Map<string, Promise<unknown>>();

  constructor(settings: WitnessSettings) {
    this.#settings = settings;
  }

  /** POST <prefix>/add-checkpoint. */
  async addCheckpoint(body: Uint8Array): Promise<WitnessResponse> {
    const submission = parseAddCheckpoint(body);
    if (!submission.ok) return plain(400, `${submission.failure.hint}\n`);
    const { old, proof, checkpoint: bytes } = submission.value;
    const note = parseNote(bytes);
    const claimed = note.ok ? parseCheckpoint(note.value.text) : note;
    // A wrong root of an empty tree is a malformed checkpoint to us and a contradiction to the specification: both refuse.
    if (!note.ok || !claimed.ok) return plain(400, 'not a signed checkpoint\n');
    const { origin, size, root } = claimed.value;
    const keys = this.#settings.logs.get(origin);
    if (keys === undefined) return plain(404);
    const opened = openCheckpoint(bytes, origin, keys);
    if (!opened.ok) return plain(403, `${opened.failure.hint}\n`);
    // The note's text is what gets cosigned, and ML-DSA-44 would leave extension lines out.
    if (note.value.text.split('\n').length !== 4) return plain(400, 'extension lines are not supported\n');
    if (old > size) return plain(400, 'the old size is larger than the checkpoint\n');
    return this.#alone(origin, async () => {
      const { store } = this.#settings;
      const known = store.load(origin);
      const from = known?.checkpoint.size ?? 0;
      if (old !== from) return { status: 409, contentType: sizeContentType, body: `${from}\n` };
      const fromRoot = known?.checkpoint.root ?? emptyRoot;
      const continues =
        from === 0 ? proof.length === 0 : verifyConsistency(from, size, fromRoot, root, proof);
      if (!continues) return plain(422, 'the tree does not continue the one that was cosigned last\n');
      const lines = await this.#sign(note.value.text);
      store.save(origin, Buffer.concat([this.#logNote(note.value.text, bytes, keys), Buffer.from(lines)]));
      return plain(200, lines);
    });
  }

  /** GET <prefix>/<hash of the origin>/checkpoint. */
  checkpoint(hash: string): WitnessResponse {
    const origin = [...this.#settings.logs.keys()].find((known) => originHash(known) === hash);
    const known = origin === undefined ? undefined : this.#settings.store.load(origin);
    return known === undefined ? plain(404) : plain(200, Buffer.from(known.note).toString('utf8'));
  }

  async #sign(text: string): Promise<string> {
    const timeS = this.#settings.nowS();
    const lines = await Promise.all(
      this.#settings.signers.map((signer) => signCheckpointText(text, signer, timeS)),
    );
    return lines.join('');
  }

  /** The submitted note with the signatures of the log alone: what others wrote below it is not ours to keep. */
  #logNote(text: string, bytes: Uint8Array, keys: readonly NoteKey[]): Uint8Array {
    const whole = Buffer.from(bytes).toString('utf8');
    const lines = whole.slice(text.length + 1).split('\n');
    const ofLog = lines.filter((line) => {
      const note = parseNote(Buffer.from(`${text}\n${line}\n`));
      return note.ok && verifyNote(note.value, keys, checkpointMessage).ok;
    });
    return Buffer.from(`${text}\n${ofLog.map((line) => `${line}\n`).join('')}`);
  }

  #alone<T>(origin: string, act: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(origin) ?? Promise.resolve();
    const mine = before.then(act, act);
    this.#queues.set(
      origin,
      mine.catch(() => undefined),
    );
    return mine;
  }
}
