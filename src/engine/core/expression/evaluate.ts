/**
 * What one operator or function call does with values: what NULL means to it, how lists are mapped, and the limits.
 * The compiler puts shortcuts before these; the meaning is here.
 */
import { type AttributeValue, type DateTime, dnKey, type Reference, type Value } from "../values.ts";
import type { FunctionDefinition, Parameter } from "./functions/define.ts";
import { type EvaluationCode, ExpressionError } from "./problems.ts";
import type { FlowMarker, Operator, Span } from "./syntax.ts";
import type { Datum, Type, ValueList } from "./types.ts";
import * as types from "./types.ts";

/** The object an expression is evaluated for, with the clock and chance as inputs. */
export interface EvaluationContext {
  /** `[name]`; undefined when absent. */
  attribute(name: string): AttributeValue | undefined;
  /** `ImportedValue("name")`: the value last confirmed by an import. */
  importedValue?(name: string): AttributeValue | undefined;
  /** `%Name%` */
  parameter?(name: string): Value | undefined;
  readonly now: DateTime;
  /** At least 0, less than 1. */
  random(): number;
}

/** What an expression yields: a value, a list, null (NULL, nothing to contribute) or a flow marker. */
export type Result = AttributeValue | null | { readonly flow: FlowMarker };

export const evaluationLimits = {
  /** One step is a value of a list mapped, or 16 characters or bytes of a long value read or made. */
  stepsMax: 1_000_000,
  /** UTF-16 units of one text, bytes of one binary value. */
  valueLengthMax: 1_048_576,
  /** Values of one list that an expression makes. */
  listLengthMax: 1_000_000,
} as const;

/** Values up to this length are free; the shortcuts of the compiler take only these. */
export const shortLength = 64;

/** One evaluation under way. */
export interface Frame {
  readonly context: EvaluationContext;
  /** The values of `$variables`, by the slot the compiler gave them. */
  readonly variables: Datum[];
  /** The call or operator at work, for the position of an error. */
  at: Span;
  steps: number;
}

export function fail(code: EvaluationCode, message: string): never {
  throw new ExpressionError(code, message);
}

export function charge(frame: Frame, steps: number): void {
  frame.steps += steps;
  if (frame.steps > evaluationLimits.stepsMax) {
    fail("limit-exceeded", `The evaluation takes more than ${evaluationLimits.stepsMax} steps.`);
  }
}

/** Call before making a text or binary value of a length that the input decides. */
export function assertLength(length: number): void {
  if (length > evaluationLimits.valueLengthMax) {
    fail("limit-exceeded", `A value would be longer than ${evaluationLimits.valueLengthMax}.`);
  }
}

export function chargeValue(frame: Frame, value: Datum): void {
  if (typeof value === "string" || value instanceof Uint8Array) {
    if (value.length <= shortLength) return;
    assertLength(value.length);
    charge(frame, value.length >>> 4);
  } else if (Array.isArray(value)) {
    if (value.length > evaluationLimits.listLengthMax) {
      fail("limit-exceeded", `A list would have more than ${evaluationLimits.listLengthMax} values.`);
    }
    charge(frame, 1 + value.length);
  } else if (types.isReferenceValue(value)) chargeValue(frame, value.dn);
}

// ---- functions ---------------------------------------------------------------------------------------------------

/** Calls a function: NULL by its rule, whole lists as such, other lists value by value. */
export function applyFunction(
  frame: Frame,
  name: string,
  definition: FunctionDefinition,
  args: readonly Datum[],
): Datum {
  const { parameters } = definition;
  const prepared: unknown[] = new Array(args.length);
  let length = -1;
  for (let i = 0; i < args.length; i++) {
    const parameter = parameters[i]!;
    const arg = args[i]!;
    if (types.isFlow(arg)) fail("type-mismatch", `${name} cannot compute with ${arg.flow}.`);
    if (parameter.takes === "raw") {
      prepared[i] = types.isList(arg) ? types.wholeList(arg) : arg;
      chargeValue(frame, arg);
    } else if (parameter.takes === "list") {
      const list = types.wholeList(arg);
      charge(frame, 1 + list.length);
      prepared[i] = list.map((value) => accepted(frame, name, definition, parameter, value));
    } else if (types.isList(arg)) {
      if (length >= 0 && length !== arg.length) failOnLengths(length, arg.length);
      length = arg.length;
    } else prepared[i] = arg;
  }
  if (length < 0) return applyToValues(frame, name, definition, prepared);

  charge(frame, length);
  const results: (Value | null)[] = [];
  nextValue: for (let k = 0; k < length; k++) {
    for (let i = 0; i < args.length; i++) {
      const arg = args[i]!;
      if (parameters[i]!.takes !== "one" || !types.isList(arg)) continue;
      const value = arg[k]!;
      if (value === null) {
        results.push(null);
        continue nextValue;
      }
      prepared[i] = value;
    }
    const result = applyToValues(frame, name, definition, [...prepared]);
    // A function that gives a list (Split) gives one long list for a list.
    if (types.isList(result)) for (const value of result) results.push(value);
    else results.push(result as Value | null);
  }
  chargeValue(frame, results);
  return results;
}

