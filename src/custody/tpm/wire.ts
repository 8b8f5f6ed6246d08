import { TpmError } from './errors.ts';

/** Marshals as the TPM 2.0 Library Specification, part 2, does: big endian, with a u16 length before a TPM2B. */
export class Writer {
  readonly #pieces: Buffer[] = [];

  u8(value: number): this {
    return this.bytes(Buffer.of(value));
  }

  u16(value: number): this {
    const piece = Buffer.allocUnsafe(2);
    piece.writeUInt16BE(value);
    return this.bytes(piece);
  }

  u32(value: number): this {
    const piece = Buffer.allocUnsafe(4);
    piece.writeUInt32BE(value >>> 0);
    return this.bytes(piece);
  }

  bytes(value: Uint8Array): this {
    this.#pieces.push(Buffer.from(value.buffer, value.byteOffset, value.length));
    return this;
  }

  /** A TPM2B. */
  sized(value: Uint8Array): this {
    return this.u16(value.length).bytes(value);
  }

  done(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}

/** A number in as many bytes: TPMs may leave out leading zeros. Throws a TpmError where it has more. */
export function inBytes(number: Uint8Array, length: number): Buffer {
  if (number.length > length) throw new TpmError('it gave a number that is too long');
  return Buffer.concat([Buffer.alloc(length - number.length), number]);
}

/** Unmarshals. Throws a TpmError where the bytes end too early. */
export class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  u8(): number {
    return this.take(1).readUInt8();
  }

  u16(): number {
    return this.take(2).readUInt16BE();
  }

  u32(): number {
    return this.take(4).readUInt32BE();
  }

  u64(): bigint {
    return this.take(8).readBigUInt64BE();
  }

  /** A view. */
  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new TpmError('an answer of the TPM is cut short');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** A TPM2B; a view. */
  sized(): Buffer {
    return this.take(this.u16());
  }

  rest(): Buffer {
    return this.take(this.#bytes.length - this.#at);
  }
}
