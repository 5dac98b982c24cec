import pMap from "p-map";
import { importedId, indexHash, shardOf, shards } from "../core/identity.ts";
import { type ConnectorSpaceObject, importedImage } from "../core/model.ts";
import { dnKey, type Value, valuesOf } from "../core/values.ts";
import {
  listRows,
  type Operation,
  pagesOf,
  prefixRange,
  rowsOf,
  StoreError,
  type Tables,
} from "../ports/tables.ts";
import {
  decode,
  dueRow,
  encode,
  indexKeys,
  indexKinds,
  indexPartition,
  type MarkerKind,
  markerOf,
  markerPrefix,
  partitionOf,
  referenceKey,
  referencesOf,
  type Stored,
  totalsDelta,
} from "./connectorSpaceRows.ts";
import { addCounters, type Counters, type FencedWriter, fenceRow, readCounters } from "./fence.ts";
import { transactionShare, transactionsOf } from "./limits.ts";
import { removeRows } from "./removal.ts";
import { tableNames } from "./tableNames.ts";
import { chunked, spillDeletions } from "./texts.ts";

/** `before` null: the object is new. `after` null: it goes. */
export interface ObjectWrite {
  readonly before: Stored | null;
  readonly after: ConnectorSpaceObject | null;
  /** When time alone will change the outcome (ISO 8601); unchanged when not given. */
  readonly due?: string | null;
}

/** An object as it was read, and not decoded. A promise where its texts are too long for its row. */
export interface UndecodedObject {
  readonly id: string;
  decode(): Stored | Promise<Stored>;
}

/** What an import needs to know of every object, to touch only those that changed. */
export interface ObjectDigest {
  readonly id: string;
  /** Null: provisioned, its anchor not known yet. */
  readonly anchorHash: string | null;
  /** Digest of the imported image; "" when the object is to be looked at whatever the source says. */
  readonly digest: string;
  /** Absent or deleted already, as far as we know: a listing need not show it. */
  readonly gone: boolean;
}

const readsInFlight = 16;
/** A page of a thousand rows takes a megabyte or two while it is read. */
const digestPagesInFlight = 4;
const operationsMax = 99; // a transaction takes 100, the fence row is one

/**
 * The connector spaces of all connectors: objects, their images, markers of pending work, and the index that finds
 * objects by anchor, by DN, and (while they are linked to nothing) by the attributes that outbound rules join on.
 */
export class ConnectorSpaceStore {
  readonly #tables: Tables;
  /** Names by connector. */
  readonly #joinAttributes: ReadonlyMap<string, readonly string[]>;

  constructor(tables: Tables, joinAttributes: ReadonlyMap<string, readonly string[]> = new Map()) {
    this.#tables = tables;
    this.#joinAttributes = joinAttributes;
  }

  async get(connector: string, id: string): Promise<Stored | undefined> {
    const row = await this.#tables.get(
      tableNames.connectorSpace,
      partitionOf(connector, shardOf(id)),
      `o|${id}`,
    );
    return row === undefined ? undefined : decode(this.#tables, connector, row);
  }

  /** The objects of these ids that exist, by id. */
  async getMany(connector: string, ids: Iterable<string>): Promise<Map<string, Stored>> {
    const found = await pMap(new Set(ids), (id) => this.get(connector, id), { concurrency: readsInFlight });
    return new Map(found.filter((one) => one !== undefined).map((one) => [one.object.id, one]));
  }

