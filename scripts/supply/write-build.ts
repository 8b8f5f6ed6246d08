/** Writes build.json, which says of a package from which commit it was made. Always the same for the same commit. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ownRoot } from '../../src/core/own-package.ts';
import { checkedOutCommit } from '../../src/observe/build-version.ts';

const commit = checkedOutCommit(fileURLToPath(ownRoot)) ?? 'unknown';
writeFileSync(new URL('build.json', ownRoot), `{"commit":"${commit}"}\n`);
