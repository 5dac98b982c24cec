import { prefixRange, rowsOf, StoreError, type Tables } from "../ports/tables.ts";
import { tableNames } from "./tableNames.ts";
import { chunked } from "./texts.ts";

/** Since when imports have not been able to stage something, and how often that was tried. */
export interface ImportErrorRecord {
  readonly code: string;
  /** ISO 8601. */
  readonly firstOccurred: string;
  readonly retryCount: number;
  /** The import that met it last: whoever stages a page of it again does not count again. */
  readonly import: string;
}

const rowPrefix = "x|";
const partitionOf = (connector: string) => `errors-${connector}`;

/** What imports could not stage, by connector: mostly nothing. An entry goes when its object is staged, or not met. */
export class ImportErrorStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** By the key that it was put under. */
  async load(connector: string): Promise<Map<string, ImportErrorRecord>> {
    const found = new Map<string, ImportErrorRecord>();
    const query = { partition: partitionOf(connector), ...prefixRange(rowPrefix) };
    for await (const { row, properties } of rowsOf(this.#tables, tableNames.imports, query))
      found.set(row.slice(rowPrefix.length), {
        code: String(properties.code),
        firstOccurred: String(properties.firstOccurred),
        retryCount: Number(properties.retryCount),
        import: String(properties.import),
      });
    return found;
  }

  /** `keys`: letters and digits. */
  async put(connector: string, records: ReadonlyMap<string, ImportErrorRecord>): Promise<void> {
    for (const chunk of chunked([...records], () => 1, 100))
      await this.#tables.transact(
        tableNames.imports,
        partitionOf(connector),
        chunk.map(([key, record]) => ({
          kind: "replace",
          row: rowPrefix + key,
          properties: { ...record },
        })),
      );
  }

  async remove(connector: string, keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      try {
        const operation = { kind: "delete", row: rowPrefix + key } as const;
        await this.#tables.transact(tableNames.imports, partitionOf(connector), [operation]);
      } catch (error) {
        // Gone already: an earlier attempt has removed it.
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      }
    }
  }
}
