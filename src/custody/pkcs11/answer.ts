import type { BatchItem } from '../../engine/batch.ts';
import { awayOf, TokenAway } from './away.ts';
import { type Cryptoki, codeOf, nameOf } from './cryptoki.ts';
import { KeyTroubles } from './key-troubles.ts';
import { handleDeaths, sessionDeaths, tokenTroubles } from './numbers.ts';
import type { Answered, Asked, Away, CallAnswer, Failed } from './protocol.ts';
import { ItemRunner } from './run-items.ts';
import { Token } from './token.ts';
import { KeyNotProven, TokenKeys } from './token-keys.ts';

/** Answers questions of the home, in the process that has the module. Never rejects. */
export type AnswerQuestion = (asked: Asked) => Promise<Answered>;

/** `nowMs`: monotonic. */
export function createAnswering(
  cryptoki: Cryptoki,
  pinDescriptor: number,
  nowMs: () => number = () => performance.now(),
): AnswerQuestion {
  const token = new Token(cryptoki, pinDescriptor);
  const keys = new TokenKeys(token);
  const items = new ItemRunner(token, keys, new KeyTroubles(nowMs));

  async function runCall(call: readonly BatchItem[]): Promise<CallAnswer> {
    try {
      return await Promise.all(call.map((item) => items.run(item)));
    } catch (error) {
      return awayOf(error).away;
    }
  }

  async function answer(asked: Asked): Promise<Answered> {
    switch (asked.kind) {
      case 'open':
        return token.open(asked.settings, asked.refusedPin);
      case 'close':
        await token.close();
        return { kind: 'well' };
      case 'probe':
        token.probe();
        token.keepAlive();
        return { kind: 'well' };
      case 'run': {
        const calls = await Promise.all(asked.calls.map(runCall));
        const away = calls.find(isAway);
        const ofKeys = items.takeTroublesOfKeys();
        return { kind: 'ran', calls, ...(away && { away }), ...(ofKeys.length > 0 && { ofKeys }) };
      }
      case 'generate':
        return keys.generate(asked.keyType, asked.reference);
      case 'adopt':
        return keys.adopt(asked.keyType, asked.reference, asked.key);
      case 'destroy':
        await keys.destroy(asked.references);
        return { kind: 'well' };
      case 'discard':
        await keys.discard(asked.references);
        return { kind: 'well' };
      case 'evidence':
        return evidence(asked.reference);
    }
  }

  /** A handle that the token does not know any more is found again, once. */
  async function evidence(reference: Uint8Array, again = false): Promise<Answered> {
    const found = await keys.find(reference);
    if (found === undefined)
      return { kind: 'not_made', code: 'BadRequest', hint: 'the token has no such key' };
    try {
      const [local, alwaysSensitive, neverExtractable, sensitive, extractable] = await keys.facts(found);
      const key = { local, alwaysSensitive, neverExtractable, sensitive, extractable };
      return { kind: 'evidence', key: key as Record<keyof typeof key, boolean>, asOfMs: Date.now() };
    } catch (error) {
      if (again || !handleDeaths.has(codeOf(error) ?? 0)) throw error;
      keys.forget(reference);
      return evidence(reference, true);
    }
  }

  /** The module's word about one key is no reason to take all others away: the token itself is asked whether it is well. */
  function failureOf(error: unknown): Away | Failed {
    const code = codeOf(error) ?? 0;
    if (error instanceof TokenAway || tokenTroubles.has(code) || sessionDeaths.has(code))
      return awayOf(error).away;
    try {
      token.probe();
    } catch (gone) {
      return awayOf(gone).away;
    }
    return { kind: 'failed', reason: error instanceof KeyNotProven ? error.message : nameOf(error) };
  }

  return async (asked) => {
    try {
      return await answer(asked);
    } catch (error) {
      return failureOf(error);
    }
  };
}

function isAway(answer: CallAnswer): answer is Away {
  return 'kind' in answer;
}
