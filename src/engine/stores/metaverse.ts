import pMap from "p-map";
import { indexHash, shardOf, shards } from "../core/identity.ts";
import type { MetaverseObject, MetaverseValue } from "../core/model.ts";
import { referredBy } from "../core/references.ts";
import { attributesToJson, type Value, valueFromJson, valuesOf } from "../core/values.ts";
import { type Operation, pagesOf, prefixRange, type Row, rowsOf, type Tables } from "../ports/tables.ts";
import { type FencedWriter, readCounters } from "./fence.ts";
import { KeyFilter } from "./keyFilter.ts";
import { transactionShare, transactionsOf } from "./limits.ts";
import { removeRows } from "./removal.ts";
import { tableNames } from "./tableNames.ts";
import {
  chunked,
  decodeTexts,
  encodeTexts,
  inlineTexts,
  type Spill,
  spillDeletions,
  spillsOf,
  textColumns,
} from "./texts.ts";

export interface StoredMetaverseObject {
  readonly object: MetaverseObject;
  readonly etag: string;
  readonly spills: readonly Spill[];
}

/** An object of which only the connections have been decoded; most of the work would be its values. */
export interface UndecodedMetaverseObject {
  readonly id: string;
  readonly connectors: MetaverseObject["connectors"];
  decode(): StoredMetaverseObject;
}

export interface MetaverseWrite {
  /** Null: the object is new. */
  readonly before: StoredMetaverseObject | null;
  /** Null: the object goes, tombstone and all. */
  readonly after: MetaverseObject | null;
  readonly id: string;
  /** Queue the object for the flowing phase, or take it off; as it is when not given. */
  readonly work?: "add" | "remove";
}

/** `flow`: in the second phase of a synchronisation; `references`: after it, because of what others have become. */
export type WorkPhase = "flow" | "references";
const workPrefix = { flow: "w|", references: "x|" } as const;

const texts = textColumns("attributes", "connectors");
const readsInFlight = 16;
const operationsMax = 99;
/** Keys for which a filter has room beside those that are there: it is right with more, and then asks more often. */
const filterRoom = 500_000;

export function metaversePartition(shard: string): string {
  return `mv-${shard}`;
}

/**
 * Metaverse objects, the work of the flowing phase, and the index of their indexed attributes.
 * `indexed`: names by metaverse object type.
 */
