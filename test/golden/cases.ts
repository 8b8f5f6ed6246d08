import { registry } from '../../src/algorithms/registry.ts';
import {
  digest,
  type GoldenCase,
  type GoldenPart,
  get,
  hybrid,
  key,
  opId,
  post,
  sign,
  verify,
} from './ask.ts';
import { derivedAndBrought } from './derived-cases.ts';
import { standardFormats } from './format-cases.ts';
import { migrating } from './migration-cases.ts';
import { otherForms } from './other-forms.ts';
import { sealing } from './sealing-cases.ts';

const ownAnswers: readonly GoldenCase[] = [
  get('health', '/healthz', 'nobody'),
  { name: 'health by HEAD', as: 'nobody', method: 'HEAD', path: '/healthz' },
  get('readiness', '/readyz', 'nobody'),
  get('version', '/version', 'nobody'),
  get('metrics: names and types', '/metrics', 'nobody'),
  post('health by POST', '/healthz', {}, { as: 'nobody' }),
];

const parts = (alg: string) => (alg === hybrid ? [0, 1] : [0]);

const signingAlgorithms = registry.filter(({ kind }) => kind === 'signature').map(({ name }) => name);

/** Made, read, signed with and verified with, every algorithm that signs. */
const everySigningAlgorithm = signingAlgorithms.flatMap((alg): GoldenCase[] => {
  const sigs = parts(alg).map((n) => ({ kid: `{kid:${alg}}`, signature_b64: `{sig:${alg}.${n}}` }));
  const wrong = parts(alg).map((n) => ({ kid: `{kid:${alg}}`, signature_b64: `{flipped:${alg}.${n}}` }));
  return [
    post(`create: ${alg}`, '/v1/kms/keys', { purpose: 'web', alg }, { keep: alg }),
    get(`read: ${alg}`, key(`{kid:${alg}}`)),
    sign(alg, { kid: `{kid:${alg}}` }, { keep: alg }),
    verify(alg, sigs),
    verify(`${alg}, a bit changed`, wrong),
  ];
});

const macs: readonly GoldenCase[] = [
  post('create: hmac-sha256', '/v1/kms/keys', { purpose: 'web', alg: 'hmac-sha256' }, { keep: 'mac' }),
  get('read: hmac-sha256', key('{kid:mac}')),
  post('mac', '/v1/kms/mac', { kid: '{kid:mac}', message_b64: 'aGVsbG8=' }),
  post('mac: not base64', '/v1/kms/mac', { kid: '{kid:mac}', message_b64: 'hello' }),
  post('mac: a key that signs', '/v1/kms/mac', { kid: '{kid:ed25519}', message_b64: 'aGVsbG8=' }),
  post('mac verify: another tag', '/v1/kms/mac/verify', {
    kid: '{kid:mac}',
    message_b64: 'aGVsbG8=',
    mac_b64: 'aGVsbG8=',
  }),
  post('sign: a key that makes tags', '/v1/kms/sign', {
    kid: '{kid:mac}',
    payload_b3: 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24',
  }),
];

