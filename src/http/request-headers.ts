import type { ListenerFailure, RequestHeaders } from './exchange.ts';

export interface ReadHeaders {
  readonly headers: RequestHeaders;
  /** Undefined where there is none, or it is in doubt. */
  readonly contentLength: number | undefined;
  /** The body comes in chunks, and the listener takes that. */
  readonly chunked: boolean;
  /** Set where the request has to be refused whatever it asks for. */
  readonly refusal: ListenerFailure | undefined;
}

/** Path and headers: a capability of 4,096 characters, and as much again. */
const maxHeaderBytes = 8 * 1024;

/** As many as uWebSockets.js takes. */
const maxHeaders = 99;

/** A listener may take more than `maxHeaderBytes` so that the refusal has the error envelope. */
export const parsedHeaderBytes = 16 * 1024;

/** One pass over the headers, which `forEach` gives with their names in lower case. */
export function readHeaders(
  path: string,
  forEach: (add: (name: string, value: string) => void) => void,
  takesChunks: boolean,
): ReadHeaders {
  let authorization: string | undefined;
  let contentEncoding: string | undefined;
  let requestId: string | undefined;
  let correlationId: string | undefined;
  let traceparent: string | undefined;
  let discharges: string | undefined;
  let ifNoneMatch: string | undefined;
  let deadlineMs: string | undefined;
  let xForwardedFor: string | undefined;
  let forwarded: string | undefined;
  let approval: string | undefined;
  let claimedCertificate: string | undefined;
  let origin: string | undefined;
  let lastEventId: string | undefined;
  let authorizations = 0;
  let hosts = 0;
  let lengths = 0;
  let count = 0;
  let bytes = path.length;
  let lengthText = '';
  let encodings = 0;
  let encoding = '';
  forEach((name, value) => {
    count++;
    bytes += name.length + value.length + 4;
    switch (name) {
      case 'authorization':
        authorization = value;
        authorizations++;
        break;
      case 'host':
        hosts++;
        break;
      case 'content-length':
        lengths++;
        lengthText = value;
        break;
      case 'transfer-encoding':
        encodings++;
        encoding = value;
        break;
      case 'content-encoding':
        contentEncoding = value;
        break;
      case 'x-request-id':
        requestId = value;
        break;
      case 'x-corr-id':
        correlationId = value;
        break;
      case 'traceparent':
        traceparent = value;
        break;
      case 'x-kms-discharge':
        discharges = discharges === undefined ? value : `${discharges},${value}`;
        break;
      case 'if-none-match':
        ifNoneMatch = ifNoneMatch === undefined ? value : `${ifNoneMatch},${value}`;
        break;
      case 'x-deadline-ms':
        deadlineMs = value;
        break;
      case 'x-forwarded-for':
        xForwardedFor = xForwardedFor === undefined ? value : `${xForwardedFor},${value}`;
        break;
      case 'forwarded':
        forwarded = forwarded === undefined ? value : `${forwarded},${value}`;
        break;
      case 'x-approval-token':
        approval = approval === undefined ? value : `${approval},${value}`;
        break;
      case 'x-client-certificate':
        claimedCertificate = value;
        break;
      case 'origin':
        origin = value;
        break;
      case 'last-event-id':
        lastEventId = value;
        break;
    }
  });
  const doubtful = lengths > 1 || (lengths === 1 && !/^[0-9]{1,15}$/.test(lengthText));
  const chunked = takesChunks && encodings === 1 && lengths === 0 && encoding.toLowerCase() === 'chunked';
  let refusal: ListenerFailure | undefined;
  if (encodings > 0 && !chunked) refusal = 'LengthRequired';
  else if (doubtful) refusal = 'framing';
  else if (bytes > maxHeaderBytes || count > maxHeaders) refusal = 'HeadersTooLarge';
  else if (hosts !== 1) refusal = 'malformed';
  return {
    headers: {
      authorization: authorizations === 1 ? authorization : undefined,
      severalAuthorizations: authorizations > 1,
      contentEncoding,
      requestId,
      correlationId,
      traceparent,
      discharges,
      ifNoneMatch,
      deadlineMs,
      xForwardedFor,
      forwarded,
      approval,
      claimedCertificate,
      origin,
      lastEventId,
    },
    contentLength: lengths === 0 || doubtful ? undefined : Number(lengthText),
    chunked,
    refusal,
  };
}
