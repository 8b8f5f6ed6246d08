import { keyUsed, type ServiceEvent } from './event-source.ts';
import { recordUuid } from './record-uuid.ts';

/** What others are told of, by the names that it has for them. */
export const publishedTypes = [
  'key_generated',
  'key_rotated',
  'key_revoked',
  'signature_created',
  'signature_verified',
  'trust_anchor_updated',
] as const;
export type PublishedType = (typeof publishedTypes)[number];

/** Of these there are thousands a second. */
export const typesOfUses: ReadonlySet<PublishedType> = new Set(['signature_created', 'signature_verified']);

/** An event as others are told of it. */
export interface PublishedEvent {
  /** The same for every listener, and each time that it is told: of its record on the audit log, and of the call's receipt. */
  readonly event_id: string;
  readonly event_type: PublishedType;
  /** RFC 3339, UTC, with milliseconds. */
  readonly ts: string;
  readonly tenant_id: string;
  /** Null where the key has no placement. */
  readonly environment: string | null;
  readonly plane: string | null;
  readonly source: 'M33';
  readonly payload: Readonly<Record<string, string | number | boolean>>;
}

/** The part of an event that the log's record has too. */
export type ToldEvent = Omit<ServiceEvent, 'cursor'>;

/** Undefined where others are not told of such an event. */
export function publishedEventOf(event: ToldEvent, place: number): PublishedEvent | undefined {
  const type = publishedTypeOf(event);
  if (type === undefined) return undefined;
  const { atMs, tenant, data, opId } = event;
  const { environment, plane } = data;
  return {
    event_id: recordUuid(event.index ?? place, opId),
    event_type: type,
    ts: new Date(atMs).toISOString(),
    tenant_id: tenant,
    environment: environment === undefined ? null : String(environment),
    plane: plane === undefined ? null : String(plane),
    source: 'M33',
    payload: payloadOf(type, event),
  };
}

export function publishedTypeOf({ kind, operation, result }: ToldEvent): PublishedType | undefined {
  if (kind === keyUsed) return typeOfUse(operation, result);
  if (result !== 'ok') return undefined;
  return typeOfChange[kind] ?? (kind.startsWith('trust') ? 'trust_anchor_updated' : undefined);
}

const typeOfChange: Readonly<Record<string, PublishedType | undefined>> = {
  'key.created': 'key_generated',
  'key.derived': 'key_generated',
  'key.imported': 'key_generated',
  'key.rotated': 'key_rotated',
  'key.destroyed': 'key_revoked',
  'key.revoked': 'key_revoked',
  'key.revoke': 'key_revoked',
};

/** A verification was done whether or not the signature is valid. */
function typeOfUse(operation: string, result: string): PublishedType | undefined {
  if (/(?:^|_)verify(?:_|$)/.test(operation) && !/mac/.test(operation))
    return result === 'ok' || result === 'invalid' ? 'signature_verified' : undefined;
  return result === 'ok' && /(?:^|_)(?:sign|jwt|csr)(?:_|$)/.test(operation)
    ? 'signature_created'
    : undefined;
}

function payloadOf(type: PublishedType, event: ToldEvent): PublishedEvent['payload'] {
  const { keyId, version, alg, operation, result, data, index } = event;
  const { environment, plane, ...facts } = data;
  return {
    ...facts,
    ...(keyId === undefined ? undefined : { kid: version === 0 ? keyId : `${keyId}#v${version}` }),
    ...(alg === 'none' ? undefined : { algorithm: alg }),
    operation,
    ...(type === 'signature_verified' ? { valid: result === 'ok' } : undefined),
    ...(index === undefined ? undefined : { audit_index: index }),
  };
}
