import { maxTokenCharacters } from '../../auth/macaroon/encoding.ts';
import type { Result } from '../../core/result.ts';
import { fail } from '../fail.ts';

/** The capability that was given, or the one on standard input. */
export async function readToken(given: string | undefined): Promise<string> {
  if (given !== undefined && given !== '-') return given;
  if (process.stdin.isTTY) fail('no token given: name it, or send it to standard input');
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk;
    // No capability is longer, with room for white space around it.
    if (text.length > 2 * maxTokenCharacters) fail('this is not a capability of this service');
  }
  return text.trim();
}

export function printToken(token: Result<string>): void {
  if (!token.ok) fail(token.failure.hint ?? token.failure.code);
  process.stdout.write(`${token.value}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
