/**
 * Retargets a 64-bit little-endian ELF library that asks for GLIBC_2.38 only because of C23 aliases.
 *
 * glibc 2.38 gave `strtol`, `strtoul`, `sscanf` and their kin a second name, `__isoc23_…`, which a compiler picks by
 * default; the plain functions are still there and differ only in reading `0b…` numbers. Each alias ends in the plain
 * name, so a symbol is renamed by moving its name's offset, and no byte of the file moves.
 * Layouts: System V gABI (Elf64_Shdr, Elf64_Sym) and the LSB's symbol versioning (Elf64_Verneed, Elf64_Vernaux).
 */

const aliasPrefix = '__isoc23_';
const newVersion = 'GLIBC_2.38';
/** The version every plain function has had since the port began: x86-64 in 2.2.5, arm64 in 2.17. */
const baseVersions = ['GLIBC_2.2.5', 'GLIBC_2.17'];

/** The hash that is stored beside a version's name (System V gABI, "Hash Table"). @param {string} name */
function elfHash(name) {
  let hash = 0;
  for (const char of Buffer.from(name, 'latin1')) {
    hash = ((hash << 4) + char) >>> 0;
    const high = hash & 0xf0000000;
    if (high !== 0) hash ^= high >>> 24;
    hash = (hash & ~high) >>> 0;
  }
  return hash;
}

/** @param {Buffer} bytes @param {number} offset */
function cString(bytes, offset) {
  return bytes.toString('latin1', offset, bytes.indexOf(0, offset));
}

/** @param {Buffer} bytes */
function readSections(bytes) {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46) throw new Error('not an ELF file');
  if (bytes[4] !== 2 || bytes[5] !== 1) throw new Error('not a 64-bit little-endian ELF file');
  const table = Number(bytes.readBigUInt64LE(0x28));
  const entrySize = bytes.readUInt16LE(0x3a);
  const count = bytes.readUInt16LE(0x3c);
  const namesIndex = bytes.readUInt16LE(0x3e);
  const sectionAt = (/** @type {number} */ index) => {
    const at = table + index * entrySize;
    return {
      name: bytes.readUInt32LE(at),
      offset: Number(bytes.readBigUInt64LE(at + 0x18)),
      size: Number(bytes.readBigUInt64LE(at + 0x20)),
    };
  };
  const names = sectionAt(namesIndex).offset;
  return (/** @type {string} */ wanted) => {
    for (let index = 0; index < count; index++) {
      const section = sectionAt(index);
      if (cString(bytes, names + section.name) === wanted) return section;
    }
    throw new Error(`the library has no section ${wanted}`);
  };
}

/**
 * The versions that the library needs of `libc.so.6`.
 * @param {Buffer} bytes @param {{offset: number}} verneed @param {number} strings
 * @returns {Map<string, {at: number, nameOffset: number, index: number}>}
 */
function libcVersions(bytes, verneed, strings) {
  const versions = new Map();
  for (let need = verneed.offset; ; ) {
    if (cString(bytes, strings + bytes.readUInt32LE(need + 4)) === 'libc.so.6') {
      let aux = need + bytes.readUInt32LE(need + 8);
      for (let left = bytes.readUInt16LE(need + 2); left > 0; left--) {
        const nameOffset = bytes.readUInt32LE(aux + 8);
        const name = cString(bytes, strings + nameOffset);
        versions.set(name, { at: aux, nameOffset, index: bytes.readUInt16LE(aux + 6) });
        aux += bytes.readUInt32LE(aux + 12);
      }
      return versions;
    }
    const next = bytes.readUInt32LE(need + 12);
    if (next === 0) return versions;
    need += next;
  }
}

/**
 * Returns a copy that needs no GLIBC_2.38, or throws when anything but the known aliases asks for it.
 * @param {Buffer} original
 * @returns {{bytes: Buffer, renamed: string[]}} the copy, and the plain names it now asks for
 */
export function retarget(original) {
  const bytes = Buffer.from(original);
  const section = readSections(bytes);
  const symbols = section('.dynsym');
  const strings = section('.dynstr').offset;
  const symbolVersions = section('.gnu.version').offset;
  const versions = libcVersions(bytes, section('.gnu.version_r'), strings);

  const newer = versions.get(newVersion);
  if (newer === undefined) throw new Error(`the library does not ask libc for ${newVersion}`);
  const base = baseVersions.map((name) => ({ name, entry: versions.get(name) })).find(({ entry }) => entry);
  if (base?.entry === undefined) throw new Error('the library names no base version of libc');

  bytes.writeUInt32LE(elfHash(base.name), newer.at);
  bytes.writeUInt32LE(base.entry.nameOffset, newer.at + 8);

  const renamed = [];
  const symbolSize = 24;
  for (let index = 0; index < symbols.size / symbolSize; index++) {
    if (bytes.readUInt16LE(symbolVersions + index * 2) !== newer.index) continue;
    const at = symbols.offset + index * symbolSize;
    const nameOffset = bytes.readUInt32LE(at);
    const name = cString(bytes, strings + nameOffset);
    if (!name.startsWith(aliasPrefix))
      throw new Error(`${name} needs ${newVersion} and is no alias of an older function`);
    bytes.writeUInt32LE(nameOffset + aliasPrefix.length, at);
    renamed.push(name.slice(aliasPrefix.length));
  }
  return { bytes, renamed };
}