/** Calls a function whose lists are whole lists; `prepared` is overwritten. */
function applyToValues(
  frame: Frame,
  name: string,
  definition: FunctionDefinition,
  prepared: unknown[],
): Datum {
  for (let i = 0; i < prepared.length; i++) {
    const parameter = definition.parameters[i]!;
    if (parameter.takes !== "one") continue;
    const value = prepared[i] as Value | null;
    if (value !== null) prepared[i] = accepted(frame, name, definition, parameter, value);
    else if ((parameter.accepts & types.nothing) === 0) {
      if (parameter.optional) prepared[i] = undefined;
      else if (i === 0 && definition.ofNull !== "fails") return definition.ofNull;
      else fail("null-argument", `${name}: ${parameter.name} is NULL.`);
    }
  }
  const { evaluate } = definition;
  const result = definition.needsContext
    ? evaluate(frame.context, prepared[0], prepared[1], prepared[2])
    : evaluate(prepared[0], prepared[1], prepared[2], prepared[3]);
  chargeValue(frame, result);
  return result;
}

/** The value as the parameter takes it. "" is empty binary too: it is what Mid gives for an absent binary attribute. */
function accepted(
  frame: Frame,
  name: string,
  definition: FunctionDefinition,
  parameter: Parameter,
  value: Value,
): unknown {
  chargeValue(frame, value);
  const kind = types.kindOf(value);
  if ((kind & parameter.accepts) !== 0) return value;
  if (kind === types.number && (parameter.accepts & types.int) !== 0) return Number(value);
  if (kind === types.text && parameter.options !== undefined) {
    if (!parameter.options.includes(value as string)) {
      fail("wrong-option", `${name}: ${parameter.name} is one of ${parameter.options.join(", ")}.`);
    }
    return value;
  }
  if ((parameter.accepts & types.binary) !== 0 && value === "") return new Uint8Array();
  if ((parameter.accepts & types.text) !== 0) {
    if (kind === types.reference) return (value as Reference).dn;
    if (kind === types.number && definition.numbersAsText) return String(value);
  }
  return fail(
    "type-mismatch",
    `${name}: ${parameter.name} takes ${types.describeType(parameter.accepts & ~types.nothing)}, not ${types.describeType(kind)}.`,
  );
}

/** The types a parameter takes with the conversions of `accepted`. */
export function acceptedTypes(definition: FunctionDefinition, parameter: Parameter): Type {
  let all = parameter.accepts | types.nothing;
  if ((all & types.int) !== 0) all |= types.number;
  if ((all & types.text) !== 0) all |= types.reference | (definition.numbersAsText ? types.number : 0);
  return all;
}

function failOnLengths(a: number, b: number): never {
  return fail(
    "list-length-mismatch",
    `A list of ${a} and a list of ${b} values cannot be combined value by value.`,
  );
}

// ---- operators ---------------------------------------------------------------------------------------------------

/** Applies an operator other than `&&` and `||`, which look at their right side only when they must. */
export function applyOperator(frame: Frame, operator: Operator, left: Datum, right: Datum): Datum {
  if (types.isFlow(left)) return fail("type-mismatch", `${operator} cannot compute with ${left.flow}.`);
  if (types.isFlow(right)) return fail("type-mismatch", `${operator} cannot compute with ${right.flow}.`);
  if (!types.isList(left) && !types.isList(right)) return operate(frame, operator, left, right);
  if (types.isList(left) && types.isList(right) && left.length !== right.length) {
    failOnLengths(left.length, right.length);
  }
  const length = types.isList(left) ? left.length : (right as ValueList).length;
  charge(frame, length);
  const results: (Value | null)[] = [];
  for (let k = 0; k < length; k++) {
    const a = types.isList(left) ? left[k]! : left;
    const b = types.isList(right) ? right[k]! : right;
    const takenOut = (types.isList(left) && a === null) || (types.isList(right) && b === null);
    results.push(takenOut ? null : operate(frame, operator, a, b));
  }
  return results;
}

