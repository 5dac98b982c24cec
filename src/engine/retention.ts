/** What is kept for a set time only: the run history, the histories of persons, the audit, comparisons of rules. */
import type { Engine } from "./engine.ts";
import { prefixRange, type RowQuery, rowsOf, type Tables } from "./ports/tables.ts";
import { isoTime } from "./runs/engine.ts";
import { invertedTime } from "./stores/objectHistory.ts";
import { removeRows } from "./stores/removal.ts";
import { decodeRun } from "./stores/runs.ts";
import { tableNames } from "./stores/tableNames.ts";

/** Milliseconds. */
export interface RetentionTimes {
  /** Runs with their steps, counters, errors and checkpoints, and what comparisons of rules have found. */
  readonly runHistoryMs: number;
  readonly objectHistoryMs: number;
  readonly auditMs: number;
}

const dayMs = 24 * 60 * 60 * 1000;
/** Entra Connect keeps 7 days of runs; who did what is asked much later. */
export const defaultRetention: RetentionTimes = {
  runHistoryMs: 30 * dayMs,
  objectHistoryMs: 90 * dayMs,
  auditMs: 365 * dayMs,
};

/** How long one cleaning may take; what is left waits for the next. */
const budgetMs = 20_000;
/** Looking for what is over is cheap, and still not needed more often than this. */
const pauseMaxMs = 60 * 60 * 1000;

export interface Cleaned {
  readonly runs: number;
  readonly histories: number;
  readonly audit: number;
}

export class Retention {
  readonly #engine: Engine;
  readonly #times: RetentionTimes;
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(engine: Engine, times: RetentionTimes = defaultRetention) {
    this.#engine = engine;
    this.#times = times;
  }

  /** Removes what is over; called by a timer. Null: it was looked for not long ago. */
  async clean(): Promise<Cleaned | null> {
    const { clock } = this.#engine.options;
    const startedAt = clock.now();
    const { runHistoryMs, objectHistoryMs, auditMs } = this.#times;
    const pauseMs = Math.min(pauseMaxMs, runHistoryMs, objectHistoryMs, auditMs);
    if (startedAt - this.#lastAt < pauseMs) return null;
    this.#lastAt = startedAt;
    const isOver = () => clock.now() - startedAt > budgetMs;
    const cleaned = {
      runs: await this.#cleanRuns(startedAt - runHistoryMs, isOver),
      histories: await this.#engine.objectHistory.removeBefore(isoTime(startedAt - objectHistoryMs), isOver),
      audit: await this.#remove(
        tableNames.audit,
        {
          partition: "audit",
          from: `a|${invertedTime(startedAt - auditMs)}`,
          to: prefixRange("a|").to,
        },
        isOver,
      ),
    };
    await this.#engine.holds.removeEnded(isoTime(startedAt - objectHistoryMs));
    // It was cut short: the next timer goes on at once.
    if (isOver()) this.#lastAt = Number.NEGATIVE_INFINITY;
    return cleaned;
  }

  /** A run's rows first and the run itself last, so that what was interrupted is found again. */
  async #cleanRuns(before: number, isOver: () => boolean): Promise<number> {
    let removed = 0;
    const { tables } = this.#engine.options;
    const query = { partition: "runs", from: `run|${invertedTime(before)}`, to: prefixRange("run|").to };
    for await (const found of rowsOf(tables, tableNames.runs, query)) {
      const { id, endedAt, steps } = decodeRun(found);
      if (endedAt === null || Date.parse(endedAt) >= before) continue;
      for (const table of [tableNames.checkpoints, tableNames.history, tableNames.diffs])
        await this.#remove(table, { partition: id }, isOver);
      // A comparison of rules may have left more than one cleaning can remove.
      if (isOver()) return removed;
      for (const step of Array.from({ length: steps.length }, (_, index) => index))
        await this.#engine.parts.seen.clear({ runId: id, step });
      await removeRows(tables, tableNames.runs, "runs", [found.row]);
      removed++;
    }
    // A comparison under way needs its rules, however short they are kept.
    if ((await this.#engine.runs.openIds()).length > 0) return removed;
    await this.#cleanTriedRules(isoTime(before));
    return removed;
  }

  /** Rules that were compared, and whose comparison is over. */
  async #cleanTriedRules(before: string): Promise<void> {
    const { tables } = this.#engine.options;
    const rows: string[] = [];
    for await (const { row, properties } of rowsOf(tables, tableNames.diffs, { partition: "rules" })) {
      const { storedAt } = properties;
      if (typeof storedAt !== "string" || storedAt >= before) continue;
      rows.push(row);
      await this.#remove(tableNames.diffs, { partition: "rules", ...prefixRange(`s|${row}-`) }, () => false);
    }
    await removeRows(tables, tableNames.diffs, "rules", rows);
  }

  async #remove(table: string, query: RowQuery, isOver: () => boolean): Promise<number> {
    return removeRange(this.#engine.options.tables, table, query, isOver);
  }
}

/** @returns how many rows were removed */
async function removeRange(
  tables: Tables,
  table: string,
  query: RowQuery,
  isOver: () => boolean,
): Promise<number> {
  let removed = 0;
  let rows: string[] = [];
  const flush = async () => {
    if (rows.length === 0) return;
    await removeRows(tables, table, query.partition, rows);
    removed += rows.length;
    rows = [];
  };
  for await (const { row } of rowsOf(tables, table, { ...query, select: ["none"] })) {
    rows.push(row);
    if (rows.length < 100) continue;
    await flush();
    if (isOver()) return removed;
  }
  await flush();
  return removed;
}
