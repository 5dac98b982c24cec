import type { Operation, Tables } from "../../src/engine/ports/tables.ts";
import { listRows, StoreError } from "../../src/engine/ports/tables.ts";
import { FencedWriter, fenceRow, LeaseLost } from "../../src/engine/stores/fence.ts";
import type { TableFaults } from "./tableFaults.ts";

export interface StoreBackend {
  readonly tables: Tables;
  /** Of the same tables, as another process sees them whom no fault befalls. */
  readonly calm: Tables;
  readonly faults: TableFaults;
}

/** What one test works with: tables that are empty, and what was written to them. */
export interface StoreWorld extends StoreBackend {
  /** Every partition and row key that was written. */
  readonly keys: ReadonlySet<string>;
  /** Rows of all partitions that were written to, fences left out. */
  rest(table: string): Promise<string[]>;
  /** A lease of a step of a run; nobody takes it over unless `isLost` says so. */
  writer(of?: { readonly epoch?: number; isLost?(): boolean; readonly calm?: true }): FencedWriter;
}

let made = 0;

/** Empty tables for one test: names of their own among those of the backend. */
export function storeWorld({ tables, calm, faults }: StoreBackend): StoreWorld {
  const prefix = `t${Date.now().toString(36)}x${++made}x`;
  const keys = new Set<string>();
  const partitions = new Map<string, Set<string>>();
  const renamed = (inner: Tables): Tables => ({
    get: (table, partition, row) => inner.get(prefix + table, partition, row),
    query: (table, query, continuation) => inner.query(prefix + table, query, continuation),
    transact(table: string, partition: string, operations: readonly Operation[]) {
      partitions.set(table, (partitions.get(table) ?? new Set()).add(partition));
      for (const key of [partition, ...operations.map(({ row }) => row)]) keys.add(key);
      return inner.transact(prefix + table, partition, operations);
    },
  });
  faults.clear();
  const world: StoreWorld = {
    tables: renamed(tables),
    calm: renamed(calm),
    faults,
    keys,
    async rest(table) {
      const rows: string[] = [];
      for (const partition of partitions.get(table) ?? [])
        for (const { row } of await listRows(world.calm, table, { partition }))
          if (row !== fenceRow) rows.push(row);
      return rows.sort();
    },
    writer({ epoch = 1, isLost = () => false, calm: unstruck } = {}) {
      const claim = { runId: "8232774399999-000001", step: 0, shard: "main", epoch };
      const verify = async () => {
        if (isLost()) throw new LeaseLost(claim);
      };
      return new FencedWriter(unstruck ? world.calm : world.tables, { ...claim, verify });
    },
  };
  return world;
}

/**
 * Does what the engine does with what a store throws: `unreachable`, the same again; `conflict`, read and decide
 * again. So `work` reads, decides and writes.
 */
export async function untilDone<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await work();
    } catch (error) {
      const again =
        error instanceof StoreError && (error.kind === "unreachable" || error.kind === "conflict");
      if (!again || tries === 50) throw error;
    }
  }
}
