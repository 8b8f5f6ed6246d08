// The x509 library's container wants it.
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, type KeyPairKeyObjectResult, sign } from 'node:crypto';
import { PublicKey } from '@peculiar/x509';
import type { Algorithm } from '../../src/algorithms/descriptor.ts';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import type { AuditEvent, AuditRecorder } from '../../src/audit/audit-log.ts';
import type { ApprovedChange } from '../../src/core/approvals.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { batchStatuses } from '../../src/engine/batch.ts';
import type { CreateKey } from '../../src/keys/keyring.ts';
import type { CryptoOperation, CryptoWork, WorkOutcome } from '../../src/operations/operation.ts';
import { createTrustJournal } from '../../src/operations/trust/journal.ts';
import { openEnrolledCertificates } from '../../src/trust/enrolled.ts';
import { openTrustAnchors } from '../../src/trust/trust-anchors.ts';
import { type CryptoKeyPair, chainTimes } from './chains.ts';
import { SetClock, testMac, unwrap } from './keyring.ts';
import { openOperations } from './operations.ts';

/** As an identity of the surface says of a service on laptops in production. */
export const placed: Caller = {
  ...{ tenant: 'acme', actor: 'cap:0123456789abcdef', scopes: new Set() },
  placement: { environments: ['prod'], planes: ['laptop'], module: 'm1' },
};

export const here = { tenant: 'acme', environment: 'prod', plane: 'laptop' } as const;
export const agreedTo = {
  ...here,
  approval: 'yes',
  requestSha256: 'ab'.repeat(32),
  opId: undefined,
} as const;

/** Further properties of a key. */
export type PlacedKey = Pick<CreateKey, 'placement' | 'access'>;

type Opened = ReturnType<typeof openOperations>;

/** The operations on what is trusted, with keys of node:crypto in the place of an engine, somebody who agrees, and a log. */
export function openTrustOperations(t: Parameters<typeof openOperations>[0]) {
  const pairs = new Map<string, KeyPairKeyObjectResult>();
  const recorded: AuditEvent[] = [];
  const committed: string[] = [];
  const asked: ApprovedChange[] = [];
  const log = { full: false };
  const recorder: AuditRecorder = {
    reserve: () => (log.full ? refuse('AuditUnavailable') : undefined),
    release: () => {},
    append: async (event) => ok({ index: recorded.push(event) - 1, seq: 1 }),
    changeCommitted: (keyId) => void committed.push(keyId),
    commitmentSalt: () => undefined,
    degraded: false,
    unrecorded: () => assert.fail('there is room'),
  };
  const clock = new SetClock();
  clock.nowMs = chainTimes.at.getTime();
  let opened: Opened;
  const parts = () => ({
    ...{ store: opened.store, mac: testMac, clock },
    onCorruptRecord: (key: string) => assert.fail(key),
  });
  const open = async () => ({
    anchors: openTrustAnchors(parts()),
    enrolled: openEnrolledCertificates(parts()),
  });
  let trust: ReturnType<typeof open> | undefined;
  opened = openOperations(t, {
    clock,
    trust: {
      trust: () => {
        trust ??= open();
        return trust;
      },
      approvals: {
        async check(approval, change) {
          asked.push(change);
          return approval === 'yes' ? ok({ approver: 'someone', id: 'approval:1' }) : refuse('NoCapability');
        },
      },
      journal: createTrustJournal(recorder),
    },
  });
  const { custody, keyring, operations } = opened;
  custody.generate = async (algorithm, _tenant, kid) => {
    const pair = makePair(algorithm.name);
    pairs.set(kid, pair);
    const spki = pair.publicKey.export({ type: 'spki', format: 'der' });
    const prefix = algorithm.components[0].spkiPrefix?.length ?? 0;
    return ok([{ publicKey: spki.subarray(prefix), sealed: Buffer.from(`sealed ${kid}`) }]);
  };
  return {
    ...{ trust: operations.trust, clock, recorded, committed, asked, log, keyring, store: opened.store },
    /** A managed key, and the same for those who make certificates. */
    async makeKey(alg = 'ecdsa-p256', more: PlacedKey = {}) {
      const algorithm = findAlgorithm(alg) as Algorithm;
      const made = { tenant: 'acme', actor: 'tester', purpose: 'p', algorithm, ...more };
      const { kid } = unwrap(await keyring.create(made));
      const { publicKey } = pairs.get(kid) as KeyPairKeyObjectResult;
      const spki = publicKey.export({ type: 'spki', format: 'der' });
      // Who makes certificates asks for nothing else of the key that is certified.
      return { kid, keys: { publicKey: new PublicKey(spki) } as unknown as CryptoKeyPair };
    },
    /** As the request path runs it. */
    async run<Request, Answer>(
      operation: CryptoOperation<Request, Answer>,
      request: Request,
      caller: Caller = placed,
    ): Promise<Result<Answer>> {
      const plan = await operation.plan(request, caller);
      if (!plan.ok) return plan;
      const outcomes = plan.value.works.map((work) => outcomeOf(work as CryptoWork, pairs));
      return plan.value.finish(outcomes);
    },
  };
}

function outcomeOf(
  { uses, items }: CryptoWork,
  pairs: ReadonlyMap<string, KeyPairKeyObjectResult>,
): WorkOutcome {
  const [{ keyId, version }] = uses as [CryptoWork['uses'][number]];
  const pair = pairs.get(`${keyId}#v${version}`);
  assert.ok(pair);
  const results = items.map(({ inputs: [message] }) => ({
    status: batchStatuses.ok,
    outputs: [signatureOf(pair.privateKey, message as Uint8Array)],
    elapsedNs: 1,
  }));
  return ok({ results, receipts: [] });
}

/** Of keys that have their own digest, and of those that are used with SHA-256. */
function signatureOf(key: KeyObject, message: Uint8Array): Uint8Array {
  const { asymmetricKeyType: type } = key;
  return sign(type === 'rsa' || type === 'ec' ? 'sha256' : null, message, key);
}

function makePair(alg: string): KeyPairKeyObjectResult {
  switch (alg) {
    case 'ecdsa-p256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' });
    case 'rsa-2048':
      return generateKeyPairSync('rsa', { modulusLength: 2048 });
    case 'ml-dsa-65':
      return generateKeyPairSync(alg);
    default:
      return generateKeyPairSync('ed25519');
  }
}
