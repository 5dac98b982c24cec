import type { ConfigurationFile } from "../core/configuration.ts";
import { indexHash } from "../core/identity.ts";
import { listRows, type Operation, prefixRange, type Row, StoreError, type Tables } from "../ports/tables.ts";
import type { Counters } from "./fence.ts";
import { transactionsOf } from "./limits.ts";
import { tableNames } from "./tableNames.ts";
import { decodeText, encodeTexts } from "./texts.ts";

/** A set of rules that does not check, or that waits for a person's approval. */
export interface Candidate {
  /** The set's hash. */
  readonly set: string;
  readonly state: "refused" | "waiting";
  /** ISO 8601; since when. */
  readonly at: string;
  /** Of a waiting set: its version. */
  readonly version: number | null;
  /** Why it was refused, or waits: each a sentence. */
  readonly reasons: readonly string[];
}

/** Which rules are active; one row, so that an activation is one compare and swap. */
export interface RulesHead {
  /** Null before the first activation. */
  readonly active: { readonly version: number; readonly set: string } | null;
  /**
   * After a rollback: the set that the files and edits had then. While they have it still, the active version is
   * what counts; when they change, the newer act wins.
   */
  readonly pinnedAgainst: string | null;
  /** What the last synchronisation of the rules connector has dealt with: `<set>.<rest>`. */
  readonly decided: string | null;
  readonly candidate: Candidate | null;
  /** The highest version number so far. */
  readonly last: number;
  /** How often rules have been edited: 0 when there are no edits to be read. */
  readonly edits: number;
}

export interface StoredHead {
  readonly head: RulesHead;
  /** Undefined when the row does not exist yet. */
  readonly etag: string | undefined;
}

/** A set of rules as it was first activated, or set aside for approval. */
export interface RulesVersion {
  readonly version: number;
  readonly set: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly author: string;
  readonly why: string;
  readonly counts: Counters;
  /** Why it had to be approved; empty when it had not. */
  readonly reasons: readonly string[];
  /** What it would have done to everybody when it was decided about; null: nobody had to be looked at. */
  readonly effect: RulesEffect | null;
  /** Of the last activation; null while it waits. `at` is ISO 8601. */
  readonly activated: { readonly at: string; readonly by: string; readonly why: string } | null;
}

export interface RulesEffect {
  /** The run that worked it out and keeps the objects. */
  readonly runId: string;
  /** Kinds of effects that there were, by connector. */
  readonly counts: Readonly<Record<string, Counters>>;
}

/** A rule that was edited through the API: it stands for the file of this rule until that file changes. */
export interface RuleEdit {
  readonly name: string;
  /** Null: deleted. */
  readonly text: string | null;
  /** The text of the file that it was made over, hashed; null when no file had this rule. */
  readonly over: string | null;
  readonly by: string;
  readonly why: string;
  /** ISO 8601. */
  readonly at: string;
}

const partition = "versions";
const headRow = "head";
// Newest first.
const versionRow = (version: number) => `v|${String(99_999_999 - version).padStart(8, "0")}`;
const editRow = (name: string) => `edit|${indexHash("rule", name, "exact")}`;

const noHead: RulesHead = {
  active: null,
  pinnedAgainst: null,
  decided: null,
  candidate: null,
  last: 0,
  edits: 0,
};

/** Sets of rules by their hash, the versions that they were activated as, and rules edited through the API. */
export class RulesStore {
  readonly #tables: Tables;
  readonly #known = new Set<string>();

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  // ---- sets ----------------------------------------------------------------------------------------------------

  /** A set is stored before anything refers to it. */
  async add(set: string, texts: readonly ConfigurationFile[], at: string): Promise<void> {
    if (this.#known.has(set)) return;
    if ((await this.#tables.get(tableNames.rules, partition, set)) === undefined) {
      const { properties, spillRows } = encodeTexts(set, { texts: JSON.stringify(texts) });
      for (const chunk of transactionsOf(spillRows))
        await this.#tables.transact(tableNames.rules, partition, chunk);
      await this.#tables.transact(tableNames.rules, partition, [
        { kind: "replace", row: set, properties: { ...properties, storedAt: at } },
      ]);
    }
    this.#known.add(set);
  }

