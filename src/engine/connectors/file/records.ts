/** Records of a file as objects: their schema, anchors, names and values. */
import { closest } from "../../core/expression/problems.ts";
import type { Image } from "../../core/model.ts";
import {
  type AttributeType,
  type AttributeValue,
  dateTimeToMs,
  dnKey,
  isDateTime,
  isReference,
  reference,
  type Value,
  valueFromJson,
  valuesOf,
} from "../../core/values.ts";
import {
  type ConnectorDefinition,
  ConnectorError,
  type ImportEntry,
  type ObjectTypeSchema,
  type SchemaAttribute,
} from "../../ports/connector.ts";
import { bytesOf, type FileDocument, type FileRecord, type RawValue } from "./document.ts";
import type { FileSettings } from "./settings.ts";

/** How the records of one connector's file are to be read. */
export class RecordReader {
  readonly schema: readonly ObjectTypeSchema[];
  readonly settings: FileSettings;
  readonly #connector: string;
  readonly #typeAttribute: string | undefined;

  constructor({ name, objectTypes }: ConnectorDefinition, settings: FileSettings) {
    this.settings = settings;
    this.#connector = name;
    this.#typeAttribute = settings.typeAttribute ?? (settings.format === "ldif" ? "objectClass" : undefined);
    if (objectTypes.length > 1 && this.#typeAttribute === undefined) {
      throw this.failure("several object types need the setting typeAttribute");
    }
    const types = lowerKeys(settings.types);
    const lists = new Set(settings.multiValued.map((one) => one.toLowerCase()));
    const attributeOf = (attribute: string): SchemaAttribute => ({
      name: attribute,
      type: types.get(attribute.toLowerCase()) ?? "string",
      multiValued: lists.has(attribute.toLowerCase()),
      ...(attribute.toLowerCase() === settings.anchor.toLowerCase() ? { syntax: "exact" as const } : {}),
    });
    this.schema = objectTypes.map((type) => ({
      name: type.name,
      attributes: new Map(type.attributes.map((attribute) => [attribute, attributeOf(attribute)])),
    }));
  }

  /** @throws ConnectorError "configuration" when a column is missing: its values would all seem to be cleared. */
  requireColumns({ columns }: FileDocument): void {
    if (columns === undefined) return;
    const { anchor, dn = anchor } = this.settings;
    const wanted = [anchor, dn, ...this.schema.flatMap((type) => [...type.attributes.keys()])];
    if (this.#typeAttribute !== undefined) wanted.push(this.#typeAttribute);
    const known = new Set(columns.map((one) => one.toLowerCase()));
    const missing = wanted.find((name) => !known.has(name.toLowerCase()));
    if (missing === undefined) return;
    const near = closest(missing, columns);
    const hint = near === undefined ? `it has ${columns.join(", ")}` : `did you mean "${near}"?`;
    throw this.failure(`the file has no column "${missing}"; ${hint}`);
  }

  /** Undefined when the record is of a type that is not configured. */
  typeOf(record: FileRecord): ObjectTypeSchema | undefined {
    if (this.schema.length === 1 && this.settings.typeAttribute === undefined) return this.schema[0];
    const values = record.attributes.get(this.#typeAttribute!.toLowerCase())?.values ?? [];
    const names = values.map((value) => String(value).toLowerCase());
    return this.schema.find(({ name }) => names.includes(name.toLowerCase()));
  }

  anchorOf(record: FileRecord): string | undefined {
    const [value] = record.attributes.get(this.settings.anchor.toLowerCase())?.values ?? [];
    return value === undefined ? undefined : textOf(value).trim() || undefined;
  }

  dnOf(record: FileRecord): string | undefined {
    if (record.dn !== undefined) return record.dn;
    const [value] =
      record.attributes.get((this.settings.dn ?? this.settings.anchor).toLowerCase())?.values ?? [];
    return value === undefined ? undefined : textOf(value);
  }

  /** @throws TypeError without the value, when one does not fit its type. */
  imageOf(type: ObjectTypeSchema, record: FileRecord): Image {
    const attributes: Record<string, AttributeValue> = {};
    for (const attribute of type.attributes.values()) {
      const raw = this.#values(attribute, record);
      if (raw.length === 0) continue;
      if (!attribute.multiValued && raw.length > 1) {
        throw new TypeError(`${attribute.name} has ${raw.length} values; name it under multiValued`);
      }
      const values = raw.map((value) => decode(attribute, value));
      attributes[attribute.name] = attribute.multiValued ? values : values[0]!;
    }
    return { objectType: type.name, dn: this.dnOf(record) ?? "", attributes };
  }

  #values(attribute: SchemaAttribute, record: FileRecord): readonly RawValue[] {
    const values = record.attributes.get(attribute.name.toLowerCase())?.values ?? [];
    if (!attribute.multiValued || this.settings.format === "ldif") return values;
    return values
      .flatMap((cell) => String(cell).split(this.settings.listSeparator))
      .filter((one) => one !== "");
  }

  /** The values as they stand in the file. @throws TypeError without the value, when one does not fit. */
  print(attribute: SchemaAttribute, value: AttributeValue | undefined): readonly RawValue[] {
    const values = valuesOf(value).map((one) => encode(attribute, one, this.settings.format));
    if (!attribute.multiValued && values.length > 1) {
      throw new TypeError(`${attribute.name} takes one value, ${values.length} flow`);
    }
    if (this.settings.format === "ldif" || !attribute.multiValued || values.length === 0) return values;
    const { listSeparator } = this.settings;
    if (values.some((one) => String(one).includes(listSeparator))) {
      throw new TypeError(`a value of ${attribute.name} contains the list separator "${listSeparator}"`);
    }
    return [values.join(listSeparator)];
  }

  /**
   * In the order of the file; records of other types are left out. Of two records with one anchor or one DN the first
   * is the object, the later one an error (SEMANTICS I7).
   */
  *entriesOf(document: FileDocument): Generator<ImportEntry, void> {
    const lines = new Map<string, number>();
    for (const record of document.records) {
      const entry = this.#entry({ ...record, attributes: record.attributes, line: record.line }, lines);
      if (entry !== undefined) yield entry;
    }
  }

  /** @param lines where the anchors and DNs so far stand; this record's are added */
  #entry(record: FileRecord, lines: Map<string, number>): ImportEntry | undefined {
    const place = `${this.settings.path}, line ${record.line}`;
    if (record.problem !== undefined) {
      return {
        kind: "error",
        code: "staging-error",
        message: `${place}: ${record.problem}. Nothing is taken from it; correct the file.`,
      };
    }
    const type = this.typeOf(record);
    if (type === undefined) return undefined;
    const anchor = this.anchorOf(record);
    if (anchor === undefined) {
      const message = `${place}: ${this.settings.anchor} is empty. Every record needs one.`;
      return { kind: "error", code: "missing-anchor-component", message };
    }
    const same = this.#claim(record, anchor, lines);
    if (same !== undefined) {
      const message = `${place}: line ${same.line} has the same ${same.name}. That one is taken, this one is not; correct the file.`;
      return { kind: "error", anchor, code: "duplicate-object", message };
    }
    try {
      return { kind: "object", anchor, image: this.imageOf(type, record) };
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      const message = `${place}: ${error.message}. Correct the file, or the type in the connector's settings.`;
      return { kind: "error", anchor, code: "invalid-attribute-value", message };
    }
  }

