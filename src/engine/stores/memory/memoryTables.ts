import {
  continuationAt,
  type Operation,
  type Properties,
  type Property,
  type Row,
  type RowPage,
  type RowQuery,
  rowOfContinuation,
  StoreError,
  type Tables,
} from "../../ports/tables.ts";
import { assertWithinLimits } from "../limits.ts";

/** The rows of one partition, and their keys in order. */
class Partition {
  readonly rows = new Map<string, { etag: string; properties: Properties }>();
  /** In order but for the last `#added`, which came since; keys of rows that are gone stay until they are many. */
  #keys: string[] = [];
  #added = 0;
  readonly #gone = new Set<string>();

  set(row: string, etag: string, properties: Properties): void {
    if (!this.rows.has(row) && !this.#gone.delete(row)) {
      this.#keys.push(row);
      this.#added++;
    }
    this.rows.set(row, { etag, properties });
  }

  delete(row: string): void {
    if (this.rows.delete(row)) this.#gone.add(row);
  }

  /** In order; rows that are gone may be among them. */
  keys(): readonly string[] {
    if (this.#gone.size * 2 > this.#keys.length) {
      this.#keys = this.#keys.filter((row) => !this.#gone.has(row));
      this.#gone.clear();
      this.#added = this.#keys.length;
    }
    // Sorting what is in order up to its end takes little more than looking at it.
    if (this.#added > 0) this.#keys.sort();
    this.#added = 0;
    return this.#keys;
  }
}

/** Table storage in memory, for tests, simulation and benchmarks of the engine itself. */
export class MemoryTables implements Tables {
  readonly #tables = new Map<string, Map<string, Partition>>();
  #etag = 0;

  #partition(table: string, partition: string): Partition {
    let partitions = this.#tables.get(table);
    if (partitions === undefined) {
      partitions = new Map();
      this.#tables.set(table, partitions);
    }
    let found = partitions.get(partition);
    if (found === undefined) {
      found = new Partition();
      partitions.set(partition, found);
    }
    return found;
  }

  async get(table: string, partition: string, row: string): Promise<Row | undefined> {
    const found = this.#partition(table, partition).rows.get(row);
    return found === undefined ? undefined : { partition, row, ...found };
  }

  async query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    const partition = this.#partition(table, query.partition);
    const keys = partition.keys();
    const from = continuation === undefined ? (query.from ?? "") : rowOfContinuation(continuation);
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (keys[middle]! < from) low = middle + 1;
      else high = middle;
    }
    const rows: Row[] = [];
    const max = Math.min(query.pageSize ?? 1000, 1000);
    for (let index = low; index < keys.length; index++) {
      const row = keys[index]!;
      if (query.to !== undefined && row >= query.to) break;
      const found = partition.rows.get(row);
      if (found === undefined) continue;
      if (rows.length === max) return { rows, continuation: continuationAt(row) };
      const { etag, properties } = found;
      rows.push({ partition: query.partition, row, etag, properties: selected(properties, query.select) });
    }
    return { rows };
  }

  async transact(
    table: string,
    partition: string,
    operations: readonly Operation[],
  ): Promise<readonly string[]> {
    assertWithinLimits(partition, operations);
    const owner = this.#partition(table, partition);
    for (const operation of operations) {
      const found = owner.rows.get(operation.row);
      const conflict =
        operation.kind === "insert"
          ? found !== undefined
          : operation.kind === "delete"
            ? found === undefined
            : operation.etag !== undefined && operation.etag !== found?.etag;
      if (conflict) throw new StoreError("conflict", `Row ${operation.row} has changed (${operation.kind}).`);
    }
    return operations.map((operation) => {
      if (operation.kind === "delete") {
        owner.delete(operation.row);
        return "";
      }
      const etag = String(++this.#etag);
      owner.set(operation.row, etag, { ...operation.properties });
      return etag;
    });
  }
}

function selected(properties: Properties, select: readonly string[] | undefined): Properties {
  if (select === undefined) return properties;
  const result: Record<string, Property> = {};
  for (const name of select) {
    const value = properties[name];
    if (value !== undefined) result[name] = value;
  }
  return result;
}
