/**
 * Scope filters: an OR of AND-groups over attributes, as in the rules of Entra Connect.
 *
 * Two things that Microsoft's page does not say and its own rules need: a negative operator holds for an absent
 * attribute (`cloudMastered NOTEQUAL True`), and numbers are compared as numbers (`memberCount LESSTHAN 50000`).
 */
import { parseDateTime } from "./expression/dates.ts";
import {
  type AttributeType,
  type AttributeValue,
  dateTimeToMs,
  dnKey,
  isDateTime,
  isReference,
  type Value,
  valuesOf,
} from "./values.ts";

export const scopeOperators = [
  "EQUAL",
  "NOTEQUAL",
  "LESSTHAN",
  "LESSTHAN_OR_EQUAL",
  "GREATERTHAN",
  "GREATERTHAN_OR_EQUAL",
  "CONTAINS",
  "NOTCONTAINS",
  "STARTSWITH",
  "NOTSTARTSWITH",
  "ENDSWITH",
  "NOTENDSWITH",
  "ISNULL",
  "ISNOTNULL",
  "ISIN",
  "ISNOTIN",
  "ISBITSET",
  "ISBITNOTSET",
  "ISMEMBEROF",
  "ISNOTMEMBEROF",
] as const;
export type ScopeOperator = (typeof scopeOperators)[number];

/** Spellings in Microsoft's pages for what the product itself exports otherwise. */
export const scopeOperatorAliases: Readonly<Record<string, ScopeOperator>> = {
  ISNOTBITSET: "ISBITNOTSET",
  NOTSTARTWITH: "NOTSTARTSWITH",
};

export interface ScopeCondition {
  readonly attribute: string;
  readonly operator: ScopeOperator;
  /** Text as in an export; `%Name%` is replaced by the parameter. A list for ISIN and ISNOTIN. */
  readonly value?: string | readonly string[];
}
/** All conditions must hold. */
export type ScopeGroup = readonly ScopeCondition[];

/** What a scope is asked about: the attributes of one object, and the parameters of the installation. */
export interface ScopeContext {
  attribute(name: string): AttributeValue | undefined;
  parameter?(name: string): Value | undefined;
}
export type ScopeTest = (context: ScopeContext) => boolean;

/** What the text of a condition means for each type of value. Compiled once, asked for every object. */
interface Operand {
  readonly text: string;
  readonly lower: string;
  readonly integer: bigint | null;
  readonly ticks: bigint | null;
}

const ordered: Readonly<Partial<Record<ScopeOperator, (order: number) => boolean>>> = {
  LESSTHAN: (order) => order < 0,
  LESSTHAN_OR_EQUAL: (order) => order <= 0,
  GREATERTHAN: (order) => order > 0,
  GREATERTHAN_OR_EQUAL: (order) => order >= 0,
};
const textual: Readonly<Partial<Record<ScopeOperator, (value: string, operand: string) => boolean>>> = {
  CONTAINS: (value, operand) => value.includes(operand),
  STARTSWITH: (value, operand) => value.startsWith(operand),
  ENDSWITH: (value, operand) => value.endsWith(operand),
};
const negations: Readonly<Partial<Record<ScopeOperator, ScopeOperator>>> = {
  NOTEQUAL: "EQUAL",
  NOTCONTAINS: "CONTAINS",
  NOTSTARTSWITH: "STARTSWITH",
  NOTENDSWITH: "ENDSWITH",
  ISNULL: "ISNOTNULL",
  ISNOTIN: "ISIN",
  ISBITNOTSET: "ISBITSET",
  ISNOTMEMBEROF: "ISMEMBEROF",
};

/** A test for the groups; parameters in the values are looked up when it is asked. */
export function compileScope(groups: readonly ScopeGroup[]): ScopeTest {
  if (groups.length === 0) return () => true;
  const tests = groups.map((group) => group.map(compileCondition));
  return (context) => tests.some((group) => group.every((condition) => condition(context)));
}

