import { loadCryptoki } from '../../src/custody/pkcs11/cryptoki.ts';
import { attributes as a, objectClasses, sessionFlags, userType } from '../../src/custody/pkcs11/numbers.ts';
import { signingWays } from '../../src/custody/pkcs11/schemes.ts';
import type { Pkcs11LoopAnswer, Pkcs11LoopTask } from '../support/pkcs11-loop.ts';

/**
 * Comparator: npm pkcs11js alone, in a loop for each session, with the asynchronous calls that the service makes. Opens the token
 * of its command line, then counts the signatures of each window that it is asked for.
 */

const [module = '', label = '', pin = '', sessionCount = ''] = process.argv.slice(2);

const cryptoki = await loadCryptoki();
if (cryptoki === undefined) throw new Error('npm pkcs11js is not installed');
cryptoki.load(module);
cryptoki.C_Initialize({ flags: 2 });
const slot = cryptoki
  .C_GetSlotList(true)
  .find((each) => cryptoki.C_GetTokenInfo(each).label.trimEnd() === label);
if (slot === undefined) throw new Error(`no token ${label}`);
const sessions = Array.from({ length: Number(sessionCount) }, () =>
  cryptoki.C_OpenSession(slot, sessionFlags.rw | sessionFlags.serial),
);
cryptoki.C_Login(sessions[0]!, userType, pin);

process.on('message', (task: Pkcs11LoopTask) => {
  void count(task).then((answer) => process.send?.(answer satisfies Pkcs11LoopAnswer));
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');

async function count({ keyLabel, scheme, windowMs }: Pkcs11LoopTask): Promise<Pkcs11LoopAnswer> {
  const [first] = sessions as [Buffer];
  cryptoki!.C_FindObjectsInit(first, [
    { type: a.class, value: objectClasses.privateKey },
    { type: a.label, value: keyLabel },
  ]);
  const [key] = cryptoki!.C_FindObjects(first, 1);
  cryptoki!.C_FindObjectsFinal(first);
  const way = signingWays[scheme];
  const prepared = way?.prepare(
    Buffer.alloc(32, 7),
    false,
    new Set(cryptoki!.C_GetMechanismList(slot as Buffer)),
  );
  if (key === undefined || way === undefined || prepared === undefined) throw new Error('no such key');
  const { mechanism, data } = prepared;
  let done = 0;
  const beganMs = performance.now();
  await Promise.all(
    sessions.map(async (session) => {
      const room = Buffer.alloc(way.signatureBytes);
      while (performance.now() - beganMs < windowMs) {
        cryptoki!.C_SignInit(session, mechanism, key);
        await cryptoki!.C_SignAsync(session, data, room);
        done++;
      }
    }),
  );
  return { perSecond: (done / (performance.now() - beganMs)) * 1_000 };
}
