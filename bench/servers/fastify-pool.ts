import { sign } from 'node:crypto';
import { promisify } from 'node:util';
import fastify from 'fastify';
import { announce, readSignRequest, signAnswer } from './keys.ts';

/**
 * Comparator: Fastify with node:crypto on the thread pool (four threads, libuv's default). The same request and answer
 * as the product's POST /v1/kms/sign, without capabilities, tenants, queues, limits or a log.
 */
const signOnPool = promisify(sign);
const app = fastify();

app.post('/v1/kms/sign', async (request, reply) => {
  const wanted = readSignRequest(request.body);
  if (wanted === undefined) return reply.code(400).send({});
  const signature = await signOnPool(null, wanted.message, wanted.key.privateKey);
  return reply.type('application/json').send(signAnswer(wanted.key, signature));
});

await app.listen({ host: '127.0.0.1', port: 0 });
process.once('SIGTERM', () => process.exit(0));
announce((app.server.address() as { port: number }).port);
