import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { countConnections } from '../../../src/http/connections.ts';
import { Certificates } from '../../../src/http/listeners/certificates.ts';
import { tlsListener } from '../../../src/http/listeners/tls.ts';
import { certificateFiles } from '../../support/listener-kinds.ts';

// `npm run listeners:go`: a client of Go that has not been told of any group. Needs Go 1.24 or newer, and no module.

const files = certificateFiles();
const listener = tlsListener({
  ...{ at: { host: '127.0.0.1', port: 0 }, client: 'none', maxBodyBytes: 1_000, bodyTimeoutMs: 1_000 },
  certificates: new Certificates(files, { groupAllowed: false }),
  connections: countConnections({ total: 10, perAddress: 10 }),
  onHandshakeFailure() {},
});
const url = await listener.listen({
  onExchange: (exchange) => exchange.respond({ status: 200, headers: [], body: 'hello' }),
  refused: () => ({ status: 400, headers: [], body: '' }),
  onRefusal() {},
});
const program = fileURLToPath(new URL('main.go', import.meta.url));
const go = spawn('go', ['run', program, url, files.clientCaFile], { stdio: 'inherit' });
const [status] = await once(go, 'close');
listener.close();
process.exitCode = status;
