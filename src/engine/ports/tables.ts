/**
 * Table storage as the engine sees it: rows by partition and row key, atomic transactions inside one partition,
 * optimistic concurrency by ETag. Two implementations, Azure Table Storage and memory, pass
 * `test/conformance/tables.ts`. Limits: learn.microsoft.com/azure/storage/tables/scalability-targets.
 */

/** Strings up to 32,768 UTF-16 units (64 KiB), numbers are doubles or 32-bit integers, binary up to 64 KiB. */
export type Property = string | number | boolean | Uint8Array;
export type Properties = Readonly<Record<string, Property>>;

export interface Row {
  readonly partition: string;
  readonly row: string;
  readonly etag: string;
  readonly properties: Properties;
}

export type Operation =
  /** Fails with `conflict` when the row exists. */
  | { readonly kind: "insert"; readonly row: string; readonly properties: Properties }
  /** Replaces the row that has this ETag; without an ETag, inserts or replaces. */
  | {
      readonly kind: "replace";
      readonly row: string;
      readonly properties: Properties;
      readonly etag?: string;
    }
  /**
   * Deletes whatever the row holds; a missing row is a `conflict`. Unconditional, because the client library cannot
   * condition a delete inside a transaction: the fence row in the same transaction is what guards it.
   */
  | { readonly kind: "delete"; readonly row: string };

export interface RowQuery {
  readonly partition: string;
  /** Row keys from here on (inclusive). */
  readonly from?: string;
  /** Row keys before this one. */
  readonly to?: string;
  /** Only these properties; all when not given. */
  readonly select?: readonly string[];
  /** At most 1,000, the default. */
  readonly pageSize?: number;
}

/** A page may be short or even empty and still have a continuation. */
export interface RowPage {
  readonly rows: readonly Row[];
  readonly continuation?: string;
}

export const transactionMax = 100;

export interface Tables {
  get(table: string, partition: string, row: string): Promise<Row | undefined>;
  /** @throws StoreError "bad-continuation" when no page of these tables gave that continuation. */
  query(table: string, query: RowQuery, continuation?: string): Promise<RowPage>;
  /**
   * All or nothing, at most 100 operations on different rows of one partition.
   * @returns the new ETags in the order of the operations; "" for a delete.
   * @throws StoreError
   */
  transact(table: string, partition: string, operations: readonly Operation[]): Promise<readonly string[]>;
}

/**
 * `conflict`: read and decide again. `unreachable`: the same later. `too-large`: a bug, nothing was written.
 * `bad-continuation`: whoever asked has made it up.
 */
export type StoreErrorKind = "conflict" | "unreachable" | "too-large" | "access-denied" | "bad-continuation";

export class StoreError extends Error {
  readonly kind: StoreErrorKind;

  constructor(kind: StoreErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "StoreError";
    this.kind = kind;
  }
}

/** @throws StoreError that says so */
export function refuseContinuation(cause?: unknown): never {
  throw new StoreError(
    "bad-continuation",
    "The continuation is not one that a list of this deployment gave out.",
    { cause },
  );
}

/** A continuation that names the row with which the next page begins. */
export function continuationAt(row: string): string {
  return JSON.stringify({ row });
}

/** @throws StoreError "bad-continuation" */
export function rowOfContinuation(continuation: string): string {
  try {
    const { row } = JSON.parse(continuation);
    if (typeof row === "string") return row;
  } catch (error) {
    refuseContinuation(error);
  }
  refuseContinuation();
}

/** All rows of a query, a page at a time: where there are many, what is asked for each of them counts. */
export async function* pagesOf(tables: Tables, table: string, query: RowQuery): AsyncGenerator<RowPage> {
  let continuation: string | undefined;
  do {
    const page = await tables.query(table, query, continuation);
    if (page.rows.length > 0) yield page;
    continuation = page.continuation;
  } while (continuation !== undefined);
}

/** All rows of a query, page after page. */
export async function* rowsOf(tables: Tables, table: string, query: RowQuery): AsyncGenerator<Row> {
  for await (const { rows } of pagesOf(tables, table, query)) yield* rows;
}

/** The rows of a query as a list; only for ranges that are known to be small. */
export async function listRows(tables: Tables, table: string, query: RowQuery): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of rowsOf(tables, table, query)) rows.push(row);
  return rows;
}

/** The end of the range of all keys that begin with `prefix` (keys here end in ASCII). */
export function prefixRange(prefix: string): { from: string; to: string } {
  return { from: prefix, to: `${prefix}\u007f` };
}
