/**
 * Hundreds of thousands of keys with little memory: 16 bytes each, in one array, numbered in the order in which they came.
 * Open addressing with linear probing; keys are hashes, so their first bytes say where to look.
 */
export class HashTable {
  /** Four words to a key. */
  #keys = new Uint32Array(4 * 1024);
  /** Number of the key + 1; 0: free. */
  #slots = new Uint32Array(2 * 1024);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** @returns its number, new or not */
  add(key: Uint8Array): number {
    if ((this.#size + 1) * 2 > this.#slots.length) this.#grow();
    const words = wordsOf(key);
    const slot = this.#slotOf(words);
    if (this.#slots[slot] !== 0) return this.#slots[slot]! - 1;
    const number = this.#size++;
    this.#keys.set(words, number * 4);
    this.#slots[slot] = number + 1;
    return number;
  }

  /** @returns its number, -1 when it is not there */
  find(key: Uint8Array): number {
    return this.#slots[this.#slotOf(wordsOf(key))]! - 1;
  }

  /** The 16 bytes of a key. */
  keyOf(number: number): Uint8Array {
    const view = new DataView(new ArrayBuffer(16));
    for (let word = 0; word < 4; word++) view.setUint32(word * 4, this.#keys[number * 4 + word]!);
    return new Uint8Array(view.buffer);
  }

  /** That of the key, or the free one where it would be. */
  #slotOf(words: Uint32Array): number {
    const mask = this.#slots.length - 1;
    for (let slot = words[0]! & mask; ; slot = (slot + 1) & mask) {
      const found = this.#slots[slot]!;
      if (found === 0 || this.#isAt((found - 1) * 4, words)) return slot;
    }
  }

  #isAt(at: number, words: Uint32Array): boolean {
    for (let word = 0; word < 4; word++) if (this.#keys[at + word] !== words[word]) return false;
    return true;
  }

  #grow(): void {
    const keys = new Uint32Array(this.#keys.length * 2);
    keys.set(this.#keys);
    this.#keys = keys;
    this.#slots = new Uint32Array(this.#slots.length * 2);
    for (let number = 0; number < this.#size; number++)
      this.#slots[this.#slotOf(keys.subarray(number * 4, number * 4 + 4))] = number + 1;
  }
}

/** Four words of 32 bits, whatever the alignment of the bytes. */
function wordsOf(key: Uint8Array): Uint32Array {
  const view = new DataView(key.buffer, key.byteOffset, 16);
  return Uint32Array.of(view.getUint32(0), view.getUint32(4), view.getUint32(8), view.getUint32(12));
}

/** Four words as 32 lower-case hexadecimal digits. */
export function hexOfWords(words: Uint32Array, at: number): string {
  let hex = "";
  for (let word = 0; word < 4; word++) hex += words[at + word]!.toString(16).padStart(8, "0");
  return hex;
}
