/**
 * Opens a source of the root key as the process for that does (workers/root-sources.ts), reports, and waits until its input ends.
 * Arguments: a data directory, the id of the source.
 */
import { readSource } from '../../src/custody/root-key/read-source.ts';
import { readRootSources } from '../../src/custody/root-key/sources-file.ts';

const [dataDir = '', id = ''] = process.argv.slice(2);
const read = readRootSources(dataDir);
const source = read.ok ? read.value?.sources.find((one) => one.id === id) : undefined;
if (source === undefined) throw new Error(`there is no source ${id}`);
const around = { dataDir, rule: { groupAllowed: false }, credentials: undefined };
(await readSource(source, around)).fill(0);
process.stdin.once('end', () => process.exit(0)).resume();
process.stdout.write('opened\n');
