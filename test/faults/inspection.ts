import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { call, type JsonAnswer } from '../support/service.ts';
import { idOf, type KnownKey, type Ledger, type NamedChange, type Signed } from './ledger.ts';
import { pathOf } from './load.ts';

export interface InspectionOptions {
  readonly service: { readonly url: string };
  readonly token: string;
  readonly ledger: Ledger;
}

/** Of GET /keys/{kid}. */
interface Description {
  readonly kid: string;
  readonly state: 'active' | 'destroyed';
  readonly current_version: number;
  readonly versions: readonly {
    readonly kid: string;
    readonly version: number;
    readonly state: 'active' | 'destroyed';
    readonly public: Published;
  }[];
}

interface Published {
  readonly alg: string;
  readonly spki_b64: string;
  readonly components?: readonly Published[];
}

/** Items of one batch request. */
const itemsPerBatch = 128;
const payloadAfterRestart = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24';

/**
 * Holds the service after a restart against the ledger, through its public API alone: what was acknowledged is there,
 * what was not is wholly there or not at all, every key is usable, every signature verifies. Brings the ledger up to date.
 */
export async function inspect(options: InspectionOptions): Promise<void> {
  const { ledger } = options;
  const listed = new Set(await listIds(options));
  for (const id of ledger.keys.keys()) assert.ok(listed.has(id), 'every key of an answer is there');
  const unknown = [...listed].filter((id) => !ledger.keys.has(id));
  assert.ok(unknown.length <= ledger.unansweredCreations, 'nothing appears that nobody asked for');
  for (const id of unknown) ledger.adopt(id);

  const descriptions = new Map<string, Description>();
  await eachOf([...ledger.keys.values()], async (key) => {
    const answer = await call(options.service, options.token, 'GET', pathOf(key));
    assert.equal(answer.status, 200, 'every listed key can be read');
    checkDescription(key, answer.body);
    descriptions.set(key.id, answer.body);
  });
  await checkUse(options, descriptions);
  ledger.unansweredCreations = 0;
}

/**
 * The same op_id again gives the very same answer, or does what was never done, once. Afterwards the ledger knows the
 * outcome, so that the next inspection finds a change that was made twice.
 */
export async function retryNamed(options: InspectionOptions): Promise<void> {
  const { ledger, service, token } = options;
  const again = (change: NamedChange) => call(service, token, 'POST', change.path, change.body);
  await eachOf(ledger.named, async (change) => {
    const answer = await again(change);
    const { answer: before, key } = change;
    if (before !== undefined && before.status < 300) {
      assert.deepEqual(
        { status: answer.status, body: answer.body },
        { status: before.status, body: before.body },
      );
      return;
    }
    if (answer.status === 409) {
      assert.ok(key?.destructionAsked, 'only a destroyed key refuses');
      return;
    }
    assert.ok(answer.status < 300, JSON.stringify(answer.body));
    note(ledger, change, answer);
    const third = await again(change);
    assert.deepEqual(
      { status: third.status, body: third.body },
      { status: answer.status, body: answer.body },
    );
  });
  ledger.named.length = 0;
}

function note(ledger: Ledger, { path, body, key }: NamedChange, answer: JsonAnswer): void {
  if (key === undefined) ledger.created(answer);
  else if (path.endsWith('/rotate')) ledger.rotated(key, answer);
  else ledger.destroyed(key, body.version as number | undefined);
}

async function listIds({ service, token }: InspectionOptions): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const query = cursor === undefined ? '' : `&cursor=${cursor}`;
    const page = await call(service, token, 'GET', `/v1/kms/keys?limit=1000${query}`);
    assert.equal(page.status, 200);
    ids.push(...page.body.keys.map(({ kid }: { kid: string }) => idOf(kid)));
    cursor = page.body.next_cursor;
  } while (cursor !== undefined);
  return ids;
}

