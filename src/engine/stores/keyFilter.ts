/**
 * Keys that surely are not there: a Bloom filter over hexadecimal hashes. Of keys that were not added it takes one in 400
 * for there, so whoever is told "perhaps" looks.
 */
export class KeyFilter {
  readonly #bits: Uint8Array;
  /** Of the bit's number. */
  readonly #mask: number;

  /** @param keys how many there will be, at most about */
  constructor(keys: number) {
    const bits = 2 ** Math.min(31, Math.ceil(Math.log2(Math.max(1024, keys * bitsPerKey))));
    this.#bits = new Uint8Array(bits / 8);
    this.#mask = bits - 1;
  }

  /** @param hash at least 29 hexadecimal digits */
  add(hash: string): void {
    for (const bit of this.#places(hash)) this.#bits[bit >>> 3]! |= 1 << (bit & 7);
  }

  /** False: it was never added. */
  mayHave(hash: string): boolean {
    return this.#places(hash).every((bit) => (this.#bits[bit >>> 3]! & (1 << (bit & 7))) !== 0);
  }

  #places(hash: string): number[] {
    return [0, 7, 14, 21].map((from) => Number.parseInt(hash.slice(from, from + 8), 16) & this.#mask);
  }
}

const bitsPerKey = 16;
