/** What the expression tests share: the clock, chance, and values in the JSON form of the examples. */
import fc from "fast-check";

import {
  type CompileOptions,
  compileExpression,
  type EvaluationContext,
  ExpressionError,
  type Result,
  renderProblem,
} from "../../src/engine/core/expression/expression.ts";
import type { ExampleResult } from "../../src/engine/core/expression/functions/define.ts";
import {
  type AttributeValue,
  attributesFromJson,
  dateTimeFromMs,
  isMultiValued,
  type Value,
  valueToJson,
} from "../../src/engine/core/values.ts";

/** Any UTF-16 units, lone surrogates included; mostly those that mean something in some string. */
export function anyText(maxLength: number): fc.Arbitrary<string> {
  const unit = fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 0, max: 0x7f }) },
    fc.constantFrom(0x5c, 0x22),
    fc.integer({ min: 0, max: 0xffff }),
  );
  return fc.array(unit, { maxLength }).map((units) => String.fromCharCode(...units));
}

export interface Input {
  readonly attributes?: Readonly<Record<string, unknown>>;
  readonly importedAttributes?: Readonly<Record<string, unknown>>;
  readonly parameters?: Readonly<Record<string, Value>>;
}

/** 2026-08-01 12:00 UTC; chance always says one half. */
export function contextOf(input: Input = {}): EvaluationContext {
  const attributes = new Map(Object.entries(attributesOf(input.attributes)));
  const imported = new Map(Object.entries(attributesOf(input.importedAttributes)));
  return {
    attribute: (name) => attributes.get(name),
    importedValue: (name) => imported.get(name),
    parameter: (name) => input.parameters?.[name],
    now: dateTimeFromMs(Date.UTC(2026, 7, 1, 12)),
    random: () => 0.5,
  };
}

function attributesOf(json: Readonly<Record<string, unknown>> = {}): Record<string, AttributeValue> {
  return attributesFromJson({ ...json });
}

export function resultToJson(result: Result): ExampleResult {
  if (result === null) return null;
  if (isMultiValued(result as AttributeValue)) return (result as readonly Value[]).map(valueToJson);
  if (typeof result === "object" && "flow" in result) return { $flow: result.flow };
  return valueToJson(result as Value);
}

/** The value, or the error, whether it shows when the expression is checked or when it runs. */
export function outcome(source: string, input: Input = {}, options: CompileOptions = {}): ExampleResult {
  const compiled = compileExpression(source, options);
  if (!compiled.ok)
    return { $error: compiled.problems.map((problem) => renderProblem(source, problem)).join("\n") };
  try {
    return resultToJson(compiled.expression.evaluate(contextOf(input)));
  } catch (error) {
    if (error instanceof ExpressionError) return { $error: error.message };
    throw error;
  }
}

export function isError(result: unknown): result is { readonly $error: string | null } {
  return typeof result === "object" && result !== null && "$error" in result;
}

/** The codes of all problems, warnings too. */
export function problemsOf(source: string, options: CompileOptions = {}) {
  const compiled = compileExpression(source, options);
  return compiled.ok ? compiled.warnings : compiled.problems;
}