export class MetaverseStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  async get(id: string): Promise<StoredMetaverseObject | undefined> {
    const row = await this.#tables.get(tableNames.metaverse, metaversePartition(shardOf(id)), `o|${id}`);
    return row === undefined ? undefined : this.#decode(row);
  }

  async getMany(ids: Iterable<string>): Promise<Map<string, StoredMetaverseObject>> {
    const found = await pMap(new Set(ids), (id) => this.get(id), { concurrency: readsInFlight });
    return new Map(found.filter((one) => one !== undefined).map((one) => [one.object.id, one]));
  }

  /** The objects of one shard in order of id, from `from` (inclusive) on; tombstones included. */
  async *range(shard: string, from = ""): AsyncGenerator<StoredMetaverseObject> {
    const query = { partition: metaversePartition(shard), from: `o|${from}`, to: prefixRange("o|").to };
    for await (const row of rowsOf(this.#tables, tableNames.metaverse, query)) yield await this.#decode(row);
  }

  /** The same, a page at a time and not decoded. `more`: whether pages follow. */
  async *pages(
    shard: string,
    from: string,
    pageSize: number,
  ): AsyncGenerator<{ readonly objects: readonly UndecodedMetaverseObject[]; readonly more: boolean }> {
    const range = { from: `o|${from}`, to: prefixRange("o|").to };
    const query = { partition: metaversePartition(shard), ...range, pageSize };
    for await (const { rows, continuation } of pagesOf(this.#tables, tableNames.metaverse, query)) {
      const objects = await Promise.all(rows.map((row) => this.#undecoded(row)));
      yield { objects, more: continuation !== undefined };
    }
  }

  async page(
    shard: string,
    pageSize: number,
    continuation?: string,
  ): Promise<{ readonly objects: readonly StoredMetaverseObject[]; readonly continuation?: string }> {
    const query = { partition: metaversePartition(shard), ...prefixRange("o|"), pageSize };
    const page = await this.#tables.query(tableNames.metaverse, query, continuation);
    const objects = await Promise.all(page.rows.map((row) => this.#decode(row)));
    return page.continuation === undefined ? { objects } : { objects, continuation: page.continuation };
  }

  /** Ids that wait for a phase in one shard, in order, from `from` (inclusive) on. */
  async *work(shard: string, from = "", phase: WorkPhase = "flow"): AsyncGenerator<string> {
    const prefix = workPrefix[phase];
    const query = {
      partition: metaversePartition(shard),
      from: `${prefix}${from}`,
      to: prefixRange(prefix).to,
    };
    for await (const { row } of rowsOf(this.#tables, tableNames.metaverse, query)) yield row.slice(2);
  }

  /** Queues objects for a phase; queueing twice is harmless. */
  async addWork(writer: FencedWriter, ids: Iterable<string>, phase: WorkPhase = "flow"): Promise<void> {
    const byShard = Map.groupBy(new Set(ids), shardOf);
    await pMap(byShard, async ([shard, all]) => {
      for (const chunk of chunked(all, () => 1, operationsMax)) {
        const operations = chunk.map(
          (id): Operation => ({ kind: "replace", row: `${workPrefix[phase]}${id}`, properties: {} }),
        );
        await writer.transact(tableNames.metaverse, metaversePartition(shard), operations);
      }
    });
  }

  async removeWork(writer: FencedWriter, ids: readonly string[], phase: WorkPhase = "flow"): Promise<void> {
    const byShard = Map.groupBy(ids, shardOf);
    await pMap(byShard, async ([shard, all]) => {
      for (const chunk of chunked(all, () => 1, operationsMax)) {
        const operations = chunk.map(
          (id): Operation => ({ kind: "delete", row: `${workPrefix[phase]}${id}` }),
        );
        await writer.transact(tableNames.metaverse, metaversePartition(shard), operations);
      }
    });
  }

  /**
   * Live objects that have this value in an indexed attribute, ignoring case; the caller verifies exact matches.
   * Undefined when there are more than `max` rows to look at: then a scan is cheaper. What `filter` (see
   * `readIndexFilter`) does not know is not asked for.
   */
  async findByIndex(
    attribute: string,
    value: Value,
    options?: { readonly filter?: KeyFilter | undefined },
  ): Promise<StoredMetaverseObject[]>;
  async findByIndex(
    attribute: string,
    value: Value,
    options: { readonly max: number },
  ): Promise<StoredMetaverseObject[] | undefined>;
  async findByIndex(
    attribute: string,
    value: Value,
    { max = Infinity, filter }: { readonly max?: number; readonly filter?: KeyFilter | undefined } = {},
  ): Promise<StoredMetaverseObject[] | undefined> {
    const key = indexKey(attribute, value);
    if (filter?.mayHave(key.row) === false) return [];
    const query = { partition: indexPartition(key), ...prefixRange(`${key.row}|`) };
    const ids: string[] = [];
    for await (const { row } of rowsOf(this.#tables, tableNames.metaverseIndex, query)) {
      if (ids.length >= max) return undefined;
      ids.push(row.slice(key.row.length + 1));
    }
    const found = await this.getMany(ids);
    // The index is written before and cleaned after the object, so the object itself has the last word.
    return [...found.values()].filter(
      ({ object }) =>
        !object.deleted &&
        valuesOf(object.attributes[attribute]?.value).some((own) => indexKey(attribute, own).row === key.row),
    );
  }

  /**
   * All values that the index has, read with a request for a thousand of them; holds for as long as only `writer` writes,
   * and is given what it writes. The fences are taken first: a worker that has lost its lease commits nothing more.
   * @param rows how many there are, about
   */
  async readIndexFilter(writer: FencedWriter, rows: number): Promise<KeyFilter> {
    await pMap(shards, (shard) => writer.transact(tableNames.metaverse, metaversePartition(shard), []));
    const filter = new KeyFilter(rows * 2 + filterRoom);
    await pMap(
      shards,
      async (digit) => {
        const query = { partition: indexPartition({ row: digit }), select: ["none"] };
        for await (const { row } of rowsOf(this.#tables, tableNames.metaverseIndex, query)) filter.add(row);
      },
      { concurrency: 4 },
    );
    return filter;
  }

  /** About how many live objects there are: ids spread evenly, so one shard tells of all. */
  async objectCountAbout(): Promise<number> {
    const partition = metaversePartition(shards[0]!);
    const { totals } = await readCounters(this.#tables, tableNames.metaverse, partition);
    return (totals.objects ?? 0) * shards.length;
  }

  /** How many live objects there are. */
  async objectCount(): Promise<number> {
    const all = await pMap(shards, (shard) =>
      readCounters(this.#tables, tableNames.metaverse, metaversePartition(shard)),
    );
    return all.reduce((sum, { totals }) => sum + (totals.objects ?? 0), 0);
  }

  /** Ids of live objects that refer to this one. */
  async referring(id: string): Promise<string[]> {
    const key = referenceKey(id);
    const query = { partition: indexPartition(key), ...prefixRange(`${key.row}|`) };
    const ids: string[] = [];
    for await (const { row } of rowsOf(this.#tables, tableNames.metaverseIndex, query))
      ids.push(row.slice(key.row.length + 1));
    return ids;
  }

  /**
   * Writes objects and their index rows: index first, so that a value that is there can always be found.
   * @param filter is told of the new values
   * @throws StoreError "conflict"; LeaseLost.
   */
  async write(
    writer: FencedWriter,
    writes: readonly MetaverseWrite[],
    indexed: IndexedAttributes,
    filter?: KeyFilter,
  ): Promise<void> {
    const prepared = writes.map((write) => prepare(write, indexed));
    for (const { newKeys } of prepared) for (const { row } of newKeys) filter?.add(row);
    await this.#index(
      prepared.flatMap(({ newKeys }) => newKeys),
      (row) => ({ kind: "replace", row, properties: {} }),
    );
    const byShard = Map.groupBy(prepared, ({ id }) => shardOf(id));
    await pMap(byShard, async ([shard, all]) => {
      const partition = metaversePartition(shard);
      for (const chunk of transactionsOf(all.flatMap(({ spillRows }) => spillRows))) {
        await this.#tables.transact(tableNames.metaverse, partition, chunk);
      }
      for (const chunk of chunked(all, (one) => transactionShare(one.operations, operationsMax), 1)) {
        const operations = chunk.flatMap((one) => one.operations);
        const totals = { objects: chunk.reduce((sum, one) => sum + one.added, 0) };
        if (operations.length > 0)
          await writer.transact(tableNames.metaverse, partition, operations, { totals });
      }
      // Fenced: a successor may have come back to a text that was obsolete here.
      const obsoleteRows = all.flatMap((one) => one.obsoleteRows);
      for (const chunk of transactionsOf(obsoleteRows, operationsMax)) {
        await writer.transact(tableNames.metaverse, partition, chunk);
      }
    });
    await this.#removeFromIndex(prepared.flatMap(({ oldKeys }) => oldKeys));
  }

  /** Writes all index rows of objects that were written when other attributes were indexed. */
  async reindex(objects: readonly MetaverseObject[], indexed: IndexedAttributes): Promise<void> {
    await this.#index(
      objects.flatMap((object) => keysOf(object, indexed)),
      (row) => ({ kind: "replace", row, properties: {} }),
    );
  }

  async #index(keys: readonly IndexKey[], operation: (row: string) => Operation): Promise<void> {
    const byPartition = Map.groupBy(keys, indexPartition);
    await pMap(
      byPartition,
      async ([partition, all]) => {
        const rows = [...new Set(all.map(({ row, id }) => `${row}|${id}`))];
        for (const chunk of chunked(rows, () => 1, 100)) {
          await this.#tables.transact(tableNames.metaverseIndex, partition, chunk.map(operation));
        }
      },
      { concurrency: readsInFlight },
    );
  }

  async #removeFromIndex(keys: readonly IndexKey[]): Promise<void> {
    const byPartition = Map.groupBy(keys, indexPartition);
    await pMap(
      byPartition,
      async ([partition, all]) => {
        const rows = all.map(({ row, id }) => `${row}|${id}`);
        await removeRows(this.#tables, tableNames.metaverseIndex, partition, rows);
      },
      { concurrency: readsInFlight },
    );
  }

  async #undecoded(row: Row): Promise<UndecodedMetaverseObject> {
    const [attributes, connectors] =
      inlineTexts(row, texts) ?? (await decodeTexts(this.#tables, tableNames.metaverse, row, texts));
    const connected: MetaverseObject["connectors"] = JSON.parse(connectors ?? "[]");
    return {
      id: row.row.slice(2),
      connectors: connected,
      decode: () => ({
        etag: row.etag,
        spills: spillsOf(row, texts),
        object: {
          id: row.row.slice(2),
          objectType: String(row.properties.objectType),
          deleted: row.properties.deleted === true,
          attributes: valuesFromJson(JSON.parse(attributes ?? "{}")),
          connectors: connected,
        },
      }),
    };
  }

  async #decode(row: Row): Promise<StoredMetaverseObject> {
    return (await this.#undecoded(row)).decode();
  }
}

/** Names of the indexed attributes by metaverse object type. */
export type IndexedAttributes = ReadonlyMap<string, readonly string[]>;

interface IndexKey {
  readonly row: string;
  readonly id: string;
}

interface Prepared {
  readonly id: string;
  readonly operations: readonly Operation[];
  readonly added: number;
  readonly spillRows: readonly Operation[];
  readonly obsoleteRows: readonly Operation[];
  readonly newKeys: readonly IndexKey[];
  readonly oldKeys: readonly IndexKey[];
}

function indexKey(attribute: string, value: Value): { readonly row: string } {
  return { row: indexHash(attribute, value) };
}

function indexPartition(key: { readonly row: string }): string {
  return `index-${key.row.slice(0, 1)}`;
}

function referenceKey(id: string): { readonly row: string } {
  return { row: indexHash("reference", id, "exact") };
}

function keysOf(object: MetaverseObject | undefined | null, indexed: IndexedAttributes): IndexKey[] {
  if (object === undefined || object === null || object.deleted) return [];
  const { id } = object;
  const referred = referredBy(Object.values(object.attributes).map(({ value }) => value));
  const references = [...referred].map((to) => ({ ...referenceKey(to), id }));
  const values = (indexed.get(object.objectType) ?? []).flatMap((attribute) =>
    valuesOf(object.attributes[attribute]?.value).map((value) => ({ ...indexKey(attribute, value), id })),
  );
  return [...values, ...references];
}

function prepare({ before, after, id, work }: MetaverseWrite, indexed: IndexedAttributes): Prepared {
  const row = `o|${id}`;
  const encoded =
    after === null
      ? null
      : encodeTexts(id, {
          attributes: JSON.stringify(valuesToJson(after.attributes)),
          connectors: JSON.stringify(after.connectors),
        });
  const operations: Operation[] = [];
  if (after !== null && encoded !== null) {
    const properties = {
      ...encoded.properties,
      objectType: after.objectType,
      ...(after.deleted ? { deleted: true } : {}),
    };
    operations.push(
      before === null
        ? { kind: "insert", row, properties }
        : { kind: "replace", row, properties, etag: before.etag },
    );
  } else if (before !== null) operations.push({ kind: "delete", row });
  if (work === "add") operations.push({ kind: "replace", row: `w|${id}`, properties: {} });
  if (work === "remove") operations.push({ kind: "delete", row: `w|${id}` });
  const kept = new Set(encoded?.spills.map(({ digest }) => digest));
  const old = keysOf(before?.object, indexed);
  const now = keysOf(after, indexed);
  const oldRows = new Set(old.map((key) => key.row));
  const newRows = new Set(now.map((key) => key.row));
  const alive = (object: MetaverseObject | null | undefined) => (object && !object.deleted ? 1 : 0);
  return {
    id,
    operations,
    added: alive(after) - alive(before?.object),
    spillRows: encoded?.spillRows ?? [],
    obsoleteRows: spillDeletions(before?.spills.filter(({ digest }) => !kept.has(digest)) ?? []),
    newKeys: now.filter((key) => !oldRows.has(key.row)),
    oldKeys: old.filter((key) => !newRows.has(key.row)),
  };
}

function valuesToJson(attributes: MetaverseObject["attributes"]): Record<string, unknown> {
  const plain = attributesToJson(
    Object.fromEntries(Object.entries(attributes).map(([name, { value }]) => [name, value])),
  );
  return Object.fromEntries(
    Object.entries(attributes).map(([name, { connector, rule, precedence, since }]) => [
      name,
      [plain[name], connector, rule, precedence, since],
    ]),
  );
}

function valuesFromJson(
  json: Readonly<Record<string, readonly [unknown, string, string, number, string]>>,
): Record<string, MetaverseValue> {
  const attributes: Record<string, MetaverseValue> = {};
  for (const name of Object.keys(json)) {
    const [value, connector, rule, precedence, since] = json[name]!;
    attributes[name] = {
      value: Array.isArray(value) ? value.map(valueFromJson) : valueFromJson(value),
      connector,
      rule,
      precedence,
      since,
    };
  }
  return attributes;
}
