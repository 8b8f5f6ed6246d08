import { refuseInspectorBySignal } from '../src/core/process/inspection.ts';
import { endNow, endWithParent } from '../src/core/process/parent.ts';
import { type AnswerQuestion, createAnswering } from '../src/custody/pkcs11/answer.ts';
import { loadCryptoki } from '../src/custody/pkcs11/cryptoki.ts';
import {
  createGathered,
  libraryMissing,
  type TokenAnswer,
  type TokenQuestion,
} from '../src/custody/pkcs11/protocol.ts';
import { openSystemCalls } from '../src/engine/system-calls.ts';

/**
 * The process that has a PKCS#11 module: a module that crashes, or hangs, or brings an OpenSSL of its own, does that here alone.
 * It ends with the service, whatever becomes of that.
 */

/** Where the service puts the descriptor of the PIN: behind the three of each process and the channel. */
const pinDescriptor = 4;

refuseInspectorBySignal();
if (process.argv[2] !== 'allow-core-dumps') openSystemCalls().forbidCoreDumps();
// Signals of a terminal or of systemd go to all processes of the service: it says itself when its calls are done.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
// Also where the module hangs: it would outlive the service, with a session that is logged in.
endWithParent();
process.on('disconnect', () => void end());

let answering: AnswerQuestion | string | undefined;

let underWay = 0;
const sending = createGathered<TokenAnswer>((answers) => {
  if (process.connected) process.send?.(answers);
});
process.on('message', (questions: readonly TokenQuestion[]) => {
  for (const { id, asked } of questions) {
    underWay++;
    void answer(asked).then((answered) => {
      underWay--;
      sending.add({ id, answered }, underWay > 0);
    });
  }
});

async function answer(asked: TokenQuestion['asked']) {
  answering ??= await load();
  if (typeof answering === 'string') return { kind: 'away', reason: answering } as const;
  return answering(asked);
}

/** Sessions are given back where the token does that; what is still in the module is not waited for. */
async function end(): Promise<void> {
  if (underWay === 0 && typeof answering === 'function') await answering({ kind: 'close' });
  endNow();
}

/** The reason instead, where the library is not installed. */
async function load(): Promise<AnswerQuestion | string> {
  const cryptoki = await loadCryptoki();
  return cryptoki === undefined ? libraryMissing : createAnswering(cryptoki, pinDescriptor);
}
