import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { check } from './check.ts';
import { scan } from './scan.ts';

function problems(
  files: Record<string, string>,
  packages: string[] = [],
  emptyRooms: string[] = [],
): string[] {
  const paths = Object.keys(files);
  const rooms = paths.filter((path) => /^src\/[^/]+\//.test(path)).map((path) => path.split('/')[1]!);
  return check({
    files: new Map(Object.entries(files)),
    rooms: [...new Set([...rooms, ...emptyRooms])],
    packages: new Set(packages),
  });
}

function refused(files: Record<string, string>, why: RegExp, packages: string[] = []): void {
  const found = problems(files, packages);
  assert.equal(found.length, 1, found.join('\n'));
  assert.match(found[0]!, why);
}

const specifiers = (source: string): string[] => scan(source).imports.map((found) => found.specifier);

suite('reading imports', () => {
  test('every form is found', () => {
    const source = `
      import a from './a.ts';
      import { b, type B as C } from './b.ts';
      import * as c from './c.ts';
      import './d.ts';
      import type { E } from './e.ts';
      export { f } from './f.ts';
      export * from './g.ts';
      export type { H } from './h.ts';
      const i = await import('./i.ts');
      const j = require('./j.cjs');
      import k from './k.json' with { type: 'json' };
      type L = import('./l.ts').L;
      import type from './m.ts';
    `;
    const letters = specifiers(source).map((specifier) => specifier[2]);
    assert.equal(letters.join(''), 'abcdefghijklm');
    const typeOnly = scan(source).imports.filter((found) => found.typeOnly);
    assert.deepEqual(
      typeOnly.map((found) => found.specifier),
      ['./e.ts', './h.ts'],
    );
  });

  test('an import over several lines is reported where its path stands', () => {
    assert.deepEqual(scan(`// one\nimport {\n  a,\n} from './a.ts';`).imports, [
      { specifier: './a.ts', line: 4, typeOnly: false },
    ]);
  });

  test('comments, strings, templates and regular expressions are not imports', () => {
    const source = [
      `// import a from './a.ts';`,
      `/* import a from './a.ts'; */`,
      `const s = "import a from './a.ts'";`,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
      'const t = `import a from "./a.ts" ${ `${ { x: 1 }.x }` } import "./b.ts"`;',
      `const r = /['"\`]import "\\/[/]/; const half = 4 / 2; const u = half / 3;`,
      `export const from = './a.ts';`,
      `export default './a.ts';`,
      `x.import('./a.ts');`,
      `import.meta.resolve('./a.ts');`,
    ].join('\n');
    assert.deepEqual(specifiers(source), []);
  });

  test('code inside a template is read', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    assert.deepEqual(specifiers('const t = `a ${ await import("./a.ts") } b`; import "./b.ts";'), [
      './a.ts',
      './b.ts',
    ]);
  });
});

suite('levels', () => {
  test('a room may use what is below it', () => {
    const files = {
      'src/core/result.ts': '',
      'src/store/store.ts': `import '../core/result.ts';`,
      'src/engine/engine.ts': `import '../core/result.ts';`,
      'src/operations/sign.ts': `import '../store/store.ts'; import '../engine/engine.ts';`,
      'src/request-path.ts': `import './operations/sign.ts';`,
      'src/http/routes.ts': `import '../request-path.ts';`,
      'src/main.ts': `import './http/routes.ts';`,
      'src/cli/serve.ts': `import '../main.ts';`,
    };
    assert.deepEqual(problems(files), []);
  });

  test('a room may not use what is above it', () => {
    refused(
      { 'src/core/a.ts': `import type { X } from '../store/store.ts';`, 'src/store/store.ts': '' },
      /^src\/core\/a\.ts:1: change the import of '\.\.\/store\/store\.ts': store stands above core/,
    );
    refused(
      { 'src/http/a.ts': '', 'src/operations/b.ts': `export * from '../http/a.ts';` },
      /http stands above operations/,
    );
    refused({ 'src/cli/a.ts': '', 'src/main.ts': `await import('./cli/a.ts');` }, /cli stands above main/);
  });

  test('rooms of one level stay apart', () => {
    refused(
      { 'src/auth/a.ts': '', 'src/store/b.ts': `import '../auth/a.ts';` },
      /store and auth are on one level/,
    );
    refused(
      { 'src/custody/a.ts': '', 'src/engine/b.ts': `import '../custody/a.ts';` },
      /engine and custody are on one/,
    );
  });

  test('except where the table says so', () => {
    const store = { 'src/store/store.ts': '', 'src/algorithms/registry.ts': '' };
    const use = `import type { Store } from '../store/store.ts'; import '../algorithms/registry.ts';`;
    assert.deepEqual(problems({ ...store, 'src/keys/keys.ts': use }), []);
    refused(
      { ...store, 'src/keys/keys.ts': `import { open } from '../store/store.ts';` },
      /write import type/,
    );
    const custody = `import '../../dispatch/job.ts'; import '../../engine/engine.ts';`;
    const below = { 'src/dispatch/job.ts': `import '../engine/engine.ts';`, 'src/engine/engine.ts': '' };
    assert.deepEqual(problems({ ...below, 'src/custody/software/software.ts': custody }), []);
  });

  test('the client stands alone', () => {
    refused(
      { 'src/core/a.ts': '', 'src/client/b.ts': `import '../core/a.ts';` },
      /client\/ is published on its own/,
    );
    refused({ 'src/client/a.ts': '', 'src/http/b.ts': `import '../client/a.ts';` }, /for other services/);
    assert.deepEqual(problems({ 'src/client/a.ts': '', 'src/cli/b.ts': `import '../client/a.ts';` }), []);
  });

  test('workers know engines, not operations', () => {
    const files = { 'src/engine/native/native.ts': '', 'src/operations/sign.ts': '' };
    assert.deepEqual(
      problems({ ...files, 'workers/crypto.ts': `import '../src/engine/native/native.ts';` }),
      [],
    );
    refused(
      { ...files, 'workers/crypto.ts': `import '../src/operations/sign.ts';` },
      /operations stands above workers/,
    );
  });
});

