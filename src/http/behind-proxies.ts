import type { Exchange, ListenerHandlers } from './exchange.ts';
import { createForwardedAddresses } from './forwarded.ts';

/**
 * Handlers for whom the peer of a request that a trusted proxy forwards has its client's address. Everything else about the
 * peer stays: a certificate is the proxy's own. `trusted`: KMS_TRUSTED_PROXIES. Costs nothing where there are none.
 */
export function behindProxies(handlers: ListenerHandlers, trusted: readonly string[]): ListenerHandlers {
  if (trusted.length === 0) return handlers;
  const addresses = createForwardedAddresses(trusted);
  return {
    refused: (code, headers, path) => handlers.refused(code, headers, path),
    onRefusal: (reason) => handlers.onRefusal(reason),
    onExchange(exchange) {
      const { headers } = exchange;
      if (headers.xForwardedFor === undefined && headers.forwarded === undefined) {
        handlers.onExchange(exchange);
        return;
      }
      const peer = exchange.peer();
      const hop = peer.listener === 'unix' ? 'unix' : (peer.address ?? '');
      const client = addresses.clientOf(hop, headers);
      if (!client.ok) exchange.respond(handlers.refused('forwarded', headers, exchange.path));
      else if (client.value === hop) handlers.onExchange(exchange);
      else handlers.onExchange(forwarded(exchange, { ...peer, address: client.value, port: undefined }));
    },
  };
}

function forwarded(exchange: Exchange, peer: ReturnType<Exchange['peer']>): Exchange {
  const { scheme, method, path, query, headers, body, cancellation } = exchange;
  return {
    ...{ scheme, method, path, query, headers, body, cancellation },
    peer: () => peer,
    respond: (response) => exchange.respond(response),
  };
}
