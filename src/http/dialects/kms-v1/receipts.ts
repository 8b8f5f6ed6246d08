import { Type } from '@sinclair/typebox';
import { parseUtc } from '../../../auth/utc.ts';
import { ok, refuse } from '../../../core/result.ts';
import { type PublishedType, publishedTypes } from '../../../events/published-events.ts';
import type { Operation } from '../../../operations/operation.ts';
import type { EventFeed, EventsRequest } from '../../../operations/receipts/event-feeds.ts';
import {
  type ListReceiptsRequest,
  maxReceipts,
  type ReceiptRequest,
  type ReceiptsPage,
} from '../../../operations/receipts/read-receipts.ts';
import type { SignedReceipt } from '../../../operations/receipts/receipt.ts';
import type { Endpoint } from '../../dialect.ts';
import { closed, shapeOf } from '../../json-requests.ts';
import { cursorText, keyIdText, momentText, readQuery } from './schemas.ts';

const noQuery = closed({});

/** GET /receipts/{receipt_id}: of the caller's tenant, environments and planes. */
export function readReceiptEndpoint(
  operation: Operation<ReceiptRequest, SignedReceipt>,
): Endpoint<ReceiptRequest, SignedReceipt> {
  return {
    operation,
    parse: readQuery(shapeOf(noQuery), (_, { named = '' }) => ok({ receiptId: named })),
    present: (receipt) => ({ status: 200, body: receipt }),
  };
}

export const listReceiptsQuery = closed({
  key_id: Type.Optional(keyIdText),
  operation: Type.Optional(Type.String({ minLength: 1, maxLength: 64, description: 'as receipts have it' })),
  since: Type.Optional(momentText),
  until: Type.Optional(momentText),
  cursor: cursorText,
  limit: Type.Optional(
    Type.String({ pattern: '^([1-9][0-9]?|1[0-9][0-9]|200)$', description: `1 to ${maxReceipts} receipts` }),
  ),
});

const badMoment = refuse('BadRequest', 'since and until are times in UTC: 2027-01-31T12:00:00Z');

/** GET /receipts, the newest first. */
export function listReceiptsEndpoint(
  operation: Operation<ListReceiptsRequest, ReceiptsPage>,
): Endpoint<ListReceiptsRequest, ReceiptsPage> {
  return {
    operation,
    parse: readQuery(shapeOf(listReceiptsQuery), (query) => {
      const [sinceMs, untilMs] = [query.since, query.until].map((text) =>
        text === undefined ? undefined : (parseUtc(text) ?? Number.NaN),
      );
      if (Number.isNaN(sinceMs) || Number.isNaN(untilMs)) return badMoment;
      const limit = query.limit === undefined ? undefined : Number(query.limit);
      const { key_id: keyId, operation: name, cursor } = query;
      return ok({ keyId, operation: name, sinceMs, untilMs, cursor, limit });
    }),
    present: ({ receipts, nextCursor }) => ({
      status: 200,
      body: { receipts, ...(nextCursor === undefined ? undefined : { next_cursor: nextCursor }) },
    }),
  };
}

const typeNames = publishedTypes.join('|');

export const eventsQuery = closed({
  types: Type.Optional(
    Type.String({
      ...{ pattern: `^(${typeNames})(,(${typeNames}))*$`, maxLength: 256 },
      description: 'only these, separated by commas',
    }),
  ),
});

/** GET /events: server-sent events, resumed by Last-Event-ID. */
export function eventsEndpoint(
  operation: Operation<EventsRequest, EventFeed>,
): Endpoint<EventsRequest, EventFeed> {
  return {
    operation,
    parse: readQuery(shapeOf(eventsQuery), ({ types }, { headers }) =>
      ok({ types: types?.split(',') as PublishedType[] | undefined, lastEventId: headers?.lastEventId }),
    ),
    present: (feed) => ({
      ...{ status: 200, contentType: 'text/event-stream' },
      stream: (to) => feed.open(to),
    }),
  };
}
