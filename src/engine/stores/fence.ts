import { type Operation, StoreError, type Tables } from "../ports/tables.ts";

/** How often something happened, by MIM's counter names. */
export type Counters = Readonly<Record<string, number>>;

export function addCounters(...all: readonly Counters[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const counters of all) {
    for (const [name, count] of Object.entries(counters)) {
      const total = (sum[name] ?? 0) + count;
      if (total === 0) delete sum[name];
      else sum[name] = total;
    }
  }
  return sum;
}

/** The lease under which somebody writes. */
export interface Claim {
  readonly runId: string;
  readonly step: number;
  readonly shard: string;
  /** Rises with every taking of the lease of (run, step, shard). */
  readonly epoch: number;
  /** @throws LeaseLost when somebody else has taken the lease over. */
  verify(): Promise<void>;
}

/** Another worker has taken over. Whoever gets this stops at once and writes nothing more. */
export class LeaseLost extends Error {
  constructor(claim: Pick<Claim, "runId" | "step" | "shard">) {
    super(`The lease of run ${claim.runId}, step ${claim.step}, shard ${claim.shard} was taken over.`);
    this.name = "LeaseLost";
  }
}

export const fenceRow = "fence";

interface Fence {
  readonly runId: string;
  readonly step: number;
  /** The newest epoch that wrote here, by shard of the step: several shards may write into one partition. */
  readonly epochs: Readonly<Record<string, number>>;
  /** What this step of this run has counted in this partition. */
  readonly counters: Counters;
  /** What the partition holds, whoever wrote it. */
  readonly totals: Counters;
}

interface StoredFence {
  readonly fence: Fence;
  /** Undefined when the row does not exist yet. */
  readonly etag: string | undefined;
}

const noFence: Fence = { runId: "", step: 0, epochs: {}, counters: {}, totals: {} };

async function readFence(tables: Tables, table: string, partition: string): Promise<StoredFence> {
  const row = await tables.get(table, partition, fenceRow);
  if (row === undefined) return { fence: noFence, etag: undefined };
  const { runId, step, epochs, counters, totals } = row.properties;
  return {
    fence: {
      runId: String(runId),
      step: Number(step),
      epochs: JSON.parse(String(epochs)),
      counters: JSON.parse(String(counters)),
      totals: JSON.parse(String(totals)),
    },
    etag: row.etag,
  };
}

/** What a step of a run has counted in a partition, and what the partition holds. */
export async function readCounters(
  tables: Tables,
  table: string,
  partition: string,
  of?: { readonly runId: string; readonly step: number },
): Promise<{ readonly counters: Counters; readonly totals: Counters }> {
  const { fence } = await readFence(tables, table, partition);
  const counts = of !== undefined && fence.runId === of.runId && fence.step === of.step;
  return { counters: counts ? fence.counters : {}, totals: fence.totals };
}

/**
 * Writes transactions that carry their partition's fence row, conditional on its ETag. A worker that was frozen, lost
 * its lease and thaws holds an old ETag, so nothing that it still wants to write can commit.
 *
 * Counters are part of the fence row: they change in the same transaction as the rows that they count.
 */
export class FencedWriter {
  readonly #tables: Tables;
  readonly #claim: Claim;
  readonly #fences = new Map<string, StoredFence>();
  readonly #queues = new Map<string, Promise<unknown>>();

  constructor(tables: Tables, claim: Claim) {
    this.#tables = tables;
    this.#claim = claim;
  }

  /**
   * At most 99 operations. Transactions of one partition go one after the other, of several side by side.
   * @returns the ETags of the operations.
   * @throws StoreError "conflict" when a row (not the fence) has changed; LeaseLost.
   */
  transact(
    table: string,
    partition: string,
    operations: readonly Operation[],
    counts: { readonly counters?: Counters; readonly totals?: Counters } = {},
  ): Promise<readonly string[]> {
    const key = `${table}/${partition}`;
    const before = this.#queues.get(key) ?? Promise.resolve();
    const work = before.then(() => this.#write(key, table, partition, operations, counts));
    // The next in line does not depend on how this one ended; the caller of this one sees its error.
    this.#queues.set(
      key,
      work.catch(() => undefined),
    );
    return work;
  }

  async #write(
    key: string,
    table: string,
    partition: string,
    operations: readonly Operation[],
    counts: { readonly counters?: Counters; readonly totals?: Counters },
  ): Promise<readonly string[]> {
    for (;;) {
      const stored = this.#fences.get(key) ?? (await this.#enter(table, partition));
      const fence: Fence = {
        ...stored.fence,
        counters: addCounters(stored.fence.counters, counts.counters ?? {}),
        totals: addCounters(stored.fence.totals, counts.totals ?? {}),
      };
      try {
        const etags = await this.#tables.transact(table, partition, [
          ...operations,
          fenceOperation(fence, stored.etag),
        ]);
        this.#fences.set(key, { fence, etag: etags.at(-1)! });
        return etags.slice(0, -1);
      } catch (error) {
        this.#fences.delete(key);
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
        // Either one of the rows has changed, or the fence has: by another shard of this step (go on), or by a
        // successor (stop). Only a look at the fence tells.
        const now = await this.#enter(table, partition);
        if (now.etag === stored.etag) throw error;
        this.#fences.set(key, now);
      }
    }
  }

  /** Reads the fence and makes it ours in memory; it becomes ours in the table with the first transaction. */
  async #enter(table: string, partition: string): Promise<StoredFence> {
    const { runId, step, shard, epoch } = this.#claim;
    const stored = await readFence(this.#tables, table, partition);
    // After reading, so that a successor who writes here from now on changes the ETag that we hold.
    await this.#claim.verify();
    const { fence } = stored;
    if (fence.runId !== runId || fence.step !== step) {
      return {
        fence: { ...fence, runId, step, epochs: { [shard]: epoch }, counters: {} },
        etag: stored.etag,
      };
    }
    if ((fence.epochs[shard] ?? 0) > epoch) throw new LeaseLost(this.#claim);
    return { fence: { ...fence, epochs: { ...fence.epochs, [shard]: epoch } }, etag: stored.etag };
  }
}

function fenceOperation(fence: Fence, etag: string | undefined): Operation {
  const properties = {
    runId: fence.runId,
    step: fence.step,
    epochs: JSON.stringify(fence.epochs),
    counters: JSON.stringify(fence.counters),
    totals: JSON.stringify(fence.totals),
  };
  return etag === undefined
    ? { kind: "insert", row: fenceRow, properties }
    : { kind: "replace", row: fenceRow, properties, etag };
}
