import { resealStoreHead } from '../../assemble/store/store-head.ts';
import { systemClock } from '../../core/clock.ts';
import { StartError } from '../../core/start-error.ts';
import { renewAll } from '../../custody/root-key/renew-all.ts';
import {
  RootRotation,
  type RotationEvent,
  type RotationParts,
} from '../../custody/root-key/rotation/root-rotation.ts';
import { type Bench, readingOf, type StoppedDirectory, withStoppedDirectory } from './stopped-directory.ts';

/** Begins or finishes a rotation. `progress`: records looked at, of all. */
export function rotateStopped(
  bench: Bench,
  actor: string,
  progress: (done: number, total: number) => void,
): Promise<void> {
  return withStoppedDirectory(bench, (stopped) =>
    goOverStopped(bench, stopped, {
      ...{ actor, progress },
      renew: (generation) => renewHere(bench, stopped, generation),
      settle: (generation, name) => stopped.sources.settle(bench.engine, generation, name),
    }),
  );
}

interface GoingOver extends Pick<RotationParts, 'renew' | 'settle'> {
  readonly actor: string;
  readonly progress: (done: number, total: number) => void;
}

/** Seals every record anew under the next root key, or goes on with that. Throws a StartError. */
export async function goOverStopped(
  bench: Bench,
  { store, root, rotating }: Pick<StoppedDirectory, 'store' | 'root' | 'rotating'>,
  { actor, progress, renew, settle }: GoingOver,
): Promise<void> {
  const rotation = await RootRotation.open({
    ...{ engine: bench.engine, store, root, clock: systemClock, pauseMs: 0, overlapMs: 0, renew, settle },
    resealHead: () => resealStoreHead({ root, store }),
    report: (event) => tell(bench, event),
  });
  const timer = setInterval(() => {
    const { rotation: going } = rotation.state;
    if (going !== undefined) progress(going.done, going.total);
  }, 100);
  try {
    if (rotating) await rotation.resume();
    else {
      const begun = await rotation.begin(actor);
      if (!begun.ok) throw new StartError(begun.failure.hint ?? begun.failure.code);
    }
    await rotation.ended();
  } finally {
    clearInterval(timer);
    await rotation.close();
  }
}

/** In this process, which has no core dumps and ends soon: passphrases may be asked for at the terminal. */
async function renewHere(bench: Bench, stopped: StoppedDirectory, generation: number) {
  const listed = stopped.sources.listed();
  const { engine } = bench;
  if (listed === undefined) return stopped.sources.renew(engine, generation);
  const secret = await renewAll(listed, generation, engine, readingOf(bench, stopped));
  try {
    return engine.openRoot({ kind: 'lent-page', fill: (page) => page.set(secret) });
  } finally {
    secret.fill(0);
  }
}

function tell({ say }: Bench, event: RotationEvent): void {
  if (event.kind === 'resumed') say(`goes on with the rotation to generation ${event.generation}`);
  if (event.kind === 'delayed') throw event.cause;
  if (event.kind === 'done') {
    const { generation, root, before, records } = event.entry;
    say(
      `root key ${root} (generation ${generation}) in the place of ${before}; ${records} records sealed anew`,
    );
  }
}