function compileCondition({ attribute, operator, value }: ScopeCondition): ScopeTest {
  const positive = negations[operator] ?? operator;
  const negated = positive !== operator;
  const whole: readonly string[] = Array.isArray(value) ? value : [String(value ?? "")];
  // A text lists its values with semicolons, or is one value that holds some.
  const texts =
    positive === "ISIN" && !Array.isArray(value)
      ? [...whole, ...whole[0]!.split(";").map((text) => text.trim())]
      : whole;
  const fixed = texts.some((text) => text.includes("%")) ? null : texts.map(operandOf);
  return (context) => {
    const operands = fixed ?? texts.map((text) => operandOf(withParameters(text, context)));
    const holds = valuesOf(context.attribute(attribute)).some((one) =>
      operands.some((operand) => meets(one, positive, operand)),
    );
    return holds !== negated;
  };
}

const parameterReference = /%([A-Za-z_][\w.]*)%/g;

function withParameters(text: string, context: ScopeContext): string {
  return text.replace(parameterReference, (whole, name: string) => {
    const value = context.parameter?.(name);
    return value === undefined ? whole : textOf(value);
  });
}

function operandOf(text: string): Operand {
  const number = text.trim();
  const integer = /^-?\d+$/.test(number)
    ? BigInt(number)
    : /^&H[0-9A-Fa-f]+$/i.test(number)
      ? BigInt(`0x${number.slice(2)}`)
      : /^0x[0-9A-Fa-f]+$/i.test(number)
        ? BigInt(number)
        : null;
  return { text, lower: text.toLowerCase(), integer, ticks: ticksOf(text) };
}

/** As CDate reads it: without a zone it is UTC, wherever the engine runs. */
function ticksOf(text: string): bigint | null {
  return parseDateTime(text)?.ticks ?? null;
}

function meets(value: Value, operator: ScopeOperator, operand: Operand): boolean {
  switch (operator) {
    case "ISNOTNULL":
      return value !== "";
    case "EQUAL":
    case "ISIN":
      return equals(value, operand);
    case "ISMEMBEROF":
      return dnKey(textOf(value)) === dnKey(operand.text);
    case "ISBITSET":
      return (
        typeof value === "bigint" && operand.integer !== null && (value & operand.integer) === operand.integer
      );
    default: {
      const text = textual[operator];
      if (text !== undefined) return text(textOf(value).toLowerCase(), operand.lower);
      const order = orderOf(value, operand);
      return order !== null && (ordered[operator]?.(order) ?? false);
    }
  }
}

function equals(value: Value, operand: Operand): boolean {
  if (typeof value === "bigint") return operand.integer !== null && value === operand.integer;
  if (isDateTime(value)) return operand.ticks !== null && value.ticks === operand.ticks;
  if (isReference(value)) return dnKey(value.dn) === dnKey(operand.text);
  return textOf(value).toLowerCase() === operand.lower;
}

/** Negative, zero or positive; null when the two cannot be ordered. */
function orderOf(value: Value, operand: Operand): number | null {
  if (typeof value === "bigint") {
    if (operand.integer === null) return null;
    return value < operand.integer ? -1 : value > operand.integer ? 1 : 0;
  }
  if (isDateTime(value)) {
    if (operand.ticks === null) return null;
    return value.ticks < operand.ticks ? -1 : value.ticks > operand.ticks ? 1 : 0;
  }
  const text = textOf(value).toLowerCase();
  return text < operand.lower ? -1 : text > operand.lower ? 1 : 0;
}

/** The text that an operator for text sees: dates as ISO 8601, binary as lower-case hex. */
function textOf(value: Value): string {
  if (typeof value === "string") return value;
  if (typeof value === "bigint" || typeof value === "boolean") return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (isDateTime(value)) return new Date(dateTimeToMs(value)).toISOString();
  return value.dn;
}

// ---- checks --------------------------------------------------------------------------------------------------------

const withoutValue: ReadonlySet<ScopeOperator> = new Set(["ISNULL", "ISNOTNULL"]);
const forBits: ReadonlySet<ScopeOperator> = new Set(["ISBITSET", "ISBITNOTSET"]);
const forEquality: ReadonlySet<ScopeOperator> = new Set(["EQUAL", "NOTEQUAL", "ISIN", "ISNOTIN"]);
const orderedTypes: ReadonlySet<AttributeType> = new Set(["string", "integer", "dateTime"]);

