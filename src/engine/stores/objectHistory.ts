import pMap from "p-map";
import type { HistoryEntry } from "../core/history.ts";
import { shardOf, shards } from "../core/identity.ts";
import { type Operation, prefixRange, type Row, rowsOf, type Tables } from "../ports/tables.ts";
import { transactionShare, transactionsOf } from "./limits.ts";
import { removeRows } from "./removal.ts";
import { tableNames } from "./tableNames.ts";
import { chunked, decodeText, encodeTexts, spillDeletions, spillsOf, textColumns } from "./texts.ts";

/** One entry, and the place in the history that is its own: a replay overwrites it. */
export interface HistoryWrite {
  readonly metaverseId: string;
  /** Sorts newest first: begins with inverted time, as ids of runs do. */
  readonly order: string;
  /** When it began to count for retention: ISO 8601, the same in every replay. */
  readonly since: string;
  readonly entry: HistoryEntry;
}

const entryPrefix = (metaverseId: string) => `h|${metaverseId}|`;
const byTime = "t|";
const readsInFlight = 16;

/** Digits that sort newest first. */
export function invertedTime(ms: number): string {
  return String(9_999_999_999_999 - ms).padStart(13, "0");
}

/**
 * The changes of each metaverse object: appended, read, and removed when their time is over, nothing else. Beside each
 * entry stands a row by its time, so that removing costs what there is to remove.
 */
export class ObjectHistoryStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  async add(writes: readonly HistoryWrite[]): Promise<void> {
    const byShard = Map.groupBy(writes, ({ metaverseId }) => shardOf(metaverseId));
    await pMap(byShard, async ([shard, all]) => {
      const encoded = all.map(({ metaverseId, order, since, entry }) => {
        const row = entryPrefix(metaverseId) + order;
        const { properties, spillRows } = encodeTexts(metaverseId, { entry: JSON.stringify(entry) });
        const operations: Operation[] = [
          { kind: "replace", row, properties },
          { kind: "replace", row: `${byTime}${since}|${row}`, properties: {} },
        ];
        return { operations, spillRows };
      });
      for (const chunk of transactionsOf(encoded.flatMap(({ spillRows }) => spillRows)))
        await this.#tables.transact(tableNames.objectHistory, shard, chunk);
      for (const chunk of chunked(encoded, ({ operations }) => transactionShare(operations), 1))
        await this.#tables.transact(
          tableNames.objectHistory,
          shard,
          chunk.flatMap(({ operations }) => operations),
        );
    });
  }

  /** One page, newest first. */
  async page(
    metaverseId: string,
    pageSize: number,
    continuation?: string,
  ): Promise<{ readonly entries: readonly HistoryEntry[]; readonly continuation?: string }> {
    const query = { partition: shardOf(metaverseId), ...prefixRange(entryPrefix(metaverseId)), pageSize };
    const page = await this.#tables.query(tableNames.objectHistory, query, continuation);
    const entries = await Promise.all(page.rows.map((row) => this.#decode(row)));
    return page.continuation === undefined ? { entries } : { entries, continuation: page.continuation };
  }

  async #decode(row: Row): Promise<HistoryEntry> {
    return JSON.parse((await decodeText(this.#tables, tableNames.objectHistory, row, "entry")) ?? "null");
  }

  /**
   * Removes what is older than `before` (ISO 8601).
   * @param isOver asked between transactions: true leaves the rest for another time
   * @returns how many entries were removed
   */
  async removeBefore(before: string, isOver: () => boolean): Promise<number> {
    let removed = 0;
    for (const shard of shards) {
      let old: string[] = [];
      const query = { partition: shard, from: byTime, to: byTime + before };
      for await (const { row } of rowsOf(this.#tables, tableNames.objectHistory, query)) {
        old.push(row);
        if (old.length < 20) continue;
        removed += await this.#remove(shard, old);
        old = [];
        if (isOver()) return removed;
      }
      removed += await this.#remove(shard, old);
    }
    return removed;
  }

  async #remove(shard: string, times: readonly string[]): Promise<number> {
    if (times.length === 0) return 0;
    const entryRow = (time: string) => time.slice(time.indexOf("|", byTime.length) + 1);
    const rows = await pMap(
      new Set(times.map(entryRow)),
      (row) => this.#tables.get(tableNames.objectHistory, shard, row),
      { concurrency: readsInFlight },
    );
    const present = rows.filter((row) => row !== undefined);
    const spills = present.flatMap((row) => spillDeletions(spillsOf(row, textColumns("entry"))));
    for (const over of [[...times, ...present.map(({ row }) => row)], spills.map(({ row }) => row)])
      await removeRows(this.#tables, tableNames.objectHistory, shard, over);
    return present.length;
  }
}
