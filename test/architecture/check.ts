import { builtinModules } from 'node:module';
import { posix } from 'node:path';
import {
  addon,
  levels,
  maxFilesOfFolder,
  maxLines,
  mayNameImplementations,
  mayUseStandalone,
  neighbours,
  packageOwners,
  shelves,
  soleListers,
  standalone,
  threadEntries,
  wingListers,
  wings,
  wireWords,
} from './rules.ts';
import { type Import, scan } from './scan.ts';

export interface Tree {
  /** Path from the root of the checkout, with `/`, to the text: every .ts file of src/, workers/, test/ and bench/. */
  readonly files: ReadonlyMap<string, string>;
  /** The folders directly in src/, empty ones as well. */
  readonly rooms: readonly string[];
  /** Names of the packages that are installed for running, without those for development. */
  readonly packages: ReadonlySet<string>;
}

interface Place {
  readonly room: string;
  /** The second part of src/<room>/<way>/…, on a shelf with the third; undefined for a file directly in its room. */
  readonly way: string | undefined;
}

function placeOf(path: string): Place | undefined {
  const [top, room, ...rest] = path.split('/');
  if (top === 'workers') return { room: 'workers', way: undefined };
  if (top !== 'src' || room === undefined) return undefined;
  if (rest.length === 0) return { room: room.replace(/\.ts$/, ''), way: undefined };
  if (rest.length === 1) return { room, way: undefined };
  const [folder = '', way] = rest;
  return { room, way: shelves.has(`${room}/${folder}`) ? `${folder}/${way}` : folder };
}

function levelOf(room: string): number {
  return levels.findIndex((rooms) => rooms.includes(room));
}

/** Why the room of `from` may not import the file `target`, or undefined when it may. */
function forbidden(from: Place, target: Place, typeOnly: boolean): string | undefined {
  if (from.room !== target.room) {
    if (standalone.has(from.room))
      return `${from.room}/ is published on its own and imports nothing of the server`;
    if (standalone.has(target.room) && !mayUseStandalone.has(from.room))
      return `${target.room}/ is for other services; the server does not use it`;
    if (standalone.has(target.room)) return undefined;
    const [own, other] = [levelOf(from.room), levelOf(target.room)];
    if (other > own)
      return `${target.room} stands above ${from.room}; hand down what is needed as a parameter`;
    const allowed = neighbours[from.room]?.[target.room];
    if (other === own && allowed === undefined) return `${from.room} and ${target.room} are on one level`;
    if (other === own && allowed === 'types' && !typeOnly) {
      return `${from.room} may use only the types of ${target.room}: write import type`;
    }
  }
  if (from.room === target.room && from.way === target.way) return undefined;
  const parts = wings[target.room];
  if (parts !== undefined) return betweenWings(parts, from, target, typeOnly);
  if (target.way === undefined || mayNameImplementations.has(from.room)) return undefined;
  return `src/${target.room}/${target.way}/ is an implementation; only assemble/, service.ts, main.ts, cli/, workers/ and tests may name it, so import the interface in src/${target.room}/ or take it as a parameter`;
}

/** The same within a room that has wings; other rooms may use all of them. */
function betweenWings(
  parts: Readonly<Record<string, readonly string[]>>,
  from: Place,
  target: Place,
  typeOnly: boolean,
): string | undefined {
  if (from.room !== target.room || target.way === undefined) return undefined;
  if (from.way === undefined) {
    return typeOnly
      ? undefined
      : `files directly in ${from.room}/ use only types of its wings: write import type`;
  }
  if (parts[from.way]?.includes(target.way)) return undefined;
  return `${from.room}/${from.way} may not use ${target.room}/${target.way}; hand down what is needed as a parameter`;
}

