import type { AuditState } from '../audit-log.ts';
import { epochOrigin } from '../disk/layout.ts';
import type { KeyStatePage } from '../disk/logged-keys.ts';
import type { AnswerTo, FromService, LogIdentity, Question, Witnessed } from '../thread-messages.ts';

const retryMs = 250;
/** Each time all witnesses are asked over the network. */
const witnessRetryMs = 1_000;

/**
 * The main thread, as the log's thread asks it. A question without an answer is asked again; undefined only when the log
 * closes.
 */
export class MainThread {
  readonly #post: (message: FromService) => void;
  readonly #waits: (state: AuditState, reason: string) => void;
  readonly #open = new Map<number, (answer: AnswerTo) => void>();
  #count = 0;
  #closed = false;

  /** `waits` is told whenever there was no answer. */
  constructor(post: (message: FromService) => void, waits: (state: AuditState, reason: string) => void) {
    this.#post = post;
    this.#waits = waits;
  }

  answer(id: number, answer: AnswerTo): void {
    this.#open.get(id)?.(answer);
    this.#open.delete(id);
  }

  /** Nobody waits for an answer any more; the last checkpoint is still asked for. */
  close(): void {
    this.#closed = true;
    for (const answer of this.#open.values()) answer(undefined);
    this.#open.clear();
  }

  /** Once. */
  ask(question: Question): Promise<AnswerTo> {
    const id = this.#count++;
    return new Promise((resolve) => {
      this.#open.set(id, resolve);
      this.#post({ kind: 'ask', id, question });
    });
  }

  identity(origin: string): Promise<LogIdentity | undefined> {
    return this.#until({ of: 'identity', origin }, (answer) => ('vkeys' in answer ? answer : undefined));
  }

  keysAfter(after: string | undefined): Promise<KeyStatePage | undefined> {
    return this.#until({ of: 'keys', after }, (answer) => ('ids' in answer ? answer : undefined));
  }

  async #witnessed(origin: string): Promise<readonly Witnessed[] | undefined> {
    return this.#until({ of: 'witnessed', origin }, (answer) =>
      'witnessed' in answer ? answer.witnessed : undefined,
    );
  }

  /** The witnesses' trees of this epoch of the log, or of the newest later one: then the log is an older copy. */
  async newestWitnessed(
    origin: string,
    first: number,
  ): Promise<{ readonly trees: readonly Witnessed[]; readonly epoch: number } | undefined> {
    let epoch = first;
    const of = (epoch: number) => this.#witnessed(epochOrigin(origin, epoch));
    let [trees, later] = await Promise.all([of(epoch), of(epoch + 1)]);
    while (later !== undefined && later.length > 0) {
      epoch++;
      trees = later;
      later = await of(epoch + 1);
    }
    return trees === undefined || later === undefined ? undefined : { trees, epoch };
  }

  async #until<T>(
    question: Question,
    pick: (answer: NonNullable<AnswerTo>) => T | undefined,
  ): Promise<T | undefined> {
    for (;;) {
      const answer = this.#closed ? undefined : await this.ask(question);
      const picked = answer === undefined ? undefined : pick(answer);
      if (picked !== undefined || this.#closed) return picked;
      const ofWitnesses = question.of === 'witnessed';
      if (ofWitnesses) this.#waits('unavailable', 'too few witnesses say what they hold');
      else this.#waits('recovering', 'the key store does not answer');
      await new Promise((resolve) => setTimeout(resolve, ofWitnesses ? witnessRetryMs : retryMs));
    }
  }
}
