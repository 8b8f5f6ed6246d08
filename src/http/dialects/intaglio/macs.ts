import { Type } from '@sinclair/typebox';
import { maxMessageBytes } from '../../../algorithms/signed-input.ts';
import { decodeBase64, encodeBase64 } from '../../../core/bytes.ts';
import { ok, refuse } from '../../../core/result.ts';
import type { MacAnswer, MacRequest, MacVerifyAnswer, MacVerifyRequest } from '../../../operations/mac.ts';
import type { Operations } from '../../../operations/operations.ts';
import type { Endpoint } from '../../dialect.ts';
import { closed, shapeOf, typed } from '../../json-requests.ts';
import { base64Length, kidText, publishedBase64 } from './schemas.ts';

/** Tags have 32 bytes; what is longer is no tag, and is read to be told so. */
const maxTagBytes = 256;

const messageText = Type.String({ maxLength: base64Length(maxMessageBytes), ...publishedBase64 });
export const macShape = shapeOf(closed({ kid: kidText, message_b64: messageText }));
export const macVerifyShape = shapeOf(
  closed({
    kid: kidText,
    message_b64: messageText,
    mac_b64: Type.String({ maxLength: base64Length(maxTagBytes), ...publishedBase64 }),
  }),
);

const badMessage = refuse('BadRequest', `message_b64 is not base64 of at most ${maxMessageBytes} bytes`);

/** POST /mac */
export function macEndpoint({ mac }: Operations): Endpoint<MacRequest, MacAnswer> {
  return {
    operation: mac,
    parse: typed(macShape, ({ kid, message_b64 }) => {
      const message = decodeBase64(message_b64, maxMessageBytes);
      return message === undefined ? badMessage : ok({ kid, message });
    }),
    present: ({ kid, tag }) => ({ status: 200, body: { kid, mac_b64: encodeBase64(tag) } }),
  };
}

/** POST /mac/verify */
export function macVerifyEndpoint({ mac_verify }: Operations): Endpoint<MacVerifyRequest, MacVerifyAnswer> {
  return {
    operation: mac_verify,
    parse: typed(macVerifyShape, ({ kid, message_b64, mac_b64 }) => {
      const message = decodeBase64(message_b64, maxMessageBytes);
      if (message === undefined) return badMessage;
      const tag = decodeBase64(mac_b64, maxTagBytes);
      return tag === undefined ? refuse('BadRequest', 'mac_b64 is not base64') : ok({ kid, message, tag });
    }),
    present: ({ ok }) => ({ status: 200, body: { ok } }),
  };
}
