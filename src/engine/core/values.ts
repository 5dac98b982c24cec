/**
 * Attribute values: the types that flow from a connector through the metaverse to another connector.
 *
 * An absent attribute is not in the record at all; there is no null and no empty list in `Attributes`.
 * A multi-valued attribute with one value is still a list.
 */

/** An instant, as .NET keeps it: 100-nanosecond ticks, here counted from 1601-01-01 UTC (FILETIME). */
export interface DateTime {
  readonly kind: "dateTime";
  readonly ticks: bigint;
}

/** A reference to another object of the same connector, by its DN (or, where it has no DN, its anchor). */
export interface Reference {
  readonly kind: "reference";
  readonly dn: string;
}

/** One value. Integers are always bigint (64-bit); binary is Uint8Array. */
export type Value = string | bigint | boolean | Uint8Array | DateTime | Reference;
export type AttributeValue = Value | readonly Value[];
export type Attributes = Readonly<Record<string, AttributeValue>>;

export type AttributeType = "string" | "integer" | "boolean" | "binary" | "dateTime" | "reference";

/** How two values of an attribute are compared. Directory strings ignore case; `exact` is for identifiers. */
export type Syntax = "caseIgnore" | "exact" | "dn";

export function isDateTime(value: unknown): value is DateTime {
  return typeof value === "object" && value !== null && (value as DateTime).kind === "dateTime";
}

export function isReference(value: unknown): value is Reference {
  return typeof value === "object" && value !== null && (value as Reference).kind === "reference";
}

export function isMultiValued(value: AttributeValue | undefined): value is readonly Value[] {
  return Array.isArray(value);
}

/** The values of an attribute as a list: none when absent. */
export function valuesOf(value: AttributeValue | undefined): readonly Value[] {
  if (value === undefined) return [];
  return isMultiValued(value) ? value : [value];
}

const ticksPerMillisecond = 10_000n;
/** Milliseconds from 1601-01-01 to 1970-01-01. */
const unixEpochMs = 11_644_473_600_000n;

export function dateTimeFromMs(ms: number): DateTime {
  return { kind: "dateTime", ticks: (BigInt(Math.trunc(ms)) + unixEpochMs) * ticksPerMillisecond };
}

/** Milliseconds since 1970, the ticks below a millisecond cut off. */
export function dateTimeToMs(value: DateTime): number {
  return Number(value.ticks / ticksPerMillisecond - unixEpochMs);
}

export function reference(dn: string): Reference {
  return { kind: "reference", dn };
}

// ---- JSON ------------------------------------------------------------------------------------------------------

/** A value as it stands in JSON: `{"$dt"}`, `{"$bin"}`, `{"$int64"}`, `{"$ref"}`, or a plain scalar. */
export type JsonValue =
  | string
  | number
  | boolean
  | { readonly $dt: string }
  | { readonly $bin: string }
  | { readonly $int64: string }
  | { readonly $ref: string };
export type JsonAttributes = Record<string, JsonValue | JsonValue[]>;

function isoFromTicks(ticks: bigint): string {
  const ms = dateTimeToMs({ kind: "dateTime", ticks });
  const rest = ticks % ticksPerMillisecond;
  const iso = new Date(ms).toISOString();
  return rest === 0n ? iso.replace(".000Z", "Z") : iso.replace("Z", `${String(rest).padStart(4, "0")}Z`);
}

function ticksFromIso(iso: string): bigint {
  const ms = Date.parse(iso);
  if (Number.isNaN(ms)) throw new TypeError(`Not an ISO date and time: ${JSON.stringify(iso)}`);
  const fraction = /\.\d{3}(\d{1,4})/.exec(iso)?.[1] ?? "";
  return dateTimeFromMs(ms).ticks + BigInt(fraction.padEnd(4, "0"));
}

export function valueToJson(value: Value): JsonValue {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "bigint":
      return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
        ? Number(value)
        : { $int64: String(value) };
    default:
      if (value instanceof Uint8Array) return { $bin: Buffer.from(value).toString("base64") };
      if (value.kind === "dateTime") return { $dt: isoFromTicks(value.ticks) };
      return { $ref: value.dn };
  }
}

