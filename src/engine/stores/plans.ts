import type { PlanItem } from "../core/exportOrder.ts";
import { listRows, type Operation, prefixRange, type Row, rowsOf, type Tables } from "../ports/tables.ts";
import { addCounters, type Counters } from "./fence.ts";
import { transactionsOf } from "./limits.ts";
import { removeRows } from "./removal.ts";
import { tableNames } from "./tableNames.ts";
import { chunked } from "./texts.ts";

/** What an export step froze, and what became of it. */
export interface PlanHead {
  readonly runId: string;
  readonly hash: string;
  /** `held`: nothing of it was sent. */
  readonly state: "running" | "held" | "done";
  /** Exported because somebody has approved it: it does not count towards later limits. */
  readonly approved: boolean;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly items: number;
  readonly counts: Counters;
  /** What was really exported, by kind, of the items before `countedUpTo`. */
  readonly exported: Counters;
  readonly countedUpTo: number;
  /** ISO 8601; when it ended. */
  readonly endedAt: string | null;
}

/** A plan that somebody was shown and may approve by its hash. */
export interface PlanOffer {
  readonly hash: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** With another rule set it is no longer on offer. */
  readonly rulesVersion: string;
  readonly items: number;
  readonly counts: Counters;
}

const itemsLengthMax = 30_000; // characters; a property takes 32,768
const headRow = (runId: string) => `plan|${runId}`;
const offerRow = (hash: string) => `offer|${hash}`;
/** `owner`: a run id, or the hash of an offer. */
const itemRow = (owner: string, index: number) => `item|${owner}|${String(index).padStart(6, "0")}`;

/** Export plans by connector: what runs have frozen (run ids sort newest first, and so do plans), what was shown. */
export class PlanStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  // ---- frozen plans --------------------------------------------------------------------------------------------

  /** Items first, head last: a plan with a head is whole. A held plan has none: its offer does. */
  async freeze(connector: string, head: PlanHead, items: readonly PlanItem[]): Promise<void> {
    await this.#putItems(connector, head.runId, items);
    await this.setHead(connector, head);
  }

  async head(connector: string, runId: string): Promise<PlanHead | undefined> {
    const row = await this.#tables.get(tableNames.plans, connector, headRow(runId));
    return row === undefined ? undefined : headOf(row);
  }

  /** The plan that was frozen last. */
  async newest(connector: string): Promise<PlanHead | undefined> {
    const query = { partition: connector, ...prefixRange("plan|"), pageSize: 1 };
    for await (const row of rowsOf(this.#tables, tableNames.plans, query)) return headOf(row);
    return undefined;
  }

  async setHead(connector: string, head: PlanHead): Promise<void> {
    await this.#put(connector, [
      { kind: "replace", row: headRow(head.runId), properties: { plan: JSON.stringify(head) } },
    ]);
  }

  /** What the connector has exported since `since` (ISO 8601) without anybody's approval, by kind. */
  async exportedSince(connector: string, since: string): Promise<Counters> {
    const exported: Counters[] = [];
    const query = { partition: connector, ...prefixRange("plan|"), pageSize: 100 };
    for await (const row of rowsOf(this.#tables, tableNames.plans, query)) {
      const head = headOf(row);
      // Newest first: everything from here on is older.
      if (head.createdAt < since && (head.endedAt ?? head.createdAt) < since) break;
      if (!head.approved) exported.push(head.exported);
    }
    return addCounters(...exported);
  }

  // ---- offers --------------------------------------------------------------------------------------------------

  async offer(connector: string, hash: string): Promise<PlanOffer | undefined> {
    if (!/^[0-9a-f]{64}$/.test(hash)) return undefined;
    const row = await this.#tables.get(tableNames.plans, connector, offerRow(hash));
    return row === undefined ? undefined : offerOf(row);
  }

  /** Offers a plan, or offers it again. */
  async keepOffer(connector: string, offer: PlanOffer, items: readonly PlanItem[]): Promise<void> {
    if ((await this.offer(connector, offer.hash)) === undefined)
      await this.#putItems(connector, offer.hash, items);
    await this.#put(connector, [
      { kind: "replace", row: offerRow(offer.hash), properties: { offer: JSON.stringify(offer) } },
    ]);
  }

  /** What was approved has been exported: it cannot be approved again. */
  async withdrawOffer(connector: string, hash: string): Promise<void> {
    if ((await this.offer(connector, hash)) !== undefined)
      await this.#remove(connector, offerRow(hash), hash);
  }

  // ---- both ----------------------------------------------------------------------------------------------------

  /** @param owner the run that froze the plan, or the hash under which it is offered */
  async items(connector: string, owner: string): Promise<PlanItem[]> {
    const query = { partition: connector, ...prefixRange(`item|${owner}|`) };
    const rows = await listRows(this.#tables, tableNames.plans, query);
    return rows.flatMap(({ properties }) => JSON.parse(String(properties.items)) as PlanItem[]);
  }

  /** Forgets offers made before `offered`, and plans that ended before `ended` (ISO 8601), with their items. */
  async forget(
    connector: string,
    before: { readonly offered: string; readonly ended: string },
  ): Promise<void> {
    for (const row of await this.#rows(connector, "offer|")) {
      const { hash, createdAt } = offerOf(row);
      if (createdAt < before.offered) await this.#remove(connector, offerRow(hash), hash);
    }
    for (const row of await this.#rows(connector, "plan|")) {
      const { runId, createdAt, endedAt } = headOf(row);
      if ((endedAt ?? createdAt) < before.ended) await this.#remove(connector, headRow(runId), runId);
    }
  }

  /** The head goes last, so that whoever forgets next finds what an interrupted one has left. */
  async #remove(connector: string, head: string, owner: string): Promise<void> {
    const items = await this.#rows(connector, `item|${owner}|`);
    await removeRows(this.#tables, tableNames.plans, connector, [...items.map(({ row }) => row), head]);
  }

  #rows(connector: string, prefix: string): Promise<Row[]> {
    return listRows(this.#tables, tableNames.plans, { partition: connector, ...prefixRange(prefix) });
  }

  async #putItems(connector: string, owner: string, items: readonly PlanItem[]): Promise<void> {
    await this.#put(
      connector,
      chunked(items, (item) => JSON.stringify(item).length + 1, itemsLengthMax).map((chunk, index) => ({
        kind: "replace",
        row: itemRow(owner, index),
        properties: { items: JSON.stringify(chunk) },
      })),
    );
  }

  async #put(connector: string, operations: readonly Operation[]): Promise<void> {
    for (const chunk of transactionsOf(operations))
      await this.#tables.transact(tableNames.plans, connector, chunk);
  }
}

const headOf = (row: Row): PlanHead => JSON.parse(String(row.properties.plan));
const offerOf = (row: Row): PlanOffer => JSON.parse(String(row.properties.offer));
