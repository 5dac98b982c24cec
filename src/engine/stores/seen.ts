import { prefixRange, rowsOf, type Tables } from "../ports/tables.ts";
import { HashTable } from "./hashTable.ts";
import { removeRows } from "./removal.ts";
import { tableNames } from "./tableNames.ts";
import { chunked } from "./texts.ts";

/** Which run and step an import belongs to. */
interface ImportKey {
  readonly runId: string;
  readonly step: number;
}

const hashBytes = 16;
const hashesPerRow = 4000; // a property takes 64 KiB
const partitionOf = ({ runId, step }: ImportKey) => `${runId}-${step}`;

/** What an import has seen: rows of its pages with the hashes of their anchors, so that a page may be staged twice. */
export class SeenStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** `anchorHashes`: 22 characters each, as `anchorHash` gives them. */
  async add(key: ImportKey, page: number, anchorHashes: readonly string[]): Promise<void> {
    for (const [part, hashes] of chunked(anchorHashes, () => 1, hashesPerRow).entries()) {
      const bytes = Buffer.concat(hashes.map(anchorKey));
      const row = `p|${String(page).padStart(8, "0")}|${part}`;
      await this.#tables.transact(tableNames.imports, partitionOf(key), [
        { kind: "replace", row, properties: { bytes: new Uint8Array(bytes) } },
      ]);
    }
  }

  /** All of them, each once. */
  async load(key: ImportKey): Promise<HashTable> {
    const seen = new HashTable();
    const query = { partition: partitionOf(key), ...prefixRange("p|") };
    for await (const { properties } of rowsOf(this.#tables, tableNames.imports, query)) {
      const bytes = properties.bytes as Uint8Array;
      for (let at = 0; at < bytes.length; at += hashBytes) seen.add(bytes.subarray(at, at + hashBytes));
    }
    return seen;
  }

  async clear(key: ImportKey): Promise<void> {
    const rows: string[] = [];
    const query = { partition: partitionOf(key), ...prefixRange("p|"), select: ["none"] };
    for await (const { row } of rowsOf(this.#tables, tableNames.imports, query)) rows.push(row);
    await removeRows(this.#tables, tableNames.imports, partitionOf(key), rows);
  }
}

/** The key by which tables of hashes know an anchor hash. */
export function anchorKey(anchorHash: string): Uint8Array {
  return Buffer.from(anchorHash, "base64url").subarray(0, hashBytes);
}
