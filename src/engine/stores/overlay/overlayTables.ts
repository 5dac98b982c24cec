import {
  continuationAt,
  type Operation,
  type Properties,
  type Row,
  type RowPage,
  type RowQuery,
  rowOfContinuation,
  rowsOf,
  StoreError,
  type Tables,
} from "../../ports/tables.ts";

/** Where an overlay keeps its changes. */
export interface OverlayPlace {
  readonly tables: Tables;
  readonly table: string;
  readonly partition: string;
  /** Row keys begin with it. */
  readonly prefix: string;
}

/** Marks a row that the base has and the overlay does not show. */
const hidden = "hidden";
/** ETags of the base and those of the overlay must not be taken for each other. */
const ofBase = "base:";
const pageMax = 1000;

/**
 * Tables that look like `base` with changes of their own: whatever is written goes to `place`, and `base` is never
 * written to. Preview keeps its changes in memory; what rules would do to a whole population lies in a table.
 *
 * A row of the base may change underneath; nobody here notices, so what is asked of the overlay is an answer of the
 * time at which it was asked.
 */
export class OverlayTables implements Tables {
  readonly #base: Pick<Tables, "get" | "query">;
  readonly #place: OverlayPlace;

  constructor(base: Pick<Tables, "get" | "query">, place: OverlayPlace) {
    this.#base = base;
    this.#place = place;
  }

  async get(table: string, partition: string, row: string): Promise<Row | undefined> {
    const changed = await this.#changed(table, partition, row);
    if (changed !== undefined) return isHidden(changed) ? undefined : { ...changed, partition, row };
    const found = await this.#base.get(table, partition, row);
    return found && { ...found, etag: ofBase + found.etag };
  }

  /** A continuation is the row key with which the next page begins. */
  async query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    const { to } = query;
    const from = continuation === undefined ? (query.from ?? "") : rowOfContinuation(continuation);
    const max = Math.min(query.pageSize ?? pageMax, pageMax);
    let page = await this.#base.query(table, { ...query, from });
    while (page.rows.length === 0 && page.continuation !== undefined)
      page = await this.#base.query(table, { ...query, from }, page.continuation);
    // Nothing sorts between a row key and the same with "!": it is the lowest character that keys have.
    const end = page.continuation === undefined ? to : `${page.rows.at(-1)!.row}!`;

    const changes = await this.#changes(table, query, from, end, max + page.rows.length);
    const changed = new Set(changes.rows.map(({ row }) => row));
    const merged = [
      ...page.rows.filter(({ row }) => !changed.has(row)).map((row) => ({ ...row, etag: ofBase + row.etag })),
      ...changes.rows,
    ].sort((a, b) => (a.row < b.row ? -1 : 1));
    // What comes after the last change that was read may have been changed too.
    const known = merged.filter(({ row }) => changes.next === undefined || row < changes.next);
    const rows = known.filter((row) => !isHidden(row));
    if (rows.length > max) return { rows: rows.slice(0, max), continuation: continuationAt(rows[max]!.row) };
    if (changes.next !== undefined) return { rows, continuation: continuationAt(changes.next) };
    return page.continuation === undefined ? { rows } : { rows, continuation: continuationAt(end!) };
  }

  /** At most `max` changed rows of the range, hidden ones included; `next`: where the rest begins. */
  async #changes(
    table: string,
    { partition, select }: RowQuery,
    from: string,
    end: string | undefined,
    max: number,
  ): Promise<{ readonly rows: readonly Row[]; readonly next?: string }> {
    const prefix = this.#key(table, partition, "");
    const rows: Row[] = [];
    const query: RowQuery = {
      partition: this.#place.partition,
      from: prefix + from,
      to: prefix + (end ?? "\u007f"),
      ...(select === undefined ? {} : { select: [...select, hidden] }),
    };
    for await (const found of rowsOf(this.#place.tables, this.#place.table, query)) {
      const row = found.row.slice(prefix.length);
      if (rows.length === max) return { rows, next: row };
      rows.push({ ...found, partition, row });
    }
    return { rows };
  }

  async transact(
    table: string,
    partition: string,
    operations: readonly Operation[],
  ): Promise<readonly string[]> {
    const prepared = await Promise.all(
      operations.map((operation) => this.#prepared(table, partition, operation)),
    );
    const etags = await this.#place.tables.transact(this.#place.table, this.#place.partition, prepared);
    return etags.map((etag, index) => (operations[index]!.kind === "delete" ? "" : etag));
  }

  /** The operation as it is written to the overlay. @throws StoreError "conflict" */
  async #prepared(table: string, partition: string, operation: Operation): Promise<Operation> {
    const row = this.#key(table, partition, operation.row);
    if (operation.kind === "replace") {
      const { etag } = operation;
      if (etag?.startsWith(ofBase)) return { kind: "insert", row, properties: operation.properties };
      return { ...operation, row };
    }
    const changed = await this.#changed(table, partition, operation.row);
    const isThere =
      changed === undefined
        ? (await this.#base.get(table, partition, operation.row)) !== undefined
        : !isHidden(changed);
    if (isThere !== (operation.kind === "delete"))
      throw new StoreError("conflict", `Row ${operation.row} has changed (${operation.kind}).`);
    const properties: Properties = operation.kind === "delete" ? { [hidden]: true } : operation.properties;
    return changed === undefined
      ? { kind: "insert", row, properties }
      : { kind: "replace", row, properties, etag: changed.etag };
  }

  #changed(table: string, partition: string, row: string): Promise<Row | undefined> {
    return this.#place.tables.get(this.#place.table, this.#place.partition, this.#key(table, partition, row));
  }

  #key(table: string, partition: string, row: string): string {
    return `${this.#place.prefix}${table}|${partition}|${row}`;
  }
}

function isHidden({ properties }: Row): boolean {
  return properties[hidden] === true;
}
