/**
 * Syntax tree → closures. What a node means is in `evaluate.ts`; here are the shortcuts for single, short values of
 * the right type, which is what nearly every flow has. Attributes become direct calls of the context.
 *
 * The tree must have passed the checker.
 */
import { type Reference, type Value, valuesOf } from "../values.ts";
import {
  applyFunction,
  applyOperator,
  type Branch,
  charge,
  chargeValue,
  choose,
  type Frame,
  fail,
  negate,
  shortLength,
  truth,
} from "./evaluate.ts";
import type { Definition, FormDefinition, FunctionDefinition, Parameter } from "./functions/define.ts";
import { functionNamed } from "./functions/functions.ts";
import { type BinaryOperation, type Call, childrenOf, type Expression, type Language } from "./syntax.ts";
import type { Datum, FlowValue, Type } from "./types.ts";
import * as types from "./types.ts";

interface Scope {
  readonly language: Language;
  /** Where each variable stands in `Frame.variables`. */
  readonly slots: ReadonlyMap<string, number>;
  readonly depth: number;
}

const flowValues = {
  IgnoreThisFlow: { flow: "IgnoreThisFlow" },
  AuthoritativeNull: { flow: "AuthoritativeNull" },
} as const satisfies Record<string, FlowValue>;

export function compile(expression: Expression, language: Language): Branch {
  return compileNode(expression, { language, slots: new Map(), depth: 0 });
}

function compileNode(node: Expression, scope: Scope): Branch {
  switch (node.kind) {
    case "literal": {
      const { value } = node;
      return () => value;
    }
    case "constant": {
      const value = constantValue(node.name);
      return () => value;
    }
    case "attribute": {
      const { name } = node;
      return (frame) => frame.context.attribute(name) ?? null;
    }
    case "parameter": {
      const { name } = node;
      return (frame) => parameterValue(frame, name);
    }
    case "variable": {
      const slot = scope.slots.get(node.name)!;
      return (frame) => frame.variables[slot]!;
    }
    case "negation": {
      const operand = compileNode(node.operand, scope);
      return (frame) => {
        const value = operand(frame);
        frame.at = node.span;
        return negate(frame, value);
      };
    }
    case "binary":
      return compileBinary(node, scope);
    case "call":
      return compileCall(node, scope);
  }
}

export function constantValue(name: string): Datum {
  if (name === "NULL") return null;
  if (name === "CRLF") return "\r\n";
  return name === "IgnoreThisFlow" || name === "AuthoritativeNull" ? flowValues[name] : name;
}

export function parameterValue(frame: Frame, name: string): Value {
  return frame.context.parameter?.(name) ?? fail("unknown-parameter", `The parameter ${name} has no value.`);
}

// ---- operators ---------------------------------------------------------------------------------------------------

function compileBinary(node: BinaryOperation, scope: Scope): Branch {
  const left = compileNode(node.left, scope);
  const right = compileNode(node.right, scope);
  const { operator, span } = node;
  const general = (frame: Frame, a: Datum, b: Datum): Datum => {
    frame.at = span;
    return applyOperator(frame, operator, a, b);
  };
  switch (operator) {
    case "=": {
      const literal =
        node.right.kind === "literal" && isPlain(node.right.value) ? node.right.value : undefined;
      if (literal !== undefined) {
        const type = typeof literal;
        return (frame) => {
          const a = left(frame);
          // Absent attributes are what most conditions meet.
          if (a === null) return false;
          return typeof a === type && isPlain(a) ? a === literal : general(frame, a, literal);
        };
      }
      return (frame) => {
        const a = left(frame);
        const b = right(frame);
        return isPlain(a) && typeof a === typeof b ? a === b : general(frame, a, b);
      };
    }
    case "<>":
      return (frame) => {
        const a = left(frame);
        const b = right(frame);
        return isPlain(a) && typeof a === typeof b ? a !== b : general(frame, a, b);
      };
    case ">":
      return (frame) => {
        const a = left(frame);
        const b = right(frame);
        return typeof a === "bigint" && typeof b === "bigint" ? a > b : general(frame, a, b);
      };
    case "&":
      return (frame) => {
        const a = left(frame);
        const b = right(frame);
        return typeof a === "string" && typeof b === "string" && a.length + b.length <= shortLength
          ? a + b
          : general(frame, a, b);
      };
    case "&&":
      return (frame) => {
        const a = left(frame);
        if (a === false || a === null) return false;
        const b = right(frame);
        return a === true && typeof b === "boolean" ? b : general(frame, a, b);
      };
    case "||":
      return (frame) => {
        const a = left(frame);
        if (a === true) return true;
        const b = right(frame);
        return (a === false || a === null) && typeof b === "boolean" ? b : general(frame, a, b);
      };
    default:
      return (frame) => general(frame, left(frame), right(frame));
  }
}

/** A value that === compares, too short to be charged for. */
function isPlain(value: Datum): boolean {
  return typeof value === "string"
    ? value.length <= shortLength
    : typeof value === "bigint" || typeof value === "boolean";
}

