import type { HashName } from '../../../algorithms/ids.ts';
import {
  type GivenInput,
  maxContextBytes,
  maxMessageBytes,
  muBytes,
  type SignedInput,
} from '../../../algorithms/signed-input.ts';
import { decodeBase64 } from '../../../core/bytes.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';

/** The members of a body that say what is signed. */
export interface SignedMembers {
  readonly payload_b3?: string;
  readonly message_b64?: string;
  readonly digest_b64?: string;
  readonly hash?: HashName;
  readonly mu_b64?: string;
  readonly context_b64?: string;
}

/** Longer ones are read to be told so. */
const maxDigestBytes = 64;

/** What is signed, of which exactly one member tells. */
export function signedInputOf(body: SignedMembers): Result<SignedInput> {
  const { payload_b3, message_b64, digest_b64, mu_b64, hash } = body;
  const members = given(payload_b3) + given(message_b64) + given(digest_b64) + given(mu_b64);
  if (members !== 1) return notOneInput;
  if ((hash === undefined) !== (digest_b64 === undefined)) return hashAndDigest;
  const context = contextOf(body);
  if (context !== undefined && !context.ok) return context;
  return payload_b3 === undefined
    ? otherInput(body, context?.value)
    : ok(context === undefined ? payload_b3 : payloadWithContext(payload_b3, context.value));
}

function given(member: string | undefined): number {
  return member === undefined ? 0 : 1;
}

const notOneInput = refuse(
  'BadRequest',
  'give exactly one of payload_b3, message_b64, digest_b64 and mu_b64',
);
const hashAndDigest = refuse('BadRequest', 'hash belongs to digest_b64, and the other way round');
const badContext = refuse('BadRequest', `context_b64 is not base64 of at most ${maxContextBytes} bytes`);

function contextOf({ context_b64 }: SignedMembers): Result<Uint8Array> | undefined {
  if (context_b64 === undefined) return undefined;
  const context = decodeBase64(context_b64, maxContextBytes);
  return context === undefined ? badContext : ok(context);
}

function payloadWithContext(payloadBlake3: string, context: Uint8Array): GivenInput {
  const bytes = Buffer.from(payloadBlake3, 'hex');
  return { form: 'message', bytes, hash: undefined, context, payloadBlake3 };
}

function otherInput(
  { message_b64, digest_b64, mu_b64, hash }: SignedMembers,
  context: Uint8Array | undefined,
): Result<GivenInput> {
  const read = (
    form: GivenInput['form'],
    text: string,
    maxBytes: number,
    bad: Result<GivenInput>,
  ): Result<GivenInput> => {
    const bytes = decodeBase64(text, maxBytes);
    return bytes === undefined ? bad : ok({ form, bytes, hash, context, payloadBlake3: undefined });
  };
  if (message_b64 !== undefined) return read('message', message_b64, maxMessageBytes, badMessage);
  if (digest_b64 !== undefined) return read('digest', digest_b64, maxDigestBytes, badDigest);
  return read('mu', mu_b64 as string, muBytes, badMu);
}

const badMessage = refuse('BadRequest', `message_b64 is not base64 of at most ${maxMessageBytes} bytes`);
const badDigest = refuse('BadRequest', 'digest_b64 is not base64 of a digest');
const badMu = refuse('BadRequest', `mu_b64 is not base64 of ${muBytes} bytes`);
