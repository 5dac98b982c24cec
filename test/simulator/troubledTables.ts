/** Tables in memory whose requests can fail, or forget to look whether a row is still as it was read. */
import type { Operation, Row, RowPage, RowQuery } from "../../src/engine/ports/tables.ts";
import { continuationAt, rowOfContinuation } from "../../src/engine/ports/tables.ts";
import { tableNames } from "../../src/engine/stores/tableNames.ts";
import { CountedTables } from "../support/engineWorld.ts";

export class TroubledTables extends CountedTables {
  /** Called before each request, and after each transaction; may throw StoreError. */
  trouble: (when: "read" | "before" | "after") => void = () => undefined;
  /** How many rows the next page has at most; 0: an empty page with a continuation. */
  pageMax: () => number | undefined = () => undefined;
  blind = false;
  /** Who holds which lease, as its row says. */
  readonly leases = new Map<string, string>();

  override async get(table: string, partition: string, row: string): Promise<Row | undefined> {
    this.trouble("read");
    return super.get(table, partition, row);
  }

  override async query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    this.trouble("read");
    const max = this.pageMax();
    if (max === 0) {
      const from = continuation === undefined ? (query.from ?? "") : rowOfContinuation(continuation);
      return { rows: [], continuation: continuationAt(from) };
    }
    const pageSize = Math.min(query.pageSize ?? 1000, max ?? 1000);
    return super.query(table, { ...query, pageSize }, continuation);
  }

  override async transact(
    table: string,
    partition: string,
    operations: readonly Operation[],
  ): Promise<readonly string[]> {
    this.trouble("before");
    const written = this.blind ? operations.map(unconditional) : operations;
    const etags = await super.transact(table, partition, written);
    if (table === tableNames.checkpoints) this.#noteLeases(partition, operations);
    this.trouble("after");
    return etags;
  }

  #noteLeases(run: string, operations: readonly Operation[]): void {
    for (const operation of operations) {
      if (operation.kind === "delete" || operation.properties.checkpoint === undefined) continue;
      const { leaseOwner } = JSON.parse(String(operation.properties.checkpoint));
      if (leaseOwner === null) this.leases.delete(`${run}/${operation.row}`);
      else this.leases.set(`${run}/${operation.row}`, leaseOwner);
    }
  }
}

function unconditional(operation: Operation): Operation {
  return operation.kind === "replace"
    ? { kind: "replace", row: operation.row, properties: operation.properties }
    : operation;
}