const creating: readonly GoldenCase[] = [
  post('create: by an alias', '/v1/kms/keys', { purpose: 'alias', alg: 'ml-dsa' }),
  post('create: policy null', '/v1/kms/keys', { purpose: 'null', alg: 'ed25519', policy: null }),
  post(
    'create: durability of its own',
    '/v1/kms/keys',
    { purpose: 'careful', alg: 'ed25519', policy: { audit: 'synced' }, tenant: 'acme' },
    { keep: 'careful' },
  ),
  post('create: no witness', '/v1/kms/keys', {
    purpose: 'careful',
    alg: 'ed25519',
    policy: { audit: 'witnessed' },
  }),
  post(
    'create: with an op_id',
    '/v1/kms/keys',
    { purpose: 'once', alg: 'ed25519', op_id: opId(1) },
    { keep: 'once' },
  ),
  post('create: the same op_id again', '/v1/kms/keys', { purpose: 'once', alg: 'ed25519', op_id: opId(1) }),
  post('create: the op_id of another', '/v1/kms/keys', {
    purpose: 'twice',
    alg: 'ed25519',
    op_id: opId(1),
  }),
  post('create: for another tenant', '/v1/kms/keys', { purpose: 'web', alg: 'ed25519', tenant: 'globex' }),
  post('create: unknown alg', '/v1/kms/keys', { purpose: 'web', alg: 'rot13' }),
  post('create: not a purpose', '/v1/kms/keys', { purpose: 'Web/x', alg: 'ed25519' }),
  post('create: no alg', '/v1/kms/keys', { purpose: 'web' }),
  post('create: unknown member', '/v1/kms/keys', { purpose: 'web', alg: 'ed25519', colour: 'red' }),
  post('create: unknown member of policy', '/v1/kms/keys', {
    purpose: 'web',
    alg: 'ed25519',
    policy: { colour: 'red' },
  }),
  post('create: not an op_id', '/v1/kms/keys', { purpose: 'web', alg: 'ed25519', op_id: '1' }),
  post('create: without the scope', '/v1/kms/keys', { purpose: 'web', alg: 'ed25519' }, { as: 'reader' }),
];

const signing: readonly GoldenCase[] = [
  sign('with op_id and receipt', { kid: '{kid:ed25519}', op_id: opId(2), receipt: true }),
  sign('hybrid with receipt', { kid: `{kid:${hybrid}}`, receipt: true }),
  sign('a kid without its version', { kid: '{id:ed25519}' }),
  sign('RS256', { kid: '{kid:rsa-2048}', alg: 'RS256' }, { keep: 'rs256' }),
  sign('alg as the key is called', { kid: '{kid:ml-dsa-65}', alg: 'ml-dsa' }),
  sign('kid_set', { kid_set: ['{kid:ed25519}', '{kid:ml-dsa-44}'], receipt: true }, { keep: 'set' }),
  sign('kid_or_set of one', { kid_or_set: '{kid:ed25519}' }),
  sign('kid_or_set of two', { kid_or_set: ['{kid:ed25519}', `{kid:${hybrid}}`] }),
  sign('hybrid, pq_only', { kid: `{kid:${hybrid}}`, policy: { mode: 'pq_only' } }, { keep: 'pq' }),
  sign('hybrid, one part by its alg', { kid: `{kid:${hybrid}}`, alg: 'ed25519' }, { keep: 'classical' }),
  sign('ed25519, pq_only', { kid: '{kid:ed25519}', policy: { mode: 'pq_only' } }),
  sign('policy null', { kid: '{kid:ed25519}', policy: null }),
  sign('key with a durability of its own', { kid: '{kid:careful}' }),
  sign('no kid', {}),
  sign('kid and kid_set', { kid: '{kid:ed25519}', kid_set: ['{kid:ed25519}'] }),
  sign('empty kid_set', { kid_set: [] }),
  sign('alg of another key', { kid: '{kid:ed25519}', alg: 'PS256' }),
  sign('unknown mode', { kid: '{kid:ed25519}', policy: { mode: 'xor' } }),
  sign('unknown member', { kid: '{kid:ed25519}', colour: 'red' }),
  sign('payload of the wrong length', { kid: '{kid:ed25519}', payload_b3: 'abcd' }),
  sign('payload in capitals', { kid: '{kid:ed25519}', payload_b3: digest.toUpperCase() }),
  sign('not a kid', { kid: 'nothing' }),
  sign('key of another tenant', { kid: '{kid:ed25519}' }, { as: 'globex' }),
  sign('key that is not there', { kid: 'acme/web/ed25519/00000000-0000-4000-8000-000000000000#v1' }),
  sign('version that is not there', { kid: '{id:ed25519}#v9' }),
  sign('without the scope', { kid: '{kid:ed25519}' }, { as: 'reader' }),
  sign('no capability', { kid: '{kid:ed25519}' }, { as: 'nobody' }),
  sign('forged capability', { kid: '{kid:ed25519}' }, { as: 'forged' }),
  sign('expired capability', { kid: '{kid:ed25519}' }, { as: 'expired' }),
];

