/** What an import could not stage, each with when it first occurred and how often it was met again. */
import { importedId, indexHash } from "../core/identity.ts";
import type { ImportEntry } from "../ports/connector.ts";
import type { ImportErrorRecord } from "../stores/importErrors.ts";
import type { RunError } from "../stores/runs.ts";
import { type EngineParts, isoTime } from "./engine.ts";
import type { Slice } from "./stepHandler.ts";

type ErrorEntry = Extract<ImportEntry, { kind: "error" }>;

/** What is known of the error before it has a place in time. */
type Trouble = Pick<RunError, "code" | "message"> & {
  readonly anchor: string | null;
  readonly dn: string | null;
};

/**
 * The errors of one slice of an import. An error ends when an import stages its object, or when a full import does not
 * meet it any more; a delta import says nothing of what it does not show.
 */
export class ImportErrors {
  readonly #parts: Pick<EngineParts, "importErrors" | "clock">;
  readonly #slice: Slice;
  /** As the tables have them; loaded when first asked for. */
  #known: Map<string, ImportErrorRecord> | null = null;

  constructor(parts: Pick<EngineParts, "importErrors" | "clock">, slice: Slice) {
    this.#parts = parts;
    this.#slice = slice;
  }

  get #connector(): string {
    return this.#slice.step.connector;
  }

  /** The same for every slice, and every replay, of one import. */
  get #import(): string {
    return `${this.#slice.run.id}-${this.#slice.step.number}`;
  }

  /** Entries that the connector could not read. */
  async reportEntries(entries: readonly ErrorEntry[]): Promise<void> {
    await this.reportObjects(
      entries.map(({ anchor = null, dn = null, code, message }) => {
        const trouble = { anchor, dn, code, message };
        return { object: this.#keyOf(trouble), trouble };
      }),
    );
  }

  /** The objects with these anchors could be staged, or are gone. What this import has met itself stays an error. */
  async settled(anchors: readonly string[]): Promise<void> {
    const known = await this.#load();
    if (known.size === 0) return;
    const keys = anchors.map((anchor) => importedId(this.#connector, anchor));
    await this.#remove(keys.filter((key) => known.get(key)?.import !== this.#import));
  }

  /** A full import has come to its end: what it has not met is no error any more. */
  async completed(): Promise<void> {
    const others = [...(await this.#load())].filter(([, record]) => record.import !== this.#import);
    await this.#remove(others.map(([key]) => key));
  }

  /** `object`: the id of the connector space object, or what stands for it. */
  async reportObjects(
    troubles: readonly { readonly object: string; readonly trouble: Trouble }[],
  ): Promise<void> {
    if (troubles.length === 0) return;
    const known = await this.#load();
    const records = new Map<string, ImportErrorRecord>();
    const errors = troubles.map(({ object, trouble }) => {
      const key = this.#keyOf(trouble);
      const last = records.get(key) ?? known.get(key);
      const again = last?.code === trouble.code ? last : null;
      const { firstOccurred, retryCount } =
        again === null
          ? { firstOccurred: isoTime(this.#parts.clock.now()), retryCount: 0 }
          : { ...again, retryCount: again.retryCount + (again.import === this.#import ? 0 : 1) };
      const record = { code: trouble.code, firstOccurred, retryCount, import: this.#import };
      records.set(key, record);
      known.set(key, record);
      return { object, error: { ...trouble, rule: null, attribute: null, firstOccurred, retryCount } };
    });
    await this.#parts.importErrors.put(this.#connector, records);
    await this.#slice.report(errors);
  }

  /** An entry without an anchor is known again by what is said of it. */
  #keyOf({ anchor, dn, code, message }: Trouble): string {
    return anchor === null
      ? `entry${indexHash(code, `${dn ?? ""} ${message}`, "exact")}`
      : importedId(this.#connector, anchor);
  }

  async #remove(keys: readonly string[]): Promise<void> {
    const known = await this.#load();
    const present = keys.filter((key) => known.has(key));
    await this.#parts.importErrors.remove(this.#connector, present);
    for (const key of present) known.delete(key);
  }

  async #load(): Promise<Map<string, ImportErrorRecord>> {
    this.#known ??= await this.#parts.importErrors.load(this.#connector);
    return this.#known;
  }
}
