/** What a batch of changes makes of a file's records. Pure: whoever calls it writes the file. */
import { type AttributeValue, attributesEqual, dnKey } from "../../core/values.ts";
import type { ExportChange, ExportResult, ObjectTypeSchema, SchemaAttribute } from "../../ports/connector.ts";
import type { FileDocument, FileRecord, RawAttribute } from "./document.ts";
import type { RecordReader } from "./records.ts";

export interface ExportedDocument {
  readonly document: FileDocument;
  readonly results: readonly ExportResult[];
  /** False when every change was there already or was refused: the file need not be written. */
  readonly changed: boolean;
}

/** @throws ConnectorError "configuration" when a record cannot be read: it could not be written back either. */
export function applyChanges(
  reader: RecordReader,
  document: FileDocument,
  changes: readonly ExportChange[],
): ExportedDocument {
  const broken = document.records.find(({ problem }) => problem !== undefined);
  if (broken !== undefined) {
    throw reader.failure(
      `line ${broken.line}: ${broken.problem}; the file is not rewritten before that is corrected`,
    );
  }
  const records = new Records(reader, document.records);
  let changed = false;
  const results = changes.map((change): ExportResult => {
    try {
      const outcome = new RecordChange(reader, document, records, change).apply();
      changed ||= outcome.changed;
      return outcome.result;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      return failed("invalid-attribute-value", `${change.dn}: ${error.message}.`);
    }
  });
  return { document: { ...document, records: records.list() }, results, changed };
}

/** The records by place, found by anchor and by name; a place keeps its number, and is null when its record is gone. */
class Records {
  readonly #reader: RecordReader;
  readonly #places: (FileRecord | null)[];
  readonly #byAnchor = new Map<string, number>();
  readonly #byName = new Map<string, number>();

