import { Type } from '@sinclair/typebox';
import { ok, type Result } from '../../../core/result.ts';
import type { BatchAnswer, BatchRequest } from '../../../operations/batch.ts';
import type { Operation } from '../../../operations/operation.ts';
import type { Endpoint, Presented } from '../../dialect.ts';
import { closed, type Shape, shapeOf, typed } from '../../json-requests.ts';
import { presentFailure } from './failures.ts';

/** Many requests of one shape in one, each with its own answer or error, in their order. */
export function batchEndpoint<Body, Request, Answer>(
  operation: Operation<BatchRequest<Request>, BatchAnswer<Answer>>,
  maxItems: number,
  shape: Shape<Body>,
  requestOf: (body: Body) => Result<Request>,
  present: (answer: Answer) => unknown,
  headersOf?: (answers: readonly Answer[]) => AnswerHeaders,
): Endpoint<BatchRequest<Request>, BatchAnswer<Answer>> {
  const batchShape = shapeOf(closed({ items: Type.Array(Type.Unknown(), { minItems: 1, maxItems }) }));
  const readItem = (item: unknown): Result<Request> => {
    const body = shape.check(item);
    return body.ok ? requestOf(body.value) : body;
  };
  return {
    operation,
    parse: typed(batchShape, ({ items }) => ok({ items: () => items.map(readItem) })),
    present: (answers) => {
      const results = answers.map((answer) =>
        answer.ok ? present(answer.value) : { error: presentFailure(answer.failure) },
      );
      const good: Answer[] = [];
      if (headersOf !== undefined) for (const answer of answers) if (answer.ok) good.push(answer.value);
      return withHeaders({ status: 200, body: { results } }, headersOf?.(good));
    },
  };
}

type AnswerHeaders = readonly (readonly [string, string])[] | undefined;

export function withHeaders(
  answer: { readonly status: number; readonly body: unknown },
  headers: AnswerHeaders,
): Presented {
  return headers === undefined ? answer : { ...answer, headers };
}