/** @throws TypeError for anything that is not one of the forms above, a fraction included. */
export function valueFromJson(json: unknown): Value {
  if (typeof json === "string" || typeof json === "boolean") return json;
  if (typeof json === "number") {
    if (!Number.isSafeInteger(json)) throw new TypeError(`Not an integer: ${json}`);
    return BigInt(json);
  }
  if (typeof json === "object" && json !== null) {
    const tagged = json as Record<string, unknown>;
    if (typeof tagged.$dt === "string") return { kind: "dateTime", ticks: ticksFromIso(tagged.$dt) };
    if (typeof tagged.$bin === "string") return new Uint8Array(Buffer.from(tagged.$bin, "base64"));
    if (typeof tagged.$int64 === "string") return BigInt(tagged.$int64);
    if (typeof tagged.$ref === "string") return reference(tagged.$ref);
  }
  throw new TypeError(`Not an attribute value: ${JSON.stringify(json)}`);
}

export function attributesToJson(attributes: Attributes): JsonAttributes {
  const json: JsonAttributes = {};
  for (const [name, value] of Object.entries(attributes)) {
    json[name] = isMultiValued(value) ? value.map(valueToJson) : valueToJson(value);
  }
  return json;
}

/** Reads what `attributesToJson` wrote; null and empty lists mean absent. */
export function attributesFromJson(json: Record<string, unknown>): Attributes {
  const attributes: Record<string, AttributeValue> = {};
  for (const name of Object.keys(json)) {
    const value = json[name];
    if (value === null || value === undefined) continue;
    if (Array.isArray(value)) {
      if (value.length > 0) attributes[name] = value.map(valueFromJson);
    } else attributes[name] = valueFromJson(value);
  }
  return attributes;
}

// ---- equality --------------------------------------------------------------------------------------------------

/** A string that is equal for two values exactly when the values are equal under the syntax. */
export function comparisonKey(value: Value, syntax: Syntax = "caseIgnore"): string {
  switch (typeof value) {
    case "string":
      return syntax === "dn" ? dnKey(value) : `s${syntax === "caseIgnore" ? value.toLowerCase() : value}`;
    case "bigint":
      return `i${value}`;
    case "boolean":
      return `b${value}`;
    default:
      if (value instanceof Uint8Array) return `x${Buffer.from(value).toString("hex")}`;
      if (value.kind === "dateTime") return `t${value.ticks}`;
      return dnKey(value.dn);
  }
}

/** As their comparison keys are, without making them where that can be seen at once. */
export function valuesEqual(a: Value, b: Value, syntax: Syntax = "caseIgnore"): boolean {
  if (a === b) return true;
  if (typeof a === "string" && typeof b === "string" && syntax !== "dn")
    return syntax === "caseIgnore" && a.toLowerCase() === b.toLowerCase();
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return comparisonKey(a, syntax) === comparisonKey(b, syntax);
}

/** Equality of two attributes: as sets of values, whatever their order. */
export function attributesEqual(
  a: AttributeValue | undefined,
  b: AttributeValue | undefined,
  syntax: Syntax = "caseIgnore",
): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  const left = valuesOf(a);
  const right = valuesOf(b);
  if (left.length !== right.length) return false;
  if (left.length === 1) return valuesEqual(left[0]!, right[0]!, syntax);
  const keys = new Set(left.map((value) => comparisonKey(value, syntax)));
  return right.every((value) => keys.has(comparisonKey(value, syntax)));
}

// ---- distinguished names (RFC 4514) ----------------------------------------------------------------------------

/** One RDN: pairs of attribute type and unescaped value; several when joined by `+`. */
export type Rdn = readonly { readonly type: string; readonly value: string }[];

/**
 * Parses a DN into RDNs with unescaped values; `\2C` and `\,` are the same. Never compare DNs as strings:
 * Active Directory answers with its own spelling of the escapes.
 * @throws TypeError when the text is not a DN.
 */