const framing: readonly GoldenCase[] = [
  post('body: not JSON', '/v1/kms/sign', undefined, { text: '{"kid":' }),
  post('body: empty', '/v1/kms/sign', undefined, { text: '' }),
  post('body: an array', '/v1/kms/sign', []),
  post('body: null', '/v1/kms/sign', null),
  post('body: not UTF-8', '/v1/kms/sign', undefined, {
    text: '{"kid":"\u00ff"}',
    latin1: true,
  }),
  post('body: a member twice', '/v1/kms/sign', undefined, {
    text: `{"kid":"{kid:ed25519}","kid":"{kid:ed25519}","payload_b3":"${digest}"}`,
  }),
  post('body: too large', '/v1/kms/sign', undefined, { text: ' ', repeat: 1_048_577 }),
  sign('encoded body', { kid: '{kid:ed25519}' }, { headers: { 'content-encoding': 'gzip' } }),
  sign('query', { kid: '{kid:ed25519}' }, { path: '/v1/kms/sign?x=1' }),
  sign('deadline that is none', { kid: '{kid:ed25519}' }, { headers: { 'x-deadline-ms': 'soon' } }),
  sign('deadline', { kid: '{kid:ed25519}' }, { headers: { 'x-deadline-ms': '4000' } }),
  sign(
    'ids of the caller',
    { kid: '{kid:ed25519}' },
    {
      headers: {
        'x-request-id': opId(9),
        'x-corr-id': 'corr-1',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      },
    },
  ),
  sign(
    'ids of the caller that are none',
    { kid: 'nothing' },
    { headers: { 'x-request-id': 'mine', 'x-corr-id': 'a b', traceparent: '00' } },
  ),
];

const both = [0, 1].map((n) => ({ kid: `{kid:${hybrid}}`, signature_b64: `{sig:${hybrid}.${n}}` }));
const classical = [{ kid: `{kid:${hybrid}}`, alg: 'ed25519', signature_b64: '{sig:classical.0}' }];
const postQuantum = [{ kid: `{kid:${hybrid}}`, alg: 'ml-dsa-65', signature_b64: '{sig:pq.0}' }];
const one = [{ kid: '{kid:ed25519}', signature_b64: '{sig:ed25519.0}' }];

const verifying: readonly GoldenCase[] = [
  ...(['and', 'or', 'pq_only'] as const).flatMap((mode) => [
    verify(`hybrid, both, ${mode}`, both, { policy: { mode } }),
    verify(`hybrid, classical part, ${mode}`, classical, { policy: { mode } }),
    verify(`hybrid, post-quantum part, ${mode}`, postQuantum, { policy: { mode } }),
  ]),
  verify('a set', [
    { kid: '{kid:ed25519}', signature_b64: '{sig:set.0}' },
    { kid: '{kid:ml-dsa-44}', signature_b64: '{sig:set.1}' },
  ]),
  verify('RS256', [{ kid: '{kid:rsa-2048}', alg: 'RS256', signature_b64: '{sig:rs256.0}' }]),
  verify('RS256 as PS256', [{ kid: '{kid:rsa-2048}', alg: 'PS256', signature_b64: '{sig:rs256.0}' }]),
  verify('alg of another key', [{ kid: '{kid:ed25519}', alg: 'PS256', signature_b64: '{sig:ed25519.0}' }]),
  verify('signature of another key', [{ kid: '{kid:ml-dsa-44}', signature_b64: '{sig:ed25519.0}' }]),
  verify('not base64', [{ kid: '{kid:ed25519}', signature_b64: '!' }]),
  verify('no signatures', []),
  verify('unknown member of a signature', [{ kid: '{kid:ed25519}', signature_b64: 'AAAA', colour: 'red' }]),
  verify('unknown member', one, { colour: 'red' }),
  verify('op_id', one, { op_id: opId(3) }),
  verify('key of another tenant', one, {}, { as: 'globex' }),
  verify('without the scope', one, {}, { as: 'reader' }),
  verify('no capability', one, {}, { as: 'nobody' }),
];

