import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import { pqPhases } from '../../src/core/hybrid-mode.ts';
import { bucketOf, noPqPolicy, type PqPolicy, phaseOf } from '../../src/policy/phases.ts';

const name = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,20}$/);
const phase = fc.constantFrom(...pqPhases);
const percent = fc.integer({ min: 0, max: 100 });

test('a bucket is the first 4 bytes of the SHA-256 of tenant and purpose, modulo 100', () => {
  // 0x3ab37134 is 984,838,452.
  assert.equal(bucketOf('acme', 'invoices'), 52);
  fc.assert(
    fc.property(name, name, (tenant, purpose) => {
      const digest = createHash('sha256').update(`${tenant}/${purpose}`).digest();
      assert.equal(bucketOf(tenant, purpose), digest.readUInt32BE() % 100);
    }),
  );
});

test('buckets below the percentage follow the phase, and the others the one before it', () => {
  fc.assert(
    fc.property(name, name, phase, percent, (tenant, purpose, configured, rolloutPercent) => {
      const policy: PqPolicy = { ...noPqPolicy, phase: configured, rolloutPercent };
      const before = { off: 'off', or: 'off', and: 'or', pq_only: 'and' }[configured];
      const follows = bucketOf(tenant, purpose) < rolloutPercent;
      assert.equal(phaseOf(policy, tenant, purpose), follows ? configured : before);
    }),
  );
});

test('whoever follows at one percentage follows at every greater one, and never falls behind on the way', () => {
  fc.assert(
    fc.property(name, name, (tenant, purpose) => {
      const steps = pqPhases.flatMap((configured) =>
        Array.from({ length: 101 }, (_, rolloutPercent) =>
          pqPhases.indexOf(
            phaseOf({ ...noPqPolicy, phase: configured, rolloutPercent }, tenant, purpose) ?? 'off',
          ),
        ),
      );
      assert.deepEqual(
        steps,
        steps.toSorted((one, other) => one - other),
      );
      assert.equal(steps.at(-1), pqPhases.length - 1);
    }),
    { numRuns: 30 },
  );
});

test('of many pairs the percentage follows, to within two points', () => {
  const pairs = Array.from({ length: 10_000 }, (_, n) => [`tenant-${n % 100}`, `purpose-${n}`] as const);
  for (const rolloutPercent of [0, 1, 10, 50, 99, 100]) {
    const policy: PqPolicy = { ...noPqPolicy, phase: 'and', rolloutPercent };
    const following = pairs.filter(([tenant, purpose]) => phaseOf(policy, tenant, purpose) === 'and').length;
    assert.ok(Math.abs(following / 100 - rolloutPercent) <= 2, `${following} at ${rolloutPercent}`);
  }
});

test('a tenant, and a purpose before it, may have a phase of its own, whatever the percentage', () => {
  fc.assert(
    fc.property(phase, percent, (configured, rolloutPercent) => {
      const tenants = { acme: 'and', 'acme/tls': 'off' } as const;
      const policy: PqPolicy = { ...noPqPolicy, phase: configured, rolloutPercent, tenants };
      assert.equal(phaseOf(policy, 'acme', 'web'), 'and');
      assert.equal(phaseOf(policy, 'acme', 'tls'), 'off');
      const { tenants: _, ...without } = policy;
      const others = { ...without, tenants: undefined };
      assert.equal(phaseOf(policy, 'globex', 'tls'), phaseOf(others, 'globex', 'tls'));
    }),
  );
  assert.equal(phaseOf(noPqPolicy, 'acme', 'web'), undefined);
  // Not a member that every object has.
  assert.equal(phaseOf({ ...noPqPolicy, tenants: { acme: 'or' } }, 'constructor', 'web'), undefined);
});
