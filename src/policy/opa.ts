import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { BoundedCache } from '../core/bounded-cache.ts';
import type { Clock } from '../core/clock.ts';
import { hybridModes } from '../core/hybrid-mode.ts';
import { limitedText } from '../core/limited-text.ts';
import type { Decision, Policy, PolicyQuestion } from './policy.ts';

export interface OpaOptions {
  /** The address of the decision in OPA's Data API: `http://127.0.0.1:8181/v1/data/intaglio/decision`. */
  readonly url: string;
  readonly clock: Clock;
  /** Told, for the operator's log, why a question could not be asked. */
  readonly onFailure: (cause: string) => void;
  readonly timeoutMs?: number;
  readonly cacheMs?: number;
  readonly maxCached?: number;
}

/** A decision on the hot path that takes longer is no decision: the caller waits for the signature as well. */
const defaultTimeoutMs = 50;
/** A change of policy is in force after this long. */
const defaultCacheMs = 5_000;
/** At 400 bytes each, 4 MB. */
const defaultMaxCached = 10_000;
/** Questions under way at once. Beyond it OPA is not the answer to a flood but its victim. */
const maxUnderWay = 256;
/** A decision is a few members. */
const maxAnswerBytes = 16 * 1024;

const answerSchema = Type.Object({
  result: Type.Optional(
    Type.Object({
      allow: Type.Boolean(),
      mode: Type.Optional(Type.Union(hybridModes.map((mode) => Type.Literal(mode)))),
      limits: Type.Optional(
        Type.Object(
          { uses_per_day: Type.Optional(Type.Integer({ minimum: 1 })) },
          { additionalProperties: false },
        ),
      ),
      reason: Type.Optional(Type.String({ maxLength: 512 })),
    }),
  ),
});
const answerShape = TypeCompiler.Compile(answerSchema);

interface Cached {
  readonly decision: Decision;
  readonly untilMs: number;
}

/**
 * Asks an Open Policy Agent (https://www.openpolicyagent.org/docs/rest-api#get-a-document-with-input): `POST` of `{"input": …}`,
 * answered by `{"result": {"allow", "mode"?, "limits"?, "reason"?}}`. Fails closed: no answer in time, no document, an answer
 * of another form is a denial, which is not kept.
 */
export function createOpaPolicy(options: OpaOptions): Policy {
  const { url, clock, onFailure } = options;
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const cacheMs = options.cacheMs ?? defaultCacheMs;
  const cache = new BoundedCache<string, Cached>(options.maxCached ?? defaultMaxCached);
  const underWay = new Map<string, Promise<Decision>>();

  const ask = async (question: PolicyQuestion, name: string): Promise<Decision> => {
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ input: question }),
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      });
      if (response.status !== 200) return failed(onFailure, `status ${response.status}`);
      const decision = decisionOf(await limitedText(response, maxAnswerBytes));
      if (decision === undefined) return failed(onFailure, 'an answer of another form');
      cache.set(name, { decision, untilMs: clock.monotonicMs() + cacheMs });
      return decision;
    } catch (error) {
      return failed(onFailure, causeOf(error));
    } finally {
      underWay.delete(name);
    }
  };

  return {
    decide(question) {
      const name = JSON.stringify(Object.values(question));
      const cached = cache.get(name);
      if (cached !== undefined && clock.monotonicMs() < cached.untilMs) return cached.decision;
      const asked = underWay.get(name);
      if (asked !== undefined) return asked;
      if (underWay.size >= maxUnderWay) return failed(onFailure, `${maxUnderWay} questions are under way`);
      const asking = ask(question, name);
      underWay.set(name, asking);
      return asking;
    },
  };
}

function failed(onFailure: (cause: string) => void, cause: string): Decision {
  onFailure(cause);
  return { allow: false, reason: 'the policy service gave no decision' };
}

function decisionOf(text: string): Decision | undefined {
  const answer: unknown = JSON.parse(text);
  if (!answerShape.Check(answer)) return undefined;
  const { result } = answer as Static<typeof answerSchema>;
  if (result === undefined) return undefined;
  const { allow, mode, limits, reason } = result;
  const usesPerDay = limits?.uses_per_day;
  return {
    allow,
    ...(mode === undefined ? undefined : { mode }),
    ...(usesPerDay === undefined ? undefined : { limits: { usesPerDay } }),
    ...(reason === undefined ? undefined : { reason }),
  };
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'no answer';
  const cause = error.cause as { code?: string } | undefined;
  return error.name === 'TimeoutError' ? 'no answer in time' : (cause?.code ?? error.message);
}
