/** One expression, tried with values in JSON: what the API and `npm run try` share. */
import {
  type AttributeValue,
  type DateTime,
  isMultiValued,
  type JsonValue,
  type Value,
  valueFromJson,
  valueToJson,
} from "../values.ts";
import { compileExpression, ExpressionError, type Problem, type Result } from "./expression.ts";
import type { FlowMarker, Language } from "./syntax.ts";

type JsonObject = Readonly<Record<string, JsonValue | readonly JsonValue[] | null>>;

export interface TryOut {
  readonly expression: string;
  /** A list is multi-valued; null and the empty list are absent. */
  readonly attributes: JsonObject;
  /** What ImportedValue reads; when left out, the attributes: they are then as the last import has shown them. */
  readonly importedAttributes?: JsonObject | undefined;
  readonly parameters: Readonly<Record<string, JsonValue>>;
  readonly language: Language;
}

export type JsonResult = JsonValue | readonly JsonValue[] | { readonly $flow: FlowMarker } | null;

export type TryOutResult =
  | { readonly kind: "value"; readonly value: JsonResult; readonly warnings: readonly Problem[] }
  | { readonly kind: "problems"; readonly problems: readonly Problem[] };

/** A list may hold one long value many times over, which costs nothing until it is written out. */
const resultLengthMax = 1_048_576;

/** @throws TypeError for a value that is not in one of the JSON forms */
export function tryExpression(
  { expression, attributes, importedAttributes, parameters, language }: TryOut,
  clock: { readonly now: DateTime; random(): number },
): TryOutResult {
  const compiled = compileExpression(expression, { language });
  if (!compiled.ok) return { kind: "problems", problems: compiled.problems };
  // Maps, because a name such as "constructor" must not find what every object has.
  const values = valuesOf(attributes);
  const imported = importedAttributes === undefined ? values : valuesOf(importedAttributes);
  const given = new Map(Object.entries(parameters).map(([name, json]) => [name, valueFromJson(json)]));
  try {
    const result = compiled.expression.evaluate({
      ...clock,
      attribute: (name) => values.get(name),
      importedValue: (name) => imported.get(name),
      parameter: (name) => given.get(name),
    });
    return { kind: "value", value: resultToJson(result), warnings: compiled.warnings };
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const { code, message, position = { line: 1, column: 1, length: 1 } } = error;
    return { kind: "problems", problems: [{ code, message, ...position, severity: "error" }] };
  }
}

function valuesOf(json: JsonObject): ReadonlyMap<string, AttributeValue | undefined> {
  return new Map(Object.entries(json).map(([name, value]) => [name, attributeFromJson(value)]));
}

function attributeFromJson(json: JsonObject[string]): AttributeValue | undefined {
  if (!Array.isArray(json)) return json === null ? undefined : valueFromJson(json);
  return json.length === 0 ? undefined : json.map(valueFromJson);
}

function resultToJson(result: Result): JsonResult {
  if (result === null) return null;
  if (typeof result === "object" && "flow" in result) return { $flow: result.flow };
  if (!isMultiValued(result)) return valueToJson(result);
  let length = 0;
  for (const value of result) {
    length += lengthOf(value);
    if (length > resultLengthMax)
      throw new ExpressionError("limit-exceeded", `The result is longer than ${resultLengthMax}.`);
  }
  return result.map(valueToJson);
}

function lengthOf(value: Value): number {
  return typeof value === "string" || value instanceof Uint8Array ? value.length + 1 : 1;
}
