/** True of equal bytes, and of bytes that count up or down by one. A random key is one with probability 2^-246. */
export function isWeakKey(key: Uint8Array): boolean {
  const step = ((key[1] as number) - (key[0] as number)) & 0xff;
  if (step !== 0 && step !== 1 && step !== 255) return false;
  return key.every((byte, index) => index === 0 || ((byte - (key[index - 1] as number)) & 0xff) === step);
}
