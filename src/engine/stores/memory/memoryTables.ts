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

interface Partition {
  readonly rows: Map<string, { etag: string; properties: Properties }>;
  /** Row keys in order; null after an insert or a delete until the next query. */
  sorted: string[] | null;
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
      found = { rows: new Map(), sorted: null };
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
    partition.sorted ??= [...partition.rows.keys()].sort();
    const keys = partition.sorted;
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
      if (rows.length === max) return { rows, continuation: continuationAt(row) };
      const { etag, properties } = partition.rows.get(row)!;
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
    const { rows } = this.#partition(table, partition);
    for (const operation of operations) {
      const found = rows.get(operation.row);
      const conflict =
        operation.kind === "insert"
          ? found !== undefined
          : operation.kind === "delete"
            ? found === undefined
            : operation.etag !== undefined && operation.etag !== found?.etag;
      if (conflict) throw new StoreError("conflict", `Row ${operation.row} has changed (${operation.kind}).`);
    }
    const owner = this.#partition(table, partition);
    return operations.map((operation) => {
      if (operation.kind === "delete") {
        rows.delete(operation.row);
        owner.sorted = null;
        return "";
      }
      if (!rows.has(operation.row)) owner.sorted = null;
      const etag = String(++this.#etag);
      rows.set(operation.row, { etag, properties: { ...operation.properties } });
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
