/** The file on its disk: read as a whole, kept as snapshots, replaced as a whole. */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ConnectorError } from "../../ports/connector.ts";
import { parseCsv, printCsv } from "./csv.ts";
import { type FileDocument, FileFormatError } from "./document.ts";
import { parseLdif, printLdif } from "./ldif.ts";
import type { FileSettings } from "./settings.ts";

/** The file at one moment. */
export interface FileState {
  /** Of its bytes. */
  readonly hash: string;
  readonly document: FileDocument;
}

const readAttemptsMax = 5;
const snapshotsMax = 5;

export class FileSource {
  readonly #settings: FileSettings;
  readonly #connector: string;
  /** The last one: a step asks many times for the same. */
  #parsed: FileState | undefined;

  constructor(connector: string, settings: FileSettings) {
    this.#connector = connector;
    this.#settings = settings;
  }

  /** @throws ConnectorError "unreachable" when it cannot be read, "configuration" when it cannot be taken apart. */
  async read(): Promise<FileState> {
    return this.#parse(await this.#bytes());
  }

  /** As `read`, and remembers it, so that `recall` finds it when the file has been replaced. */
  async readAndKeep(): Promise<FileState> {
    const bytes = await this.#bytes();
    const state = this.#parse(bytes);
    await this.#keep(state.hash, bytes);
    return state;
  }

  /** The file as it was; undefined when nobody kept it. */
  async recall(hash: string): Promise<FileState | undefined> {
    if (this.#parsed?.hash === hash) return this.#parsed;
    const { snapshots } = this.#settings;
    if (snapshots === undefined) {
      const present = await this.read();
      return present.hash === hash ? present : undefined;
    }
    try {
      const path = this.#snapshot(snapshots, hash);
      const bytes = await readFile(path);
      if (hashOf(bytes) !== hash) return undefined;
      const now = new Date();
      await utimes(path, now, now); // it is in use, so it is not among the oldest
      return this.#parse(bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw this.#unreachable(error as Error);
    }
  }

  /**
   * Replaces the file, unless somebody else has since `before` was read. Readers see the old file or the new one.
   * @returns false when somebody has
   */
  async replace(before: FileState, document: FileDocument): Promise<boolean> {
    const { path, format, delimiter } = this.#settings;
    const text = format === "csv" ? printCsv(document, delimiter) : printLdif(document);
    const draft = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
    try {
      const { mode } = await stat(path);
      await writeWhole(draft, Buffer.from(text), mode);
      if (hashOf(await readFile(path)) !== before.hash) return false;
      await rename(draft, path);
      return true;
    } catch (error) {
      throw this.#unreachable(error as Error);
    } finally {
      await rm(draft, { force: true });
    }
  }

  /** Whole and at rest: neither while it is being written, nor right after. */
  async #bytes(): Promise<Buffer> {
    const { path, settleSeconds } = this.#settings;
    try {
      for (let attempt = 1; attempt <= readAttemptsMax; attempt++) {
        const before = await stat(path);
        const restMs = before.mtimeMs + settleSeconds * 1000 - Date.now();
        if (restMs > 0) {
          await sleep(Math.min(restMs, settleSeconds * 1000));
          continue;
        }
        const bytes = await readFile(path);
        const after = await stat(path);
        if (after.mtimeMs === before.mtimeMs && after.size === bytes.length) return bytes;
      }
    } catch (error) {
      throw this.#unreachable(error as Error);
    }
    throw new ConnectorError(
      "unreachable",
      `Connector ${this.#connector}: ${path} is still being written. It is read when it has not changed for ${settleSeconds} s.`,
    );
  }

  #parse(bytes: Buffer): FileState {
    const hash = hashOf(bytes);
    if (this.#parsed?.hash === hash) return this.#parsed;
    const { path, format, delimiter, encoding } = this.#settings;
    const fail = (what: string): never => {
      throw new ConnectorError(
        "configuration",
        `Connector ${this.#connector}: ${path} cannot be read: ${what}. Nothing is taken from it.`,
      );
    };
    let text = "";
    try {
      text = new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      fail(`it is not ${encoding}; correct the file or the setting encoding`);
    }
    try {
      this.#parsed = { hash, document: format === "csv" ? parseCsv(text, delimiter) : parseLdif(text) };
      return this.#parsed;
    } catch (error) {
      if (error instanceof FileFormatError) return fail(`line ${error.line}: ${error.message}`);
      throw error;
    }
  }

  async #keep(hash: string, bytes: Buffer): Promise<void> {
    const { snapshots } = this.#settings;
    if (snapshots === undefined) return;
    try {
      await mkdir(snapshots, { recursive: true, mode: 0o700 });
      const draft = join(snapshots, `${randomUUID()}.draft`);
      await writeWhole(draft, bytes, 0o600);
      await rename(draft, this.#snapshot(snapshots, hash));
      await this.#removeOldest(snapshots);
    } catch (error) {
      const { message } = error as Error;
      throw new ConnectorError(
        "unreachable",
        `Connector ${this.#connector}: the folder snapshots (${snapshots}) cannot be written: ${message}`,
        { cause: error },
      );
    }
  }

  async #removeOldest(snapshots: string): Promise<void> {
    const names = (await readdir(snapshots)).filter((name) => name.startsWith(`${this.#connector}.`));
    const ages = await Promise.all(
      names.map(async (name) => ({ name, mtimeMs: (await stat(join(snapshots, name))).mtimeMs })),
    );
    const old = ages.sort((a, b) => b.mtimeMs - a.mtimeMs).slice(snapshotsMax);
    for (const { name } of old) await rm(join(snapshots, name), { force: true });
  }

  #snapshot(snapshots: string, hash: string): string {
    return join(snapshots, `${this.#connector}.${hash}`);
  }

  #unreachable(cause: Error): ConnectorError {
    const { path } = this.#settings;
    return new ConnectorError(
      "unreachable",
      `Connector ${this.#connector}: the file of the setting path cannot be used: ${cause.message} Check that ${dirname(path)} is mounted and that the file is there.`,
      { cause },
    );
  }
}

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

async function writeWhole(path: string, bytes: Uint8Array, mode: number): Promise<void> {
  const file = await open(path, "w", mode);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
