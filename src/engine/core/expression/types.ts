/**
 * Values while an expression runs, and their types as the checker sees them: sets of bits, so that "text or number,
 * perhaps several" is one small number and a run-time check one `&`.
 */
import type { AttributeType, Reference, Value } from "../values.ts";
import type { FlowMarker } from "./syntax.ts";

export interface FlowValue {
  readonly flow: FlowMarker;
}

/**
 * A list while it is mapped: null marks a value that was taken out. Mapped functions skip it, so that lists made from
 * the same attribute stay aligned; functions over the whole list, and the final result, do not see it.
 */
export type ValueList = readonly (Value | null)[];
export type Datum = Value | null | ValueList | FlowValue;

export type Type = number;
export const text = 1;
export const number = 2;
export const boolean = 4;
export const binary = 8;
export const dateTime = 16;
export const reference = 32;
/** A bare option name such as vbTextCompare. */
export const option = 64;
/** A number that functions take as a JavaScript number; never the type of an expression. */
export const int = 128;
export const anyValue: Type = text | number | boolean | binary | dateTime | reference;
/** The literal NULL. Every attribute may be absent, so absence is not tracked beyond it. */
export const nothing = 256;
export const flow = 512;
/** May be a list of the other bits' values. */
export const many = 1024;
/** Nothing is known, as of an attribute without schema: accepted everywhere. */
export const unknown = 2048;

export const typeOfAttribute: Readonly<Record<AttributeType, Type>> = {
  string: text,
  integer: number,
  boolean,
  binary,
  dateTime,
  reference,
};

const typeNames: readonly (readonly [Type, string])[] = [
  [text, "text"],
  [number, "a number"],
  [boolean, "True or False"],
  [binary, "binary"],
  [dateTime, "a date"],
  [reference, "a reference"],
  [option, "an option"],
  [nothing, "NULL"],
  [flow, "a flow literal"],
];

/** As a message says it: `text or a number`. */
export function describeType(type: Type): string {
  const words = typeNames.filter(([bit]) => (type & bit) !== 0).map(([, name]) => name);
  if ((type & int) !== 0 && (type & number) === 0) words.push("a number");
  const scalar = (type & anyValue) === anyValue ? "any value" : words.join(" or ");
  return (type & many) !== 0 ? `a list of ${scalar}` : scalar || "nothing";
}

/** The bit of one value; lists and flow markers give their own bit. */
export function kindOf(value: Datum): Type {
  switch (typeof value) {
    case "string":
      return text;
    case "bigint":
      return number;
    case "boolean":
      return boolean;
    default:
      if (value === null) return nothing;
      if (value instanceof Uint8Array) return binary;
      if (isList(value)) return many;
      if ("flow" in value) return flow;
      return value.kind === "dateTime" ? dateTime : reference;
  }
}

export function isList(value: Datum): value is ValueList {
  return Array.isArray(value);
}

export function isFlow(value: Datum): value is FlowValue {
  return typeof value === "object" && value !== null && "flow" in value;
}

export function isReferenceValue(value: Datum): value is Reference {
  return kindOf(value) === reference;
}

/** The list without the values taken out; one value is a list of one, NULL the empty list. */
export function wholeList(value: Exclude<Datum, FlowValue>): readonly Value[] {
  if (value === null) return [];
  if (!isList(value)) return [value];
  return value.includes(null) ? value.filter((entry) => entry !== null) : (value as readonly Value[]);
}
