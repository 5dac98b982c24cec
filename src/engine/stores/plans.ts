import type { ExportKind } from "../core/exporting.ts";
import { listRows, type Operation, prefixRange, rowsOf, type Tables } from "../ports/tables.ts";
import type { Counters } from "./fence.ts";
import { tableNames } from "./tableNames.ts";
import { chunked } from "./texts.ts";

/** One change of a frozen plan: the object, and the digest of what was decided for it then. */
export interface PlanItem {
  readonly id: string;
  readonly kind: ExportKind;
  readonly digest: string;
}

export interface PlanHead {
  readonly runId: string;
  readonly hash: string;
  readonly state: "running" | "held" | "done";
  /** ISO 8601. */
  readonly createdAt: string;
  readonly items: number;
  readonly counts: Counters;
  /** What was really exported, by kind. */
  readonly exported: Counters;
  /** ISO 8601; when it ended. */
  readonly endedAt: string | null;
}

const itemsPerRow = 300; // at most 93 characters each, below a property's 32,768
const headRow = (runId: string) => `plan|${runId}`;
const itemRow = (runId: string, index: number) => `item|${runId}|${String(index).padStart(6, "0")}`;

/** Frozen export plans by connector; run ids sort newest first, and so do plans. */
export class PlanStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** Items first, head last: a plan with a head is whole. */
  async freeze(connector: string, head: PlanHead, items: readonly PlanItem[]): Promise<void> {
    const rows = chunked(items, () => 1, itemsPerRow).map(
      (chunk, index): Operation => ({
        kind: "replace",
        row: itemRow(head.runId, index),
        properties: { items: JSON.stringify(chunk) },
      }),
    );
    for (const chunk of chunked(rows, () => 1, 50))
      await this.#tables.transact(tableNames.plans, connector, chunk);
    await this.#tables.transact(tableNames.plans, connector, [
      { kind: "replace", row: headRow(head.runId), properties: { plan: JSON.stringify(head) } },
    ]);
  }

  async items(connector: string, runId: string): Promise<PlanItem[]> {
    const rows = await listRows(this.#tables, tableNames.plans, {
      partition: connector,
      ...prefixRange(`item|${runId}|`),
    });
    return rows.flatMap(({ properties }) => JSON.parse(String(properties.items)) as PlanItem[]);
  }

  async head(connector: string, runId: string): Promise<PlanHead | undefined> {
    const row = await this.#tables.get(tableNames.plans, connector, headRow(runId));
    return row === undefined ? undefined : JSON.parse(String(row.properties.plan));
  }

  /** The plan that was frozen last. */
  async newest(connector: string): Promise<PlanHead | undefined> {
    const query = { partition: connector, ...prefixRange("plan|"), pageSize: 1 };
    for await (const { properties } of rowsOf(this.#tables, tableNames.plans, query))
      return JSON.parse(String(properties.plan));
    return undefined;
  }

  async setHead(connector: string, head: PlanHead): Promise<void> {
    await this.#tables.transact(tableNames.plans, connector, [
      { kind: "replace", row: headRow(head.runId), properties: { plan: JSON.stringify(head) } },
    ]);
  }

  /** What the connector has exported since `since` (ISO 8601), by kind. */
  async exportedSince(connector: string, since: string): Promise<Counters> {
    const sum: Record<string, number> = {};
    const query = { partition: connector, ...prefixRange("plan|"), pageSize: 100 };
    let continuation: string | undefined;
    do {
      const page = await this.#tables.query(tableNames.plans, query, continuation);
      for (const { properties } of page.rows) {
        const head = JSON.parse(String(properties.plan)) as PlanHead;
        // Newest first: everything from here on is older.
        if (head.createdAt < since && (head.endedAt ?? head.createdAt) < since) return sum;
        for (const [kind, count] of Object.entries(head.exported)) sum[kind] = (sum[kind] ?? 0) + count;
      }
      continuation = page.continuation;
    } while (continuation !== undefined);
    return sum;
  }
}
