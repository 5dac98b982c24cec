import { createHash } from "node:crypto";
import pMap from "p-map";
import { imageDigest, importedId, indexHash, shardOf, shards } from "../core/identity.ts";
import {
  type ConnectorSpaceObject,
  type Image,
  importedImage,
  newConnectorSpaceObject,
  type PendingExport,
  type UnconfirmedExport,
} from "../core/model.ts";
import { referredBy } from "../core/references.ts";
import {
  attributesFromJson,
  attributesToJson,
  dnKey,
  type Value,
  valueFromJson,
  valuesOf,
  valueToJson,
} from "../core/values.ts";
import {
  listRows,
  type Operation,
  type Property,
  prefixRange,
  type Row,
  rowsOf,
  type Tables,
} from "../ports/tables.ts";
import { addCounters, type Counters, type FencedWriter, readCounters } from "./fence.ts";
import { transactionShare, transactionsOf } from "./limits.ts";
import { removeRows } from "./removal.ts";
import { tableNames } from "./tableNames.ts";
import { chunked, decodeTexts, encodeTexts, type Spill, spillDeletions, spillsOf } from "./texts.ts";

/** A connector space object as it was read; what a write is conditional on. */
export interface Stored {
  readonly object: ConnectorSpaceObject;
  readonly etag: string;
  readonly spills: readonly Spill[];
  /** The due row that stands for it (ISO 8601). */
  readonly due: string | null;
}

