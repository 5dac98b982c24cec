/**
 * How a connector space object stands in the tables: its row and texts, the rows that mark pending work, the keys of
 * the index, and what a change does to the totals.
 */
import { hash } from "node:crypto";
import { imageDigest, importedId, indexHash } from "../core/identity.ts";
import {
  type ConnectorSpaceObject,
  type Image,
  importedImage,
  type PendingExport,
  type UnconfirmedExport,
} from "../core/model.ts";
import { refusalOf } from "../core/objectErrors.ts";
import { referredBy } from "../core/references.ts";
import {
  attributesFromJson,
  attributesToJson,
  valueFromJson,
  valuesOf,
  valueToJson,
} from "../core/values.ts";
import type { Property, Row, Tables } from "../ports/tables.ts";
import { addCounters, type Counters } from "./fence.ts";
import { tableNames } from "./tableNames.ts";
import { decodeTexts, encodeTexts, inlineTexts, type Spill, spillsOf, textColumns } from "./texts.ts";

/** A connector space object as it was read; what a write is conditional on. */
export interface Stored {
  readonly object: ConnectorSpaceObject;
  readonly etag: string;
  readonly spills: readonly Spill[];
  /** The due row that stands for it (ISO 8601). */
  readonly due: string | null;
}

export type MarkerKind = "import" | "export";
export const markerPrefix = { import: "i|", export: "e|" } as const;

const texts = textColumns("synchronized", "pendingImport", "pendingExport", "escrow", "unconfirmed", "error");

export function partitionOf(connector: string, shard: string): string {
  return `${connector}-${shard}`;
}

/** 22 characters that stand for an anchor, in the object's row and in what an import has seen. */
export function anchorHash(anchor: string): string {
  return hash("sha256", anchor, "base64url").slice(0, 22);
}

export const dueRow = (due: string, id: string) => `d|${due}|${id}`;

/** Anchors, DNs, values that rules join on, references. */
export const indexKinds = ["a", "n", "j", "r"] as const;

export function indexPartition(connector: string, key: string): string {
  return `${connector}-${key.slice(0, 3).replace("|", "")}`; // kind and the first digit of the hash
}

/** The index finds what an id cannot say: provisioned objects by anchor, all objects of a DN directory by DN. */
export function indexKeys(object: ConnectorSpaceObject, joinAttributes: readonly string[]): string[] {
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

export function referencesOf(object: ConnectorSpaceObject): ReadonlySet<string> {
  return referredBy(Object.values(importedImage(object)?.attributes ?? {}));
}

/** An index row under a DN that nothing has yet is what MIM calls a placeholder. */
export function referenceKey(dnOrAnchor: string): string {
  return `r|${indexHash("reference", dnOrAnchor, "dn")}`;
}

export function markerOf(object: ConnectorSpaceObject, kind: MarkerKind): string | null {
  if (kind === "import") return object.pendingImport?.change ?? null;
  return object.pendingExport?.change ?? object.escrow?.change ?? null;
}

export function totalsDelta(
  before: ConnectorSpaceObject | null,
  after: ConnectorSpaceObject | null,
): Counters {
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
    if (refusalOf(object.error)?.retry?.at === null) totals.quarantined = 1;
    return totals;
  };
  const minus = Object.fromEntries(Object.entries(of(before)).map(([name, count]) => [name, -count]));
  return addCounters(of(after), minus);
}

export function encode(object: ConnectorSpaceObject, due: string | null): ReturnType<typeof encodeTexts> {
  const json = (value: unknown) => (value === null ? null : JSON.stringify(value));
  const image = importedImage(object);
  // An object with something outstanding is looked at whenever an import shows it, changed or not.
  const settled = object.absence === null && object.unconfirmed === null && object.error?.phase !== "import";
  const encoded = encodeTexts(object.id, {
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
    ...encoded.properties,
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
  return { ...encoded, properties };
}

/**
 * A promise only where texts are too long for the row: a full synchronisation decodes all objects there are.
 * @param tables where such texts are read from
 */
export function decode(tables: Tables, connector: string, row: Row): Stored | Promise<Stored> {
  const inline = inlineTexts(row, texts);
  if (inline !== null) return decoded(connector, row, inline);
  return decodeTexts(tables, tableNames.connectorSpace, row, texts).then((all) =>
    decoded(connector, row, all),
  );
}

/** What objects that have none share. */
const none = Object.freeze({});

function decoded(
  connector: string,
  stored: Row,
  [synchronized, pendingImport, pendingExport, escrow, unconfirmed, error]: readonly (string | null)[],
): Stored {
  const { row, etag, properties } = stored;
  const optional = (name: string) => (properties[name] as string | undefined) ?? null;
  return {
    etag,
    spills: spillsOf(stored, texts),
    due: optional("due"),
    // In the order of newConnectorSpaceObject: whoever compares texts of objects finds them the same.
    object: {
      synchronized: read(synchronized, imageFromJson),
      pendingImport: read(pendingImport, (json) => ({ ...json, image: imageFromJson(json.image) })),
      pendingExport: read(pendingExport, exportFromJson),
      escrow: read(escrow, (json) => ({ ...exportFromJson(json)!, runId: json.runId })),
      unconfirmed: read(unconfirmed, unconfirmedFromJson),
      metaverseId: optional("metaverseId"),
      linking: optional("linking"),
      disconnector: (properties.disconnector ?? "normal") as ConnectorSpaceObject["disconnector"],
      explicitConnector: properties.explicitConnector === true,
      absence:
        properties.absentSince === undefined
          ? null
          : {
              kind: properties.absence as NonNullable<ConnectorSpaceObject["absence"]>["kind"],
              since: String(properties.absentSince),
              ...(properties.absentByRules === true && { byRules: true }),
            },
      orphan:
        properties.orphanSince === undefined
          ? null
          : { since: String(properties.orphanSince), disabledSince: optional("orphanDisabledSince") },
      wantedBits: read(optional("wantedBits"), bitsFromJson) ?? none,
      exported: properties.exported === true,
      recallable: read(optional("recallable"), (json) => json) ?? none,
      error: read(error, (json) => json),
      id: row.slice(2),
      connector,
      objectType: String(properties.objectType),
      anchor: optional("anchor"),
      dn: String(properties.dn),
    },
  };
}

/** The value of a text that may be absent; what wrote the text knows its shape. */
// biome-ignore lint/suspicious/noExplicitAny: as JSON.parse gives it.
function read<T>(text: string | null | undefined, convert: (json: any) => T): T | null {
  return text == null ? null : convert(JSON.parse(text));
}

function bitsFromJson(json: Readonly<Record<string, string>>): Record<string, bigint> {
  const bits: Record<string, bigint> = {};
  for (const name of Object.keys(json)) bits[name] = BigInt(json[name]!);
  return bits;
}

// ---- images in JSON --------------------------------------------------------------------------------------------

export function imageToJson(image: Image | null) {
  return image && { ...image, attributes: attributesToJson(image.attributes) };
}

function imageFromJson(
  json: { objectType: string; dn: string; attributes: Record<string, unknown> } | null,
): Image | null {
  return (
    json && { objectType: json.objectType, dn: json.dn, attributes: attributesFromJson(json.attributes) }
  );
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