// ---- functions ---------------------------------------------------------------------------------------------------

function compileCall(node: Call, scope: Scope): Branch {
  const definition = functionNamed(node.name, scope.language) as Definition;
  return definition.kind === "form"
    ? compileForm(node, definition, scope)
    : compileFunction(node, definition, scope);
}

function compileFunction(node: Call, definition: FunctionDefinition, scope: Scope): Branch {
  const args = node.arguments.map((argument) => compileNode(argument, scope));
  const { span, name } = node;
  const { parameters } = definition;
  const general = (frame: Frame, values: Datum[]): Datum => {
    frame.at = span;
    return applyFunction(frame, name, definition, values);
  };
  if (definition.needsContext || parameters.some((parameter) => parameter.takes === "list")) {
    return (frame) =>
      general(
        frame,
        args.map((argument) => argument(frame)),
      );
  }
  const { evaluate } = definition;
  const shortcuts = args.map((_, i) => shortcut(parameters[i]!, node.arguments[i]!));
  const [a, b, c] = args as [Branch, Branch, Branch];
  const [first, second, third] = shortcuts as [Shortcut, Shortcut, Shortcut];
  /** What NULL as the first argument gives, whatever the others are; undefined when it must be looked at. */
  const ofNull = nullShortcut(definition);
  switch (args.length) {
    case 1:
      if (parameters[0]!.takes === "raw") {
        return (frame) => {
          const x = a(frame);
          return isScalar(x) ? evaluate(x) : general(frame, [x]);
        };
      }
      return (frame) => {
        const x = a(frame);
        if (x === null && ofNull !== undefined) return ofNull;
        if (!fits(x, first.accepts)) return general(frame, [x]);
        frame.at = span;
        return charged(frame, evaluate(x));
      };
    case 2: {
      const { constant } = second;
      if (constant !== undefined) {
        return (frame) => {
          const x = a(frame);
          if (x === null && ofNull !== undefined) return ofNull;
          if (!fits(x, first.accepts)) return general(frame, [x, b(frame)]);
          frame.at = span;
          return charged(frame, evaluate(first.counts ? Number(x) : x, constant));
        };
      }
      return (frame) => {
        const x = a(frame);
        const y = b(frame);
        if (!fits(x, first.accepts) || !fits(y, second.accepts)) return general(frame, [x, y]);
        frame.at = span;
        return charged(frame, evaluate(first.counts ? Number(x) : x, second.counts ? Number(y) : y));
      };
    }
    case 3:
      return (frame) => {
        const x = a(frame);
        const y = b(frame);
        const z = c(frame);
        if (!fits(x, first.accepts) || !fits(y, second.accepts) || !fits(z, third.accepts)) {
          return general(frame, [x, y, z]);
        }
        frame.at = span;
        return charged(
          frame,
          evaluate(
            first.counts ? Number(x) : x,
            second.constant ?? (second.counts ? Number(y) : y),
            third.constant ?? (third.counts ? Number(z) : z),
          ),
        );
      };
    default:
      return (frame) =>
        general(
          frame,
          args.map((argument) => argument(frame)),
        );
  }
}

function nullShortcut({ parameters, ofNull }: FunctionDefinition): Datum | undefined {
  const [first] = parameters;
  const decides = first?.takes === "one" && !first.optional && (first.accepts & types.nothing) === 0;
  return decides && ofNull !== "fails" ? ofNull : undefined;
}

interface Shortcut {
  /** The types that go straight to the function. */
  readonly accepts: Type;
  /** Whether it takes the number as a JavaScript number. */
  readonly counts: boolean;
  /** A literal as the function takes it. */
  readonly constant: string | number | undefined;
}

function shortcut(parameter: Parameter, argument: Expression): Shortcut {
  const counts = (parameter.accepts & types.int) !== 0;
  if (counts) {
    const literal =
      argument.kind === "literal" && typeof argument.value === "bigint" ? Number(argument.value) : undefined;
    // NULL is left to the general way, which does not turn it into 0.
    return { accepts: types.number, counts, constant: literal };
  }
  if (parameter.options !== undefined) {
    const isOption = argument.kind === "constant" || argument.kind === "literal";
    return { accepts: isOption ? types.text : 0, counts, constant: undefined };
  }
  const isShort =
    argument.kind === "literal" && typeof argument.value === "string" && argument.value.length <= shortLength;
  const constant = isShort && (parameter.accepts & types.text) !== 0 ? (argument.value as string) : undefined;
  return { accepts: parameter.accepts, counts, constant };
}

function isScalar(value: Datum): boolean {
  return typeof value === "object" ? value === null || value instanceof Uint8Array : true;
}

function fits(value: Datum, accepts: Type): boolean {
  switch (typeof value) {
    case "string":
      return (accepts & types.text) !== 0 && value.length <= shortLength;
    case "bigint":
      return (accepts & types.number) !== 0;
    case "boolean":
      return (accepts & types.boolean) !== 0;
    default:
      return value === null && (accepts & types.nothing) !== 0;
  }
}

