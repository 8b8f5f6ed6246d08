import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { Caller } from '../../src/core/scope.ts';
import { type Made, makeCertificate, makeList } from '../support/chains.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { agreedTo, here, openTrustOperations, placed } from '../support/trust.ts';

const adding = ({ der }: Made) =>
  ({ ...agreedTo, certificate: der, type: 'root', planes: undefined, caKid: undefined }) as const;
const operator: Caller = {
  ...{ tenant: 'default', actor: 'cap:operator', scopes: new Set(['kms:admin'] as const) },
  placement: { environments: 'all', planes: 'all', module: 'ops' },
};
const asOperator = { tenant: 'GLOBAL', environment: 'prod', plane: 'shared' } as const;
const validating = (chain: readonly Made[]) => ({
  ...{ ...here, chain: chain.map(({ der }) => der), purpose: undefined, atMs: undefined },
});

describe('what is trusted', () => {
  test('a certificate is added by a call to which another agrees, and the log says so', async (t) => {
    const { trust, recorded, committed, asked } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const { anchor, known } = unwrap(await trust.add.run(adding(root), placed));
    assert.equal(known, false);
    assert.deepEqual(anchor.places, [{ environment: 'prod', plane: 'laptop' }]);
    const [change] = asked;
    assert.deepEqual(change, {
      ...{ tenant: 'acme', operation: 'trust_anchor_add', actor: placed.actor },
      requestSha256: agreedTo.requestSha256,
    });
    const [record] = recorded;
    assert.equal(record?.type, 'trust_anchor.updated');
    assert.equal(record.purpose, 'trust_anchor_add');
    assert.deepEqual(record.data, {
      ...{ change: 'added', anchor_id: anchor.id, anchor_tenant: 'acme', anchor_type: 'root' },
      ...{ certificate_sha256: anchor.certificate.sha256, approver: 'someone', approval_id: 'approval:1' },
      ...{ environment: 'prod', plane: 'laptop', places: 'prod/laptop' },
    });
    assert.deepEqual(committed, ['acme/-']);
    const again = unwrap(await trust.add.run(adding(root), placed));
    assert.deepEqual([again.known, again.anchor.id], [true, anchor.id]);
    assert.equal(recorded.length, 1);
  });

  test('nothing is added without agreement, or while the log takes no records', async (t) => {
    const { trust, recorded, log } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const unasked = { ...adding(root), approval: undefined };
    assert.equal(codeOf(await trust.add.run(unasked, placed)), 'NoCapability');
    const garbage = { ...adding(root), certificate: Buffer.from('garbage') };
    assert.equal(codeOf(await trust.add.run(garbage, placed)), 'BadRequest');
    log.full = true;
    assert.equal(codeOf(await trust.add.run(adding(root), placed)), 'AuditUnavailable');
    log.full = false;
    const asked = { ...here, cursor: undefined, limit: undefined };
    assert.deepEqual(unwrap(await trust.list.run(asked, placed)).anchors, []);
    assert.deepEqual(recorded, []);
  });

  test('nobody asks for another tenant, environment or plane than the caller’s', async (t) => {
    const { trust } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const { anchor } = unwrap(await trust.add.run(adding(root), placed));
    const elsewhere = [{ tenant: 'other' }, { environment: 'dev' }, { plane: 'product' }];
    for (const other of elsewhere) {
      const codes = await Promise.all([
        trust.add.run({ ...adding(root), ...other }, placed),
        trust.list.run({ ...here, cursor: undefined, limit: undefined, ...other }, placed),
        trust.read.run({ ...here, id: anchor.id, ...other }, placed),
        trust.remove.run({ ...agreedTo, id: anchor.id, ...other }, placed),
        trust.crl.run({ ...agreedTo, id: anchor.id, list: Buffer.from(''), ...other }, placed),
        trust.validate.run({ ...validating([root]), ...other }, placed),
        trust.certificates.run({ ...here, cursor: undefined, limit: undefined, ...other }, placed),
      ]);
      assert.deepEqual(new Set(codes.map(codeOf)), new Set(['NoCapability']), JSON.stringify(other));
    }
    const { placement: _, ...nowhere } = placed;
    assert.equal(codeOf(await trust.read.run({ ...here, id: anchor.id }, nowhere)), 'NoCapability');
    const product = { environments: ['prod'], planes: ['product'], module: 'm2' };
    const onProduct = { ...placed, placement: product };
    const there = { ...here, plane: 'product', id: anchor.id };
    assert.equal(codeOf(await trust.read.run(there, onProduct)), 'NoCapability');
  });

  test('it is trusted on planes of the caller’s, and on all only by who is on all', async (t) => {
    const { trust } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const everywhere: Caller = {
      ...placed,
      placement: { environments: ['prod'], planes: 'all', module: 'm1' },
    };
    const add = async (planes: readonly string[] | 'all', caller: Caller) => {
      const added = await trust.add.run({ ...adding(root), planes }, caller);
      return added.ok ? added.value.anchor.places.map(({ plane }) => plane) : added.failure.code;
    };
    assert.equal(await add(['product'], placed), 'NoCapability');
    assert.equal(await add('all', placed), 'NoCapability');
    assert.equal(await add([], placed), 'BadRequest');
    assert.deepEqual(await add(['laptop', 'laptop'], placed), ['laptop']);
    assert.deepEqual(await add(['product', 'shared'], everywhere), ['laptop', 'product', 'shared']);
    assert.deepEqual(await add('all', everywhere), ['laptop', 'product', 'shared', '*']);
  });

  test('what all tenants trust is changed by the operator, and read by everybody', async (t) => {
    const { trust } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root });
    const wish = { ...adding(root), ...asOperator };
    assert.equal(
      codeOf(await trust.add.run({ ...wish, plane: 'laptop' }, { ...placed, scopes: operator.scopes })),
      'NoCapability',
    );
    assert.equal(codeOf(await trust.add.run(wish, { ...operator, scopes: new Set() })), 'NoCapability');
    const { anchor } = unwrap(await trust.add.run(wish, operator));
    assert.deepEqual(anchor.places, [{ environment: '*', plane: '*' }]);
    const { anchors } = unwrap(
      await trust.list.run({ ...here, cursor: undefined, limit: undefined }, placed),
    );
    assert.deepEqual(
      anchors.map(({ id, tenant }) => [id, tenant]),
      [[anchor.id, 'GLOBAL']],
    );
    assert.equal(unwrap(await trust.read.run({ ...here, id: anchor.id }, placed)).id, anchor.id);
    assert.equal(unwrap(await trust.validate.run(validating([leaf]), placed)).valid, true);
    assert.equal(codeOf(await trust.remove.run({ ...agreedTo, id: anchor.id }, placed)), 'NotFound');
    unwrap(await trust.remove.run({ ...agreedTo, ...asOperator, id: anchor.id }, operator));
    assert.equal(unwrap(await trust.validate.run(validating([leaf]), placed)).problem, 'no_path');
  });

  test('one whose place the caller has not named is not removed, and one that is removed is gone', async (t) => {
    const { trust, recorded, asked } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const { anchor } = unwrap(await trust.add.run(adding(root), placed));
    const removing = { ...agreedTo, id: anchor.id };
    assert.equal(codeOf(await trust.remove.run({ ...removing, approval: 'no' }, placed)), 'NoCapability');
    assert.equal(unwrap(await trust.remove.run(removing, placed)).id, anchor.id);
    assert.equal(asked.at(-1)?.keyId, anchor.id);
    assert.equal(recorded.at(-1)?.data?.change, 'removed');
    assert.equal(codeOf(await trust.read.run({ ...here, id: anchor.id }, placed)), 'NotFound');
    assert.equal(codeOf(await trust.remove.run(removing, placed)), 'NotFound');
  });

  test('one that is trusted elsewhere too is removed from the caller’s own places alone', async (t) => {
    const { trust, recorded } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root });
    const developer: Caller = {
      ...placed,
      placement: { environments: ['dev'], planes: 'all', module: 'm1' },
    };
    const inDev = { environment: 'dev', plane: 'laptop' } as const;
    const { anchor } = unwrap(await trust.add.run(adding(root), placed));
    unwrap(await trust.add.run({ ...adding(root), ...inDev, planes: 'all' }, developer));
    const removing = { ...agreedTo, id: anchor.id };
    const ofOnePlane: Caller = {
      ...developer,
      placement: { environments: ['dev'], planes: ['laptop'], module: 'm1' },
    };
    assert.equal(codeOf(await trust.remove.run({ ...removing, ...inDev }, ofOnePlane)), 'NoCapability');
    unwrap(await trust.remove.run({ ...removing, ...inDev }, developer));
    const { change, places } = recorded.at(-1)?.data ?? {};
    assert.deepEqual([change, places], ['narrowed', 'prod/laptop']);
    assert.equal(unwrap(await trust.validate.run(validating([leaf]), placed)).valid, true);
    const there = unwrap(await trust.validate.run({ ...validating([leaf]), ...inDev }, developer));
    assert.equal(there.problem, 'no_path');
    unwrap(await trust.remove.run(removing, placed));
    assert.equal(codeOf(await trust.read.run({ ...here, id: anchor.id }, placed)), 'NotFound');
  });

  test('an operator of some environments makes nothing trusted in all of them, one of some planes on these', async (t) => {
    const { trust } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const wish = { ...adding(root), ...asOperator };
    const of = (environments: readonly string[] | 'all', planes: readonly string[] | 'all') => ({
      ...operator,
      placement: { environments, planes, module: 'ops' },
    });
    assert.equal(codeOf(await trust.add.run(wish, of(['prod'], 'all'))), 'NoCapability');
    const { anchor } = unwrap(await trust.add.run(wish, of('all', ['shared'])));
    assert.deepEqual(anchor.places, [{ environment: '*', plane: 'shared' }]);
    const removing = { ...agreedTo, ...asOperator, id: anchor.id };
    assert.equal(codeOf(await trust.remove.run(removing, of(['prod'], 'all'))), 'NoCapability');
    unwrap(await trust.remove.run(removing, of('all', ['shared'])));
  });

  test('a revocation list revokes, and the verdict says what was looked at', async (t) => {
    const { trust, clock, recorded } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const [bad, good] = [
      await makeCertificate({ subject: 'CN=bad', by: root, serial: '0a01' }),
      await makeCertificate({ subject: 'CN=good', by: root }),
    ];
    const { anchor } = unwrap(await trust.add.run(adding(root), placed));
    const before = unwrap(await trust.validate.run(validating([bad]), placed));
    assert.deepEqual([before.valid, before.revocationChecked, before.anchorId], [true, false, anchor.id]);
    assert.equal(before.path.length, 2);
    const list = await makeList(root, ['0a01']);
    const listed = unwrap(await trust.crl.run({ ...agreedTo, id: anchor.id, list }, placed));
    assert.equal(listed.list?.entries, 1);
    assert.equal(recorded.at(-1)?.data?.revoked, 1);
    const revoked = unwrap(await trust.validate.run(validating([bad]), placed));
    assert.deepEqual([revoked.valid, revoked.problem, revoked.depth], [false, 'revoked', 0]);
    const fine = unwrap(await trust.validate.run(validating([good]), placed));
    assert.deepEqual([fine.valid, fine.revocationChecked, fine.atMs], [true, true, clock.nowMs]);
  });

  test('a chain is one or more certificates, in DER or PEM, at a time that is asked for', async (t) => {
    const { trust } = openTrustOperations(t);
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const sub = await makeCertificate({ subject: 'CN=Sub', ca: true, by: root });
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: sub });
    unwrap(await trust.add.run(adding(root), placed));
    const verdict = async (chain: readonly Uint8Array[], atMs?: number) => {
      const answer = await trust.validate.run({ ...validating([]), chain, atMs }, placed);
      return answer.ok ? (answer.value.problem ?? 'valid') : answer.failure.code;
    };
    const pem = (...all: Made[]) =>
      Buffer.from(all.map(({ certificate }) => certificate.toString('pem')).join('\n'));
    assert.equal(await verdict([leaf.der, sub.der]), 'valid');
    assert.equal(await verdict([leaf.der, root.der, sub.der]), 'valid');
    assert.equal(await verdict([pem(leaf, sub)]), 'valid');
    assert.equal(await verdict([leaf.der]), 'no_path');
    assert.equal(await verdict([leaf.der, sub.der], Date.parse('2035-01-01')), 'expired');
    assert.equal(await verdict([]), 'BadRequest');
    assert.equal(await verdict([Buffer.from('x')]), 'BadRequest');
    assert.equal(await verdict([leaf.der, ...Array.from({ length: 16 }, () => sub.der)]), 'BadRequest');
  });
});
