import type { MetaverseSchema } from "./core/configuration.ts";
import { closest } from "./core/expression/problems.ts";
import type { MetaverseObject } from "./core/model.ts";
import { type Value, valuesOf, valueToJson } from "./core/values.ts";

const operators = [
  "isPresent",
  "isNotPresent",
  "equals",
  "notEquals",
  "startsWith",
  "notStartsWith",
  "endsWith",
  "contains",
  "notContains",
  "lessThan",
  "greaterThan",
] as const;
export type ClauseOperator = (typeof operators)[number];

/** One clause of a metaverse search: `<attribute> <operator> [value]`, the value being the rest, unquoted. */
export interface MetaverseClause {
  readonly attribute: string;
  readonly operator: ClauseOperator;
  readonly value: string | null;
}

/** A clause that cannot be read; the message says what would be right. */
export class ClauseError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ClauseError";
  }
}

/** @throws ClauseError */
export function parseClause(text: string, schema: MetaverseSchema): MetaverseClause {
  const match = /^\s*(\S+)\s+(\S+)(?:\s(.*))?$/s.exec(text);
  if (match === null) {
    throw new ClauseError(
      `${JSON.stringify(text)} is not a clause: write "<attribute> <operator> [value]", as in "accountName isPresent".`,
    );
  }
  const [, name, operatorText, rest] = match;
  const attributes = [...new Set([...schema.values()].flatMap(({ attributes: all }) => [...all.keys()]))];
  const attribute = attributes.find((known) => known.toLowerCase() === name!.toLowerCase());
  if (attribute === undefined) {
    const near = closest(name!, attributes);
    throw new ClauseError(
      `The metaverse has no attribute ${name}.${near === undefined ? "" : ` Did you mean ${near}?`}`,
    );
  }
  const operator = operators.find((known) => known.toLowerCase() === operatorText!.toLowerCase());
  if (operator === undefined)
    throw new ClauseError(`There is no operator ${operatorText}; there are ${operators.join(", ")}.`);
  const takesValue = operator !== "isPresent" && operator !== "isNotPresent";
  const value = rest === undefined || (!takesValue && rest.trim() === "") ? null : rest;
  if (takesValue && value === null) throw new ClauseError(`${attribute} ${operator} needs a value after it.`);
  if (!takesValue && value !== null) throw new ClauseError(`${attribute} ${operator} takes no value.`);
  return { attribute, operator, value };
}

function textOf(value: Value): string {
  const json = valueToJson(value);
  if (typeof json !== "object") return String(json);
  return Object.values(json)[0] as string;
}

/** Below 0, 0 or above 0; numbers by size, all else as text without case. */
function compare(value: Value, other: string): number {
  if (typeof value === "bigint" && /^\s*-?\d+\s*$/.test(other)) {
    const number = BigInt(other.trim());
    return value < number ? -1 : value > number ? 1 : 0;
  }
  const left = textOf(value).toLowerCase();
  const right = other.toLowerCase();
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Whether any value meets the clause; for the negative operators, whether none meets the opposite. */
export function meetsClause(
  object: MetaverseObject,
  { attribute, operator, value }: MetaverseClause,
): boolean {
  const values = valuesOf(object.attributes[attribute]?.value);
  const other = value ?? "";
  const text = (one: Value) => textOf(one).toLowerCase();
  const equals = (one: Value) => compare(one, other) === 0;
  const startsWith = (one: Value) => text(one).startsWith(other.toLowerCase());
  const contains = (one: Value) => text(one).includes(other.toLowerCase());
  switch (operator) {
    case "isPresent":
      return values.length > 0;
    case "isNotPresent":
      return values.length === 0;
    case "equals":
      return values.some(equals);
    case "notEquals":
      return !values.some(equals);
    case "startsWith":
      return values.some(startsWith);
    case "notStartsWith":
      return !values.some(startsWith);
    case "endsWith":
      return values.some((one) => text(one).endsWith(other.toLowerCase()));
    case "contains":
      return values.some(contains);
    case "notContains":
      return !values.some(contains);
    case "lessThan":
      return values.some((one) => compare(one, other) < 0);
    case "greaterThan":
      return values.some((one) => compare(one, other) > 0);
  }
}
