/**
 * An append-only file of records that outlives the process.
 *
 * One line is one JSON array of records: what happened at once is on one line, so a process killed while writing
 * leaves all of it or, as a torn last line, none of it.
 *
 * Writes go to the operating system without fsync: this guards against the death of the process, not of the machine,
 * and the broker stands in for Service Bus on a developer's machine only. Nothing guards against two processes with
 * one folder; whoever starts brokers gives each its own.
 */
import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";

/** Where a queue writes down what it does. */
export interface Journal<Entry> {
  /** What was written before, oldest first. */
  read(): Iterable<Entry>;
  /** Writes entries that happen together; when it returns, they survive this process. */
  append(entries: readonly Entry[]): void;
  /** Whether the file holds much more than a rewrite would leave. */
  readonly outgrown: boolean;
  /** Replaces all that was written by a shorter account of the same state. */
  rewrite(entries: Iterable<Entry>): void;
  close(): void;
}

/** For queues that live as long as the process. */
export function memoryJournal<Entry>(): Journal<Entry> {
  return { read: () => [], append: () => {}, outgrown: false, rewrite: () => {}, close: () => {} };
}

const COMPACT_BEYOND_BYTES = 8 * 1024 * 1024;

export class FileJournal<Entry> implements Journal<Entry> {
  readonly #path: string;
  readonly #compactBeyondBytes: number;
  #file: number | undefined;
  #bytes = 0;
  #bytesAfterRewrite = 0;

  constructor(path: string, compactBeyondBytes = COMPACT_BEYOND_BYTES) {
    this.#path = path;
    this.#compactBeyondBytes = compactBeyondBytes;
  }

  /** @throws Error naming file and line when a line other than a torn last one cannot be read. */
  *read(): Generator<Entry> {
    if (!existsSync(this.#path)) return;
    const lines = readFileSync(this.#path, "utf8").split("\n");
    lines.pop(); // What follows the last newline is empty or torn.
    for (const [index, line] of lines.entries()) {
      let entries: Entry[];
      try {
        entries = JSON.parse(line);
      } catch (cause) {
        throw new Error(
          `${this.#path}:${index + 1} is not a journal line. Delete the file to lose its messages.`,
          {
            cause,
          },
        );
      }
      yield* entries;
    }
  }

  append(entries: readonly Entry[]): void {
    if (this.#file === undefined) throw new Error(`${this.#path}: rewrite() opens the journal for writing`);
    try {
      this.#bytes += writeLine(this.#file, entries);
    } catch (error) {
      // A disk that is full may have taken half a line; the next one must not continue it.
      ftruncateSync(this.#file, this.#bytes);
      throw error;
    }
  }

  get outgrown(): boolean {
    return this.#bytes > this.#compactBeyondBytes && this.#bytes > 2 * this.#bytesAfterRewrite;
  }

  rewrite(entries: Iterable<Entry>): void {
    const newPath = `${this.#path}.new`;
    rmSync(newPath, { force: true });
    const file = openSync(newPath, "a");
    let bytes = 0;
    try {
      for (const entry of entries) bytes += writeLine(file, [entry]);
      renameSync(newPath, this.#path); // Until here a crash leaves the old file as it was.
    } catch (error) {
      closeSync(file);
      throw error;
    }
    this.close();
    this.#file = file;
    this.#bytes = bytes;
    this.#bytesAfterRewrite = bytes;
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

function writeLine(file: number, entries: readonly unknown[]): number {
  const line = Buffer.from(`${JSON.stringify(entries)}\n`);
  for (let written = 0; written < line.length; )
    written += writeSync(file, line, written, line.length - written);
  return line.length;
}
