/**
 * Evaluates an expression by walking its tree at every evaluation: the baseline that the compiler is measured
 * against, and an independent second reading of the tree for the property tests. Operators and functions are the
 * engine's own.
 */
import {
  attributeName,
  constantValue,
  importedValue,
  parameterValue,
  selectEach,
  stepsOfBody,
  triggerError,
  whereEach,
} from "../src/engine/core/expression/compile.ts";
import {
  applyFunction,
  applyOperator,
  choose,
  type EvaluationContext,
  type Frame,
  negate,
  type Result,
  resultOf,
} from "../src/engine/core/expression/evaluate.ts";
import type { Form } from "../src/engine/core/expression/functions/define.ts";
import { functionNamed } from "../src/engine/core/expression/functions/functions.ts";
import type { Call, Expression, Language } from "../src/engine/core/expression/syntax.ts";
import type { Datum } from "../src/engine/core/expression/types.ts";
import { valuesOf } from "../src/engine/core/values.ts";

/** @throws ExpressionError */
export function treeWalk(tree: Expression, language: Language, context: EvaluationContext): Result {
  const frame: Frame = { context, variables: [], at: tree.span, steps: 0 };
  return resultOf(walk(tree, { language, slots: new Map() }, frame));
}

interface Scope {
  readonly language: Language;
  readonly slots: ReadonlyMap<string, number>;
}

function walk(node: Expression, scope: Scope, frame: Frame): Datum {
  switch (node.kind) {
    case "literal":
      return node.value;
    case "constant":
      return constantValue(node.name);
    case "attribute":
      return frame.context.attribute(node.name) ?? null;
    case "parameter":
      return parameterValue(frame, node.name);
    case "variable":
      return frame.variables[scope.slots.get(node.name)!]!;
    case "negation":
      return negate(frame, walk(node.operand, scope, frame));
    case "binary": {
      const left = walk(node.left, scope, frame);
      if (node.operator === "&&" && (left === false || left === null)) return false;
      if (node.operator === "||" && left === true) return true;
      return applyOperator(frame, node.operator, left, walk(node.right, scope, frame));
    }
    case "call": {
      const definition = functionNamed(node.name, scope.language)!;
      if (definition.kind === "form") return walkForm(node, definition.form, scope, frame);
      return applyFunction(
        frame,
        node.name,
        definition,
        node.arguments.map((argument) => walk(argument, scope, frame)),
      );
    }
  }
}

function walkForm(node: Call, form: Form, scope: Scope, frame: Frame): Datum {
  const args = node.arguments;
  const later = (argument: Expression) => (at: Frame) => walk(argument, scope, at);
  switch (form) {
    case "IIF":
      return choose(frame, node.name, [[later(args[0]!), later(args[1]!)]], later(args[2]!));
    case "Switch": {
      const pairs = args.flatMap((condition, i) =>
        i % 2 === 0 ? [[later(condition), later(args[i + 1]!)] as const] : [],
      );
      return choose(frame, node.name, pairs, () => null);
    }
    case "Error":
      return triggerError(walk(args[0]!, scope, frame));
    case "ImportedValue":
      return importedValue(frame, attributeName(node));
    case "ValueCount":
      return BigInt(valuesOf(frame.context.attribute(attributeName(node))).length);
    default: {
      const [variable, bound, body] = args as [Expression & { kind: "variable" }, Expression, Expression];
      const value = walk(bound, scope, frame);
      // An inner binding of the same name has its own slot, as the outer value is needed again after it.
      const slot = Math.max(-1, ...scope.slots.values()) + 1;
      const inner = { ...scope, slots: new Map(scope.slots).set(variable.name, slot) };
      const run = (at: Frame) => walk(body, inner, at);
      if (form === "With") {
        frame.variables[slot] = value;
        return run(frame);
      }
      const each = form === "Where" ? whereEach : selectEach;
      return each(frame, value, slot, run, stepsOfBody(body));
    }
  }
}
