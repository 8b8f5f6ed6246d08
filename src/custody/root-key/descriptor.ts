import { fstatSync, type Stats } from 'node:fs';
import { judgeSecretStat, ownerAndMode, type SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import type { RootKeySource } from './source.ts';

/**
 * A file or pipe that the service is handed open at its start. The engine reads 32 bytes and the end, and closes it. The rule
 * for secrets holds for a file that has a name.
 */
export function descriptorRootKey(descriptor: number, rule: SecretRule): RootKeySource {
  const place = `descriptor ${descriptor}`;
  return {
    place,
    isThere() {
      const stat = statOf(descriptor, place);
      if (!stat.isFile() && !stat.isFIFO())
        throw new StartError(`${place} must be of a regular file or a pipe ${ownerAndMode(stat)}`);
      const problem =
        stat.isFile() && stat.nlink > 0 ? judgeSecretStat(`the file of ${place}`, stat, rule) : undefined;
      if (problem !== undefined) throw new StartError(problem);
      return true;
    },
    open: async () => ({ kind: 'descriptor', descriptor }),
  };
}

function statOf(descriptor: number, place: string): Stats {
  try {
    return fstatSync(descriptor);
  } catch (cause) {
    throw new StartError(
      `${place} is not open: whoever starts the service opens it (intaglio serve 3< root.key), and npm hands none on`,
      { cause },
    );
  }
}