function valueTexts({ value = [] }: ScopeCondition): readonly string[] {
  return typeof value === "string" ? [value] : value;
}

/** The names of the parameters in the value. */
export function parametersIn(condition: ScopeCondition): readonly string[] {
  return valueTexts(condition).flatMap((text) =>
    [...text.matchAll(parameterReference)].map(([, name]) => name!),
  );
}

/**
 * Why the condition would be the same for every object, whatever its value; null when it makes sense.
 * @param type undefined: not known, and not judged
 */
export function conditionProblem(
  condition: ScopeCondition,
  type: AttributeType | undefined,
): { readonly at: string; readonly code: string; readonly message: string; readonly remedy: string } | null {
  const { attribute, operator } = condition;
  if (withoutValue.has(operator)) return null;
  const texts = valueTexts(condition);
  if (texts.length === 0)
    return {
      at: "operator",
      code: "scope-value-missing",
      message: `${operator} compares with a value, and there is none.`,
      remedy: "Add a value, or use ISNULL or ISNOTNULL.",
    };
  const wrongOperator = (what: string) => ({
    at: "operator",
    code: "scope-operator-type",
    message: `${operator} is for ${what}, and "${attribute}" is of type ${type}.`,
    remedy: "Use another operator.",
  });
  if (forBits.has(operator) && type !== undefined && type !== "integer") return wrongOperator("integers");
  if (operator in ordered && type !== undefined && !orderedTypes.has(type))
    return wrongOperator("text, numbers and dates");
  const meant = forBits.has(operator) ? "integer" : type;
  if (!forBits.has(operator) && !forEquality.has(operator) && !(operator in ordered)) return null;
  const isList = operator === "ISIN" || operator === "ISNOTIN";
  const wrong = texts
    .flatMap((text) => (isList ? text.split(";") : [text]))
    .find((text) => parameterFree(text) && !isOfType(text, meant));
  if (wrong === undefined) return null;
  return {
    at: "value",
    code: "scope-value-type",
    message: `${JSON.stringify(wrong)} is no value of type ${meant}, with which ${operator} compares "${attribute}".`,
    remedy: expectedText[meant!] ?? "",
  };
}

const expectedText: Readonly<Partial<Record<AttributeType, string>>> = {
  integer: "Write digits, or hexadecimal digits after &H.",
  boolean: "Write True or False.",
  dateTime: "Write the date as ISO 8601.",
};

function parameterFree(text: string): boolean {
  return text.search(parameterReference) < 0;
}

function isOfType(text: string, type: AttributeType | undefined): boolean {
  if (type === "integer") return operandOf(text).integer !== null;
  if (type === "boolean") return /^(true|false)$/i.test(text.trim());
  if (type === "dateTime") return ticksOf(text) !== null;
  return true;
}

/** Whether an object can be in both scopes, as far as their words tell: false only where they contradict each other. */
export function canBothHold(a: readonly ScopeGroup[], b: readonly ScopeGroup[]): boolean {
  if (a.length === 0 || b.length === 0) return true;
  return a.some((one) => b.some((other) => !one.some((x) => other.some((y) => contradict(x, y)))));
}

function contradict(a: ScopeCondition, b: ScopeCondition): boolean {
  if (a.attribute !== b.attribute) return false;
  const [x, y] = [valueKey(a), valueKey(b)];
  if (negations[a.operator] === b.operator || negations[b.operator] === a.operator) return x === y;
  // An attribute compared for equality is taken for single-valued.
  if (a.operator === "EQUAL" && b.operator === "EQUAL") return x !== y;
  const isPositive = (operator: ScopeOperator) => negations[operator] === undefined;
  return (
    (a.operator === "ISNULL" && isPositive(b.operator)) || (b.operator === "ISNULL" && isPositive(a.operator))
  );
}

function valueKey(condition: ScopeCondition): string {
  return valueTexts(condition).join(";").trim().toLowerCase();
}