function packageName(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

function packageProblem(path: string, specifier: string, packages: ReadonlySet<string>): string | undefined {
  if (specifier.startsWith('node:')) return undefined;
  const name = packageName(specifier);
  if (builtinModules.includes(name)) return `write node:${specifier}`;
  const owners = packageOwners[name];
  if (owners !== undefined && !owners.includes(path)) return `only ${owners.join(', ')} may know ${name}`;
  if (!packages.has(name)) return `${name} is not among the dependencies of package.json`;
  return undefined;
}

function relativeProblem(tree: Tree, path: string, target: string, typeOnly: boolean): string | undefined {
  if (target === 'package.json')
    return 'a package has it in another place; manifest of src/core/own-package.ts is its content';
  if (!tree.files.has(target)) return `${target} does not exist (imports name the file with its .ts)`;
  const from = placeOf(path)!;
  const to = placeOf(target);
  if (to === undefined) return `${target} is not part of the program`;
  if (levelOf(to.room) === -1 && !standalone.has(to.room)) return undefined;
  return listedElsewhere(path, target) ?? forbidden(from, to, typeOnly || wingListers.has(path));
}

function listedElsewhere(path: string, target: string): string | undefined {
  for (const [folder, lister] of Object.entries(soleListers)) {
    if (!target.startsWith(folder) || path.startsWith(folder) || path === lister) continue;
    return `only ${lister} names what lies in ${folder}; import the interface`;
  }
  return undefined;
}

/** Each cycle once, as the files it runs through. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): void => {
    const start = trail.indexOf(path);
    if (start !== -1) {
      found.push([...trail.slice(start), path]);
      return;
    }
    if (done.has(path)) return;
    trail.push(path);
    for (const next of graph.get(path) ?? []) visit(next);
    trail.pop();
    done.add(path);
  };
  for (const path of graph.keys()) visit(path);
  return found;
}

function filesByFolder(tree: Tree): Map<string, number> {
  const counts = new Map<string, number>();
  for (const path of tree.files.keys()) {
    if (!path.startsWith('src/')) continue;
    const folder = posix.dirname(path);
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return counts;
}

function checkRooms(tree: Tree): string[] {
  const problems: string[] = [];
  const known = new Set([...levels.flat(), ...standalone]);
  const tops = [...tree.files.keys()].filter((path) => /^src\/[^/]+\.ts$/.test(path));
  for (const name of [...tree.rooms, ...tops.map((path) => placeOf(path)!.room)]) {
    if (!known.has(name)) {
      problems.push(
        `src/${name}: has no row in the import table; add one to test/architecture/rules.ts, or move it`,
      );
    }
  }
  for (const path of tree.files.keys()) {
    const place = placeOf(path);
    const parts = place?.way === undefined ? undefined : wings[place.room];
    if (parts !== undefined && !Object.hasOwn(parts, place!.way!))
      problems.push(
        `${path}: ${place!.room}/${place!.way} has no row among the wings in test/architecture/rules.ts`,
      );
  }
  for (const [folder, count] of filesByFolder(tree)) {
    if (count > maxFilesOfFolder)
      problems.push(`${folder}/: has ${count} files, more than ${maxFilesOfFolder}; which parts are there?`);
  }
  for (const room of tree.rooms) {
    const inhabited = [...tree.files.keys()].some((path) => path.startsWith(`src/${room}/`));
    if (!inhabited) problems.push(`src/${room}/: is empty; remove it until something lives there`);
  }
  return problems;
}

function checkFile(tree: Tree, path: string, source: string, edges: Map<string, string[]>): string[] {
  const problems: string[] = [];
  const { imports, strings } = scan(source);
  const refuse = ({ line, specifier }: Import, why: string): void => {
    problems.push(`${path}:${line}: change the import of '${specifier}': ${why}`);
  };
  for (const imported of imports) {
    const { specifier, typeOnly } = imported;
    if (!specifier.startsWith('.')) {
      const why = packageProblem(path, specifier, tree.packages);
      if (why !== undefined) refuse(imported, why);
      continue;
    }
    const target = posix.normalize(posix.join(posix.dirname(path), specifier));
    const why = relativeProblem(tree, path, target, typeOnly);
    if (why !== undefined) refuse(imported, why);
    if (tree.files.has(target)) edges.set(path, [...(edges.get(path) ?? []), target]);
  }
  for (const { text, line } of path.startsWith('src/') ? strings : []) {
    if (threadEntries.pattern.test(text))
      problems.push(
        `${path}:${line}: names '${text}', which a package has not; ask threadEntry of ${threadEntries.owner}`,
      );
  }
  if (!addon.owners.some((owner) => path.startsWith(owner))) {
    for (const { text, line } of strings) {
      if (!addon.pattern.test(text)) continue;
      problems.push(
        `${path}:${line}: names the native addon ('${text}'); only ${addon.owners.join(' and ')} load it`,
      );
    }
  }
  return problems;
}

/** Lines with a word of the wire, comments too. Tests and benches speak to the service as clients do. */
function checkWords(path: string, source: string): string[] {
  if (!path.startsWith('src/') || wireWords.owners.some((owner) => path.startsWith(owner))) return [];
  return source.split('\n').flatMap((text, index) => {
    const word = wireWords.pattern.exec(text)?.[0];
    if (word === undefined) return [];
    return `${path}:${index + 1}: speaks of the wire ('${word}'); only ${wireWords.owners.join(', ')} do, so say it in the types of an operation`;
  });
}

/** Everything that breaks the architecture, one line each: where, what to change, why. */
export function check(tree: Tree): string[] {
  const problems = checkRooms(tree);
  const edges = new Map<string, string[]>();
  for (const [path, source] of tree.files) {
    const lines = source.split('\n').length - 1;
    if (lines > maxLines)
      problems.push(`${path}: has ${lines} lines, more than ${maxLines}; which subjects live there?`);
    if (placeOf(path) !== undefined)
      problems.push(...checkFile(tree, path, source, edges), ...checkWords(path, source));
  }
  for (const cycle of cycles(edges)) {
    problems.push(`${cycle[0]}: is part of an import cycle; cut one of these: ${cycle.join(' -> ')}`);
  }
  return problems;
}
