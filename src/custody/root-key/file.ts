import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, realpathSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { isDangling, syncPath } from '../../core/private-file.ts';
import {
  judgeSecretDirectory,
  judgeSecretFile,
  ownerAndMode,
  type SecretRule,
} from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import type { Engine, RootRef } from '../../engine/engine.ts';
import { orAdvice, type RootKeySource } from './source.ts';

/** 32 raw bytes in a file of their own, made where there is none. A systemd credential is such a file, made by others. */
export function fileRootKey(path: string, rule: SecretRule): RootKeySource {
  return {
    get place() {
      return existsSync(path) ? `${path} ${ownerAndMode(statSync(path))}` : path;
    },
    isThere() {
      if (!existsSync(path)) return false;
      const problem = judgeSecretFile(path, rule);
      if (problem !== undefined) throw new StartError(problem);
      return true;
    },
    // The engines follow no link.
    open: async () => ({ kind: 'file', path: realpathSync(path) }),
    make(engine) {
      if (isDangling(path)) throw new StartError(`${path} is a symbolic link to a file that is missing`);
      const directory = dirname(path);
      if (!existsSync(directory)) throw new StartError(`${path}: its directory does not exist`);
      const problem = judgeSecretDirectory(directory, rule);
      if (problem !== undefined) throw new StartError(problem);
      return create(engine, path);
    },
  };
}

/**
 * The file is whole and on disk before it has its name. A start that is killed in between must not leave an empty root key, which
 * would keep later starts from serving.
 */
function create(engine: Engine, path: string): RootRef {
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  return orAdvice(path, () => {
    try {
      const root = engine.openRoot({ kind: 'file-create', path: beside });
      linkSync(beside, path);
      return root;
    } finally {
      rmSync(beside, { force: true });
      syncPath(dirname(path));
    }
  });
}
