import { randomUUIDv7 } from 'node:crypto';
import type { LiveConfig } from '../config/reload.ts';
import type { Exchange, ListenerHandlers, RequestHeaders } from './exchange.ts';
import { isCorrelationId } from './respond.ts';

/** Handlers for whom every request has a correlation id, as long as KMS_CORRELATION_ID_MODE wants that. */
export function withCorrelationIds(handlers: ListenerHandlers, settings: LiveConfig): ListenerHandlers {
  const withId = (headers: RequestHeaders): RequestHeaders =>
    settings.now.correlationIdMode === 'passthrough' || isCorrelationId(headers.correlationId)
      ? headers
      : { ...headers, correlationId: randomUUIDv7() };
  return {
    refused: (code, headers, path) => handlers.refused(code, withId(headers), path),
    onRefusal: (reason) => handlers.onRefusal(reason),
    onExchange(exchange) {
      const headers = withId(exchange.headers);
      handlers.onExchange(headers === exchange.headers ? exchange : withHeaders(exchange, headers));
    },
  };
}

function withHeaders(exchange: Exchange, headers: RequestHeaders): Exchange {
  const { scheme, method, path, query, body, cancellation } = exchange;
  return {
    ...{ scheme, method, path, query, headers, body, cancellation },
    peer: () => exchange.peer(),
    respond: (response) => exchange.respond(response),
  };
}
