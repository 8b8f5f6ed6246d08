import assert from 'node:assert/strict';
import test from 'node:test';
import { isOfPlace, placesOfCaller } from '../../src/core/scope.ts';

const module = 'm';
const prodLaptop = { environment: 'prod', plane: 'laptop' };

test('a caller is of the environments and planes that its identity names, and of none where it says nothing', () => {
  const all = { placement: { environments: 'all', planes: 'all', module } } as const;
  const prod = { placement: { environments: ['prod'], planes: ['laptop', 'shared'], module } } as const;
  for (const [caller, place, expected] of [
    [all, prodLaptop, true],
    [prod, prodLaptop, true],
    [prod, { ...prodLaptop, environment: 'dev' }, false],
    [prod, { ...prodLaptop, plane: 'product' }, false],
    [{}, prodLaptop, false],
    [prod, { environment: 'prod', plane: null }, true],
    [prod, { environment: 'dev', plane: null }, false],
    [{}, { environment: 'prod', plane: null }, false],
    [{}, { environment: null, plane: null }, true],
  ] as const)
    assert.equal(isOfPlace(caller, place), expected, JSON.stringify([caller, place]));
  assert.deepEqual(placesOfCaller({}), { environments: [], planes: [] });
});