const item = (kid: string, more: object = {}) => ({ kid, payload_b3: digest, ...more });

const batches: readonly GoldenCase[] = [
  post('sign batch: good and bad items', '/v1/kms/sign/batch', {
    items: [
      item('{kid:ed25519}', { op_id: opId(4), receipt: true }),
      item('nothing'),
      { colour: 'red' },
      item('{kid:ed25519}', { policy: { mode: 'pq_only' } }),
      item(`{kid:${hybrid}}`),
    ],
  }),
  post('sign batch: all bad', '/v1/kms/sign/batch', { items: [1, null] }),
  post('sign batch: no items', '/v1/kms/sign/batch', { items: [] }),
  post('sign batch: unknown member', '/v1/kms/sign/batch', { items: [item('{kid:ed25519}')], colour: 'red' }),
  post(
    'sign batch: without the scope',
    '/v1/kms/sign/batch',
    { items: [item('{kid:ed25519}')] },
    { as: 'reader' },
  ),
  post('verify batch: good and bad items', '/v1/kms/verify/batch', {
    items: [
      { payload_b3: digest, sigs: one },
      { payload_b3: digest, sigs: [{ kid: 'nothing', signature_b64: 'AAAA' }] },
      { payload_b3: digest, sigs: [{ kid: '{kid:ed25519}', signature_b64: '{flipped:ed25519.0}' }] },
      { payload_b3: digest },
      { payload_b3: digest, sigs: both, policy: { mode: 'pq_only' } },
    ],
  }),
  post('verify batch: no items', '/v1/kms/verify/batch', {}),
  post('verify batch: without the scope', '/v1/kms/verify/batch', { items: [] }, { as: 'reader' }),
];

const changing: readonly GoldenCase[] = [
  post('rotate: ed25519', key('{kid:ed25519}', '/rotate'), undefined, { keep: 'second' }),
  post('rotate: with an op_id', key(`{kid:${hybrid}}`, '/rotate'), { op_id: opId(5) }, { keep: 'hybrid2' }),
  post('rotate: the same op_id again', key(`{kid:${hybrid}}`, '/rotate'), { op_id: opId(5) }),
  post('rotate: the op_id of another key', key('{kid:ml-dsa-44}', '/rotate'), { op_id: opId(5) }),
  post('rotate: unknown member', key('{kid:ed25519}', '/rotate'), { colour: 'red' }),
  post('rotate: not there', key('nothing', '/rotate'), {}),
  post('rotate: key of another tenant', key('{kid:ed25519}', '/rotate'), {}, { as: 'globex' }),
  post('rotate: without the scope', key('{kid:ed25519}', '/rotate'), {}, { as: 'reader' }),
  sign('old version', { kid: '{kid:ed25519}' }),
  sign('new version', { kid: '{kid:second}' }, { keep: 'second' }),
  verify('old version', one),
  get('read: two versions', key('{id:ed25519}')),
  get('read: one version of two', key('{kid:ed25519}')),
  get('read: without a kid', '/v1/kms/keys/'),
  get('read: not there', key('nothing')),
  get('read: query', `${key('{kid:ed25519}')}?x=1`),
  get('read: key of another tenant', key('{kid:ed25519}'), 'globex'),
  get('read: bad percent-encoding', '/v1/kms/keys/%zz'),
  post('destroy: current version by number', key('{kid:second}', '/destroy'), { version: 2 }),
  post('destroy: version that is not there', key('{kid:second}', '/destroy'), { version: 9 }),
  post('destroy: version 0', key('{kid:second}', '/destroy'), { version: 0 }),
  post('destroy: without the scope', key('{kid:second}', '/destroy'), {}, { as: 'reader' }),
  post('destroy: key of another tenant', key('{kid:second}', '/destroy'), {}, { as: 'globex' }),
  post('destroy: old version', key('{kid:second}', '/destroy'), { version: 1, op_id: opId(6) }),
  post('destroy: the same op_id again', key('{kid:second}', '/destroy'), { version: 1, op_id: opId(6) }),
  verify('destroyed version', one),
  verify('destroyed version beside a good one', [
    ...one,
    { kid: '{kid:second}', signature_b64: '{sig:second.0}' },
  ]),
  sign('destroyed version', { kid: '{kid:ed25519}' }),
  get('read: one version destroyed', key('{id:ed25519}')),
  post('destroy: whole key', key('{id:careful}', '/destroy')),
  post('destroy: whole key again', key('{id:careful}', '/destroy')),
  sign('destroyed key', { kid: '{kid:careful}' }),
  sign('set with a destroyed key', { kid_set: ['{kid:ml-dsa-44}', '{kid:careful}'] }),
  post('rotate: destroyed key', key('{kid:careful}', '/rotate'), {}),
  get('read: destroyed key', key('{kid:careful}')),
];

