import { sign } from 'node:crypto';
import { announce, readSignRequest, signAnswer } from './keys.ts';
import { answerJson, serveUws } from './uws.ts';

/**
 * Comparator: uWebSockets.js with node:crypto on its own thread. The same request and answer as the product's
 * POST /v1/kms/sign, without capabilities, tenants, queues, limits or a log.
 */
serveUws(
  '/v1/kms/sign',
  (res, body) => {
    const request = readSignRequest(JSON.parse(body.toString('utf8')));
    if (request === undefined) return answerJson(res, '400 Bad Request', '{}');
    const signature = sign(null, request.message, request.key.privateKey);
    answerJson(res, '200 OK', signAnswer(request.key, signature));
  },
  announce,
);
