import type { Cancellation } from '../../core/cancellation.ts';
import { type Refused, type Result, refuse } from '../../core/result.ts';
import { DeferredCalls, type DeferredCallsParts } from './deferred-calls.ts';
import { LateRefusals } from './late-refusals.ts';
import { ParseTurn } from './parse-turn.ts';
import { defaultThreadShare, ThreadShare, type ThreadShareParts } from './thread-share.ts';

export interface FloodGuardParts
  extends DeferredCallsParts,
    Pick<ThreadShareParts, 'weightOf' | 'queueOf' | 'utilization'> {
  /** Calls back when everything that this turn of the event loop has read was parsed, and before anything else is read. */
  readonly soon: (callBack: () => void) => void;
  /** Calls back at the end of a turn, for the shares of its time; at the end of its parsing, when not given. */
  readonly atTurnEnd?: ThreadShareParts['atTurnEnd'];
  /** The target of queues that stand, in milliseconds. Asked each time: a reload may change it. */
  readonly queueTargetMs: number;
}

/** Of the target: the rest of a turn begins and answers what was read, and calls wait for one turn before they are read. */
const readingShare = 0.4;

const overShare = refuse('Backpressure', 'others come first, and too many calls wait for that', 1_000);

const turnsAreLong: Refused = {
  ok: false,
  failure: {
    code: 'Backpressure',
    hint: 'more is asked than can be read in time',
    retryAfterMs: 1_000,
    standing: true,
  },
};

/**
 * Shares the thread that reads requests, before anything of a call is parsed. A tenant over its share goes on later, a few
 * calls in each turn of the event loop, and hears of a refusal late.
 */
export class FloodGuard {
  readonly #clock: FloodGuardParts['clock'];
  readonly #parseTurn: ParseTurn;
  readonly #share: ThreadShare;
  readonly #deferred: DeferredCalls;
  readonly #late = new LateRefusals();

  constructor(parts: FloodGuardParts) {
    this.#clock = parts.clock;
    this.#parseTurn = new ParseTurn(parts.soon);
    const atTurnEnd = parts.atTurnEnd ?? ((ended) => this.#parseTurn.atEnd(ended));
    const options = {
      ...defaultThreadShare,
      get standingTurnMs() {
        return readingShare * parts.queueTargetMs;
      },
    };
    this.#share = new ThreadShare(options, { ...parts, atTurnEnd });
    this.#deferred = new DeferredCalls(parts);
  }

  /** Refusals that are held back now. */
  get heldRefusals(): number {
    return this.#late.held;
  }

  /** A call was read. True: its tenant has had its share of a turn that is long already, so the call is to be put off. */
  spent(tenant: string, nowMs: number): boolean {
    return this.#share.spent(tenant, nowMs);
  }

  /** Why the call is not gone on with although nobody else may want the thread: see ThreadShare.stands. */
  refusal(tenant: string, nowMs: number): Refused | undefined {
    return this.#share.stands(tenant, nowMs) ? turnsAreLong : undefined;
  }

  /**
   * The answer to a call that was refused because the service is asked for more than it can do, and has been for a while: late,
   * for the reason that `putOff` gives. Others hear at once.
   */
  answerTo(refused: Refused, waitMs: number, cancellation: Cancellation): Refused | Promise<Refused> {
    return refused.failure.standing === true ? this.#late.hold(refused, waitMs, cancellation) : refused;
  }

  /**
   * Begins when everything is parsed that was read with the call, or a turn later where its tenant has had its share. `begin`
   * must not throw.
   */
  afterParsing<T>(tenant: string, begin: () => Promise<T>): Promise<T> {
    return new Promise((resolve) => {
      const begun = () => resolve(begin());
      this.#parseTurn.afterParsing(() => {
        const spent = this.#share.spent(tenant, this.#clock.monotonicMs());
        if (!spent || !this.#deferred.add(begun)) begun();
      });
    });
  }

  /**
   * Others come first. Where too many wait for that, or the call is refused then, the caller hears of it when its deadline is
   * nearly over: told at once it would ask at once again, and the thread that others need too would read it again.
   */
  putOff<T>(
    goOn: () => Result<T> | Promise<Result<T>>,
    waitMs: number,
    cancellation: Cancellation,
  ): Promise<Result<T>> {
    const late = (refused: Refused) => this.#late.hold(refused, waitMs, cancellation);
    return new Promise((resolve, reject) => {
      const added = this.#deferred.add(() => {
        try {
          const answer = goOn();
          resolve('ok' in answer && !answer.ok && isLimit(answer) ? late(answer) : answer);
        } catch (cause) {
          // As where it is not put off: a bug costs this call its answer, and not the process.
          reject(cause);
        }
      });
      if (!added) resolve(late(overShare));
    });
  }
}

/** The part of it that calls meet. */
export type ThreadGuard = Pick<FloodGuard, 'spent' | 'refusal' | 'answerTo' | 'afterParsing' | 'putOff'>;

/** For callers in the process: nothing of theirs is read, and the thread is theirs to share. */
export const unguarded: ThreadGuard = {
  spent: () => false,
  refusal: () => undefined,
  answerTo: (refused) => refused,
  afterParsing: (_, begin) => begin(),
  putOff: async (goOn) => goOn(),
};

function isLimit({ failure: { code } }: Refused): boolean {
  return code === 'Backpressure' || code === 'RateLimited';
}
