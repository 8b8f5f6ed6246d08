import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { writePrivateFile } from '../../core/private-file.ts';
import { StartError } from '../../core/start-error.ts';
import type { SecretPlace } from './listed-source.ts';
import { absolutePath, nameOfPlace, type Surroundings } from './secret-place.ts';

/** Remembers a refused PIN across starts: repeated starts with it would lock the TPM out. */
export interface RefusedPins {
  /** Throws a StartError where this PIN was refused before, and nobody has changed it since. */
  requireNew(): void;
  note(): void;
  forget(): void;
}

/** The note lies beside the list of sources. */
export function refusedPinPath(dataDir: string, id: string): string {
  return join(dataDir, `root-${id}.pin-refused`);
}

/** A typed PIN is new each time. One of a systemd credential has no file that stays, and waits for the operator. */
export function refusedPins(id: string, place: SecretPlace, { dataDir }: Surroundings): RefusedPins {
  const path = refusedPinPath(dataDir, id);
  const stamp = stampOf(place, dataDir);
  return {
    requireNew() {
      if (place.from === 'terminal' || !existsSync(path) || readFileSync(path, 'utf8') !== stamp) return;
      const change = place.from === 'file' ? `change ${nameOfPlace(place)}, or` : 'put it right, and';
      throw new StartError(
        `the TPM refused the PIN of ${id}, which is not tried again by itself, as the TPM would lock itself: ${change} allow it again (intaglio root tpm retry)`,
      );
    },
    note() {
      if (place.from !== 'terminal') writePrivateFile(path, stamp, 'replace');
    },
    forget() {
      rmSync(path, { force: true });
    },
  };
}

function stampOf(place: SecretPlace, dataDir: string): string {
  if (place.from !== 'file') return place.from;
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = statSync(absolutePath(dataDir, place.path));
    return [dev, ino, size, mtimeMs, ctimeMs].join('/');
  } catch {
    return '';
  }
}