  /** Notes the names of the record; what an earlier one has already, if so. */
  #claim(
    record: FileRecord,
    anchor: string,
    lines: Map<string, number>,
  ): { readonly name: string; readonly line: number } | undefined {
    const { anchor: anchorName, dn: dnName = anchorName } = this.settings;
    const dn = record.dn ?? (dnName === anchorName ? undefined : this.dnOf(record));
    const names = [
      { name: anchorName, key: `anchor ${anchor}` },
      ...(dn === undefined
        ? []
        : [{ name: record.dn === undefined ? dnName : "DN", key: `dn ${dnKey(dn)}` }]),
    ];
    for (const { name, key } of names) {
      const line = lines.get(key);
      if (line !== undefined) return { name, line };
    }
    for (const { key } of names) lines.set(key, record.line);
    return undefined;
  }

  failure(message: string): ConnectorError {
    return new ConnectorError(
      "configuration",
      `Connector ${this.#connector} (${this.settings.path}): ${message}.`,
    );
  }
}

function lowerKeys(types: Readonly<Record<string, AttributeType>>): ReadonlyMap<string, AttributeType> {
  return new Map(Object.entries(types).map(([name, type]) => [name.toLowerCase(), type]));
}

function textOf(value: RawValue): string {
  return typeof value === "string" ? value : new TextDecoder("utf-8", { fatal: true }).decode(value);
}

function decode({ name, type }: SchemaAttribute, raw: RawValue): Value {
  if (type === "binary") {
    const bytes = typeof raw === "string" ? bytesOf(raw) : raw;
    if (bytes === undefined) throw new TypeError(`${name} is not base64`);
    return bytes;
  }
  const text = textOf(raw);
  switch (type) {
    case "string":
      return text;
    case "reference":
      return reference(text);
    case "integer":
      if (!/^\s*[+-]?\d+\s*$/.test(text)) throw new TypeError(`${name} is not an integer`);
      return BigInt(text.replace("+", "").trim());
    case "boolean": {
      const word = text.trim().toLowerCase();
      if (!["true", "false", "1", "0"].includes(word))
        throw new TypeError(`${name} is none of true, false, 1, 0`);
      return word === "true" || word === "1";
    }
    case "dateTime": {
      const iso = text.trim();
      // A time without a zone would mean another instant on every machine.
      const isUtc = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(iso);
      if (!isUtc || Number.isNaN(Date.parse(iso)) || !isInCalendar(iso)) {
        throw new TypeError(
          `${name} is neither a date (2026-01-31) nor a time with its zone (2026-01-31T12:00:00Z)`,
        );
      }
      return valueFromJson({ $dt: iso });
    }
  }
}

/** Date.parse takes 30 February for 2 March. */
function isInCalendar(iso: string): boolean {
  const [year, month, day] = iso.slice(0, 10).split("-").map(Number);
  return new Date(Date.UTC(year!, month! - 1, day)).getUTCDate() === day;
}

function encode({ name, type }: SchemaAttribute, value: Value, format: "csv" | "ldif"): RawValue {
  if (value instanceof Uint8Array && type === "binary") {
    return format === "ldif" ? value : Buffer.from(value).toString("base64");
  }
  if (typeof value === "string" && (type === "string" || type === "reference")) return value;
  if (isReference(value) && type === "reference") return value.dn;
  if (typeof value === "bigint" && type === "integer") return String(value);
  if (typeof value === "boolean" && type === "boolean") return String(value);
  if (isDateTime(value) && type === "dateTime") return new Date(dateTimeToMs(value)).toISOString();
  throw new TypeError(`${name} is of type ${type}, the value is not`);
}
