import assert from 'node:assert/strict';
import 'reflect-metadata';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { describe } from 'node:test';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import { GeneralName, GeneralSubtree, GeneralSubtrees, Name, NameConstraints } from '@peculiar/asn1-x509';
import { ExtendedKeyUsageExtension, Extension, KeyUsageFlags, Name as NameText } from '@peculiar/x509';
import { type Certificate, readCertificate } from '../../src/trust/certificate.ts';
import { isListOf, readRevocationList, revocationIn } from '../../src/trust/crl.ts';
import { type ChainPurpose, type PathProblem, validatePath } from '../../src/trust/path.ts';
import { chainTimes, type Made, makeCertificate, makeKeys, makeList } from '../support/chains.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const { at, from, to } = chainTimes;
const early = new Date('2026-02-01T00:00:00Z');
const { keyCertSign, cRLSign, digitalSignature } = KeyUsageFlags;

interface Chain {
  readonly name: string;
  readonly leaf: Made;
  readonly given?: readonly Made[];
  readonly anchors: readonly Made[];
  /** Undefined: valid. */
  readonly problem?: PathProblem;
  readonly purpose?: keyof typeof opensslPurposes;
  /** OpenSSL judges otherwise, for this reason. */
  readonly apart?: string;
}

const opensslPurposes = {
  server_auth: 'sslserver',
  client_auth: 'sslclient',
  email_protection: 'smimesign',
} as const satisfies Partial<Record<ChainPurpose, string>>;
const [serverAuth, clientAuth, codeSigning, emailProtection] = [1, 2, 3, 4].map(
  (n) => `1.3.6.1.5.5.7.3.${n}`,
) as [string, string, string, string];

const directory = (text: string) =>
  new GeneralName({ directoryName: AsnConvert.parse(new NameText(text).toArrayBuffer(), Name) });
const dns = (dNSName: string) => new GeneralName({ dNSName });
const email = (rfc822Name: string) => new GeneralName({ rfc822Name });
const uri = (uniformResourceIdentifier: string) => new GeneralName({ uniformResourceIdentifier });
const ip = (iPAddress: string) => new GeneralName({ iPAddress });

function limits(permitted: readonly GeneralName[], excluded: readonly GeneralName[] = []): Extension {
  const trees = (names: readonly GeneralName[]) =>
    names.length === 0 ? undefined : new GeneralSubtrees(names.map((base) => new GeneralSubtree({ base })));
  const constraints = new NameConstraints();
  const [within, not] = [trees(permitted), trees(excluded)];
  if (within !== undefined) constraints.permittedSubtrees = within;
  if (not !== undefined) constraints.excludedSubtrees = not;
  return new Extension('2.5.29.30', true, AsnConvert.serialize(constraints));
}

const octets = (bytes: readonly number[]) => AsnConvert.serialize(new OctetString(Uint8Array.from(bytes)));

