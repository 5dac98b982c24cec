/** The least that a step could take: its bytes read a thousand rows a request and written a hundred a transaction. */
import pMap from "p-map";
import { shards } from "../src/engine/core/identity.ts";
import { type Operation, type RowQuery, rowsOf, type Tables } from "../src/engine/ports/tables.ts";
import { partitionOf } from "../src/engine/stores/connectorSpaceRows.ts";
import { metaversePartition } from "../src/engine/stores/metaverse.ts";
import { tableNames } from "../src/engine/stores/tableNames.ts";
import { chunked } from "../src/engine/stores/texts.ts";
import type { Guests } from "./directories.ts";
import { bytesOf, type Written } from "./tables.ts";

/** Queries at once: the engine reads digests so, and works on four messages at once. */
const readsInFlight = 4;
/** Transactions at once, of different partitions: an import writes to all its shards side by side. */
const writesInFlight = 16;

/** Makes the tables that the floor writes to, as the engine's are there before a step begins. */
export async function openFloor(tables: Tables): Promise<void> {
  for (const name of Object.values(tableNames))
    await tables.transact(`floor${name}`, "open", [{ kind: "insert", row: "open", properties: {} }]);
}

/** The pages of the source and the digests of its objects. */
export async function readForImport(tables: Tables, connector: string, source: Guests | null): Promise<void> {
  for await (const _page of source?.importPages({ kind: "full" }) ?? []);
  const select = ["anchorHash", "digest", "gone"];
  await readAll(
    tables,
    shards.map((shard) => [
      tableNames.connectorSpace,
      { partition: partitionOf(connector, shard), from: "o|", to: "o|\u007f", select },
    ]),
  );
}

/** Every metaverse object with all that is linked to it. */
export async function readForSynchronisation(tables: Tables): Promise<void> {
  const objects = { from: "o|", to: "o|\u007f" };
  await readAll(
    tables,
    shards.flatMap((shard) => [
      [tableNames.metaverse, { partition: metaversePartition(shard), ...objects }] as const,
      ...["AADMA", "ADMA"].map(
        (connector) =>
          [tableNames.connectorSpace, { partition: partitionOf(connector, shard), ...objects }] as const,
      ),
    ]),
  );
}

async function readAll(tables: Tables, queries: readonly (readonly [string, RowQuery])[]): Promise<void> {
  await pMap(
    queries,
    async ([table, query]) => {
      for await (const _row of rowsOf(tables, table, query));
    },
    { concurrency: readsInFlight },
  );
}

/**
 * All rows that a step has written, in as few transactions as there can be, to tables that nobody else uses.
 * @param name of the step: its rows lie apart from those of others
 */
export async function writeAgain(tables: Tables, name: string, written: readonly Written[]): Promise<void> {
  const partitions = Map.groupBy(written, ({ table, partition }) => `${table}/${partition}`);
  await pMap(
    partitions.values(),
    async (all) => {
      const { table, partition } = all[0]!;
      // A row may have been written twice: its bytes count twice.
      const rows = all
        .flatMap(({ operations }) => operations)
        .map((operation, index): Operation => {
          const properties = operation.kind === "delete" ? {} : operation.properties;
          return { kind: "insert", row: `${String(index).padStart(8, "0")}${operation.row}`, properties };
        });
      const weight = (one: Operation) =>
        Math.max(1 / 100, one.kind === "delete" ? 0 : bytesOf(one.properties) / 1_500_000);
      for (const chunk of chunked(rows, weight, 1)) {
        await tables.transact(`floor${table}`, `${name}-${partition}`, chunk);
      }
    },
    { concurrency: writesInFlight },
  );
}
