import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { batchOps } from '../../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../../src/engine/engine.ts';
import { aad, hex, runBatch, tenant } from '../../support/batches.ts';
import { availableEngines } from '../../support/engines.ts';
import { kemNames } from '../../support/sealing.ts';

// `npm run hpke:go`: Go's crypto/hpke opens what our engines wrapped. Needs Go 1.26 or newer, and no module.

const info = Buffer.from('ron-kms::acme::web::wrap::0196c1d2-7a3b-7c4d-8e5f-0123456789ab#v1');
const messages = availableEngines().flatMap(({ create }) => {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  return kemNames.flatMap((alg) =>
    [0, 1, 32, 1_000, 65_536].map((bytes) => {
      const seed = randomBytes(alg.startsWith('ml-kem') ? 64 : 32);
      const key = engine.importKey(root, keyTypes[alg], tenant, aad, Uint8Array.from(seed));
      const [plaintext, data] = [randomBytes(bytes), randomBytes(20)];
      const [wrapped] = runBatch(engine, root, [
        {
          op: batchOps.wrap,
          scheme: schemes[alg],
          keyNumber: 0,
          key: key.publicKey,
          inputs: [plaintext, info, data],
        },
      ]);
      return {
        alg,
        private_key: hex(seed),
        public_key: hex(key.publicKey),
        info: hex(info),
        aad: hex(data),
        plaintext: hex(plaintext),
        wrapped: hex(wrapped?.outputs[0] ?? new Uint8Array(0)),
      };
    }),
  );
});

const directory = mkdtempSync(join(tmpdir(), 'intaglio-hpke-'));
const file = join(directory, 'messages.json');
writeFileSync(file, JSON.stringify(messages));
const program = fileURLToPath(new URL('main.go', import.meta.url));
const go = spawn('go', ['run', program, 'open', file], { stdio: 'inherit' });
const [status] = await once(go, 'close');
rmSync(directory, { recursive: true });
process.exitCode = status;
