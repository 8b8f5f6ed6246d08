/** Writes build.json, which says of a package from which commit it was made. Always the same for the same commit. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkedOutCommit, ownRoot } from '../../src/observe/build-version.ts';

writeFileSync(join(ownRoot, 'build.json'), `{"commit":"${checkedOutCommit(ownRoot) ?? 'unknown'}"}\n`);