function operate(frame: Frame, operator: Operator, left: Value | null, right: Value | null): Value {
  switch (operator) {
    case "=":
      return equals(frame, operator, left, right);
    case "<>":
      return !equals(frame, operator, left, right);
    case "<":
    case "<=":
    case ">":
    case ">=":
      return compare(frame, operator, left, right);
    case "&":
      return concatenate(frame, left, right);
    case "&&":
      return truth(operator, left) && truth(operator, right);
    case "||":
      return truth(operator, left) || truth(operator, right);
    default:
      return calculate(operator, left, right);
  }
}

function failOnTypes(operator: string, left: Datum, right: Datum): never {
  return fail(
    "type-mismatch",
    `${operator} cannot stand between ${types.describeType(types.kindOf(left))} and ${types.describeType(types.kindOf(right))}.`,
  );
}

/** NULL counts as False. */
export function truth(operator: string, value: Datum): boolean {
  if (typeof value === "boolean") return value;
  if (value === null) return false;
  return fail(
    "type-mismatch",
    `${operator} takes True or False, not ${types.describeType(types.kindOf(value))}.`,
  );
}

export function equals(
  frame: Frame | undefined,
  operator: string,
  left: Value | null,
  right: Value | null,
): boolean {
  if (left === null || right === null) return left === right;
  if (frame !== undefined) {
    chargeValue(frame, left);
    chargeValue(frame, right);
  }
  const kind = types.kindOf(left);
  const other = types.kindOf(right);
  if (kind !== other) {
    if (((kind | other) & ~(types.text | types.reference)) === 0)
      return dnKey(dnText(left)) === dnKey(dnText(right));
    if (left === "" && right instanceof Uint8Array) return right.length === 0;
    if (right === "" && left instanceof Uint8Array) return left.length === 0;
    return failOnTypes(operator, left, right);
  }
  if (kind === types.dateTime) return (left as DateTime).ticks === (right as DateTime).ticks;
  if (kind === types.reference) return dnKey(dnText(left)) === dnKey(dnText(right));
  if (kind === types.binary) return Buffer.compare(left as Uint8Array, right as Uint8Array) === 0;
  return left === right;
}

function dnText(value: Value): string {
  return typeof value === "string" ? value : (value as Reference).dn;
}

/** Text by UTF-16 units, as vbBinaryCompare. Nothing is smaller or larger than NULL. */
export function compare(
  frame: Frame | undefined,
  operator: "<" | "<=" | ">" | ">=",
  left: Value | null,
  right: Value | null,
): boolean {
  if (left === null || right === null) return false;
  const kind = types.kindOf(left);
  if (kind !== types.kindOf(right) || (kind & (types.text | types.number | types.dateTime)) === 0) {
    return failOnTypes(operator, left, right);
  }
  if (frame !== undefined) {
    chargeValue(frame, left);
    chargeValue(frame, right);
  }
  const a = kind === types.dateTime ? (left as DateTime).ticks : (left as string | bigint);
  const b = kind === types.dateTime ? (right as DateTime).ticks : (right as string | bigint);
  switch (operator) {
    case "<":
      return a < b;
    case "<=":
      return a <= b;
    case ">":
      return a > b;
    case ">=":
      return a >= b;
  }
}

/** NULL counts as "". Two binary values give binary; numbers, truth values and references turn into text. */
function concatenate(frame: Frame, left: Value | null, right: Value | null): Value {
  let result: string | Uint8Array;
  if (left instanceof Uint8Array || right instanceof Uint8Array) {
    const parts = [left, right].map((part) => (part === null || part === "" ? new Uint8Array() : part));
    if (!parts.every((part) => part instanceof Uint8Array)) return failOnTypes("&", left, right);
    assertLength(parts[0]!.length + parts[1]!.length);
    result = new Uint8Array(Buffer.concat(parts));
  } else {
    const a = concatenable(left, right, left);
    const b = concatenable(left, right, right);
    assertLength(a.length + b.length);
    result = a + b;
  }
  chargeValue(frame, result);
  return result;
}

function concatenable(left: Value | null, right: Value | null, value: Value | null): string {
  switch (typeof value) {
    case "string":
      return value;
    case "bigint":
      return String(value);
    case "boolean":
      return value ? "True" : "False";
    default:
      if (value === null) return "";
      return types.isReferenceValue(value) ? value.dn : failOnTypes("&", left, right);
  }
}

