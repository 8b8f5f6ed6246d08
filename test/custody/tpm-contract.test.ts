import test from 'node:test';
import { systemClock } from '../../src/core/clock.ts';
import { TpmDevice } from '../../src/custody/tpm/device.ts';
import { TpmHome } from '../../src/custody/tpm/index.ts';
import { custodyContract, type HomeUnderTest } from '../contracts/custody.ts';
import { createSwtpm, noSwtpm } from '../support/swtpm.ts';

if (noSwtpm === false)
  custodyContract('of a TPM', tpmHome, {
    destroyEndsReferences: false,
    hidesSecrets: true,
    lacks: ['ed25519ph', 'mu', 'context'],
  });
else test('the custody of a TPM', { skip: noSwtpm }, () => {});

async function tpmHome(): Promise<HomeUnderTest> {
  const tpm = await createSwtpm();
  const device = new TpmDevice({ socket: tpm.socket });
  const home = new TpmHome({ backend: 'tpm', device, clock: systemClock });
  await home.open();
  return Object.assign(home, {
    // Nobody sees them, which is what a TPM is for.
    privateNumbers: () => [],
    close: async () => {
      await Object.getPrototypeOf(home).close.call(home);
      await device.close();
      await tpm.remove();
    },
  });
}