async function makeChains(): Promise<readonly Chain[]> {
  const root = await makeCertificate({ subject: 'CN=Root,O=Example', ca: true });
  const sub = await makeCertificate({ subject: 'CN=Sub,O=Example', ca: true, by: root });
  const sub2 = await makeCertificate({ subject: 'CN=Sub 2,O=Example', ca: true, by: sub });
  const leafOf = (by: Made, more: Partial<Parameters<typeof makeCertificate>[0]> = {}) =>
    makeCertificate({ subject: 'CN=leaf', by, ...more });
  const authority = (more: Partial<Parameters<typeof makeCertificate>[0]>) =>
    makeCertificate({ subject: 'CN=Other,O=Example', ca: true, by: root, ...more });
  const chains: Chain[] = [];
  const add = (
    name: string,
    leaf: Made,
    between: readonly Made[],
    problem?: PathProblem,
    more: Partial<Chain> = {},
  ) => chains.push({ name, leaf, given: between, anchors: [root], ...(problem ? { problem } : {}), ...more });

  add('a leaf of the root', await leafOf(root), []);
  add('one authority between', await leafOf(sub), [sub]);
  add('two between, in the other order', await leafOf(sub2), [sub, sub2]);
  add('an authority between is missing', await leafOf(sub2), [sub2], 'no_path');
  add('nothing between is given', await leafOf(sub), [], 'no_path');
  add('the root itself', root, []);
  add('an authority as what is asked about', sub, []);
  add(
    'another root of the same name',
    await leafOf(await makeCertificate({ subject: 'CN=Root,O=Example', ca: true })),
    [],
    'no_path',
  );
  const elsewhere = await makeCertificate({ subject: 'CN=Elsewhere', ca: true });
  add('of an authority that is not trusted', await leafOf(elsewhere), [elsewhere], 'no_path');
  add('signed by itself and not trusted', await makeCertificate({ subject: 'CN=me' }), [], 'no_path');
  const own = await makeCertificate({ subject: 'CN=me' });
  add('signed by itself and trusted', own, [], undefined, { anchors: [own] });

  add('not yet valid', await leafOf(root, { from: new Date('2026-07-01'), to }), [], 'not_yet_valid');
  add('no longer valid', await leafOf(root, { from, to: early }), [], 'expired');
  const oldSub = await authority({ from, to: early });
  add('of an authority that is no longer valid', await leafOf(oldSub), [oldSub], 'expired');
  const newSub = await authority({ from: new Date('2026-07-01') });
  add('of an authority that is not yet valid', await leafOf(newSub), [newSub], 'not_yet_valid');
  const oldRoot = await makeCertificate({ subject: 'CN=Old root', ca: true, to: early });
  add('of a root that is no longer valid', await leafOf(oldRoot), [], 'expired', { anchors: [oldRoot] });
  const [twinKeys] = [await makeKeys()];
  const oldTwin = await authority({ keys: twinKeys, to: early });
  const newTwin = await authority({ keys: twinKeys });
  add('two of the authority, one of them expired', await leafOf(newTwin), [oldTwin, newTwin]);

  const stranger = await makeKeys();
  add('signed with another key', await leafOf(root, { signedWith: stranger }), [], 'bad_signature');
  const forged = await authority({ signedWith: stranger });
  add('of an authority signed with another key', await leafOf(forged), [forged], 'bad_signature');
  add('RSA', await leafOf(await authority({ algorithm: 'rsa' })), [], 'no_path');
  const rsa = await authority({ algorithm: 'rsa' });
  add('of an authority with RSA', await leafOf(rsa, { algorithm: 'rsa' }), [rsa]);
  const ed = await authority({ algorithm: 'ed25519' });
  add('of an authority with Ed25519', await leafOf(ed, { algorithm: 'ed25519' }), [ed]);
  add('SHA-384', await leafOf(root, { hash: 'SHA-384' }), []);
  const old = await authority({ algorithm: 'rsa1' });
  add('SHA-1', await leafOf(old, { hash: 'SHA-1' }), [old], 'weak_signature', {
    apart: 'OpenSSL takes SHA-1 at its lowest security level, which is that of `openssl verify`',
  });

  const noCa = await makeCertificate({ subject: 'CN=No authority', by: root });
  add('of what is no authority', await leafOf(noCa), [noCa], 'not_an_authority');
  const signsAll = await makeCertificate({ subject: 'CN=Signs', by: root, usage: keyCertSign });
  add('of what may sign and is no authority', await leafOf(signsAll), [signsAll], 'not_an_authority');
  const noBasic = await authority({ basic: 'absent' });
  add('of an authority without basic constraints', await leafOf(noBasic), [noBasic], 'not_an_authority');
  const noSign = await authority({ usage: cRLSign });
  add('of an authority that may not sign certificates', await leafOf(noSign), [noSign], 'not_an_authority');
  const noUsage = await authority({ usage: 'absent' });
  add('of an authority without key usage', await leafOf(noUsage), [noUsage], 'malformed');
  const loose = await authority({ basic: { critical: false } });
  add('of an authority whose basic constraints are not critical', await leafOf(loose), [loose], 'malformed');
  add(
    'a leaf that may sign certificates',
    await leafOf(root, { usage: keyCertSign | digitalSignature }),
    [],
    'malformed',
  );
  add('a leaf without key usage', await leafOf(root, { usage: 'absent' }), []);
  add('a leaf without basic constraints', await leafOf(root, { basic: 'absent' }), []);
  add('a leaf with a length of path', await leafOf(root, { basic: { pathLength: 0 } }), [], 'malformed');

  const short = await authority({ basic: { pathLength: 0 } });
  add('a path of no length, and none is used', await leafOf(short), [short]);
  const below = await makeCertificate({ subject: 'CN=Below', ca: true, by: short });
  add('a path of no length, and one is used', await leafOf(below), [short, below], 'path_too_long');
  const one = await authority({ basic: { pathLength: 1 } });
  const belowOne = await makeCertificate({ subject: 'CN=Below one', ca: true, by: one });
  const belowTwo = await makeCertificate({ subject: 'CN=Below two', ca: true, by: belowOne });
  add('a path of length one, and one is used', await leafOf(belowOne), [one, belowOne]);
  add(
    'a path of length one, and two are used',
    await leafOf(belowTwo),
    [one, belowOne, belowTwo],
    'path_too_long',
  );
  const renewed = await makeCertificate({ subject: 'CN=Other,O=Example', ca: true, by: short });
  add('an authority that certifies itself anew does not count', await leafOf(renewed), [short, renewed]);
  const shortRoot = await makeCertificate({ subject: 'CN=Short root', ca: true, basic: { pathLength: 0 } });
  const belowShort = await makeCertificate({ subject: 'CN=Below short', ca: true, by: shortRoot });
  add('the root limits the path', await leafOf(belowShort), [belowShort], 'path_too_long', {
    anchors: [shortRoot],
  });

  const unknown = new Extension('1.2.3.4.5', true, octets([1]));
  add(
    'an unknown critical extension',
    await leafOf(root, { extensions: [unknown] }),
    [],
    'unknown_critical_extension',
  );
  const oddSub = await authority({ extensions: [unknown] });
  add('of an authority with one', await leafOf(oddSub), [oddSub], 'unknown_critical_extension');
  add(
    'an unknown extension that is not critical',
    await leafOf(root, { extensions: [new Extension('1.2.3.4.5', false, octets([1]))] }),
    [],
  );
  const twice = new Extension('2.5.29.14', false, octets([1, 2, 3]));
  add('an extension that is there twice', await leafOf(root, { extensions: [twice] }), [], 'malformed');
  add(
    'no key identifier of the authority',
    await leafOf(root, { without: ['authorityKeyId'] }),
    [],
    'malformed',
  );
  const nameless = await authority({ without: ['subjectKeyId'] });
  add('an authority without its own key identifier', await leafOf(nameless), [nameless], 'malformed');
  add('a leaf without a key identifier of its own', await leafOf(root, { without: ['subjectKeyId'] }), []);
  add('no subject and no other name', await leafOf(root, { subject: '' }), [], 'malformed');
  const web = [{ type: 'dns', value: 'web.example' }] as const;
  add(
    'no subject, and other names that are critical',
    await leafOf(root, { subject: '', names: web, namesCritical: true }),
    [],
  );
  add(
    'no subject, and other names that are not',
    await leafOf(root, { subject: '', names: web }),
    [],
    'malformed',
  );
  const mixed = await makeCertificate({ subject: 'CN=root,O=EXAMPLE', ca: true, keys: root.keys });
  add('the same name in other letters', await leafOf(mixed), []);

  const within = async (
    name: string,
    constraint: Extension,
    leaf: Partial<Parameters<typeof makeCertificate>[0]>,
    problem?: PathProblem,
    more: Partial<Chain> = {},
  ) => {
    const by = await authority({ subject: 'CN=Bounded', extensions: [constraint] });
    add(name, await leafOf(by, leaf), [by], problem, more);
  };
  const names = (type: 'dns' | 'email' | 'ip' | 'url', value: string) => ({ names: [{ type, value }] });
  const outside = 'outside_name_constraints';
  await within('a host below the permitted one', limits([dns('example')]), names('dns', 'a.example'));
  await within('the permitted host itself', limits([dns('a.example')]), names('dns', 'a.example'));
  await within('a host beside it', limits([dns('a.example')]), names('dns', 'ba.example'), outside);
  await within('a host of other letters', limits([dns('A.Example')]), names('dns', 'x.a.eXample'));
  await within('an excluded host', limits([], [dns('a.example')]), names('dns', 'x.a.example'), outside);
  await within(
    'one that is permitted and excluded',
    limits([dns('example')], [dns('a.example')]),
    names('dns', 'a.example'),
    outside,
  );
  await within('a common name outside', limits([dns('example')]), { subject: 'CN=web.other' }, outside);
  await within('a common name that is no host', limits([dns('example')]), { subject: 'CN=A person' });
  await within('a mailbox of the permitted host', limits([email('example')]), names('email', 'me@example'));
  await within(
    'a mailbox of a host below',
    limits([email('example')]),
    names('email', 'me@a.example'),
    outside,
  );
  await within('a mailbox below, by a dot', limits([email('.example')]), names('email', 'me@a.example'));
  await within('one mailbox', limits([email('me@example')]), names('email', 'me@Example'));
  await within('another mailbox', limits([email('me@example')]), names('email', 'Me@example'), outside);
  await within(
    'a URI of the permitted host',
    limits([uri('a.example')]),
    names('url', 'https://a.example/x'),
  );
  await within(
    'a URI of another',
    limits([uri('a.example')]),
    names('url', 'https://b.a.example/x'),
    outside,
  );
  await within(
    'a URI below, by a dot',
    limits([uri('.example')]),
    names('url', 'https://b.a.example:8443/x'),
  );
  await within('an address of the permitted network', limits([ip('10.1.0.0/16')]), names('ip', '10.1.2.3'));
  await within('an address of another', limits([ip('10.1.0.0/16')]), names('ip', '10.2.2.3'), outside);
  await within('an excluded address', limits([], [ip('10.0.0.0/8')]), names('ip', '10.2.2.3'), outside);
  await within('a subject below the permitted one', limits([directory('O=Example')]), {
    subject: 'O=Example,CN=leaf',
  });
  await within(
    'a subject outside',
    limits([directory('O=Example')]),
    { subject: 'O=Other,CN=leaf' },
    outside,
  );
  await within('constraints of other kinds of names', limits([ip('10.1.0.0/16')]), names('dns', 'a.example'));
  const used = (...usages: readonly string[]) => ({
    extensions: [new ExtendedKeyUsageExtension([...usages])],
  });
  const server = await leafOf(root, used(serverAuth));
  add('a server as a server', server, [], undefined, { purpose: 'server_auth' });
  add('a server as a client', server, [], 'wrong_purpose', { purpose: 'client_auth' });
  add('a server as who sends mail', server, [], 'wrong_purpose', { purpose: 'email_protection' });
  add('a server and client as a client', await leafOf(root, used(serverAuth, clientAuth)), [], undefined, {
    purpose: 'client_auth',
  });
  add('who sends mail', await leafOf(root, used(emailProtection)), [], undefined, {
    purpose: 'email_protection',
  });
  add('one for anything', await leafOf(root), [], undefined, { purpose: 'server_auth' });
  add('one for any purpose by name', await leafOf(root, used('2.5.29.37.0')), [], 'wrong_purpose', {
    purpose: 'server_auth',
  });
  const wraps = await leafOf(root, { usage: KeyUsageFlags.keyEncipherment });
  add('one that does not sign, as a server', wraps, [], undefined, { purpose: 'server_auth' });
  add('one that does not sign, as a client', wraps, [], 'wrong_purpose', { purpose: 'client_auth' });
  const ofClients = await authority(used(clientAuth));
  add(
    'an authority of clients alone',
    await leafOf(ofClients, used(serverAuth)),
    [ofClients],
    'wrong_purpose',
    {
      purpose: 'server_auth',
    },
  );
  const boundedRoot = await makeCertificate({
    subject: 'CN=Bounded root',
    ca: true,
    extensions: [limits([dns('example')])],
  });
  add('the root bounds the names', await leafOf(boundedRoot, names('dns', 'a.other')), [], outside, {
    anchors: [boundedRoot],
  });
  return chains;
}