const listing: readonly GoldenCase[] = [
  get('list: nothing yet', '/v1/kms/keys', 'globex'),
  ...['a', 'b', 'c'].map((purpose) =>
    post(
      `create: ${purpose} to list`,
      '/v1/kms/keys',
      { purpose, alg: 'ed25519' },
      { as: 'globex', keep: purpose },
    ),
  ),
  get('list: all', '/v1/kms/keys', 'globex'),
  { ...get('list: first page', '/v1/kms/keys?limit=2', 'globex'), keep: 'page' },
  get('list: second page', '/v1/kms/keys?limit=2&cursor={cursor:page}', 'globex'),
  get('list: by purpose', '/v1/kms/keys?purpose=b', 'globex'),
  get('list: by alg', '/v1/kms/keys?alg=ml-dsa-65', 'globex'),
  get('list: destroyed too', '/v1/kms/keys?purpose=careful'),
  get('list: unknown alg', '/v1/kms/keys?alg=rot13'),
  get('list: not a purpose', '/v1/kms/keys?purpose=A'),
  get('list: limit 0', '/v1/kms/keys?limit=0'),
  get('list: limit 1001', '/v1/kms/keys?limit=1001'),
  get('list: not a cursor', '/v1/kms/keys?cursor=x'),
  get('list: cursor of another tenant', '/v1/kms/keys?cursor={cursor:page}'),
  get('list: unknown parameter', '/v1/kms/keys?colour=red'),
  get('list: a parameter twice', '/v1/kms/keys?limit=1&limit=2'),
  get('list: without the scope', '/v1/kms/keys', 'auditor'),
];

const routing: readonly GoldenCase[] = [
  ...['export', 'private', 'secret', 'backup'].flatMap((action) => [
    get(`${action} by GET`, key('{kid:ml-dsa-44}', `/${action}`)),
    post(`${action} by POST`, key('{kid:ml-dsa-44}', `/${action}`), {}),
  ]),
  get('export: not there', key('nothing', '/export')),
  get('no such path', '/v1/kms/nothing'),
  get('no such path, no capability', '/', 'nobody'),
  get('path in capitals', '/V1/KMS/keys'),
  get('path with two slashes', '/v1/kms//keys'),
  get('GET where there is POST', '/v1/kms/sign'),
  post('POST where there is GET', key('{kid:ml-dsa-44}'), {}),
  { name: 'PUT', as: 'acme', method: 'PUT', path: '/v1/kms/keys', json: {} },
  { name: 'DELETE', as: 'acme', method: 'DELETE', path: key('{kid:ml-dsa-44}') },
  { name: 'HEAD', as: 'acme', method: 'HEAD', path: '/v1/kms/keys' },
  { name: 'OPTIONS', as: 'nobody', method: 'OPTIONS', path: '/v1/kms/keys' },
  { name: 'PATCH', as: 'acme', method: 'PATCH', path: '/v1/kms/audit/accept', json: {} },
];