function checkDescription(key: KnownKey, found: Description): void {
  const current = found.current_version;
  assert.ok(current >= Math.max(1, key.versionSeen), 'no acknowledged version is lost');
  assert.ok(current <= Math.max(1, key.versionSeen) + key.unansweredRotations, 'no change was made twice');
  assert.deepEqual(
    found.versions.map(({ version }) => version),
    Array.from({ length: current }, (_, index) => current - index),
    'versions have no gaps',
  );
  if (found.state === 'destroyed') assert.notEqual(key.destroyed, 'no');
  else assert.notEqual(key.destroyed, 'yes', 'an acknowledged destruction is not undone');
  for (const { kid, version, state, public: published } of found.versions) {
    assert.equal(kid, `${key.id}#v${version}`);
    const acknowledged = key.published.get(version);
    if (acknowledged !== undefined)
      assert.deepEqual(published, acknowledged, 'public keys stay what they were');
    key.published.set(version, published);
    if (found.state === 'destroyed' || key.destroyedVersions.get(version) === 'yes') {
      assert.equal(state, 'destroyed');
    } else if (state === 'destroyed') {
      assert.equal(key.destroyedVersions.get(version), 'perhaps', 'nothing is destroyed unasked');
    }
    if (state === 'destroyed') key.destroyedVersions.set(version, 'yes');
    else key.destroyedVersions.delete(version);
  }
  key.versionSeen = current;
  key.unansweredRotations = 0;
  key.destroyed = found.state === 'destroyed' ? 'yes' : 'no';
  key.destructionAsked = key.destroyed === 'yes';
}

/** Every key signs with its current version, or refuses because it is destroyed; and all signatures are as good as ever. */
async function checkUse(
  options: InspectionOptions,
  descriptions: ReadonlyMap<string, Description>,
): Promise<void> {
  const keys = [...options.ledger.keys.values()];
  const answers = await batched(
    options,
    '/v1/kms/sign/batch',
    keys.map(({ id }) => ({ kid: id, payload_b3: payloadAfterRestart })),
  );
  const toVerify: { readonly signed: Signed; readonly published: Published; readonly destroyed: boolean }[] =
    [];
  for (const [index, key] of keys.entries()) {
    const answer = answers[index];
    const description = descriptions.get(key.id) as Description;
    if (description.state === 'destroyed') assert.equal(answer.error?.code, 'Conflict');
    else {
      assert.equal(answer.kid, description.kid, 'the current version signs');
      key.signatures.push({ kid: answer.kid, payloadB3: payloadAfterRestart, sigs: answer.sigs });
    }
    for (const signed of key.signatures) {
      const { state, public: published } = description.versions.find(
        ({ kid }) => kid === signed.kid,
      ) as never;
      toVerify.push({ signed, published, destroyed: state === 'destroyed' });
    }
    // One made after a restart is enough to go on with.
    if (description.state === 'active' && key.signatures.length > 1) key.signatures.pop();
  }
  const verdicts = await batched(
    options,
    '/v1/kms/verify/batch',
    toVerify.map(({ signed }) => ({ payload_b3: signed.payloadB3, sigs: signed.sigs })),
  );
  for (const [index, { signed, published, destroyed }] of toVerify.entries()) {
    assert.equal(verdicts[index].ok, !destroyed, `${signed.kid}: ${JSON.stringify(verdicts[index])}`);
    assert.ok(verifiesElsewhere(signed, published), 'node:crypto verifies it with the published key');
  }
}

async function batched(
  { service, token }: InspectionOptions,
  path: string,
  items: readonly unknown[],
  // biome-ignore lint/suspicious/noExplicitAny: answers of two routes.
): Promise<any[]> {
  const results: unknown[] = [];
  for (let from = 0; from < items.length; from += itemsPerBatch) {
    const answer = await call(service, token, 'POST', path, {
      items: items.slice(from, from + itemsPerBatch),
    });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    results.push(...answer.body.results);
  }
  return results;
}

export function verifiesElsewhere({ payloadB3, sigs }: Signed, published: Published): boolean {
  return sigs.every(({ alg, signature_b64 }) => {
    const part = published.components?.find((component) => component.alg === alg) ?? published;
    const key = createPublicKey({ key: Buffer.from(part.spki_b64, 'base64'), format: 'der', type: 'spki' });
    const digest = alg === 'ecdsa-p256' ? 'sha256' : null;
    return verify(digest, Buffer.from(payloadB3, 'hex'), key, Buffer.from(signature_b64, 'base64'));
  });
}

/** A few at a time, so that thousands do not wait in the service's queue. */
async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const one = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: 8 }, one));
}