const read = ({ der }: Made): Certificate => readCertificate(der) as Certificate;

const openssl = spawnSync('openssl', ['version']).status === 0;

describe('paths of certificates', async () => {
  const chains = await makeChains();

  test('there are more than sixty of them', () => {
    assert.ok(chains.length >= 60, String(chains.length));
  });

  for (const [index, { name, leaf, given = [], anchors, problem, purpose, apart }] of chains.entries()) {
    test(`${name}: ${problem ?? 'valid'}`, { skip: openssl ? false : 'there is no openssl' }, (context) => {
      const scratch = temporaryDirectory(context);
      const verdict = validatePath(read(leaf), given.map(read), anchors.map(read), {
        atMs: at.getTime(),
        purpose,
      });
      assert.equal(verdict.valid ? undefined : verdict.problem, problem);
      const file = (part: string, all: readonly Made[]) => {
        const path = join(scratch, `${index}-${part}.pem`);
        writeFileSync(path, all.map(({ certificate }) => certificate.toString('pem')).join('\n'));
        return path;
      };
      const { stdout, stderr, status } = spawnSync('openssl', [
        ...['verify', '-x509_strict', '-attime', String(at.getTime() / 1000), '-no-CApath', '-no-CAstore'],
        ...['-CAfile', file('anchors', anchors)],
        ...(purpose === undefined ? [] : ['-purpose', opensslPurposes[purpose]]),
        ...(given.length === 0 ? [] : ['-untrusted', file('given', given)]),
        file('leaf', [leaf]),
      ]);
      const theirs = status === 0 ? 'valid' : 'refused';
      const ours = verdict.valid || apart !== undefined ? 'valid' : 'refused';
      assert.equal(theirs, ours, `${stdout}${stderr}`);
    });
  }
});

