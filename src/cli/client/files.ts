import { createReadStream, readFileSync, statSync, writeFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { Progress } from '../progress.ts';
import { wrongUse } from './service.ts';

const codeOf = (error: unknown): string => String((error as NodeJS.ErrnoException).code);

/** The bytes of a file, or of standard input for `-`. */
export async function fileBytes(file: string): Promise<Uint8Array> {
  if (file === '-') return buffer(process.stdin);
  try {
    return readFileSync(file);
  } catch (error) {
    return wrongUse(`cannot read ${file}: ${codeOf(error)}`);
  }
}

/** The BLAKE3 digest of a file of any length, with a bar that shows how far it is; or of standard input for `-`. */
export async function digestOf(file: string): Promise<string> {
  const { blake3Hex } = await import('../../client/hashing.ts');
  if (file === '-') return blake3Hex(process.stdin);
  try {
    const { size } = statSync(file);
    const progress = new Progress(`hashing ${file}`, 'bytes');
    const digest = await blake3Hex(createReadStream(file), (bytes) => progress.at(bytes, size));
    progress.end();
    return digest;
  } catch (error) {
    return wrongUse(`cannot read ${file}: ${codeOf(error)}`);
  }
}

/** JSON that another command wrote, with these members, all texts. */
export async function jsonOf<K extends string>(
  file: string,
  ...names: readonly K[]
): Promise<Record<K, string>> {
  const text = Buffer.from(await fileBytes(file)).toString('utf8');
  try {
    const value = JSON.parse(text) as Record<K, string>;
    if (names.every((name) => typeof value[name] === 'string'))
      return Object.fromEntries(names.map((name) => [name, value[name]])) as Record<K, string>;
  } catch {
    // Told below.
  }
  return wrongUse(`${file} is not JSON with ${names.join(', ')}`);
}

/** To the file, which its owner alone may read, or to standard output. */
export function put(out: string | undefined, content: string | Uint8Array): void {
  if (out === undefined) {
    process.stdout.write(content);
    return;
  }
  try {
    writeFileSync(out, content, { mode: 0o600 });
  } catch (error) {
    wrongUse(`cannot write ${out}: ${codeOf(error)}`);
  }
}

export function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}