  /** The objects of one shard with ids from `from` (inclusive) to `to` (exclusive), in order of id. */
  async *range(connector: string, shard: string, from = "", to = "\u007f"): AsyncGenerator<Stored> {
    const query = { partition: partitionOf(connector, shard), from: `o|${from}`, to: `o|${to}` };
    for await (const row of rowsOf(this.#tables, tableNames.connectorSpace, query)) {
      yield await decode(this.#tables, connector, row);
    }
  }

  /** The same, a page at a time and not decoded. */
  async *pages(
    connector: string,
    shard: string,
    from: string,
    to: string,
  ): AsyncGenerator<readonly UndecodedObject[]> {
    const query = { partition: partitionOf(connector, shard), from: `o|${from}`, to: `o|${to}` };
    for await (const { rows } of pagesOf(this.#tables, tableNames.connectorSpace, query))
      yield rows.map((row) => ({
        id: row.row.slice(2),
        decode: () => decode(this.#tables, connector, row),
      }));
  }

  /** One page of a shard, for searches. */
  async page(
    connector: string,
    shard: string,
    pageSize: number,
    continuation?: string,
  ): Promise<{ readonly objects: readonly Stored[]; readonly continuation?: string }> {
    const query = { partition: partitionOf(connector, shard), ...prefixRange("o|"), pageSize };
    const page = await this.#tables.query(tableNames.connectorSpace, query, continuation);
    const objects = await Promise.all(page.rows.map((row) => decode(this.#tables, connector, row)));
    return page.continuation === undefined ? { objects } : { objects, continuation: page.continuation };
  }

  /** Hands out the digests of all objects, 1,000 to a request, in no order: some shards are read side by side. */
  async eachDigest(connector: string, take: (digest: ObjectDigest) => void): Promise<void> {
    const select = ["anchorHash", "digest", "gone"];
    const ofShard = async (shard: string) => {
      const query = { partition: partitionOf(connector, shard), ...prefixRange("o|"), select };
      for await (const { row, properties } of rowsOf(this.#tables, tableNames.connectorSpace, query)) {
        const { anchorHash, digest = "", gone } = properties;
        take({
          id: row.slice(2),
          anchorHash: anchorHash === undefined ? null : String(anchorHash),
          digest: String(digest),
          gone: gone === true,
        });
      }
    };
    await pMap(shards, ofShard, { concurrency: digestPagesInFlight });
  }

  /** Ids of objects that are linked to nothing, for a full synchronisation: those of a page at a time. */
  async *disconnectors(connector: string, shard: string, from = ""): AsyncGenerator<readonly string[]> {
    const partition = partitionOf(connector, shard);
    const query = { partition, from: `o|${from}`, to: prefixRange("o|").to, select: ["metaverseId"] };
    for await (const { rows } of pagesOf(this.#tables, tableNames.connectorSpace, query)) {
      const unlinked = rows.filter(({ properties }) => properties.metaverseId === undefined);
      if (unlinked.length > 0) yield unlinked.map(({ row }) => row.slice(2));
    }
  }

  /** Ids with a pending import or export in one shard, in order, from `from` (inclusive) on. */
  async *marked(
    connector: string,
    shard: string,
    kind: MarkerKind,
    from = "",
  ): AsyncGenerator<{ id: string; change: string }> {
    const prefix = markerPrefix[kind];
    const partition = partitionOf(connector, shard);
    const query = { partition, from: `${prefix}${from}`, to: prefixRange(prefix).to };
    for await (const { row, properties } of rowsOf(this.#tables, tableNames.connectorSpace, query)) {
      yield { id: row.slice(prefix.length), change: String(properties.change) };
    }
  }

  /** Ids of objects whose due time has come, in one shard. */
  async dueIds(connector: string, shard: string, now: string): Promise<string[]> {
    const query = { partition: partitionOf(connector, shard), from: "d|", to: `d|${now}\u007f` };
    const rows = await listRows(this.#tables, tableNames.connectorSpace, query);
    return rows.map(({ row }) => row.slice(row.lastIndexOf("|") + 1));
  }

  /** The earliest due time of a connector (ISO 8601), null when nothing falls due. */
  async nextDue(connector: string): Promise<string | null> {
    const firsts = await pMap(shards, async (shard) => {
      const query = { partition: partitionOf(connector, shard), ...prefixRange("d|"), pageSize: 1 };
      for await (const { row } of rowsOf(this.#tables, tableNames.connectorSpace, query))
        return row.split("|")[1]!;
      return undefined;
    });
    return firsts.filter((due) => due !== undefined).sort()[0] ?? null;
  }

  /** The object that has this anchor. */
  async findByAnchor(connector: string, anchor: string): Promise<Stored | undefined> {
    const direct = await this.get(connector, importedId(connector, anchor));
    if (direct !== undefined && direct.object.anchor === anchor) return direct;
    const ids = await this.#indexed(connector, `a|${indexHash("anchor", anchor, "exact")}`);
    for (const id of ids) {
      const stored = await this.get(connector, id);
      if (stored?.object.anchor === anchor) return stored;
    }
    return undefined;
  }

  /** The objects whose DN, as last imported or as provisioned, is this one. */
  async findByDn(connector: string, dn: string): Promise<Stored[]> {
    const ids = await this.#indexed(connector, `n|${indexHash("dn", dn, "dn")}`);
    const found = await this.getMany(connector, ids);
    return [...found.values()].filter(({ object }) => dnKey(object.dn) === dnKey(dn));
  }

  /** Objects that are linked to nothing and have this value, ignoring case, in an attribute that rules join on. */
  async findUnlinked(connector: string, attribute: string, value: Value): Promise<Stored[]> {
    const hash = indexHash(attribute, value);
    const ids = await this.#indexed(connector, `j|${hash}`);
    const found = await this.getMany(connector, ids);
    return [...found.values()].filter(
      ({ object }) =>
        object.metaverseId === null &&
        valuesOf(importedImage(object)?.attributes[attribute]).some(
          (own) => indexHash(attribute, own) === hash,
        ),
    );
  }

  /**
   * The metaverse objects of those that refer to one of these DNs or anchors; perhaps of some that no longer do. Reads
   * no images: a group of 50,000 members is asked for with each of them.
   */
  async referringMetaverseIds(connector: string, dnsOrAnchors: Iterable<string>): Promise<Set<string>> {
    const ids = await pMap(dnsOrAnchors, (to) => this.#indexed(connector, referenceKey(to)), {
      concurrency: readsInFlight,
    });
    const links = await pMap(
      new Set(ids.flat()),
      async (id) => {
        const partition = partitionOf(connector, shardOf(id));
        const select = ["metaverseId", "linking"];
        const query = { partition, from: `o|${id}`, to: `o|${id}!`, select };
        const [row] = await listRows(this.#tables, tableNames.connectorSpace, query);
        return row?.properties.metaverseId ?? row?.properties.linking ?? [];
      },
      { concurrency: readsInFlight },
    );
    return new Set(links.flat().map(String));
  }

  /** Objects whose image, as the last import saw it, refers to this DN or anchor. */
  async findReferring(connector: string, dnOrAnchor: string): Promise<Stored[]> {
    const ids = await this.#indexed(connector, referenceKey(dnOrAnchor));
    const found = await this.getMany(connector, ids);
    const key = dnKey(dnOrAnchor);
    return [...found.values()].filter(({ object }) =>
      [...referencesOf(object)].some((one) => dnKey(one) === key),
    );
  }

  /**
   * Removes everything that is known of a connector's objects; what they are linked to stays as it is. A call that was
   * broken off is repeated.
   * @param mayGoOn throws when somebody else may work on them; asked before each partition of the index, which has no
   * fence
   */
  async empty(connector: string, writer: FencedWriter, mayGoOn: () => Promise<void>): Promise<void> {
    for (const shard of shards) {
      const partition = partitionOf(connector, shard);
      while (!(await this.#emptyPartition(partition, writer)));
      const { totals } = await readCounters(this.#tables, tableNames.connectorSpace, partition);
      const none = Object.fromEntries(Object.entries(totals).map(([name, count]) => [name, -count]));
      await writer.transact(tableNames.connectorSpace, partition, [], { totals: none });
      for (const kind of indexKinds) {
        await mayGoOn();
        const index = `${connector}-${kind}${shard}`;
        const keys = await listRows(this.#tables, tableNames.connectorSpaceIndex, {
          partition: index,
          select: [],
        });
        await removeRows(
          this.#tables,
          tableNames.connectorSpaceIndex,
          index,
          keys.map(({ row }) => row),
        );
      }
    }
  }

  /** @returns false when rows were gone that were there: of an earlier request the answer was lost */
  async #emptyPartition(partition: string, writer: FencedWriter): Promise<boolean> {
    const rows = await listRows(this.#tables, tableNames.connectorSpace, { partition, select: [] });
    const removed = rows.flatMap(({ row }) => (row === fenceRow ? [] : [{ kind: "delete" as const, row }]));
    try {
      for (const chunk of chunked(removed, () => 1, operationsMax))
        await writer.transact(tableNames.connectorSpace, partition, chunk);
      return true;
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
      return false;
    }
  }

  async #indexed(connector: string, key: string): Promise<string[]> {
    const query = { partition: indexPartition(connector, key), ...prefixRange(`${key}|`) };
    const rows = await listRows(this.#tables, tableNames.connectorSpaceIndex, query);
    return rows.map(({ row }) => row.slice(key.length + 1));
  }

  /**
   * Writes objects, their markers and index rows. Objects of one partition go in as few transactions as the limits
   * allow; the order between partitions is open, so one call is one stage of a commit order.
   * @throws StoreError "conflict" when one of them has changed since it was read: read and decide again; LeaseLost.
   */
  async write(
    writer: FencedWriter,
    writes: readonly (ObjectWrite & { readonly counters?: Counters })[],
  ): Promise<void> {
    if (writes.length === 0) return;
    const prepared = writes.map((write) => this.#prepare(write));
    await this.#writeIndex(prepared.flatMap(({ indexRows }) => indexRows));
    const byPartition = Map.groupBy(prepared, ({ partition }) => partition);
    await pMap(byPartition, async ([partition, all]) => {
      const spillRows = all.flatMap((one) => one.spillRows);
      for (const chunk of transactionsOf(spillRows)) {
        await this.#tables.transact(tableNames.connectorSpace, partition, chunk);
      }
      for (const chunk of chunked(all, (one) => transactionShare(one.operations, operationsMax), 1)) {
        const operations = chunk.flatMap((one) => one.operations);
        if (operations.length === 0) continue;
        await writer.transact(tableNames.connectorSpace, partition, operations, {
          counters: addCounters(...chunk.map((one) => one.counters)),
          totals: addCounters(...chunk.map((one) => one.totals)),
        });
      }
      // Fenced: a successor may have come back to a text that was obsolete here.
      const obsoleteRows = all.flatMap((one) => one.obsoleteRows);
      for (const chunk of transactionsOf(obsoleteRows, operationsMax)) {
        await writer.transact(tableNames.connectorSpace, partition, chunk);
      }
    });
    await this.#cleanIndex(prepared.flatMap(({ obsoleteIndexRows }) => obsoleteIndexRows));
  }

  #prepare(write: ObjectWrite & { readonly counters?: Counters }): Prepared {
    const { before, after } = write;
    const object = after ?? before!.object;
    const partition = partitionOf(object.connector, shardOf(object.id));
    const row = `o|${object.id}`;
    const due = after === null ? null : write.due === undefined ? (before?.due ?? null) : write.due;
    const operations: Operation[] = [];
    const encoded = after === null ? null : encode(after, due);
    if (encoded === null) operations.push({ kind: "delete", row });
    else if (before === null) operations.push({ kind: "insert", row, properties: encoded.properties });
    else operations.push({ kind: "replace", row, properties: encoded.properties, etag: before.etag });
    for (const kind of ["import", "export"] as const) {
      const had = before === null ? null : markerOf(before.object, kind);
      const has = after === null ? null : markerOf(after, kind);
      const marker = `${markerPrefix[kind]}${object.id}`;
      if (has !== null && has !== had)
        operations.push({ kind: "replace", row: marker, properties: { change: has } });
      if (has === null && had !== null) operations.push({ kind: "delete", row: marker });
    }
    if ((before?.due ?? null) !== due) {
      if (before !== null && before.due !== null)
        operations.push({ kind: "delete", row: dueRow(before.due, object.id) });
      if (due !== null) operations.push({ kind: "replace", row: dueRow(due, object.id), properties: {} });
    }
    const kept = new Set(encoded?.spills.map(({ digest }) => digest));
    const obsolete = before?.spills.filter(({ digest }) => !kept.has(digest)) ?? [];
    const join = this.#joinAttributes.get(object.connector) ?? [];
    const oldIndex = new Set(before === null ? [] : indexKeys(before.object, join));
    const newIndex = new Set(after === null ? [] : indexKeys(after, join));
    return {
      partition,
      operations,
      counters: write.counters ?? {},
      totals: totalsDelta(before?.object ?? null, after),
      spillRows: encoded?.spillRows ?? [],
      obsoleteRows: spillDeletions(obsolete),
      indexRows: [...newIndex]
        .filter((key) => !oldIndex.has(key))
        .map((key) => ({ connector: object.connector, key, id: object.id })),
      obsoleteIndexRows: [...oldIndex]
        .filter((key) => !newIndex.has(key))
        .map((key) => ({ connector: object.connector, key, id: object.id })),
    };
  }

  /** Writes all index rows of objects that were written when rules joined on other attributes. */
  async reindex(objects: readonly ConnectorSpaceObject[]): Promise<void> {
    await this.#writeIndex(
      objects
        .filter(({ metaverseId }) => metaverseId === null)
        .flatMap((object) =>
          indexKeys(object, this.#joinAttributes.get(object.connector) ?? []).map((key) => ({
            connector: object.connector,
            key,
            id: object.id,
          })),
        ),
    );
  }

  async #writeIndex(rows: readonly IndexRow[]): Promise<void> {
    await this.#eachIndexPartition(rows, async (partition, chunk) => {
      const operations = chunk.map(
        ({ key, id }): Operation => ({ kind: "replace", row: `${key}|${id}`, properties: {} }),
      );
      await this.#tables.transact(tableNames.connectorSpaceIndex, partition, operations);
    });
  }

  async #cleanIndex(rows: readonly IndexRow[]): Promise<void> {
    await this.#eachIndexPartition(rows, async (partition, chunk) => {
      const keys = chunk.map(({ key, id }) => `${key}|${id}`);
      await removeRows(this.#tables, tableNames.connectorSpaceIndex, partition, keys);
    });
  }

  async #eachIndexPartition(
    rows: readonly IndexRow[],
    work: (partition: string, chunk: readonly IndexRow[]) => Promise<void>,
  ): Promise<void> {
    const unique = new Map(rows.map((row) => [`${row.connector}/${row.key}|${row.id}`, row]));
    const byPartition = Map.groupBy(unique.values(), ({ connector, key }) => indexPartition(connector, key));
    await pMap(
      byPartition,
      async ([partition, all]) => {
        for (const chunk of chunked(all, () => 1, 100)) await work(partition, chunk);
      },
      { concurrency: readsInFlight },
    );
  }

  /** What the connector space holds, from the counters of its partitions. */
  async totals(connector: string): Promise<Counters> {
    const all = await pMap(shards, (shard) =>
      readCounters(this.#tables, tableNames.connectorSpace, partitionOf(connector, shard)),
    );
    return addCounters(...all.map(({ totals }) => totals));
  }

  /** What one step of a run has counted. */
  async counted(connector: string, of: { readonly runId: string; readonly step: number }): Promise<Counters> {
    const all = await pMap(shards, (shard) =>
      readCounters(this.#tables, tableNames.connectorSpace, partitionOf(connector, shard), of),
    );
    return addCounters(...all.map(({ counters }) => counters));
  }
}

interface IndexRow {
  readonly connector: string;
  readonly key: string;
  readonly id: string;
}

interface Prepared {
  readonly partition: string;
  readonly operations: readonly Operation[];
  readonly counters: Counters;
  readonly totals: Counters;
  readonly spillRows: readonly Operation[];
  readonly obsoleteRows: readonly Operation[];
  readonly indexRows: readonly IndexRow[];
  readonly obsoleteIndexRows: readonly IndexRow[];
}
