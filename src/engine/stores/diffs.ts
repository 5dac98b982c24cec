import type { ConfigurationFile } from "../core/configuration.ts";
import { type Operation, prefixRange, type Row, rowsOf, StoreError, type Tables } from "../ports/tables.ts";
import type { Counters } from "./fence.ts";
import { transactionsOf } from "./limits.ts";
import { OverlayTables } from "./overlay/overlayTables.ts";
import { removeRows } from "./removal.ts";
import { tableNames } from "./tableNames.ts";
import { decodeText, encodeTexts } from "./texts.ts";

/** The two worlds of a comparison: what the active rules lead to, and what the changed ones do. */
export type Side = "active" | "changed";

/** Rules that are compared with the active ones, never active themselves. */
export interface TriedRules {
  readonly version: string;
  readonly texts: readonly ConfigurationFile[];
}

const rulesPartition = "rules";
const effectPrefix = "effect|";
const countsRow = "counts";

/**
 * What comparisons of rules work with: the tried rules by version, and by run two overlays over all other tables and
 * the effects that were found.
 */
export class DiffStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** @param at ISO 8601 */
  async addRules({ version, texts }: TriedRules, at: string): Promise<void> {
    const { properties, spillRows } = encodeTexts(version, { texts: JSON.stringify(texts) });
    for (const chunk of transactionsOf(spillRows))
      await this.#tables.transact(tableNames.diffs, rulesPartition, chunk);
    await this.#tables.transact(tableNames.diffs, rulesPartition, [
      { kind: "replace", row: version, properties: { ...properties, storedAt: at } },
    ]);
  }

  async rules(version: string): Promise<readonly ConfigurationFile[] | null> {
    const row = await this.#tables.get(tableNames.diffs, rulesPartition, version);
    const texts = row && (await decodeText(this.#tables, tableNames.diffs, row, "texts"));
    return texts == null ? null : JSON.parse(texts);
  }

  /** The version of the active rules that the run compares with: that of its first message, whatever comes later. */
  async settleActive(runId: string, active: () => Promise<string>): Promise<string> {
    const row = "head";
    const version = await active();
    try {
      await this.#tables.transact(tableNames.diffs, runId, [
        { kind: "insert", row, properties: { version } },
      ]);
      return version;
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      const found = await this.#tables.get(tableNames.diffs, runId, row);
      return String(found?.properties.version ?? version);
    }
  }

  /** What a comparison has found, by connector and kind, when it was no run of its own. */
  async setCounts(runId: string, counts: Readonly<Record<string, Counters>>): Promise<void> {
    const properties = { counts: JSON.stringify(counts) };
    await this.#tables.transact(tableNames.diffs, runId, [{ kind: "replace", row: countsRow, properties }]);
  }

  async counts(runId: string): Promise<Readonly<Record<string, Counters>> | null> {
    const row = await this.#tables.get(tableNames.diffs, runId, countsRow);
    return row === undefined ? null : JSON.parse(String(row.properties.counts));
  }

  /** All tables as this side sees them. */
  tablesOf(runId: string, side: Side): OverlayTables {
    return new OverlayTables(this.#tables, {
      tables: this.#tables,
      table: tableNames.diffs,
      partition: runId,
      prefix: `${side}|`,
    });
  }

  /** Ids of the objects of one partition of a connector space that this side has touched, in order. */
  async *touched(runId: string, side: Side, partition: string, from: string): AsyncGenerator<string> {
    const prefix = `${side}|${tableNames.connectorSpace}|${partition}|o|`;
    const query = { partition: runId, from: prefix + from, to: prefixRange(prefix).to, select: ["hidden"] };
    for await (const { row } of rowsOf(this.#tables, tableNames.diffs, query)) yield row.slice(prefix.length);
  }

  /** Keyed by object, so a replay overwrites its own. */
  async addEffects(
    runId: string,
    effects: readonly {
      readonly connector: string;
      readonly kind: string;
      readonly id: string;
      readonly effect: object;
    }[],
  ): Promise<void> {
    const encoded = effects.map(({ connector, kind, id, effect }) => ({
      row: `${effectPrefix}${connector}|${kind}|${id}`,
      ...encodeTexts(id, { effect: JSON.stringify(effect) }),
    }));
    const write = async (operations: readonly Operation[]) => {
      for (const chunk of transactionsOf(operations))
        await this.#tables.transact(tableNames.diffs, runId, chunk);
    };
    await write(encoded.flatMap(({ spillRows }) => spillRows));
    await write(encoded.map(({ row, properties }) => ({ kind: "replace", row, properties })));
  }

  /** One page by connector, then kind, then id. */
  async effects(
    runId: string,
    of: { readonly connector?: string; readonly kind?: string },
    pageSize: number,
    continuation?: string,
  ): Promise<{ readonly effects: readonly object[]; readonly continuation?: string }> {
    const within = [of.connector, of.connector === undefined ? undefined : of.kind];
    const prefix =
      effectPrefix +
      within
        .filter((part) => part !== undefined)
        .map((part) => `${part}|`)
        .join("");
    const page = await this.#tables.query(
      tableNames.diffs,
      { partition: runId, ...prefixRange(prefix), pageSize },
      continuation,
    );
    const effects = await Promise.all(page.rows.map((row) => this.#effect(row)));
    return page.continuation === undefined ? { effects } : { effects, continuation: page.continuation };
  }

  async #effect(row: Row): Promise<object> {
    return JSON.parse((await decodeText(this.#tables, tableNames.diffs, row, "effect")) ?? "{}");
  }

  /**
   * Removes what a side has worked out; the effects stay.
   * @param isOver asked between transactions: true leaves the rest for another time
   * @returns whether all of it is gone
   */
  async forget(runId: string, side: Side, isOver: () => boolean): Promise<boolean> {
    const rows: string[] = [];
    const remove = async () => {
      await removeRows(this.#tables, tableNames.diffs, runId, rows.splice(0));
    };
    const query = { partition: runId, ...prefixRange(`${side}|`), select: ["hidden"] };
    for await (const { row } of rowsOf(this.#tables, tableNames.diffs, query)) {
      rows.push(row);
      if (rows.length < 100) continue;
      await remove();
      if (isOver()) return false;
    }
    await remove();
    return true;
  }
}
