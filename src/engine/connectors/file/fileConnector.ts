/** The records of one CSV or LDIF file: the feed of an HR system, read whole and compared with what it was. */
import { createHash } from "node:crypto";
import { z } from "zod";
import { imageDigest } from "../../core/identity.ts";
import {
  type AbsenceVerdict,
  type Connector,
  type ConnectorCapabilities,
  type ConnectorContext,
  type ConnectorDefinition,
  ConnectorError,
  type Cursor,
  type ExportChange,
  type ExportResult,
  type ImportEntry,
  type ImportPage,
  type ImportStart,
  type ObjectTypeSchema,
} from "../../ports/connector.ts";
import type { FileDocument } from "./document.ts";
import { applyChanges } from "./export.ts";
import { RecordReader } from "./records.ts";
import type { FileSettings } from "./settings.ts";
import { FileSource, type FileState } from "./source.ts";

const watermarkSchema = z.object({ kind: z.literal("watermark"), hash: z.string() });
/** `base`: the file that a delta import compares with; null in a full one. `next`: entries that have been given. */
const positionSchema = z.object({
  kind: z.literal("position"),
  hash: z.string(),
  base: z.string().nullable(),
  next: z.int().min(0),
});
type Position = z.output<typeof positionSchema>;

export class FileConnector implements Connector {
  readonly capabilities: ConnectorCapabilities;
  readonly scopeHash: string;
  readonly #reader: RecordReader;
  readonly #source: FileSource;
  readonly #settings: FileSettings;

  /** @throws ConnectorError "configuration" */
  constructor(definition: ConnectorDefinition, settings: FileSettings) {
    this.#settings = settings;
    this.#reader = new RecordReader(definition, settings);
    this.#source = new FileSource(definition.name, settings);
    if (settings.writable && settings.encoding !== "utf-8") {
      throw this.#reader.failure("only a file in utf-8 can be writable");
    }
    this.capabilities = {
      deltaImport: settings.snapshots !== undefined,
      export: settings.writable,
      exportBatchMax: settings.writable ? 1000 : 0,
      exportTimeoutMs: 30_000,
      dnSyntax: settings.format === "ldif" ? "dn" : "exact",
    };
    const { pageSize, settleSeconds, snapshots, writable, ...meaning } = settings;
    this.scopeHash = createHash("sha256")
      .update(JSON.stringify([meaning, definition.objectTypes]))
      .digest("hex");
  }

  schema(): Promise<readonly ObjectTypeSchema[]> {
    return Promise.resolve(this.#reader.schema);
  }

  async *importPages(start: ImportStart): AsyncGenerator<ImportPage> {
    const position = await this.#position(start);
    const entries = await this.#entries(position);
    const { pageSize } = this.#settings;
    for (let given = 0; given < position.next; given++) entries.next();
    // One entry is looked ahead: only when no other follows is a page the last one.
    let ahead = entries.next();
    for (let next = position.next; ; next += pageSize) {
      const page: ImportEntry[] = [];
      for (; ahead.done !== true && page.length < pageSize; ahead = entries.next()) page.push(ahead.value);
      if (ahead.done === true) {
        const watermark = JSON.stringify({ kind: "watermark", hash: position.hash });
        yield { entries: page, resumeAt: null, complete: { watermark } };
        return;
      }
      yield { entries: page, resumeAt: JSON.stringify({ ...position, next: next + pageSize }) };
    }
  }

  async #position(start: ImportStart): Promise<Position> {
    if (start.kind === "resume") return parsed(positionSchema, start.cursor);
    const base = start.kind === "delta" ? parsed(watermarkSchema, start.watermark).hash : null;
    if (base !== null) await this.#recalled(base);
    const { hash } = await this.#source.readAndKeep();
    return { kind: "position", hash, base, next: 0 };
  }

  /** In a fixed order, so that another process can go on. */
  async #entries({ hash, base }: Position): Promise<Iterator<ImportEntry, void>> {
    const present = await this.#recalled(hash);
    this.#reader.requireColumns(present.document);
    if (base === null) return this.#reader.entriesOf(present.document);
    if (base === hash) return [].values();
    return this.#changes((await this.#recalled(base)).document, present.document);
  }

  *#changes(before: FileDocument, present: FileDocument): Generator<ImportEntry, void> {
    const digests = new Map<string, string>();
    for (const entry of this.#reader.entriesOf(before)) {
      if (entry.kind === "object") digests.set(entry.anchor, imageDigest(entry.image));
      else if (entry.anchor !== undefined && !digests.has(entry.anchor)) digests.set(entry.anchor, "");
    }
    const gone = new Set(digests.keys());
    for (const entry of this.#reader.entriesOf(present)) {
      if (entry.anchor !== undefined) gone.delete(entry.anchor);
      if (entry.kind !== "object" || digests.get(entry.anchor) !== imageDigest(entry.image)) yield entry;
    }
    for (const anchor of gone) yield { kind: "absent", anchor, absence: "deleted" };
  }

  async #recalled(hash: string): Promise<FileState> {
    const state = await this.#source.recall(hash);
    if (state !== undefined) return state;
    throw new ConnectorError(
      "watermark-expired",
      "The file has been replaced, and the copy of what it was is not in the folder of the setting snapshots.",
    );
  }

  /** A record that cannot be read may be any of those that are asked for, so then nobody is called gone. */
  async readAbsent(anchors: readonly string[]): Promise<readonly AbsenceVerdict[]> {
    const { document } = await this.#source.read();
    this.#reader.requireColumns(document);
    const asked = new Set(anchors);
    const present = new Map<string, ImportEntry>();
    let unreadable: ImportEntry | undefined;
    for (const entry of this.#reader.entriesOf(document)) {
      const { anchor } = entry;
      if (anchor === undefined) unreadable ??= entry;
      // The first of several with one anchor is the object.
      else if (asked.has(anchor) && !present.has(anchor)) present.set(anchor, entry);
    }
    return anchors.map((anchor): AbsenceVerdict => {
      const entry = present.get(anchor);
      if (entry?.kind === "object") return { kind: "present", image: entry.image };
      const broken = entry ?? unreadable;
      if (broken?.kind === "error") throw new ConnectorError("configuration", broken.message);
      return { kind: "gone", absence: "deleted" };
    });
  }

  async exportBatch(
    changes: readonly ExportChange[],
    context: ConnectorContext,
  ): Promise<readonly ExportResult[]> {
    if (!this.#settings.writable) {
      throw this.#reader.failure("the file is read only; set writable if exports shall rewrite it");
    }
    const before = await this.#source.read();
    this.#reader.requireColumns(before.document);
    const { document, results, changed } = applyChanges(this.#reader, before.document, changes);
    if (!changed) return results;
    if (context.mayWrite?.() === false) {
      throw new ConnectorError(
        "unreachable",
        "The time for this batch of exports is over; it is sent later.",
      );
    }
    if (!(await this.#source.replace(before, document))) {
      throw new ConnectorError(
        "unreachable",
        `${this.#settings.path} was replaced meanwhile; the batch is sent later.`,
      );
    }
    return results;
  }

  async ping(): Promise<void> {
    this.#reader.requireColumns((await this.#source.read()).document);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function parsed<T>(schema: z.ZodType<T>, cursor: Cursor): T {
  try {
    return schema.parse(JSON.parse(cursor));
  } catch (cause) {
    const message =
      "The position of the last import was written by another version or another kind of connector.";
    throw new ConnectorError("watermark-expired", message, { cause });
  }
}