function charged(frame: Frame, value: Datum): Datum {
  if (typeof value === "string" ? value.length > shortLength : typeof value === "object")
    chargeValue(frame, value);
  return value;
}

// ---- forms -------------------------------------------------------------------------------------------------------

function compileForm(node: Call, { form }: FormDefinition, scope: Scope): Branch {
  switch (form) {
    case "IIF": {
      const [condition, whenTrue, whenFalse] = node.arguments.map((argument) =>
        compileNode(argument, scope),
      ) as [Branch, Branch, Branch];
      return (frame) => {
        const value = condition(frame);
        if (value === true) return whenTrue(frame);
        if (value === false || value === null) return whenFalse(frame);
        frame.at = node.span;
        return choose(frame, node.name, [[() => value, whenTrue]], whenFalse);
      };
    }
    case "Switch": {
      const args = node.arguments.map((argument) => compileNode(argument, scope));
      const pairs: [Branch, Branch][] = [];
      for (let i = 0; i + 1 < args.length; i += 2) pairs.push([args[i]!, args[i + 1]!]);
      return (frame) => {
        frame.at = node.span;
        return choose(frame, node.name, pairs, () => null);
      };
    }
    case "Error": {
      const message = compileNode(node.arguments[0]!, scope);
      return (frame) => {
        const value = message(frame);
        frame.at = node.span;
        return triggerError(value);
      };
    }
    case "ImportedValue": {
      const name = attributeName(node);
      return (frame) => {
        frame.at = node.span;
        return importedValue(frame, name);
      };
    }
    case "ValueCount": {
      const name = attributeName(node);
      return (frame) => BigInt(valuesOf(frame.context.attribute(name)).length);
    }
    default:
      return compileBinding(node, form, scope);
  }
}

function compileBinding(node: Call, form: "Select" | "Where" | "With", scope: Scope): Branch {
  const [variable, boundNode, bodyNode] = node.arguments as [
    Expression & { kind: "variable" },
    Expression,
    Expression,
  ];
  const bound = compileNode(boundNode, scope);
  const slot = scope.depth;
  const body = compileNode(bodyNode, {
    ...scope,
    slots: new Map(scope.slots).set(variable.name, slot),
    depth: slot + 1,
  });
  if (form === "With") {
    return (frame) => {
      frame.variables[slot] = bound(frame);
      return body(frame);
    };
  }
  const each = form === "Where" ? whereEach : selectEach;
  const steps = stepsOfBody(bodyNode);
  return (frame) => {
    const value = bound(frame);
    frame.at = node.span;
    return each(frame, value, slot, body, steps);
  };
}

/** A body of many functions costs more than one step for each value. */
export function stepsOfBody(body: Expression): number {
  let nodes = 0;
  const waiting = [body];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    nodes++;
    waiting.push(...childrenOf(node));
  }
  return 1 + (nodes >>> 2);
}

export function selectEach(frame: Frame, list: Datum, slot: number, body: Branch, steps: number): Datum {
  return listOf("Select", list).map((value) => {
    charge(frame, steps);
    frame.variables[slot] = value;
    const result = body(frame);
    if (types.isFlow(result)) return fail("type-mismatch", `Select cannot compute with ${result.flow}.`);
    return types.isList(result) ? fail("type-mismatch", "Select: a list cannot stand in a list.") : result;
  });
}

export function whereEach(frame: Frame, list: Datum, slot: number, body: Branch, steps: number): Datum {
  return listOf("Where", list).filter((value) => {
    charge(frame, steps);
    frame.variables[slot] = value;
    return truth("Where", body(frame));
  });
}

function listOf(name: string, value: Datum): readonly Value[] {
  if (types.isFlow(value)) return fail("type-mismatch", `${name} cannot compute with ${value.flow}.`);
  return types.wholeList(value);
}

export function importedValue(frame: Frame, name: string): Datum {
  const { context } = frame;
  if (context.importedValue === undefined) {
    return fail("imported-value-unavailable", "ImportedValue: there is no confirmed import here.");
  }
  return context.importedValue(name) ?? null;
}

const errorMessageLengthMax = 1_024;

/** Ends the evaluation with the rule's own message. */
export function triggerError(value: Datum): never {
  const kind = types.kindOf(value);
  if ((kind & (types.text | types.number | types.reference | types.nothing)) === 0) {
    return fail("type-mismatch", `Error takes text, not ${types.describeType(kind)}.`);
  }
  const text = value === null ? "" : kind === types.reference ? (value as Reference).dn : String(value);
  return fail("sync-rule-error-function-triggered", text.slice(0, errorMessageLengthMax));
}

/** Of ImportedValue and ValueCount. */
export function attributeName(node: Call): string {
  return (node.arguments[0] as Expression & { kind: "literal" }).value as string;
}
