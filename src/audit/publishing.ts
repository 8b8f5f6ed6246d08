import { ok } from '../core/result.ts';
import { keyUsed, type NewEvent, type ServiceEvents } from '../events/event-source.ts';
import type { AuditEvent, AuditReceipt, AuditRecorder } from './audit-log.ts';

/** Whoever is subscribed learns of a record when it is on the log; of a change of a key when it is in the store. */
export function publishing(recorder: AuditRecorder, events: ServiceEvents): AuditRecorder {
  /** Changes that are on the log and not in the store yet, by key. Changes of one key, or of one owner's trust anchors, come one after the other. */
  const begun = new Map<string, NewEvent>();
  const appendAndTell: AuditRecorder['append'] = async (event, level) => {
    const receipt = await recorder.append(event, level);
    if (!receipt.ok) return receipt;
    const told = toldEvent(event, receipt.value);
    if (!isKeyChange(event) && event.type !== anchorChange) events.publish(told);
    else if (event.result === 'ok') begun.set(event.keyId, told);
    else begun.delete(event.keyId);
    return receipt;
  };
  return {
    reserve: (count) => recorder.reserve(count),
    release: (count) => recorder.release(count),
    append: (event, level) =>
      // A use of a key costs nothing more while nobody wants to know of it.
      event.type === undefined && !events.wantsUses
        ? recorder.append(event, level)
        : appendAndTell(event, level),
    commitmentSalt: (tenant, opId) => recorder.commitmentSalt(tenant, opId),
    changeCommitted(keyId) {
      recorder.changeCommitted(keyId);
      const told = begun.get(keyId);
      begun.delete(keyId);
      if (told !== undefined) events.publish(told);
    },
    get degraded() {
      return recorder.degraded;
    },
    unrecorded: (event) => recorder.unrecorded(event),
  };
}

/** For a service that keeps no log: there is always room, and what happens is only told. */
export const keepsNothing: AuditRecorder = {
  reserve: () => undefined,
  release: () => {},
  append: async () => ok(noReceipt),
  commitmentSalt: () => undefined,
  changeCommitted: () => {},
  degraded: false,
  unrecorded: () => {},
};

const noReceipt: AuditReceipt = { index: -1, seq: 0 };

/** Of a trust anchor: known to listeners once it is in the store, too. */
const anchorChange = 'trust_anchor.updated';

const kindOfChange: Readonly<Record<string, string>> = {
  'key.create': 'key.created',
  'key.rotate': 'key.rotated',
  'key.destroy': 'key.destroyed',
  'key.archive': 'key.archived',
};

const kindOfSource: Readonly<Record<string, string>> = {
  derived: 'key.derived',
  imported: 'key.imported',
  imported_public: 'key.imported',
};

export function isKeyChange({ type }: AuditEvent): boolean {
  return type !== undefined && Object.hasOwn(kindOfChange, type);
}

export function toldEvent(event: AuditEvent, { index }: AuditReceipt): NewEvent {
  const {
    tenant,
    keyId,
    keyVersion: version,
    alg,
    purpose: operation,
    result,
    actor,
    opId,
    data = {},
  } = event;
  const nameless = keyId === '' || keyId.endsWith('/-');
  return {
    ...{ index: index < 0 ? undefined : index, kind: kindOf(event), tenant, version, alg, operation },
    ...{ keyId: nameless ? undefined : keyId, result, actor, opId, data },
  };
}

function kindOf({ type, data }: AuditEvent): string {
  if (type === undefined) return keyUsed;
  const change = kindOfChange[type];
  const source = data?.source;
  if (change !== 'key.created' || typeof source !== 'string') return change ?? type;
  return kindOfSource[source] ?? change;
}
