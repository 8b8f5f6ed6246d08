import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';

const root = join(import.meta.dirname, '..', '..');

function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ending))
    .map((path) => `${folder}/${path}`);
}

const textOf = (path: string) => readFileSync(join(root, path), 'utf8');

/** Published on its own, in the words of the API, which the server has for its side. */
const apart = 'src/client/';

test('no two files of src export the same name', () => {
  const declared = /^export (?:abstract |async )?(?:class|const|function\*?|interface|let|type) (\w+)/gm;
  const placesOf = new Map<string, string[]>();
  for (const path of filesBelow('src', '.ts')) {
    const side = path.startsWith(apart) ? `${apart}: ` : '';
    for (const name of new Set([...textOf(path).matchAll(declared)].map(([, found]) => side + found)))
      placesOf.set(name, [...(placesOf.get(name) ?? []), path]);
  }
  assert.ok(placesOf.size > 100);
  const twins = [...placesOf].filter(([, places]) => places.length > 1);
  assert.deepEqual(twins, []);
});

const pages = [
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'README.md',
  'SECURITY.md',
  ...filesBelow('docs', '.md'),
  ...filesBelow('test', '.md').filter((path) => !path.includes('node_modules')),
];

/** Made by a build, so that a fresh checkout has none. */
const built = /^(?:native|bench\/load\/native)\/target\b/;

test('every path of the project that a page names is there', () => {
  const named = /(?<![\w./-])(?:bench|deploy|docs|models|native|scripts|src|test|workers)\/[\w./*{},<>-]*/g;
  const gone: string[] = [];
  for (const page of pages) {
    for (const [found] of textOf(page).matchAll(named)) {
      // A pattern stands for the folder that it looks in.
      const path = found.replace(/[.,]+$/, '').replace(/[^/]*[*{<].*$/, '');
      if (!built.test(path) && !existsSync(join(root, path))) gone.push(`${page}: ${found}`);
    }
  }
  assert.deepEqual(gone, []);
});

test('every link between pages leads to a file', () => {
  const links = /\]\((?!https?:|mailto:|#)([^)\s#]+)(?:#[^)]*)?\)/g;
  const gone: string[] = [];
  for (const page of pages) {
    for (const [, target] of textOf(page).matchAll(links)) {
      if (!existsSync(join(root, dirname(page), target as string))) gone.push(`${page}: ${target}`);
    }
  }
  assert.deepEqual(gone, []);
});

test('every test that the replay of faults runs is there', () => {
  const files = [...textOf('test/drill/faults.ts').matchAll(/\['([^']+\.test\.ts)'/g)].map(
    ([, file]) => file as string,
  );
  assert.ok(files.length > 20);
  const gone = files.filter((file) => !existsSync(join(root, 'test', file)));
  assert.deepEqual(gone, []);
});
