import { custodyContract, type HomeUnderTest } from '../contracts/custody.ts';
import { createSoftHsm, noSoftHsm, openHome } from '../support/softhsm.ts';

if (noSoftHsm === false)
  custodyContract('of a token behind PKCS#11', softHsmHome, {
    destroyEndsReferences: true,
    hidesSecrets: true,
    lacks: ['ed25519ph', 'mu', 'context'],
  });

/** As the service has it, with a worker of its own and a token of this test. */
async function softHsmHome(): Promise<HomeUnderTest> {
  const softHsm = createSoftHsm();
  const home = await openHome(softHsm.settings(softHsm.makeToken('contract')));
  return Object.assign(home, {
    // Nobody sees them, which is what a token is for.
    privateNumbers: () => [],
    close: async () => {
      await Object.getPrototypeOf(home).close.call(home);
      softHsm.remove();
    },
  });
}
