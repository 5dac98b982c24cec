/** Tables in memory whose requests can fail, or forget to look whether a row is still as it was read. */
import type { Operation, Row, RowPage, RowQuery } from "../../src/engine/ports/tables.ts";
import { CountedTables } from "../support/engineWorld.ts";

export class TroubledTables extends CountedTables {
  /** Called before each request, and after each transaction; may throw StoreError. */
  trouble: (when: "read" | "before" | "after") => void = () => undefined;
  blind = false;

  override async get(table: string, partition: string, row: string): Promise<Row | undefined> {
    this.trouble("read");
    return super.get(table, partition, row);
  }

  override async query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    this.trouble("read");
    return super.query(table, query, continuation);
  }

  override async transact(
    table: string,
    partition: string,
    operations: readonly Operation[],
  ): Promise<readonly string[]> {
    this.trouble("before");
    const written = this.blind ? operations.map(unconditional) : operations;
    const etags = await super.transact(table, partition, written);
    this.trouble("after");
    return etags;
  }
}

function unconditional(operation: Operation): Operation {
  return operation.kind === "replace"
    ? { kind: "replace", row: operation.row, properties: operation.properties }
    : operation;
}
