import { readFileSync } from 'node:fs';

/** A checkout runs its sources; a package has them compiled, one folder deeper, in dist/. */
const compiled = import.meta.url.endsWith('.js');

/** The directory with package.json, of the checkout, the package or the image. */
export const ownRoot = new URL(compiled ? '../../../' : '../../', import.meta.url);

export const manifest = JSON.parse(readFileSync(new URL('package.json', ownRoot), 'utf8')) as {
  readonly name: string;
  readonly version: string;
};

/** The command, as whoever runs this copy of it types it. */
export const ownCommand = compiled ? 'npx intaglio' : 'npm run -s intaglio --';

/** The module with which a thread begins, or the process of a token: one of workers/. */
export function threadEntry(name: 'audit' | 'audit-read' | 'audit-seal' | 'crypto' | 'hsm'): URL {
  return new URL(`../../workers/${name}.${compiled ? 'js' : 'ts'}`, import.meta.url);
}
