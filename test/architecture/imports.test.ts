import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import test from 'node:test';
import { check, type Tree } from './check.ts';
import { scan } from './scan.ts';

const root = join(import.meta.dirname, '..', '..');

function typescriptFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return path === 'test/vectors/data' ? [] : typescriptFiles(path);
    return entry.name.endsWith('.ts') ? [path] : [];
  });
}

function checkout(): Tree {
  const manifest: { dependencies: Record<string, string>; optionalDependencies: Record<string, string> } =
    JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const top = readdirSync(root);
  const paths = ['src', 'workers', 'test', 'bench']
    .filter((folder) => top.includes(folder))
    .flatMap(typescriptFiles);
  return {
    files: new Map(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')])),
    rooms: readdirSync(join(root, 'src'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name),
    packages: new Set(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies })),
  };
}

test('the code keeps to the import table', () => {
  const tree = checkout();
  assert.ok(tree.files.size > 0);
  const problems = check(tree);
  assert.equal(problems.length, 0, `\n${problems.join('\n')}\n`);
});

/** Files that a module needs, with itself: what it imports, types apart. */
function neededBy(path: string, files: Tree['files'], found = new Set<string>()): Set<string> {
  if (found.has(path)) return found;
  found.add(path);
  for (const { specifier, typeOnly } of scan(files.get(path) ?? '').imports) {
    if (!typeOnly && specifier.endsWith('.ts') && specifier.startsWith('.'))
      neededBy(posix.join(posix.dirname(path), specifier), files, found);
  }
  return found;
}

test('the service is no process and no door: what it needs reads no environment, handles no signal and knows no HTTP', () => {
  const { files } = checkout();
  const needed = neededBy('src/service.ts', files);
  assert.ok(needed.size > 100);
  const problems = [...needed].filter(
    (path) =>
      path.startsWith('src/http/') ||
      /\bprocess\.(env|exit|exitCode|umask|on|once|kill|argv|stdin)\b/.test(files.get(path) as string),
  );
  assert.deepEqual(problems, []);
});