/** `before` null: the object is new. `after` null: it goes. */
export interface ObjectWrite {
  readonly before: Stored | null;
  readonly after: ConnectorSpaceObject | null;
  /** When time alone will change the outcome (ISO 8601); unchanged when not given. */
  readonly due?: string | null;
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

export type MarkerKind = "import" | "export";
const markerPrefix = { import: "i|", export: "e|" } as const;

const textNames = [
  "synchronized",
  "pendingImport",
  "pendingExport",
  "escrow",
  "unconfirmed",
  "error",
] as const;
const readsInFlight = 16;
const operationsMax = 99; // a transaction takes 100, the fence row is one

export function partitionOf(connector: string, shard: string): string {
  return `${connector}-${shard}`;
}

/** 22 characters that stand for an anchor, in the object's row and in what an import has seen. */
export function anchorHash(anchor: string): string {
  return createHash("sha256").update(anchor).digest("base64url").slice(0, 22);
}

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
    return row === undefined ? undefined : this.#decode(connector, row);
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
      yield await this.#decode(connector, row);
    }
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
    const objects = await Promise.all(page.rows.map((row) => this.#decode(connector, row)));
    return page.continuation === undefined ? { objects } : { objects, continuation: page.continuation };
  }

  /** Digests of all objects in order of id, 1,000 to a request. */
  async *digests(connector: string): AsyncGenerator<ObjectDigest> {
    for (const shard of shards) {
      const partition = partitionOf(connector, shard);
      const query = { partition, ...prefixRange("o|"), select: ["anchorHash", "digest", "gone"] };
      for await (const { row, properties } of rowsOf(this.#tables, tableNames.connectorSpace, query)) {
        const hash = properties.anchorHash === undefined ? null : String(properties.anchorHash);
        yield {
          id: row.slice(2),
          anchorHash: hash,
          digest: String(properties.digest ?? ""),
          gone: properties.gone === true,
        };
      }
    }
  }

  /** Ids of objects that are linked to nothing, for a full synchronisation. */
  async *disconnectors(connector: string, shard: string, from = ""): AsyncGenerator<string> {
    const partition = partitionOf(connector, shard);
    const query = { partition, from: `o|${from}`, to: prefixRange("o|").to, select: ["metaverseId"] };
    for await (const { row, properties } of rowsOf(this.#tables, tableNames.connectorSpace, query)) {
      if (properties.metaverseId === undefined) yield row.slice(2);
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
   */
  async empty(connector: string): Promise<void> {
    const remove = async (table: string, partition: string) => {
      const rows = await listRows(this.#tables, table, { partition, select: [] });
      await removeRows(
        this.#tables,
        table,
        partition,
        rows.map(({ row }) => row),
      );
    };
    for (const shard of shards) {
      await remove(tableNames.connectorSpace, partitionOf(connector, shard));
      for (const kind of indexKinds)
        await remove(tableNames.connectorSpaceIndex, `${connector}-${kind}${shard}`);
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

  async #decode(connector: string, row: Row): Promise<Stored> {
    const { properties } = row;
    const texts = await decodeTexts(this.#tables, tableNames.connectorSpace, row, textNames);
    const [synchronized, pendingImport, pendingExport, escrow, unconfirmed, error] = texts.map((json) =>
      json === null ? null : JSON.parse(json),
    );
    const optional = (name: string) => (properties[name] === undefined ? null : String(properties[name]));
    const absenceSince = optional("absentSince");
    return {
      etag: row.etag,
      spills: spillsOf(row, textNames),
      due: optional("due"),
      object: newConnectorSpaceObject({
        id: row.row.slice(2),
        connector,
        objectType: String(properties.objectType),
        anchor: optional("anchor"),
        dn: String(properties.dn),
        synchronized: imageFromJson(synchronized),
        pendingImport:
          pendingImport === null ? null : { ...pendingImport, image: imageFromJson(pendingImport.image) },
        pendingExport: exportFromJson(pendingExport),
        escrow: escrow === null ? null : { ...exportFromJson(escrow)!, runId: escrow.runId },
        unconfirmed: unconfirmedFromJson(unconfirmed),
        metaverseId: optional("metaverseId"),
        linking: optional("linking"),
        disconnector: (properties.disconnector ?? "normal") as ConnectorSpaceObject["disconnector"],
        explicitConnector: properties.explicitConnector === true,
        exported: properties.exported === true,
        absence:
          absenceSince === null
            ? null
            : {
                kind: optional("absence") as NonNullable<ConnectorSpaceObject["absence"]>["kind"],
                since: absenceSince,
                ...(properties.absentByRules === true && { byRules: true }),
              },
        orphan:
          properties.orphanSince === undefined
            ? null
            : { since: String(properties.orphanSince), disabledSince: optional("orphanDisabledSince") },
        wantedBits: Object.fromEntries(
          Object.entries(JSON.parse(optional("wantedBits") ?? "{}") as Record<string, string>).map(
            ([name, bits]) => [name, BigInt(bits)],
          ),
        ),
        recallable: JSON.parse(optional("recallable") ?? "{}") as ConnectorSpaceObject["recallable"],
        error,
      }),
    };
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

const dueRow = (due: string, id: string) => `d|${due}|${id}`;

/** Anchors, DNs, values that rules join on, references. */
const indexKinds = ["a", "n", "j", "r"] as const;

function indexPartition(connector: string, key: string): string {
  return `${connector}-${key.slice(0, 3).replace("|", "")}`; // kind and the first digit of the hash
}

/** The index finds what an id cannot say: provisioned objects by anchor, all objects of a DN directory by DN. */
function indexKeys(object: ConnectorSpaceObject, joinAttributes: readonly string[]): string[] {
  const keys: string[] = [];
  if (object.metaverseId === null) {
    const attributes = importedImage(object)?.attributes ?? {};
    for (const name of joinAttributes) {
      for (const value of valuesOf(attributes[name])) keys.push(`j|${indexHash(name, value)}`);
    }
  }
  if (object.anchor !== null && importedId(object.connector, object.anchor) !== object.id) {
    keys.push(`a|${indexHash("anchor", object.anchor, "exact")}`);
  }
  if (object.dn !== object.anchor) keys.push(`n|${indexHash("dn", object.dn, "dn")}`);
  for (const to of referencesOf(object)) keys.push(referenceKey(to));
  return keys;
}

function referencesOf(object: ConnectorSpaceObject): ReadonlySet<string> {
  return referredBy(Object.values(importedImage(object)?.attributes ?? {}));
}

/** An index row under a DN that nothing has yet is what MIM calls a placeholder. */
function referenceKey(dnOrAnchor: string): string {
  return `r|${indexHash("reference", dnOrAnchor, "dn")}`;
}

function markerOf(object: ConnectorSpaceObject, kind: MarkerKind): string | null {
  if (kind === "import") return object.pendingImport?.change ?? null;
  return object.pendingExport?.change ?? object.escrow?.change ?? null;
}

function totalsDelta(before: ConnectorSpaceObject | null, after: ConnectorSpaceObject | null): Counters {
  const of = (object: ConnectorSpaceObject | null): Counters => {
    if (object === null) return {};
    const totals: Record<string, number> = { objects: 1 };
    if (object.metaverseId !== null) totals.connectors = 1;
    else
      totals[object.disconnector === "normal" ? "disconnectors" : `${object.disconnector}Disconnectors`] = 1;
    const pendingImport = markerOf(object, "import");
    if (pendingImport !== null) totals[`import.${pendingImport}`] = 1;
    const pendingExport = markerOf(object, "export");
    if (pendingExport !== null) totals[`export.${pendingExport}`] = 1;
    if (object.unconfirmed !== null) totals.unconfirmed = 1;
    if (object.error !== null) totals.errors = 1;
    if (object.error?.retry?.at === null) totals.quarantined = 1;
    return totals;
  };
  const minus = Object.fromEntries(Object.entries(of(before)).map(([name, count]) => [name, -count]));
  return addCounters(of(after), minus);
}

function encode(object: ConnectorSpaceObject, due: string | null): ReturnType<typeof encodeTexts> {
  const json = (value: unknown) => (value === null ? null : JSON.stringify(value));
  const image = importedImage(object);
  // An object with something outstanding is looked at whenever an import shows it, changed or not.
  const settled = object.absence === null && object.unconfirmed === null && object.error?.phase !== "import";
  const texts = encodeTexts(object.id, {
    synchronized: json(imageToJson(object.synchronized)),
    pendingImport: json(
      object.pendingImport && { ...object.pendingImport, image: imageToJson(object.pendingImport.image) },
    ),
    pendingExport: json(exportToJson(object.pendingExport)),
    escrow: json(object.escrow && { ...exportToJson(object.escrow), runId: object.escrow.runId }),
    unconfirmed: json(unconfirmedToJson(object.unconfirmed)),
    error: json(object.error),
  });
  const properties: Record<string, Property> = {
    ...texts.properties,
    objectType: object.objectType,
    dn: object.dn,
  };
  if (object.anchor !== null) {
    properties.anchor = object.anchor;
    properties.anchorHash = anchorHash(object.anchor);
    properties.digest = settled && image !== null ? imageDigest(image) : "";
  }
  if (
    object.absence !== null ||
    object.pendingImport?.change === "delete" ||
    object.unconfirmed?.change === "delete"
  ) {
    properties.gone = true;
  }
  if (object.metaverseId !== null) properties.metaverseId = object.metaverseId;
  if (object.linking !== null) properties.linking = object.linking;
  if (object.disconnector !== "normal") properties.disconnector = object.disconnector;
  if (object.explicitConnector) properties.explicitConnector = true;
  if (object.exported) properties.exported = true;
  if (object.absence !== null) {
    properties.absence = object.absence.kind;
    properties.absentSince = object.absence.since;
    if (object.absence.byRules === true) properties.absentByRules = true;
  }
  if (object.orphan !== null) {
    properties.orphanSince = object.orphan.since;
    if (object.orphan.disabledSince !== null) properties.orphanDisabledSince = object.orphan.disabledSince;
  }
  if (Object.keys(object.wantedBits).length > 0) {
    properties.wantedBits = JSON.stringify(
      Object.fromEntries(Object.entries(object.wantedBits).map(([name, bits]) => [name, String(bits)])),
    );
  }
  if (Object.keys(object.recallable).length > 0) properties.recallable = JSON.stringify(object.recallable);
  if (due !== null) properties.due = due;
  return { ...texts, properties };
}

// ---- images in JSON --------------------------------------------------------------------------------------------

export function imageToJson(image: Image | null) {
  return image && { ...image, attributes: attributesToJson(image.attributes) };
}

function imageFromJson(
  json: { objectType: string; dn: string; attributes: Record<string, unknown> } | null,
): Image | null {
  return json && { ...json, attributes: attributesFromJson(json.attributes) };
}

export function exportToJson(pending: PendingExport | null) {
  if (pending === null) return null;
  return {
    change: pending.change,
    ...(pending.newDn === undefined ? {} : { newDn: pending.newDn }),
    reason: pending.reason,
    attributes: pending.attributes.map(({ name, before, after, rule }) => ({
      name,
      ...(before === undefined ? {} : { before: attributesToJson({ value: before }).value }),
      ...(after === undefined ? {} : { after: attributesToJson({ value: after }).value }),
      rule,
    })),
  };
}

interface ExportJson {
  readonly change: PendingExport["change"];
  readonly newDn?: string;
  readonly reason: string;
  readonly attributes: readonly {
    readonly name: string;
    readonly before?: unknown;
    readonly after?: unknown;
    readonly rule: string;
  }[];
}

function exportFromJson(json: ExportJson | null): PendingExport | null {
  if (json === null) return null;
  return {
    change: json.change,
    ...(json.newDn === undefined ? {} : { newDn: json.newDn }),
    reason: json.reason,
    attributes: json.attributes.map(({ name, before, after, rule }) => {
      const values = attributesFromJson({ before, after });
      return {
        name,
        ...(values.before === undefined ? {} : { before: values.before }),
        ...(values.after === undefined ? {} : { after: values.after }),
        rule,
      };
    }),
  };
}

function unconfirmedToJson(unconfirmed: UnconfirmedExport | null) {
  if (unconfirmed === null) return null;
  const expected = Object.entries(unconfirmed.expected).map(([name, value]) => [
    name,
    value === null ? null : Array.isArray(value) ? value.map(valueToJson) : valueToJson(value as never),
  ]);
  return { ...unconfirmed, expected: Object.fromEntries(expected) };
}

function unconfirmedFromJson(
  json: { change: UnconfirmedExport["change"]; newDn?: string; expected: Record<string, unknown> } | null,
): UnconfirmedExport | null {
  if (json === null) return null;
  const expected = Object.entries(json.expected).map(([name, value]) => [
    name,
    value === null ? null : Array.isArray(value) ? value.map(valueFromJson) : valueFromJson(value),
  ]);
  return { ...json, expected: Object.fromEntries(expected) };
}
