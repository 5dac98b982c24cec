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
  transactionMax,
} from "../../ports/tables.ts";

/** Bytes of a property as the service counts them: strings are UTF-16. */
export function propertyBytes(value: Property): number {
  if (typeof value === "string") return value.length * 2;
  if (value instanceof Uint8Array) return value.length;
  return 8;
}

/** @throws StoreError "too-large" for what the service refuses, so that every store refuses the same. */
export function assertWithinLimits(operations: readonly Operation[]): void {
  const tooLarge = (what: string): never => {
    throw new StoreError("too-large", `Table Storage does not take ${what}.`);
  };
  if (operations.length > transactionMax) tooLarge(`${operations.length} operations in one transaction`);
  const keys = new Set<string>();
  let total = 0;
  for (const operation of operations) {
    if (keys.has(operation.row)) tooLarge(`two operations on row ${operation.row} in one transaction`);
    keys.add(operation.row);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that keys must not have.
    if (/[/\\#?\u0000-\u001f\u007f-\u009f]/.test(operation.row)) tooLarge(`the row key ${operation.row}`);
    if (operation.row.length > 512) tooLarge(`a row key of ${operation.row.length} characters`);
    if (operation.kind === "delete") continue;
    const names = Object.keys(operation.properties);
    if (names.length > 252) tooLarge(`${names.length} properties in one row`);
    let bytes = 0;
    for (const name of names) {
      const size = propertyBytes(operation.properties[name]!);
      if (size > 65_536) tooLarge(`the property ${name} of ${size} bytes`);
      bytes += size + name.length * 2 + 8;
    }
    if (bytes > 1_048_576) tooLarge(`a row of ${bytes} bytes`);
    total += bytes;
  }
  if (total > 4_000_000) tooLarge(`a transaction of ${total} bytes`);
}

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
    assertWithinLimits(operations);
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
