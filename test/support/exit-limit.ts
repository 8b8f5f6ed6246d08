import { limitExit } from '../../src/cli/exit-limit.ts';

/** For Node's `--import`: no process of a run stays at its end. Long, as that removes first what the tests have left. */
limitExit(30_000);
