import { collect } from './collected.ts';

// The tests of rooms that need no process of their own, in one.
collect((file) => !/^(http|path)\//.test(file));
