import type { AttributeValue, Value } from "../../core/values.ts";
import {
  dateTimeFromMs,
  dateTimeToMs,
  isDateTime,
  isReference,
  reference,
  valuesOf,
} from "../../core/values.ts";
import type { AdAttribute } from "./schema.ts";

/** GUID text (lower case) of the 16 bytes of objectGUID: the first three fields are little-endian. [MS-DTYP] 2.3.4.2 */
export function guidText(bytes: Buffer): string {
  let at = 0;
  for (const index of guidOrder) {
    if (index < 0) {
      guidScratch[at++] = hyphen;
      continue;
    }
    const byte = bytes[index]!;
    guidScratch[at++] = hexDigits[byte >>> 4]!;
    guidScratch[at++] = hexDigits[byte & 15]!;
  }
  return guidScratch.toString("latin1"); // put together of strings, it would keep all its parts
}
const hyphen = 0x2d;
const guidOrder = [3, 2, 1, 0, -1, 5, 4, -1, 7, 6, -1, 8, 9, -1, 10, 11, 12, 13, 14, 15];
const hexDigits = Buffer.from("0123456789abcdef");
const guidScratch = Buffer.alloc(36);

/** Addresses an object wherever it is now. [MS-ADTS] 3.1.1.3.1.2.4 */
export const byGuid = (anchor: string) => `<GUID=${anchor}>`;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws TypeError when the bytes do not fit the type, with a message that holds no value. */
export function decodeAttribute(
  attribute: AdAttribute,
  values: readonly Buffer[],
): AttributeValue | undefined {
  const [first] = values;
  if (first === undefined) return undefined;
  if (attribute.multiValued) return values.map((bytes) => decodeValue(attribute, bytes));
  if (values.length > 1)
    throw new TypeError(`${attribute.name} has ${values.length} values, the schema allows one`);
  return decodeValue(attribute, first);
}

function decodeValue(attribute: AdAttribute, bytes: Buffer): Value {
  // A copy: the bytes are a part of a whole network message.
  if (attribute.type === "binary") return Uint8Array.from(bytes);
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new TypeError(`${attribute.name} is not UTF-8`);
  }
  switch (attribute.type) {
    case "string":
      return text;
    case "integer":
      if (!/^-?\d+$/.test(text)) throw new TypeError(`${attribute.name} is not an integer`);
      return BigInt(text);
    case "boolean":
      return text === "TRUE";
    case "reference":
      return reference(text);
    case "dateTime":
      return decodeTime(attribute, text);
  }
}

/** `20260131235959.0Z` or, as UTC time, `260131235959Z`. [MS-ADTS] 3.1.1.2.2.2.5 */
function decodeTime(attribute: AdAttribute, text: string): Value {
  const match = /^(\d\d)?(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:[.,](\d+))?Z$/.exec(text);
  if (match === null) throw new TypeError(`${attribute.name} is not a time`);
  const [, century, year, month, day, hour, minute, second, fraction = ""] = match;
  // UTC time: 50 to 99 are of the twentieth century (RFC 5280 section 4.1.2.5.1).
  const century2 = century ?? (Number(year) >= 50 ? "19" : "20");
  const iso = `${century2}${year}-${month}-${day}T${hour}:${minute}:${second}.${fraction.padEnd(3, "0").slice(0, 3)}Z`;
  const ms = Date.parse(iso);
  if (Number.isNaN(ms)) throw new TypeError(`${attribute.name} is not a time`);
  const ticks = BigInt(fraction.slice(3, 7).padEnd(4, "0"));
  return { kind: "dateTime", ticks: dateTimeFromMs(ms).ticks + ticks };
}

/** @throws TypeError when a value does not fit the attribute, with a message that holds no value. */
export function encodeAttribute(attribute: AdAttribute, value: AttributeValue | undefined): Buffer[] {
  const values = valuesOf(value);
  if (!attribute.multiValued && values.length > 1) {
    throw new TypeError(`${attribute.name} takes one value, ${values.length} flow`);
  }
  return values.map((one) => encodeValue(attribute, one));
}

export function encodeValue(attribute: AdAttribute, value: Value): Buffer {
  const refuse = (): never => {
    throw new TypeError(`${attribute.name} is of type ${attribute.type}, the value is not`);
  };
  switch (attribute.type) {
    case "string":
      return Buffer.from(typeof value === "string" ? value : refuse(), "utf8");
    case "integer":
      return Buffer.from(typeof value === "bigint" ? String(value) : refuse());
    case "boolean":
      return Buffer.from(typeof value === "boolean" ? (value ? "TRUE" : "FALSE") : refuse());
    case "binary":
      return value instanceof Uint8Array ? Buffer.from(value) : refuse();
    case "reference":
      return Buffer.from(
        isReference(value) ? value.dn : typeof value === "string" ? value : refuse(),
        "utf8",
      );
    case "dateTime": {
      if (!isDateTime(value)) return refuse();
      const digits = new Date(dateTimeToMs(value)).toISOString().replace(/\D/g, "").slice(0, 14);
      return Buffer.from(attribute.utcTime ? `${digits.slice(2)}Z` : `${digits}.0Z`);
    }
  }
}

/** The form in which Active Directory takes a password: quoted, UTF-16 little-endian. [MS-ADTS] 3.1.1.3.1.5 */
export function encodePassword(password: string): Buffer {
  return Buffer.from(`"${password}"`, "utf16le");
}
