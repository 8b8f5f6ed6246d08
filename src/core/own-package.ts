import { readFileSync } from 'node:fs';

/** A checkout runs its sources; a package has them compiled, one folder deeper, in dist/. */
const compiled = import.meta.url.endsWith('.js');

/** The directory with package.json, of the checkout, the package or the image. */
export const ownRoot = new URL(compiled ? '../../../' : '../../', import.meta.url);

export const manifest = JSON.parse(readFileSync(new URL('package.json', ownRoot), 'utf8')) as {
  readonly name: string;
  readonly version: string;
};

/** Commands as whoever runs this copy of the program types them. */
export const ownCommand = compiled ? 'npx intaglio' : 'npm run -s intaglio --';
export const startCommand = compiled ? 'npx intaglio serve' : 'npm start';
const ownScript = compiled ? 'npm explore intaglio -- npm run' : 'npm run';
export const buildNativeCommand = `${ownScript} build:native`;
export const setupCommand = `${ownScript} setup`;

/** The module with which a thread begins, or a process of its own: one of workers/. */
export function threadEntry(
  name: 'audit' | 'audit-read' | 'audit-seal' | 'crypto' | 'hsm' | 'root-sources',
): URL {
  return new URL(`../../workers/${name}.${compiled ? 'js' : 'ts'}`, import.meta.url);
}