test('code is signed by who was certified for it, and by nobody else', async () => {
  const root = await makeCertificate({ subject: 'CN=Root', ca: true });
  const verdict = async (...usages: readonly string[]) => {
    const extensions = usages.length === 0 ? [] : [new ExtendedKeyUsageExtension([...usages])];
    const leaf = await makeCertificate({ subject: 'CN=leaf', by: root, extensions });
    return validatePath(read(leaf), [], [read(root)], { atMs: at.getTime(), purpose: 'code_signing' });
  };
  assert.equal((await verdict(codeSigning)).valid, true);
  assert.deepEqual(await verdict(), { valid: false, problem: 'wrong_purpose', depth: 0 });
  assert.deepEqual(await verdict(serverAuth), { valid: false, problem: 'wrong_purpose', depth: 0 });
});

test('a chain for which more signatures would be verified than any needs is given up', async () => {
  const root = await makeCertificate({ subject: 'CN=Root', ca: true });
  const forged = await makeCertificate({ subject: 'CN=leaf', by: root, signedWith: await makeKeys() });
  // As if the authority had that many certificates.
  const anchors = Array.from({ length: 65 }, (_, n) => ({ ...read(root), sha256: String(n) }));
  const problem = (count: number) => {
    const verdict = validatePath(read(forged), [], anchors.slice(0, count), { atMs: at.getTime() });
    return verdict.valid ? undefined : verdict.problem;
  };
  assert.equal(problem(64), 'bad_signature');
  assert.equal(problem(65), 'too_complicated');
});