  constructor(reader: RecordReader, records: readonly FileRecord[]) {
    this.#reader = reader;
    this.#places = [];
    for (const record of records) this.set(this.#places.length, record);
  }

  get end(): number {
    return this.#places.length;
  }

  list(): FileRecord[] {
    return this.#places.filter((record) => record !== null);
  }

  at(place: number | undefined): FileRecord | undefined {
    return place === undefined ? undefined : (this.#places[place] ?? undefined);
  }

  ofAnchor(anchor: string | null): number | undefined {
    return anchor === null ? undefined : this.#byAnchor.get(anchor);
  }

  ofName(dn: string): number | undefined {
    return this.#byName.get(dnKey(dn));
  }

  set(place: number, record: FileRecord | null): void {
    const before = this.at(place);
    if (before !== undefined) {
      this.#byAnchor.delete(this.#reader.anchorOf(before) ?? "");
      this.#byName.delete(dnKey(this.#reader.dnOf(before) ?? ""));
    }
    this.#places[place] = record;
    if (record === null) return;
    const [anchor, name] = [this.#reader.anchorOf(record), this.#reader.dnOf(record)];
    if (anchor !== undefined) this.#byAnchor.set(anchor, place);
    if (name !== undefined) this.#byName.set(dnKey(name), place);
  }
}

interface Outcome {
  readonly result: ExportResult;
  readonly changed: boolean;
}

class RecordChange {
  readonly #reader: RecordReader;
  readonly #document: FileDocument;
  readonly #records: Records;
  readonly #change: ExportChange;

  constructor(reader: RecordReader, document: FileDocument, records: Records, change: ExportChange) {
    this.#reader = reader;
    this.#document = document;
    this.#records = records;
    this.#change = change;
  }

  apply(): Outcome {
    const { objectType, dn } = this.#change;
    const type = this.#reader.schema.find(({ name }) => name === objectType);
    if (type === undefined)
      return refused("schema-violation", `${dn}: the connector has no object type ${objectType}.`);
    const unknown = this.#change.attributes.find(({ name }) => attributeOf(type, name) === undefined);
    if (unknown !== undefined) {
      return refused("schema-violation", `${dn}: ${unknown.name} is not an attribute of the connector.`);
    }
    if (this.#change.change === "add") return this.#add(type);
    const place = this.#records.ofAnchor(this.#change.anchor);
    return this.#change.change === "update" ? this.#update(type, place) : this.#delete(place);
  }

  /** A record that has every value of the add already is our own, from an attempt whose answer was lost. */
  #add(type: ObjectTypeSchema): Outcome {
    const { dn, attributes } = this.#change;
    const record = this.#written({ line: 0, dn: "", attributes: new Map() }, type, dn);
    const anchor = this.#reader.anchorOf(record);
    if (anchor === undefined) {
      return refused(
        "missing-anchor-component",
        `${dn}: no value flows to ${this.#reader.settings.anchor}. Every record needs one.`,
      );
    }
    const holder = this.#records.at(this.#records.ofAnchor(anchor) ?? this.#records.ofName(dn));
    if (holder === undefined) {
      this.#records.set(this.#records.end, record);
      return done(anchor, dn, true);
    }
    const image = this.#reader.imageOf(type, holder);
    const isOurs =
      this.#reader.anchorOf(holder) === anchor &&
      attributes.every(({ name, after }) => attributesEqual(image.attributes[name], after, "exact"));
    if (isOurs) return { result: { kind: "exported", anchor, dn: image.dn, resumed: true }, changed: false };
    return refused(
      "cd-existing-object",
      `${dn}: line ${holder.line} has the same ${this.#reader.settings.anchor} or name, with other values. Remove it there, or join it.`,
    );
  }

  #update(type: ObjectTypeSchema, place: number | undefined): Outcome {
    const { dn, newDn, attributes, anchor } = this.#change;
    const present = this.#records.at(place);
    if (place === undefined || present === undefined || anchor === null)
      return refused("cd-missing-object", `${dn}: there is no such record in the file any more.`);
    const image = this.#reader.imageOf(type, present);
    const stale = attributes.find(({ name, before, after }) => {
      const value = image.attributes[name];
      return !attributesEqual(value, before, "exact") && !attributesEqual(value, after, "exact");
    });
    if (stale !== undefined) {
      return refused(
        "cd-error",
        `${dn}: somebody else has changed ${stale.name}. It is not overwritten; the next import and synchronisation decide anew.`,
      );
    }
    const wantedDn = newDn ?? image.dn;
    const holder = this.#records.ofName(wantedDn);
    if (holder !== undefined && holder !== place) {
      return refused(
        "cd-existing-object",
        `${dn}: line ${this.#records.at(holder)?.line} has the name ${wantedDn} already.`,
      );
    }
    const record = this.#written(present, type, wantedDn);
    const { anchor: anchorName } = this.#reader.settings;
    const renumbered = attributes.some(
      ({ name, after }) => name.toLowerCase() === anchorName.toLowerCase() && after !== anchor,
    );
    if (renumbered || this.#reader.anchorOf(record) !== anchor) {
      return refused(
        "modify-naming-attribute",
        `${dn}: ${anchorName} identifies the record and is never changed.`,
      );
    }
    const changed =
      wantedDn !== image.dn ||
      attributes.some(({ name, after }) => !attributesEqual(image.attributes[name], after, "exact"));
    if (changed) this.#records.set(place, record);
    return done(anchor, wantedDn, changed);
  }

  #delete(place: number | undefined): Outcome {
    const { anchor, dn } = this.#change;
    if (place !== undefined) this.#records.set(place, null);
    return done(anchor ?? "", dn, place !== undefined);
  }

  /** The record with the values of the change; what the connector does not select stays as it is. */
  #written(record: FileRecord, type: ObjectTypeSchema, dn: string): FileRecord {
    const attributes = new Map(record.attributes);
    const set = (attribute: SchemaAttribute, value: AttributeValue | undefined) => {
      const key = attribute.name.toLowerCase();
      const { columns } = this.#document;
      if (columns !== undefined && !columns.some((name) => name.toLowerCase() === key)) {
        throw new TypeError(`the file has no column ${attribute.name}`);
      }
      const values = this.#reader.print(attribute, value);
      const written: RawAttribute = { name: attributes.get(key)?.name ?? attribute.name, values };
      if (values.length === 0) attributes.delete(key);
      else attributes.set(key, written);
    };
    const text = (name: string): SchemaAttribute => ({ name, type: "string", multiValued: false });
    const { format, dn: dnAttribute, anchor, typeAttribute } = this.#reader.settings;
    const tells = typeAttribute ?? (format === "ldif" ? "objectClass" : undefined);
    if (tells !== undefined && !attributes.has(tells.toLowerCase())) set(text(tells), type.name);
    for (const { name, after } of this.#change.attributes) set(attributeOf(type, name)!, after);
    if (format === "csv") set(text(dnAttribute ?? anchor), dn);
    return { ...record, attributes, ...(format === "ldif" ? { dn } : {}) };
  }
}

function attributeOf(type: ObjectTypeSchema, name: string): SchemaAttribute | undefined {
  return [...type.attributes.values()].find((one) => one.name.toLowerCase() === name.toLowerCase());
}

function done(anchor: string, dn: string, changed: boolean): Outcome {
  return { result: { kind: "exported", anchor, dn }, changed };
}

function refused(code: string, message: string): Outcome {
  return { result: failed(code, message), changed: false };
}

function failed(code: string, message: string): ExportResult {
  return { kind: "failed", code, message };
}
