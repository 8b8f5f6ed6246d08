import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { Authenticator, Credentials } from '../../src/auth/auth.ts';
import { type Peer, peerAt } from '../../src/core/peer.ts';
import type { Scope } from '../../src/core/scope.ts';
import { bearing } from '../support/credentials.ts';

/** The wish for credentials. Times in UTC, milliseconds since 1970. */
export interface Grant {
  readonly tenant: string;
  readonly scopes: readonly Scope[];
  readonly expiresAtMs?: number;
  readonly notBeforeMs?: number;
}

/** A kind of authenticator, and who makes credentials that it takes. */
export interface AuthenticatorUnderTest {
  readonly name: string;
  readonly skewMs: number;
  /** With nothing in its caches; of one authority, which `grant` is too. */
  make(): Authenticator;
  /** Of an authority that shares nothing with that one. */
  makeForeign(): Authenticator;
  grant(wanted: Grant): Credentials;
}

const utcMs = Date.UTC(2027, 0, 1);

/** The promises of every authenticator; run for each kind. */
export function authenticatorContract(kind: AuthenticatorUnderTest): void {
  const check = (what: string, run: () => void) => test(`${kind.name}: ${what}`, run);
  const acme: Grant = { tenant: 'acme', scopes: ['kms:sign', 'kms:verify'] };

  function code(subject: Authenticator, credentials: Credentials, atMs = utcMs): string {
    const answer = subject.authenticate(credentials, { utcMs: atMs });
    return answer.ok ? 'ok' : answer.failure.code;
  }

  check(
    'credentials name their tenant, exactly their scopes, and an actor that tells nothing of them',
    () => {
      const credentials = kind.grant(acme);
      const answer = kind.make().authenticate(credentials, { utcMs });
      assert.ok(answer.ok);
      const { tenant, scopes, actor } = answer.value;
      assert.deepEqual([tenant, [...scopes].sort()], ['acme', ['kms:sign', 'kms:verify']]);
      assert.match(actor, /^[\x21-\x7e]{1,128}$/);
      assert.ok(!credentials.token?.includes(actor.replace(/^.*:/, '')));
    },
  );

  check('the same credentials are the same caller each time, which nobody can change', () => {
    const subject = kind.make();
    const credentials = kind.grant(acme);
    const first = subject.authenticate(credentials, { utcMs });
    assert.ok(first.ok && Object.isFrozen(first.value));
    const second = subject.authenticate(bearing(credentials.token), { utcMs: utcMs + 1 });
    assert.ok(second.ok);
    assert.deepEqual(second.value, first.value);
  });

  check('no credentials, and those of a foreign authority, are Unauthenticated', () => {
    assert.equal(code(kind.make(), bearing(undefined)), 'Unauthenticated');
    assert.equal(code(kind.make(), bearing('')), 'Unauthenticated');
    assert.equal(code(kind.makeForeign(), kind.grant(acme)), 'Unauthenticated');
  });

  check('credentials of which a character was altered, added or left out are Unauthenticated', () => {
    const subject = kind.make();
    const { token = '' } = kind.grant(acme);
    assert.equal(code(subject, bearing(token)), 'ok');
    for (let at = 0; at < token.length; at++) {
      const other = token[at] === 'A' ? 'B' : 'A';
      for (const altered of [
        token.slice(0, at) + other + token.slice(at + 1),
        token.slice(0, at) + other + token.slice(at),
        token.slice(0, at) + token.slice(at + 1),
      ]) {
        if (altered !== token) assert.equal(code(subject, bearing(altered)), 'Unauthenticated', altered);
      }
    }
  });

  check('nothing that is sent makes it throw, or is taken', () => {
    const subject = kind.make();
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.base64String()), (token) => {
        assert.equal(code(subject, bearing(token)), 'Unauthenticated');
      }),
      { numRuns: 500 },
    );
    assert.equal(code(subject, bearing('A'.repeat(1_000_000))), 'Unauthenticated');
  });

  check('times are judged at every call, with the tolerance, and a time that is none refuses', () => {
    const subject = kind.make();
    const { skewMs } = kind;
    const credentials = kind.grant({ ...acme, notBeforeMs: utcMs, expiresAtMs: utcMs + 60_000 });
    for (const [atMs, expected] of [
      [utcMs, 'ok'],
      [utcMs - skewMs, 'ok'],
      [utcMs - skewMs - 1, 'Unauthenticated'],
      [utcMs + 60_000 + skewMs - 1, 'ok'],
      [utcMs + 60_000 + skewMs, 'Unauthenticated'],
      [Number.NaN, 'Unauthenticated'],
      [utcMs, 'ok'],
    ] as const) {
      assert.equal(code(subject, credentials, atMs), expected, String(atMs));
    }
  });

  check(
    'what was never seen is not verified beyond the allowance, and what was is taken without asking',
    () => {
      const subject = kind.make();
      const seen = kind.grant(acme);
      assert.equal(code(subject, seen), 'ok');
      let asked = 0;
      const mayVerify = () => {
        asked++;
        return false;
      };
      assert.ok(subject.authenticate(seen, { utcMs, mayVerify }).ok);
      assert.equal(asked, 0);
      const unseen = kind.grant(acme);
      const answer = subject.authenticate(unseen, { utcMs, mayVerify });
      assert.equal(!answer.ok && answer.failure.code, 'AddressLimited');
      assert.equal(asked, 1);
      // It was put off and not refused for good.
      assert.equal(code(subject, unseen), 'ok');
    },
  );

  check('credentials that are bound to no connection do not ask for the peer, and hold for any', () => {
    const subject = kind.make();
    const { token } = kind.grant(acme);
    const unasked = (): Peer => assert.fail('the peer was asked for');
    for (let round = 0; round < 2; round++) assert.equal(code(subject, { token, peer: unasked }), 'ok');
    assert.equal(code(subject, { token, peer: () => peerAt('unix') }), 'ok');
    // A refusal asks for it neither.
    assert.equal(code(subject, { token: 'nonsense', peer: unasked }), 'Unauthenticated');
  });
}
