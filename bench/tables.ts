/** Tables that count what would be billed, and may be as slow as a service in a network. */
import { setTimeout as delay } from "node:timers/promises";
import type { Operation, Properties, Row, RowPage, RowQuery, Tables } from "../src/engine/ports/tables.ts";

/** What was asked of the tables. Bytes are those of keys and properties, without the protocol's own. */
export interface Requests {
  readonly gets: number;
  readonly queries: number;
  readonly transactions: number;
  readonly rowsRead: number;
  readonly rowsWritten: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export const none: Requests = {
  gets: 0,
  queries: 0,
  transactions: 0,
  rowsRead: 0,
  rowsWritten: 0,
  bytesRead: 0,
  bytesWritten: 0,
};

/** Each is one request to the service, and billed as one. */
export function requestsOf({ gets, queries, transactions }: Requests): number {
  return gets + queries + transactions;
}

/** A transaction as it was written. */
export interface Written {
  readonly table: string;
  readonly partition: string;
  readonly operations: readonly Operation[];
}

export class MeteredTables implements Tables {
  readonly #tables: Tables;
  /** Added to each request. */
  readonly #latencyMs: number;
  #requests: Requests = none;
  /** What is written while it is not null. */
  recording: Written[] | null = null;

  constructor(tables: Tables, latencyMs = 0) {
    this.#tables = tables;
    this.#latencyMs = latencyMs;
  }

  /** Since the last time. */
  take(): Requests {
    const taken = this.#requests;
    this.#requests = none;
    return taken;
  }

  async get(table: string, partition: string, row: string): Promise<Row | undefined> {
    await this.#wait();
    const found = await this.#tables.get(table, partition, row);
    this.#count({ gets: 1, ...readOf(found === undefined ? [] : [found]) });
    return found;
  }

  async query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    await this.#wait();
    const page = await this.#tables.query(table, query, continuation);
    this.#count({ queries: 1, ...readOf(page.rows) });
    return page;
  }

  async transact(
    table: string,
    partition: string,
    operations: readonly Operation[],
  ): Promise<readonly string[]> {
    if (operations.length === 0) return this.#tables.transact(table, partition, operations);
    await this.#wait();
    const bytesWritten = operations.reduce((sum, one) => sum + bytesOfOperation(partition, one), 0);
    this.#count({ transactions: 1, rowsWritten: operations.length, bytesWritten });
    this.recording?.push({ table, partition, operations });
    return this.#tables.transact(table, partition, operations);
  }

  async #wait(): Promise<void> {
    if (this.#latencyMs > 0) await delay(this.#latencyMs);
  }

  #count(more: Partial<Requests>): void {
    const sum: Record<string, number> = { ...this.#requests };
    for (const [name, count] of Object.entries(more)) sum[name]! += count;
    this.#requests = sum as unknown as Requests;
  }
}

function readOf(rows: readonly Row[]): Pick<Requests, "rowsRead" | "bytesRead"> {
  const bytesRead = rows.reduce(
    (sum, { partition, row, properties }) => sum + partition.length + row.length + bytesOf(properties),
    0,
  );
  return { rowsRead: rows.length, bytesRead };
}

function bytesOfOperation(partition: string, operation: Operation): number {
  const properties = operation.kind === "delete" ? {} : operation.properties;
  return partition.length + operation.row.length + bytesOf(properties);
}

/** As JSON carries them, most of what is written being ASCII. */
export function bytesOf(properties: Properties): number {
  let bytes = 0;
  for (const name of Object.keys(properties)) {
    const value = properties[name]!;
    bytes +=
      name.length +
      (typeof value === "string" ? value.length : value instanceof Uint8Array ? value.length * 1.4 : 8);
  }
  return bytes;
}
