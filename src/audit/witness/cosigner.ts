import type { Result } from '../../core/result.ts';
import type { Checkpoint } from '../format/checkpoint.ts';
import {
  submitCheckpoint,
  type WitnessAnswer,
  type WitnessedCheckpoint,
  witnessedCheckpoint,
} from './ask-witnesses.ts';
import type { PolicyWitness, WitnessPolicy } from './policy.ts';

/** The outcome of a round with all witnesses. */
export interface Cosigned {
  /** The note with the cosignatures that came in time. */
  readonly note: Uint8Array;
  /** Names, as the policy has them, of those who cosigned. */
  readonly cosignedBy: readonly string[];
  readonly quorum: boolean;
  /** True if the note may be published: the quorum is there, or the policy is to go on without it. */
  readonly publish: boolean;
  /** A witness that has cosigned a larger tree than ours: our log is an older copy of itself. */
  readonly ahead: { readonly witness: string; readonly size: number } | undefined;
  readonly answers: Readonly<Record<string, WitnessAnswer['kind'] | 'busy'>>;
}

export interface CosignerSettings {
  readonly policy: WitnessPolicy;
  /** `open`: a checkpoint without a quorum is published all the same. `closed`: it is not. */
  readonly fail: 'open' | 'closed';
  /** For each request to a witness; a round may take two of them. */
  readonly timeoutMs: number;
  /** Told of every witness that is ahead, those that answer after the quorum was reached included. */
  onAhead?(ahead: NonNullable<Cosigned['ahead']>, ownSize: number): void;
  /** The RFC 6962 consistency proof between two sizes of our log. */
  prove(from: number, to: number): Promise<Result<readonly Uint8Array[]>> | Result<readonly Uint8Array[]>;
}

/** A witness's state: the size that it cosigned last, as far as we know, and whether it is being asked. */
interface WitnessState {
  readonly witness: PolicyWitness;
  size: number;
  busy: boolean;
}

/** A log's side of tlog-witness: submits each checkpoint to all witnesses of a policy at once. */
export class Cosigner {
  readonly #settings: CosignerSettings;
  readonly #states: readonly WitnessState[];

  constructor(settings: CosignerSettings) {
    this.#settings = settings;
    this.#states = settings.policy.witnesses
      .filter(({ url }) => url !== undefined)
      .map((witness) => ({ witness, size: 0, busy: false }));
  }

  /**
   * Resolves as soon as the quorum is there, or every witness has answered or has let its time pass. Slower witnesses go
   * on by themselves; one that is still busy with an older checkpoint is left out.
   */
  async cosign(note: Uint8Array, checkpoint: Checkpoint): Promise<Cosigned> {
    const lines = new Map<string, string>();
    const answers: Record<string, WitnessAnswer['kind'] | 'busy'> = {};
    let ahead: Cosigned['ahead'];
    const { policy, fail } = this.#settings;
    const enough = () => policy.quorum(new Set(lines.keys()));
    const { promise: quorum, resolve: reached } = Promise.withResolvers<void>();
    const asked = this.#states.map(async (state) => {
      const { name } = state.witness;
      if (state.busy) {
        answers[name] = 'busy';
        return;
      }
      const answer = await this.#ask(state, note, checkpoint);
      answers[name] = answer.kind;
      if (answer.kind === 'cosigned') lines.set(name, answer.line);
      if (answer.kind === 'size' && answer.size > checkpoint.size) {
        ahead = { witness: name, size: answer.size };
        this.#settings.onAhead?.(ahead, checkpoint.size);
      }
      if (lines.size > 0 && enough()) reached();
    });
    await Promise.race([quorum, Promise.all(asked)]);
    const satisfied = enough();
    return {
      note: Buffer.concat([note, Buffer.from([...lines.values()].join(''))]),
      cosignedBy: [...lines.keys()],
      quorum: satisfied,
      publish: satisfied || fail === 'open',
      ahead,
      answers: { ...answers },
    };
  }

  /** One witness, asked a second time where it knows another size than we thought. */
  async #ask(state: WitnessState, note: Uint8Array, checkpoint: Checkpoint): Promise<WitnessAnswer> {
    state.busy = true;
    try {
      let answer = await this.#submit(state, note, checkpoint);
      if (answer.kind === 'size' && answer.size <= checkpoint.size) {
        state.size = answer.size;
        answer = await this.#submit(state, note, checkpoint);
      }
      if (answer.kind === 'cosigned') state.size = checkpoint.size;
      return answer;
    } finally {
      state.busy = false;
    }
  }

  async #submit(state: WitnessState, note: Uint8Array, checkpoint: Checkpoint): Promise<WitnessAnswer> {
    const old = Math.min(state.size, checkpoint.size);
    const proof = old === 0 ? [] : await this.#proof(old, checkpoint.size);
    if (proof === undefined) return { kind: 'unreachable' };
    return submitCheckpoint(state.witness, { old, proof, checkpoint: note }, this.#settings.timeoutMs);
  }

  async #proof(from: number, to: number): Promise<readonly Uint8Array[] | undefined> {
    if (from === to) return [];
    const proof = await this.#settings.prove(from, to);
    return proof.ok ? proof.value : undefined;
  }

  /**
   * The checkpoints of this log that the witnesses hold: no tree that is smaller than one of these is whole. `quorum`: so many
   * of them have answered, if only that they hold none.
   */
  async held(
    origin: string,
  ): Promise<{ readonly checkpoints: readonly WitnessedCheckpoint[]; readonly quorum: boolean }> {
    const { timeoutMs } = this.#settings;
    const answers = await Promise.all(
      this.#states.map(({ witness }) => witnessedCheckpoint(witness, origin, timeoutMs)),
    );
    const answered = this.#states.filter((_, place) => answers[place] !== undefined);
    return {
      checkpoints: answers.filter((answer) => answer !== undefined && answer !== 'none'),
      quorum: this.#settings.policy.quorum(new Set(answered.map(({ witness }) => witness.name))),
    };
  }
}
