import { randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync, readdirSync, rmSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../core/clock.ts';
import type { MacKey } from '../../core/mac-key.ts';
import { errorCode, readPrivateFile, writePrivateFile } from '../../core/private-file.ts';
import type { SecretRule } from '../../core/secret-file.ts';

/** The keys under which capabilities are made, by the id that their identifiers name. */
export interface RootKeys {
  /** Grows with every change. */
  readonly generation: number;
  get(id: number): MacKey | undefined;
  /** All ids, the newest last. */
  readonly ids: readonly number[];
}

/** One key, which never changes. */
export function oneRootKey(key: MacKey, id = 0): RootKeys {
  return { generation: 0, get: (asked) => (asked === id ? key : undefined), ids: [id] };
}

/** The keys of a service, which come and go. */
export interface ServiceRootKeys extends RootKeys {
  /** Reads new keys, forgets removed ones. All or nothing, so that a change that is half written stops nobody. */
  reload(): Reload;
  /** The same in two steps: nothing changes before `take`, which has to follow at once. */
  read(): ReadAgain;
  /** Makes a key with the next id, under which new capabilities are made from then on. */
  rotate(): Rotation;
}

export type Reload =
  | { readonly ok: true; readonly added: readonly number[]; readonly removed: readonly number[] }
  /** Nothing was changed. `problem` is for the operator. */
  | { readonly ok: false; readonly problem: string };

export type ReadAgain = (Extract<Reload, { ok: true }> & { take(): void }) | Extract<Reload, { ok: false }>;

export type Rotation =
  | { readonly ok: true; readonly id: number }
  | { readonly ok: false; readonly problem: string };

export const macaroonKeyBytes = 32;
/** Each is a file that is looked at every second, and one of the 64 MAC keys for which the engine has room. */
export const maxRootKeys = 32;

/** `macaroon.key` has the id 0, `macaroon.7.key` the id 7. */
export function rootKeyPath(dataDir: string, id: number): string {
  return join(dataDir, id === 0 ? 'macaroon.key' : `macaroon.${id}.key`);
}

/** The ids of a data directory's keys, the newest last. Throws as readdir does. */
export function rootKeyIds(dataDir: string): readonly number[] {
  if (!existsSync(dataDir)) return [];
  const ids = readdirSync(dataDir).flatMap((name) => {
    if (name === 'macaroon.key') return [0];
    const id = /^macaroon\.([1-9][0-9]{0,8})\.key$/.exec(name)?.[1];
    return id === undefined ? [] : [Number(id)];
  });
  return ids.sort((one, two) => one - two);
}

interface Loaded {
  readonly key: MacKey;
  /** Changes when the file is written again. */
  readonly stamp: string;
}

const probe = Buffer.from('intaglio/macaroon/root-key-probe');

/** The root keys of a data directory, as they are on disk when `reload` was called last. */
export class RootKeyFiles implements ServiceRootKeys {
  generation = 0;
  readonly #dataDir: string;
  readonly #rule: SecretRule;
  readonly #openKey: (rootKey: Uint8Array) => MacKey;
  #keys = new Map<number, Loaded>();

  /** `openKey` takes a key's bytes to where they are used; here they are wiped. */
  constructor(dataDir: string, rule: SecretRule, openKey: (rootKey: Uint8Array) => MacKey) {
    this.#dataDir = dataDir;
    this.#rule = rule;
    this.#openKey = openKey;
  }

  get ids(): readonly number[] {
    return [...this.#keys.keys()];
  }

  get(id: number): MacKey | undefined {
    return this.#keys.get(id)?.key;
  }

  reload(): Reload {
    const read = this.read();
    if (!read.ok) return read;
    read.take();
    return { ok: true, added: read.added, removed: read.removed };
  }

  read(): ReadAgain {
    const keys = new Map<number, Loaded>();
    try {
      const ids = rootKeyIds(this.#dataDir);
      if (ids.length > maxRootKeys) return { ok: false, problem: `more than ${maxRootKeys} macaroon keys` };
      for (const id of ids) {
        const path = rootKeyPath(this.#dataDir, id);
        const stamp = stampOf(statSync(path, { throwIfNoEntry: false }));
        const known = this.#keys.get(id);
        const loaded = known?.stamp === stamp ? known : this.#read(path, stamp, known);
        if (typeof loaded === 'string') return { ok: false, problem: loaded };
        keys.set(id, loaded);
      }
    } catch (error) {
      return { ok: false, problem: `cannot read the macaroon keys (${errorCode(error)})` };
    }
    const before = this.#keys;
    const added = [...keys].flatMap(([id, { key }]) => (before.get(id)?.key === key ? [] : [id]));
    const removed = [...before.keys()].filter((id) => !keys.has(id));
    const take = () => {
      if (added.length > 0 || removed.length > 0) this.generation++;
      this.#keys = keys;
    };
    return { ok: true, added, removed, take };
  }

  rotate(): Rotation {
    const made = makeRootKey(this.#dataDir);
    if (!made.ok) return made;
    const reloaded = this.reload();
    if (reloaded.ok) return made;
    // A file that cannot be taken up would keep back every later change, and the next start.
    rmSync(rootKeyPath(this.#dataDir, made.id), { force: true });
    return reloaded;
  }

  #read(path: string, stamp: string, known: Loaded | undefined): Loaded | string {
    const read = readPrivateFile(path, macaroonKeyBytes, this.#rule);
    if (!read.ok) return read.problem;
    const key = openWiped(read.bytes, this.#openKey);
    // A file that was only touched leaves capabilities, and what is known of them, as they are.
    const same = known !== undefined && timingSafeEqual(known.key.mac(probe), key.mac(probe));
    return { key: same ? known.key : key, stamp };
  }
}

/** Hands a copy of the bytes to `openKey`, and wipes both. */
export function openWiped(bytes: Uint8Array, openKey: (rootKey: Uint8Array) => MacKey): MacKey {
  // V8 puts arrays of 64 bytes or less on its heap, and leaves their bytes there when native code asks for them; those
  // that are made over an ArrayBuffer are never there.
  const copy = new Uint8Array(new ArrayBuffer(bytes.length));
  copy.set(bytes);
  try {
    return openKey(copy);
  } finally {
    copy.fill(0);
    bytes.fill(0);
  }
}

function stampOf(stat: Stats | undefined): string {
  return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs} ${stat.ctimeMs}`;
}

/** Ids go by the second since then, so that none comes twice: the id of a removed key may be revoked. Nine digits last to 2057. */
const idsSinceMs = Date.UTC(2026, 0, 1);

/** Writes the next key of a data directory; a service that runs there takes it up by itself. */
export function makeRootKey(dataDir: string, utcMs: number = systemClock.utcMs()): Rotation {
  const bytes = randomBytes(macaroonKeyBytes);
  try {
    const ids = rootKeyIds(dataDir);
    if (ids.length >= maxRootKeys)
      return { ok: false, problem: `there are ${maxRootKeys} macaroon keys already` };
    const last = ids.at(-1);
    const id = last === undefined ? 0 : Math.max(last + 1, Math.floor((utcMs - idsSinceMs) / 1_000));
    writePrivateFile(rootKeyPath(dataDir, id), bytes, 'create');
    return { ok: true, id };
  } catch (error) {
    return { ok: false, problem: `cannot make a macaroon key (${errorCode(error)})` };
  } finally {
    bytes.fill(0);
  }
}

/** Of a service that takes no capabilities: nothing verifies, and nothing is made. */
export const noRootKeys: ServiceRootKeys = {
  generation: 0,
  ids: [],
  get: () => undefined,
  reload: () => ({ ok: true, added: [], removed: [] }),
  read: () => ({ ok: true, added: [], removed: [], take: () => {} }),
  rotate: () => ({ ok: false, problem: 'this service takes no capabilities' }),
};

/** Keys that are nowhere but in memory. */
export class MemoryRootKeys implements ServiceRootKeys {
  generation = 0;
  readonly #openKey: (rootKey: Uint8Array) => MacKey;
  readonly #keys: MacKey[] = [];

  constructor(openKey: (rootKey: Uint8Array) => MacKey) {
    this.#openKey = openKey;
    this.rotate();
  }

  get ids(): readonly number[] {
    return [...this.#keys.keys()];
  }

  get(id: number): MacKey | undefined {
    return this.#keys[id];
  }

  reload(): Reload {
    return { ok: true, added: [], removed: [] };
  }

  read(): ReadAgain {
    return { ok: true, added: [], removed: [], take: () => {} };
  }

  rotate(): Rotation {
    if (this.#keys.length >= maxRootKeys)
      return { ok: false, problem: `there are ${maxRootKeys} macaroon keys` };
    this.generation++;
    this.#keys.push(openWiped(randomBytes(macaroonKeyBytes), this.#openKey));
    return { ok: true, id: this.#keys.length - 1 };
  }
}
