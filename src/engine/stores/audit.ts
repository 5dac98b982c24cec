import { randomUUID } from "node:crypto";
import { type Operation, prefixRange, StoreError, type Tables } from "../ports/tables.ts";
import { tableNames } from "./tableNames.ts";

/** What a person did, or had done. Never changed and never removed while it is kept. */
export interface AuditEntry {
  /** ISO 8601. */
  readonly at: string;
  /** The caller as the platform's authentication names it; where it names nobody, the way in (`cli`, `http`). */
  readonly who: string;
  /** One word of the API for what was asked: `join`, `stopRun`, `acceptImport`, `approvePlan` … */
  readonly what: string;
  /** What it was done to; only what applies. `object` is a connector space object's id. */
  readonly about: {
    readonly connector?: string;
    readonly object?: string;
    readonly metaverseId?: string;
    readonly runId?: string;
    readonly rulesVersion?: string;
  };
  /** In the words of who did it; null when none were given. */
  readonly why: string | null;
  /** What else tells later what was decided: a plan's hash, the state before. Holds no attribute values. */
  readonly details: Readonly<Record<string, string | number | boolean | null>>;
}

const entryPrefix = "a|";

/** Newest first in order of key: it begins with inverted time. Entries of one instant count down. */
const entryRow = (at: string, number: number) =>
  `${entryPrefix}${String(9_999_999_999_999 - Date.parse(at)).padStart(13, "0")}|${String(9999 - number).padStart(4, "0")}`;

/** Who did what, when and why: entries are added and read, nothing else. */
export class AuditStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /**
   * @param act stands for this one act: adding it again, because an answer got lost, adds nothing
   * @returns the entry's id
   */
  async add(entry: AuditEntry, act: string = randomUUID()): Promise<string> {
    for (let number = 0; ; number++) {
      const row = entryRow(entry.at, number);
      const operation: Operation = {
        kind: "insert",
        row,
        properties: { entry: JSON.stringify({ ...entry, why: entry.why?.slice(0, whyMax) ?? null }), act },
      };
      try {
        await this.#tables.transact(tableNames.audit, "audit", [operation]);
      } catch (error) {
        if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
        // An insert never overwrites: usually something else was done in the same millisecond.
        const found = await this.#tables.get(tableNames.audit, "audit", row);
        if (found?.properties.act !== act) continue;
      }
      return row.slice(entryPrefix.length);
    }
  }

  /** One page, newest first. */
  async page(
    pageSize: number,
    continuation?: string,
  ): Promise<{
    readonly entries: readonly (AuditEntry & { readonly id: string })[];
    readonly continuation?: string;
  }> {
    const query = { partition: "audit", ...prefixRange(entryPrefix), pageSize };
    const page = await this.#tables.query(tableNames.audit, query, continuation);
    const entries = page.rows.map(({ row, properties }) => ({
      id: row.slice(entryPrefix.length),
      ...(JSON.parse(String(properties.entry)) as AuditEntry),
    }));
    return page.continuation === undefined ? { entries } : { entries, continuation: page.continuation };
  }
}

/** Characters of `why` that are kept. */
export const whyMax = 2000;
