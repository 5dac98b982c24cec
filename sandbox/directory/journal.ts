/** An append-only file of JSON lines. What `append` returned from survives SIGKILL, though not a power cut. */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";

export class Journal {
  readonly #file: string;
  #descriptor: number;
  /** Lines in the file, so that the owner knows when rewriting it is worth while. */
  lines = 0;

  constructor(file: string) {
    this.#file = file;
    this.#descriptor = openSync(file, "a", 0o600);
  }

  /** Hands over every record in order. A last line that a kill cut off was never acknowledged: it is removed. */
  read(use: (record: unknown) => void): void {
    if (!existsSync(this.#file)) return;
    const content = readFileSync(this.#file);
    let start = 0;
    for (;;) {
      const end = content.indexOf(0x0a, start);
      if (end < 0) break;
      use(JSON.parse(content.toString("utf8", start, end)));
      this.lines += 1;
      start = end + 1;
    }
    if (start < content.length) {
      const descriptor = openSync(this.#file, "r+");
      ftruncateSync(descriptor, start);
      closeSync(descriptor);
    }
  }

  append(record: unknown): void {
    writeFully(this.#descriptor, `${JSON.stringify(record)}\n`);
    this.lines += 1;
  }

  /** Replaces the whole file in one step by the given records. */
  rewrite(records: Iterable<unknown>): void {
    const next = `${this.#file}.new`;
    const descriptor = openSync(next, "w", 0o600);
    let lines = 0;
    let pending: string[] = [];
    for (const record of records) {
      pending.push(`${JSON.stringify(record)}\n`);
      lines += 1;
      if (pending.length === 1000) {
        writeFully(descriptor, pending.join(""));
        pending = [];
      }
    }
    writeFully(descriptor, pending.join(""));
    closeSync(descriptor);
    renameSync(next, this.#file);
    closeSync(this.#descriptor);
    this.#descriptor = openSync(this.#file, "a");
    this.lines = lines;
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

function writeFully(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; ) written += writeSync(descriptor, bytes, written);
}
