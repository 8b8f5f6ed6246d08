import { NodeListener } from '../../src/http/listeners/node.ts';
import { UwsListener } from '../../src/http/listeners/uws.ts';
import { listenerContract } from '../contracts/listener.ts';
import type { ListenerKindUnderTest } from '../contracts/listener-harness.ts';

const host = '127.0.0.1';

const kinds: readonly ListenerKindUnderTest[] = [
  {
    name: 'uWebSockets.js',
    make: (limits, port) => new UwsListener({ host, port, ...limits }),
    ...{ takesChunks: false, keepsSecondRequest: false, noticesHangUp: false },
    ownHeaders: /uWebSockets: 20\r\n/,
  },
  {
    name: 'node:http',
    make: (limits, port) => new NodeListener({ kind: 'tcp', at: { host, port }, ...limits }),
    ...{ takesChunks: true, keepsSecondRequest: true, noticesHangUp: true },
    ownHeaders: /^$/,
  },
];

for (const kind of kinds) listenerContract(kind);
