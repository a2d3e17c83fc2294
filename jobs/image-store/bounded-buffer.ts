const FIRST_BYTES = 65_536;

/**
 * Collects a body of unknown length up to a limit. It copies: an answer in pieces of one byte each would otherwise hold, for every byte, an object of a
 * hundred and the network buffer that it came in.
 */
export class BoundedBuffer {
  readonly #limitBytes: number;
  #room = Buffer.allocUnsafe(0);
  #size = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** False: the chunk would go beyond the limit and was not taken. */
  append(chunk: Uint8Array): boolean {
    const size = this.#size + chunk.byteLength;
    if (size > this.#limitBytes) return false;
    if (size > this.#room.byteLength) this.#grow(size);
    this.#room.set(chunk, this.#size);
    this.#size = size;
    return true;
  }

  /** What was collected so far; valid until the next `append`. */
  get bytes(): Buffer {
    return this.#room.subarray(0, this.#size);
  }

  #grow(least: number): void {
    const room = Buffer.allocUnsafe(Math.min(this.#limitBytes, Math.max(least, this.#room.byteLength * 2, FIRST_BYTES)));
    room.set(this.bytes);
    this.#room = room;
  }
}