describe('what is no certificate', () => {
  const cases: Readonly<Record<string, Uint8Array>> = {
    nothing: new Uint8Array(),
    'a text': Buffer.from('hello'),
    'PEM of something else': Buffer.from('-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----'),
    'PEM that holds no DER': Buffer.from('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'),
    'a sequence of nothing': Uint8Array.of(0x30, 0),
    'a length that is not there': Uint8Array.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff),
    'more than 64 KiB': Buffer.alloc(65_537, 0x30),
  };
  for (const [name, bytes] of Object.entries(cases))
    test(name, () => assert.equal(readCertificate(bytes), undefined));

  test('cut short anywhere, or with a byte more', async () => {
    const { der } = await makeCertificate({ subject: 'CN=a', ca: true });
    for (let length = 0; length < der.length; length++)
      assert.equal(readCertificate(der.subarray(0, length)), undefined, String(length));
    assert.equal(readCertificate(Buffer.concat([der, Uint8Array.of(0)])), undefined);
    assert.ok(readCertificate(der));
  });
});

describe('lists of revoked certificates', () => {
  test('a list says who is revoked, and that it is old', async () => {
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const [bad, good] = [
      await makeCertificate({ subject: 'CN=bad', by: root, serial: '0a01' }),
      await makeCertificate({ subject: 'CN=good', by: root, serial: '0a02' }),
    ];
    const list = readRevocationList(await makeList(root, ['0a01']));
    assert.ok(list);
    assert.equal(isListOf(list, read(root)), true);
    const revocation = (certificate: Certificate) => revocationIn(list, certificate, at.getTime());
    const verdict = (made: Made, atMs = at.getTime()) =>
      validatePath(read(made), [], [read(root)], {
        atMs,
        revocation: (each) => revocationIn(list, each, atMs),
      });
    assert.equal(revocation(read(bad)), 'revoked');
    assert.deepEqual(verdict(bad), { valid: false, problem: 'revoked', depth: 0 });
    assert.equal(verdict(good).valid, true);
    assert.equal(revocationIn(list, read(good), to.getTime() + 1), 'revocation_unknown');
    assert.equal(revocationIn(list, read(bad), to.getTime() + 1), 'revoked');
  });

  test('one that another signed, or whose bytes were changed, is nobody’s', async () => {
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const other = await makeCertificate({ subject: 'CN=Root', ca: true });
    const noLists = await makeCertificate({
      subject: 'CN=Root',
      ca: true,
      keys: root.keys,
      usage: keyCertSign,
    });
    const der = await makeList(root, ['0a01']);
    const list = readRevocationList(der);
    assert.ok(list);
    assert.equal(isListOf(list, read(other)), false);
    assert.equal(isListOf(list, read(noLists)), false);
    const changed = Uint8Array.from(der);
    const place = Buffer.from(changed).indexOf(Buffer.from('0a01', 'hex'));
    changed[place + 1] = 2;
    const altered = readRevocationList(changed);
    assert.ok(altered === undefined || !isListOf(altered, read(root)));
  });

  test('one with a critical extension, cut short, or with a byte more, is not taken', async () => {
    const root = await makeCertificate({ subject: 'CN=Root', ca: true });
    const der = await makeList(root, ['0a01']);
    assert.equal(readRevocationList(der.subarray(0, -1)), undefined);
    assert.equal(readRevocationList(Buffer.concat([der, Uint8Array.of(0)])), undefined);
    assert.equal(readRevocationList(Buffer.from('x')), undefined);
    const delta = new Extension('2.5.29.27', true, octets([1]));
    assert.equal(readRevocationList(await makeList(root, [], { extensions: [delta] })), undefined);
  });
});
