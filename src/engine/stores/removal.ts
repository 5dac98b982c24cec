import { type Operation, StoreError, type Tables, transactionMax } from "../ports/tables.ts";
import { chunked } from "./texts.ts";

/**
 * Removes rows of one partition that nobody needs; those that are gone already are no error: an earlier attempt, or one
 * whose answer got lost, has removed them.
 */
export async function removeRows(
  tables: Tables,
  table: string,
  partition: string,
  rows: readonly string[],
): Promise<void> {
  const remove = (some: readonly string[]) =>
    tables.transact(
      table,
      partition,
      some.map((row): Operation => ({ kind: "delete", row })),
    );
  for (const chunk of chunked([...new Set(rows)], () => 1, transactionMax)) {
    try {
      await remove(chunk);
    } catch (error) {
      if (!isConflict(error)) throw error;
      if (chunk.length > 1) for (const row of chunk) await removeRows(tables, table, partition, [row]);
    }
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof StoreError && error.kind === "conflict";
}