function calculate(operator: "+" | "-" | "*" | "/", left: Value | null, right: Value | null): bigint {
  if (left === null || right === null) return fail("null-argument", `${operator} cannot compute with NULL.`);
  if (typeof left !== "bigint" || typeof right !== "bigint") return failOnTypes(operator, left, right);
  switch (operator) {
    case "+":
      return int64(left + right);
    case "-":
      return int64(left - right);
    case "*":
      return int64(left * right);
    case "/":
      if (right === 0n) return fail("division-by-zero", "Division by zero.");
      return int64(left / right);
  }
}

export function int64(value: bigint): bigint {
  if (BigInt.asIntN(64, value) !== value)
    return fail("number-out-of-range", "The result does not fit into 64 bits.");
  return value;
}

export function negate(frame: Frame, value: Datum): Datum {
  if (types.isList(value)) {
    charge(frame, value.length);
    return value.map((entry) => (entry === null ? null : (negate(frame, entry) as Value)));
  }
  if (value === null) return fail("null-argument", "- cannot compute with NULL.");
  if (typeof value === "bigint") return int64(-value);
  return fail("type-mismatch", `- takes a number, not ${types.describeType(types.kindOf(value))}.`);
}

// ---- choices -----------------------------------------------------------------------------------------------------

/** A branch of a choice, evaluated only when some position takes it. */
export type Branch = (frame: Frame) => Datum;

/**
 * IIF and Switch. Conditions are looked at left to right until one is True; only branches that are taken are
 * evaluated. A list of conditions chooses value by value, and a list branch is then read at the same positions.
 */
export function choose(
  frame: Frame,
  name: string,
  pairs: readonly (readonly [Branch, Branch])[],
  otherwise: Branch,
): Datum {
  for (let p = 0; p < pairs.length; p++) {
    const condition = pairs[p]![0](frame);
    if (types.isList(condition)) return chooseByValue(frame, name, condition, pairs.slice(p), otherwise);
    if (truth(name, condition)) return pairs[p]![1](frame);
  }
  return otherwise(frame);
}

function chooseByValue(
  frame: Frame,
  name: string,
  first: ValueList,
  pairs: readonly (readonly [Branch, Branch])[],
  otherwise: Branch,
): Datum {
  const length = first.length;
  const results: (Value | null)[] = new Array(length).fill(null);
  let open = first.flatMap((value, k) => (value === null ? [] : [k]));
  const take = (branch: Branch, positions: readonly number[]) => {
    if (positions.length === 0) return;
    charge(frame, positions.length);
    const value = branch(frame);
    if (types.isFlow(value)) fail("type-mismatch", `${value.flow} cannot stand in a list.`);
    if (types.isList(value) && value.length !== length) failOnLengths(length, value.length);
    for (const k of positions) results[k] = types.isList(value) ? value[k]! : value;
  };
  for (const [p, [condition, branch]] of pairs.entries()) {
    if (open.length === 0) break;
    const conditions = p === 0 ? first : condition(frame);
    charge(frame, open.length);
    if (types.isList(conditions) && conditions.length !== length) failOnLengths(length, conditions.length);
    const chosen = open.filter((k) => truth(name, types.isList(conditions) ? conditions[k]! : conditions));
    take(branch, chosen);
    const closed = new Set(chosen);
    open = open.filter((k) => !closed.has(k));
  }
  take(otherwise, open);
  return results;
}

// ---- results -----------------------------------------------------------------------------------------------------

/** What leaves the evaluation: no values taken out, and no empty list. */
export function resultOf(value: Datum): Result {
  if (!types.isList(value)) return value as Exclude<Datum, ValueList>;
  const list = types.wholeList(value);
  return list.length === 0 ? null : list;
}

/**
 * What a flow makes of a result: empty text and empty lists are no value. The out-of-box `Left(Trim([info]), 448)`
 * has no guard and Left gives "" for an absent attribute, yet nothing may flow then: directories have no empty text.
 */
export function asFlowValue(result: Result): Result {
  if (result === "") return null;
  if (!Array.isArray(result)) return result instanceof Uint8Array && result.length === 0 ? null : result;
  if (result.every((value) => value !== "")) return result.length === 0 ? null : result;
  const rest = result.filter((value) => value !== "");
  return rest.length === 0 ? null : rest;
}
