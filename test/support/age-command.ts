import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

/** Debian's age is 1.1.1: it knows passphrases and X25519, and no post-quantum keys. */
export const noAge: string | false = ['age', 'script'].some(
  (program) => spawnSync(program, ['--version']).error !== undefined,
)
  ? 'age (Debian packages age and bsdutils) is not installed'
  : false;

/** Runs age at a terminal, which it wants for a passphrase, and answers each of its questions. Its exit status. */
export async function ageAtTerminal(args: readonly string[], passphrase: string): Promise<number | null> {
  const command = ['age', ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const terminal = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let shown = '';
  let answered = 0;
  terminal.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
    const asked = shown.match(/passphrase[^:\n]*: /gi)?.length ?? 0;
    for (; answered < asked; answered++) terminal.stdin.write(`${passphrase}\n`);
  });
  const [status] = await once(terminal, 'close');
  return status as number | null;
}