suite('implementations', () => {
  const lmdb = {
    'src/store/lmdb/lmdb.ts': `import './records.ts'; import '../store.ts';`,
    'src/store/lmdb/records.ts': '',
  };
  const store = { ...lmdb, 'src/store/store.ts': '' };

  test('main.ts, cli and workers may name them', () => {
    const use = `import './store/lmdb/lmdb.ts';`;
    assert.deepEqual(
      problems({ ...store, 'src/main.ts': use, 'src/cli/a.ts': `import '../store/lmdb/lmdb.ts';` }),
      [],
    );
  });

  test('others may not, not even their own room', () => {
    refused(
      { ...store, 'src/operations/a.ts': `import '../store/lmdb/lmdb.ts';` },
      /src\/store\/lmdb\/ is an implementation/,
    );
    refused({ ...store, 'src/store/open.ts': `import './lmdb/lmdb.ts';` }, /is an implementation/);
    refused(
      { ...store, 'src/store/memory/memory.ts': `import '../lmdb/records.ts';` },
      /is an implementation/,
    );
  });
});

suite('packages', () => {
  test('only what package.json lists for running may be imported', () => {
    assert.deepEqual(
      problems({ 'src/core/a.ts': `import '@scope/a/deep'; import 'b/c';` }, ['@scope/a', 'b']),
      [],
    );
    refused(
      { 'src/core/a.ts': `import type { T } from 'fast-check';` },
      /fast-check is not among the dependencies/,
    );
    refused({ 'src/core/a.ts': `import fs from 'fs';` }, /write node:fs/);
    assert.deepEqual(problems({ 'src/core/a.ts': `import fs from 'node:fs/promises';` }), []);
  });

  test('some are known in one place only', () => {
    const packages = ['uWebSockets.js', 'piscina', 'pkcs11js'];
    const right = {
      'src/http/listeners/uws.ts': `import 'uWebSockets.js';`,
      'src/dispatch/pool.ts': `import 'piscina';`,
      'src/custody/pkcs11/cryptoki.ts': `import 'pkcs11js';`,
    };
    assert.deepEqual(problems(right, packages), []);
    refused(
      { 'src/http/routes.ts': `import type { HttpResponse } from 'uWebSockets.js';` },
      /only src\/http\/listeners\/uws\.ts/,
      packages,
    );
    refused(
      { 'src/dispatch/batch.ts': `import 'piscina';` },
      /only src\/dispatch\/pool\.ts may know piscina/,
      packages,
    );
  });

  test('only main.ts names listeners', () => {
    const uws = 'src/http/listeners/uws.ts';
    const tree = { [uws]: `import './helper.ts';`, 'src/http/listeners/helper.ts': '' };
    assert.deepEqual(problems({ ...tree, 'src/main.ts': `import './http/listeners/uws.ts';` }), []);
    const named = /only src\/main\.ts names what lies in src\/http\/listeners\//;
    refused({ ...tree, 'src/assemble/doors.ts': `import '../http/listeners/uws.ts';` }, named);
    refused({ ...tree, 'src/http/server.ts': `import './listeners/uws.ts';` }, named);
  });

  test('dialects know nothing of each other, and the server none of them', () => {
    const dialect = { 'src/http/dialects/one/index.ts': '', 'src/http/dialect.ts': '' };
    const other = 'src/http/dialects/other/index.ts';
    assert.deepEqual(problems({ ...dialect, [other]: `import '../../dialect.ts';` }), []);
    refused({ ...dialect, [other]: `import '../one/index.ts';` }, /dialects\/one\/ is an implementation/);
    refused(
      { ...dialect, 'src/http/server.ts': `import './dialects/one/index.ts';` },
      /dialects\/one\/ is an implementation/,
    );
  });

  test('words of the wire stand in dialects only', () => {
    const words = ["const path = '/v1/kms/sign';", 'const { payload_b3 } = request;', '// see signature_b64'];
    for (const text of words) {
      assert.deepEqual(problems({ 'src/http/dialects/one/index.ts': text }), []);
      for (const path of ['src/core/a.ts', 'src/operations/sign.ts', 'src/request-path.ts'])
        refused({ [path]: text }, /speaks of the wire/);
    }
  });

  test('the addon is loaded by engine/native and the workers only', () => {
    const load = `const path = new URL('../../native/build/intaglio_native.node', import.meta.url);`;
    assert.deepEqual(problems({ 'src/engine/native/native.ts': load, 'workers/crypto.ts': load }), []);
    refused({ 'src/custody/software/software.ts': load }, /names the native addon/);
  });

  test('threads begin with the entry that a checkout or a package has', () => {
    const entry = `const entry = new URL('../../workers/crypto.ts', import.meta.url);`;
    refused({ 'src/dispatch/pool.ts': entry }, /which a package has not/);
  });
});

