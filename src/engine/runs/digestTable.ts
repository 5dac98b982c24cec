import type { ObjectDigest } from "../stores/connectorSpace.ts";
import { HashTable, hexOfWords } from "../stores/hashTable.ts";
import { anchorKey } from "../stores/seen.ts";

export interface KnownObject {
  readonly id: string;
  readonly gone: boolean;
}

// Words to an object: its digest, its id, its flags.
const width = 9;
const flag = { gone: 1, lookAgain: 2 } as const;

/** What an import knows of every object of its connector, in some 70 bytes an object: a million take 70 MB. */
export class DigestTable {
  readonly #anchors = new HashTable();
  #rows = new Uint32Array(width * 1024);
  #anchorless = 0;

  /** How many objects have no anchor yet; nothing else is kept of them. */
  get anchorless(): number {
    return this.#anchorless;
  }

  add({ id, anchorHash, digest, gone }: ObjectDigest): void {
    if (anchorHash === null) {
      this.#anchorless++;
      return;
    }
    const at = this.#anchors.add(anchorKey(anchorHash)) * width;
    if (at >= this.#rows.length) {
      const rows = new Uint32Array(this.#rows.length * 2);
      rows.set(this.#rows);
      this.#rows = rows;
    }
    const flags = (gone ? flag.gone : 0) | (digest === "" ? flag.lookAgain : 0);
    if (digest !== "") this.#put(at, Buffer.from(digest, "base64url"));
    this.#put(at + 4, Buffer.from(id, "hex"));
    this.#rows[at + 8] = flags;
  }

  #put(at: number, bytes: Buffer): void {
    for (let word = 0; word < 4; word++) this.#rows[at + word] = bytes.readUInt32BE(word * 4);
  }

  get(anchorHash: string): KnownObject | undefined {
    const number = this.#anchors.find(anchorKey(anchorHash));
    return number < 0 ? undefined : this.#known(number);
  }

  #known(number: number): KnownObject {
    const at = number * width;
    return { id: hexOfWords(this.#rows, at + 4), gone: (this.#rows[at + 8]! & flag.gone) !== 0 };
  }

  /** Whether the object is there and its image is the one with this digest (22 characters). */
  isUnchanged(anchorHash: string, digest: string): boolean {
    const number = this.#anchors.find(anchorKey(anchorHash));
    if (number < 0) return false;
    const at = number * width;
    if ((this.#rows[at + 8]! & flag.lookAgain) !== 0) return false;
    const bytes = Buffer.from(digest, "base64url");
    for (let word = 0; word < 4; word++)
      if (this.#rows[at + word] !== bytes.readUInt32BE(word * 4)) return false;
    return true;
  }

  /** From now on the object counts as changed, whatever the source shows. */
  lookAgain(anchorHash: string): void {
    const number = this.#anchors.find(anchorKey(anchorHash));
    if (number >= 0) this.#rows[number * width + 8]! |= flag.lookAgain;
  }

  /** How many objects are not gone already. */
  get living(): number {
    let living = 0;
    for (let number = 0; number < this.#anchors.size; number++)
      if ((this.#rows[number * width + 8]! & flag.gone) === 0) living++;
    return living;
  }

  /** Those whose anchors are not among `seen`, in order of id. */
  missing(seen: HashTable): KnownObject[] {
    const missing: KnownObject[] = [];
    for (let number = 0; number < this.#anchors.size; number++)
      if (seen.find(this.#anchors.keyOf(number)) < 0) missing.push(this.#known(number));
    return missing.sort((a, b) => (a.id < b.id ? -1 : 1));
  }
}
