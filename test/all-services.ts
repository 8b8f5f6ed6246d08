import { collectServices } from './collected.ts';

// The tests of whole services beside those of all-paths.ts: two files, as each has a time limit.
collectServices((file) => /^(http\/|path\/[m-z])/.test(file));