const operating: readonly GoldenCase[] = [
  get('load: of the operator', '/v1/kms/admin/load', 'operator'),
  get('load: of a tenant', '/v1/kms/admin/load', 'acmeAdmin'),
  get('load: query', '/v1/kms/admin/load?x=1', 'operator'),
  get('load: without the scope', '/v1/kms/admin/load'),
];

const auditPath = '/v1/kms/audit';
const auditing: readonly GoldenCase[] = [
  { ...get('audit: proof', `${auditPath}/proof?index=1`, 'operator'), eventually: true },
  get('audit: proof of a record of another tenant', `${auditPath}/proof?index=0`, 'auditor'),
  get('audit: proof without index', `${auditPath}/proof`, 'operator'),
  get('audit: proof of what is not there', `${auditPath}/proof?index=99999999`, 'operator'),
  get('audit: checkpoint', `${auditPath}/checkpoint`, 'operator'),
  get('audit: checkpoint with a query', `${auditPath}/checkpoint?x=1`, 'operator'),
  get('audit: tile', `${auditPath}/tile/0/000.p/1`, 'operator'),
  get('audit: entries', `${auditPath}/tile/entries/000.p/1`, 'operator'),
  get('audit: entries for a tenant', `${auditPath}/tile/entries/000.p/1`, 'auditor'),
  get('audit: tile that is not there', `${auditPath}/tile/0/999`, 'operator'),
  post('audit: tile by POST', `${auditPath}/tile/0/000.p/1`, {}, { as: 'operator' }),
  get('audit: how the keys were replaced, before', `${auditPath}/keys/0.json`, 'operator'),
  get('audit: vkeys', `${auditPath}/vkeys`, 'operator'),
  get('audit: records by op_id', `${auditPath}/records?op_id=${opId(2)}`, 'auditor'),
  get('audit: a page of records', `${auditPath}/records?limit=1`, 'auditor'),
  get('audit: no records there', `${auditPath}/records?from=9999999`, 'auditor'),
  get('audit: records, limit 0', `${auditPath}/records?limit=0`, 'auditor'),
  get('audit: records, from x', `${auditPath}/records?from=x`, 'auditor'),
  get('audit: records, unknown parameter', `${auditPath}/records?colour=red`, 'auditor'),
  get('audit: pending', `${auditPath}/accept`, 'operator'),
  get('audit: pending, another tenant', `${auditPath}/accept`, 'acmeAdmin'),
  post('audit: nothing to accept', `${auditPath}/accept`, { reason: 'disk lost' }, { as: 'operator' }),
  post('audit: no such approval', `${auditPath}/accept`, { approval: '0'.repeat(16) }, { as: 'operator' }),
  post('audit: neither reason nor approval', `${auditPath}/accept`, {}, { as: 'operator' }),
  post('audit: accept, another tenant', `${auditPath}/accept`, { reason: 'x' }, { as: 'acmeAdmin' }),
  ...['checkpoint', 'vkeys', 'records', 'proof?index=0', 'tile/0/000.p/1', 'accept'].map((path) =>
    get(`audit: ${path} without the scope`, `${auditPath}/${path}`, 'reader'),
  ),
  post('audit: new keys, another tenant', `${auditPath}/rotate-keys`, {}, { as: 'acmeAdmin' }),
  post('audit: new keys, unknown member', `${auditPath}/rotate-keys`, { colour: 'red' }, { as: 'operator' }),
  post('audit: new keys', `${auditPath}/rotate-keys`, {}, { as: 'operator' }),
  post('audit: new keys again', `${auditPath}/rotate-keys`, {}, { as: 'operator' }),
  get('audit: vkeys in the overlap', `${auditPath}/vkeys`, 'operator'),
];