export function parseDn(dn: string): Rdn[] {
  return readDn(dn, (what, position) => {
    throw new TypeError(`Not a distinguished name (${what} at position ${position + 1}): ${dn}`);
  });
}

function readDn(dn: string, wrong: (what: string, position: number) => never): Rdn[] {
  const rdns: Rdn[] = [];
  if (dn.trim() === "") return rdns;
  let position = 0;
  const fail = (what: string): never => wrong(what, position);
  let pairs: { type: string; value: string }[] = [];
  for (;;) {
    const equals = dn.indexOf("=", position);
    if (equals < 0) fail("'=' is missing");
    const type = dn.slice(position, equals).trim();
    if (!/^[A-Za-z0-9][A-Za-z0-9.-]*$/.test(type)) fail("attribute type expected");
    position = equals + 1;
    while (dn[position] === " ") position++;
    const bytes: number[] = [];
    let text = "";
    let keep = 0; // length of text up to the last character that is not an unescaped trailing space
    const flush = () => {
      if (bytes.length === 0) return;
      text += Buffer.from(bytes).toString("utf8");
      bytes.length = 0;
      keep = text.length;
    };
    while (position < dn.length && dn[position] !== "," && dn[position] !== "+" && dn[position] !== ";") {
      const character = dn[position]!;
      if (character === "\\") {
        const hex = dn.slice(position + 1, position + 3);
        if (/^[0-9A-Fa-f]{2}$/.test(hex)) {
          bytes.push(Number.parseInt(hex, 16));
          position += 3;
          continue;
        }
        if (position + 1 >= dn.length) fail("nothing after the escape");
        flush();
        text += dn[position + 1];
        keep = text.length;
        position += 2;
        continue;
      }
      flush();
      text += character;
      if (character !== " ") keep = text.length;
      position++;
    }
    flush();
    pairs.push({ type, value: text.slice(0, keep) });
    if (dn[position] === "+") {
      position++;
      continue;
    }
    rdns.push(pairs);
    pairs = [];
    if (position >= dn.length) return rdns;
    position++;
  }
}

/** Escapes one RDN value (RFC 4514 section 2.4). */
export function escapeRdnValue(value: string): string {
  const escaped = value
    .replace(/[\\,+"<>;=]/g, (character) => `\\${character}`)
    .replace(/[\0\r\n]/g, (character) => `\\${character.charCodeAt(0).toString(16).padStart(2, "0")}`)
    .replace(/^[ #]/, (character) => `\\${character}`);
  return escaped.replace(/ $/, "\\ ");
}

/** Thrown often and seen by nobody, so it has no stack of its own. */
const notADn = new TypeError("Not a distinguished name");

/** A key that is equal for two DNs exactly when they name the same entry; unparsable text compares as text. */
export function dnKey(dn: string): string {
  try {
    return `d${readDn(dn, () => {
      throw notADn;
    })
      .map((rdn) =>
        rdn
          .map(
            ({ type, value }) =>
              `${type.toLowerCase()}=${value.toLowerCase().replaceAll("\\", "\\\\").replaceAll(",", "\\,")}`,
          )
          .sort()
          .join("+"),
      )
      .join(",")}`;
  } catch {
    return `d?${dn.toLowerCase()}`;
  }
}

/** The DN without its first RDN. */
export function parentDn(dn: string): string {
  let escaped = false;
  for (let i = 0; i < dn.length; i++) {
    if (escaped) escaped = false;
    else if (dn[i] === "\\") escaped = true;
    else if (dn[i] === "," || dn[i] === ";") return dn.slice(i + 1).trimStart();
  }
  return "";
}

/** Whether `dn` is `ancestor` itself or stands under it. */
export function isUnder(dn: string, ancestor: string): boolean {
  const key = dnKey(dn);
  const ancestorKey = dnKey(ancestor);
  return key === ancestorKey || key.endsWith(`,${ancestorKey.slice(1)}`);
}