suite('the tree', () => {
  test('a folder or file without a row may not exist', () => {
    refused({ 'src/utils/strings.ts': '' }, /src\/utils: has no row/);
    refused({ 'src/helpers.ts': '' }, /src\/helpers: has no row/);
  });

  test('a room is not empty', () => {
    assert.match(problems({}, [], ['policy'])[0]!, /src\/policy\/: is empty/);
  });

  test('imports name existing files of the program', () => {
    refused({ 'src/core/a.ts': `import './b.js';` }, /src\/core\/b\.js does not exist/);
    refused(
      { 'src/core/a.ts': `import '../../test/support/b.ts';`, 'test/support/b.ts': '' },
      /is not part of the program/,
    );
    refused(
      { 'src/core/a.ts': `import '../../package.json' with { type: 'json' };` },
      /a package has it in another place/,
    );
  });

  test('there are no cycles, by type imports neither', () => {
    const [problem, ...more] = problems({
      'src/core/a.ts': `import './b.ts';`,
      'src/core/b.ts': `import type { C } from './c.ts';`,
      'src/core/c.ts': `export * from './a.ts';`,
    });
    assert.deepEqual(more, []);
    assert.match(problem!, /src\/core\/a\.ts -> src\/core\/b\.ts -> src\/core\/c\.ts -> src\/core\/a\.ts/);
  });

  test('a file of more than 500 lines is too long, in tests too', () => {
    assert.deepEqual(problems({ 'test/a.test.ts': '\n'.repeat(500) }), []);
    refused({ 'test/a.test.ts': '\n'.repeat(501) }, /has 501 lines, more than 500/);
  });
});

suite('wings', () => {
  const files = {
    'src/audit/log.ts': '',
    'src/audit/format/note.ts': '',
    'src/audit/disk/wal.ts': `import '../format/note.ts';\nimport '../log.ts';`,
    'src/audit/writer/writer.ts': `import '../disk/wal.ts';`,
    'src/operations/sign.ts': `import '../audit/writer/writer.ts';`,
  };

  test('a wing may use those in its row, and other rooms may use all of them', () => {
    assert.deepEqual(problems(files), []);
  });

  test('no other wing may be used', () => {
    refused(
      {
        ...files,
        'src/audit/format/note.ts': `import '../disk/segments.ts';`,
        'src/audit/disk/segments.ts': '',
      },
      /audit\/format may not use audit\/disk/,
    );
  });

  test('files directly in the room use only types of its wings', () => {
    const interfaces = {
      ...files,
      'src/audit/disk/wal.ts': '',
      'src/audit/log.ts': `import './format/note.ts';`,
    };
    refused(interfaces, /use only types of its wings/);
  });

  test('a wing without a row may not exist', () => {
    refused({ ...files, 'src/audit/attic/old.ts': '' }, /audit\/attic has no row among the wings/);
  });

  test('a folder of src/ has twenty files at most', () => {
    const many = Array.from({ length: 21 }, (_, n) => [`src/core/${n}.ts`, ''] as const);
    refused(Object.fromEntries(many), /src\/core\/: has 21 files, more than 20/);
  });
});