  async texts(set: string): Promise<readonly ConfigurationFile[] | null> {
    const row = await this.#tables.get(tableNames.rules, partition, set);
    const texts = row === undefined ? null : await decodeText(this.#tables, tableNames.rules, row, "texts");
    return texts === null ? null : JSON.parse(texts);
  }

  // ---- the head and the versions ---------------------------------------------------------------------------------

  async head(): Promise<StoredHead> {
    const row = await this.#tables.get(tableNames.rules, partition, headRow);
    if (row === undefined) return { head: noHead, etag: undefined };
    return { head: { ...noHead, ...JSON.parse(String(row.properties.head)) }, etag: row.etag };
  }

  /**
   * Changes the head, and with it versions or an edit, in one transaction.
   * @returns null when the head has changed since it was read: nothing was written, read and decide again.
   */
  async change(
    stored: StoredHead,
    next: RulesHead,
    more: { readonly versions?: readonly RulesVersion[]; readonly edit?: RuleEdit } = {},
  ): Promise<StoredHead | null> {
    const properties = { head: JSON.stringify(next) };
    const operations: Operation[] = [
      stored.etag === undefined
        ? { kind: "insert", row: headRow, properties }
        : { kind: "replace", row: headRow, properties, etag: stored.etag },
    ];
    for (const version of more.versions ?? [])
      operations.push({
        kind: "replace",
        row: versionRow(version.version),
        properties: { version: JSON.stringify(version) },
      });
    if (more.edit !== undefined) {
      const { text, ...rest } = more.edit;
      const row = editRow(rest.name);
      const { properties: texts, spillRows } = encodeTexts(`edit-${next.edits}`, { text });
      for (const chunk of transactionsOf(spillRows))
        await this.#tables.transact(tableNames.rules, partition, chunk);
      operations.push({ kind: "replace", row, properties: { ...texts, edit: JSON.stringify(rest) } });
    }
    try {
      const [etag] = await this.#tables.transact(tableNames.rules, partition, operations);
      return { head: next, etag: etag! };
    } catch (error) {
      if (error instanceof StoreError && error.kind === "conflict") return null;
      throw error;
    }
  }

  async version(version: number): Promise<RulesVersion | null> {
    const row = await this.#tables.get(tableNames.rules, partition, versionRow(version));
    return row === undefined ? null : decodeVersion(row);
  }

  /** One page, newest first. */
  async versions(
    pageSize: number,
    continuation?: string,
  ): Promise<{ readonly versions: readonly RulesVersion[]; readonly continuation?: string }> {
    const query = { partition, ...prefixRange("v|"), pageSize };
    const page = await this.#tables.query(tableNames.rules, query, continuation);
    const versions = page.rows.map(decodeVersion);
    return page.continuation === undefined ? { versions } : { versions, continuation: page.continuation };
  }

  // ---- edits -----------------------------------------------------------------------------------------------------

  async edits(): Promise<readonly RuleEdit[]> {
    const rows = await listRows(this.#tables, tableNames.rules, { partition, ...prefixRange("edit|") });
    return Promise.all(
      rows.map(async (row) => ({
        ...JSON.parse(String(row.properties.edit)),
        text: await decodeText(this.#tables, tableNames.rules, row, "text"),
      })),
    );
  }
}

const decodeVersion = (row: Row): RulesVersion => ({
  effect: null, // of a version that was made before effects were kept
  ...JSON.parse(String(row.properties.version)),
});

/** A problem as a person reads it in a list: place, message, remedy. Characters. */
const reasonMax = 500;

/** What all authors of a version are called, or all reasons that they gave, together. Characters. */
const togetherMax = 2000;

/** Each once, shortened: what a row of a version can hold. */
export function together(texts: readonly string[]): string {
  const all = [...new Set(texts)].join(", ");
  return all.length <= togetherMax ? all : `${all.slice(0, togetherMax)}…`;
}

/** The first of them, shortened: what a row of the head can hold. */
export function shortReasons(reasons: readonly string[], max = 20): readonly string[] {
  const first = reasons
    .slice(0, max)
    .map((one) => (one.length <= reasonMax ? one : `${one.slice(0, reasonMax)}…`));
  return reasons.length <= max ? first : [...first, `And ${reasons.length - max} more.`];
}