const narrow: readonly GoldenCase[] = [
  post('create: alg that is not allowed', '/v1/kms/keys', { purpose: 'web', alg: 'ml-dsa-65' }),
  sign('alg that is not allowed', { kid: '{kid:ml-dsa-65}' }),
  verify('alg that is not allowed', [{ kid: '{kid:ml-dsa-44}', signature_b64: '{sig:ml-dsa-44.0}' }]),
  post('body: too large for this service', '/v1/kms/sign', undefined, { text: ' ', repeat: 4_097 }),
  post('sign batch: too many items', '/v1/kms/sign/batch', { items: [1, 2, 3] }),
  sign('last use of the day', { kid: '{kid:second}' }),
  sign('a use too many', { kid: '{kid:second}' }),
  post('sign batch: a use too many', '/v1/kms/sign/batch', { items: [item('{kid:second}')] }),
  post('create: an op_id of before the restart', '/v1/kms/keys', {
    purpose: 'once',
    alg: 'ed25519',
    op_id: opId(1),
  }),
  post('rotate: within the rate', key('{kid:second}', '/rotate'), {}),
  post('rotate: a call too many', key('{kid:second}', '/rotate'), {}),
];

const withoutLog: readonly GoldenCase[] = [
  get('readiness without a log', '/readyz', 'nobody'),
  get('version without a log', '/version', 'nobody'),
  ...['checkpoint', 'vkeys', 'records', 'proof?index=0', 'tile/0/000.p/1', 'accept'].map((path) =>
    get(`no log: ${path}`, `${auditPath}/${path}`, 'operator'),
  ),
  post('no log: new keys', `${auditPath}/rotate-keys`, {}, { as: 'operator' }),
  post('no log: accept by POST', `${auditPath}/accept`, { reason: 'x' }, { as: 'operator' }),
  post('no log: create', '/v1/kms/keys', { purpose: 'web', alg: 'ed25519' }, { keep: 'memory' }),
  get('no log: read', key('{kid:memory}')),
  sign('no log, with receipt', { kid: '{kid:memory}', receipt: true }),
];

const commitments: readonly GoldenCase[] = [
  post('commitments: create', '/v1/kms/keys', { purpose: 'web', alg: 'ed25519' }, { keep: 'committed' }),
  sign('commitments, with receipt', { kid: '{kid:committed}', receipt: true, op_id: opId(7) }),
  sign('commitments, without receipt', { kid: '{kid:committed}' }),
  get('commitments: record', `${auditPath}/records?op_id=${opId(7)}`, 'auditor'),
];

export const goldenParts: readonly GoldenPart[] = [
  {
    name: 'every setting as it comes',
    env: {},
    sameData: false,
    cases: [
      ...ownAnswers,
      ...everySigningAlgorithm,
      ...macs,
      ...creating,
      ...signing,
      ...otherForms,
      ...standardFormats,
      ...framing,
      ...verifying,
      ...batches,
      ...changing,
      ...listing,
      ...routing,
      ...operating,
      ...auditing,
    ],
  },
  {
    name: 'narrow limits',
    env: {
      KMS_ALLOWED_ALGS: 'ed25519',
      KMS_MAX_PAYLOAD: '4096',
      KMS_BATCH_MAX_ITEMS: '2',
      KMS_KEY_USES_PER_DAY: '1',
      KMS_RATE_LIMITS: 'rotate=1/d',
    },
    sameData: true,
    cases: narrow,
  },
  {
    name: 'in memory, without a log',
    env: { KMS_BACKEND: 'memory' },
    sameData: false,
    cases: withoutLog,
  },
  {
    name: 'inputs as commitments',
    env: { KMS_AUDIT_INPUT_HASH: 'commit' },
    sameData: false,
    cases: commitments,
  },
  {
    name: 'phase 2 of the migration',
    env: { KMS_PQ_VERIFY_MODE: 'and', KMS_PQ_TENANTS: 'acme/old=off' },
    sameData: false,
    cases: migrating,
  },
  {
    name: 'keys that encrypt and wrap',
    env: {},
    sameData: false,
    cases: sealing,
  },
  {
    name: 'keys that are derived, brought and limited',
    env: {},
    sameData: false,
    cases: derivedAndBrought,
  },
];
