/**
 * MIM's expressions → the language of Entra Connect. Both front ends make the same tree, so a translation renames
 * functions and turns comparisons into operators; where MIM means something else, the tree says so in full.
 */
import { compileExpression } from "../core/expression/expression.ts";
import { print } from "../core/expression/print.ts";
import {
  type Call,
  type Expression,
  isOperator,
  type Operator,
  type Span,
} from "../core/expression/syntax.ts";

export type Translation =
  | { readonly ok: true; readonly expression: string; readonly remarks: readonly string[] }
  | { readonly ok: false; readonly message: string };

const renamed: Readonly<Record<string, string>> = {
  ConvertSidToString: "StringFromSid",
  ConvertStringToGuid: "CGuid",
  LeftPad: "PadLeft",
  RightPad: "PadRight",
  LowerCase: "LCase",
  UpperCase: "UCase",
  ProperCase: "PCase",
  ReplaceString: "Replace",
};
const comparisons: Readonly<Record<string, Operator>> = {
  Eq: "=",
  NotEquals: "<>",
  LessThan: "<",
  LessThanOrEquals: "<=",
  GreaterThan: ">",
  GreaterThanOrEquals: ">=",
};
/** MIM takes numbers for text here, Entra Connect does not. */
const textFunctions = new Set([
  ...[
    "Left",
    "Right",
    "Mid",
    "LeftPad",
    "RightPad",
    "LowerCase",
    "UpperCase",
    "ProperCase",
    "Trim",
    "LTrim",
    "RTrim",
  ],
  ...["ReplaceString", "Word"],
]);
const numberFunctions = new Set(["RandomNum", "BitAnd", "BitOr"]);

/** @param source `<fn>` XML, or the text form that the portal shows */
export function translateMim(source: string): Translation {
  const compiled = compileExpression(source, { language: "mim" });
  if (!compiled.ok) {
    const [problem] = compiled.problems;
    return {
      ok: false,
      message: `${problem?.message ?? "It cannot be read."} (line ${problem?.line ?? 1}, column ${problem?.column ?? 1} of the expression)`,
    };
  }
  const remarks = new Set<string>();
  const expression = print(translated(compiled.expression.ast, remarks));
  const again = compileExpression(expression);
  if (!again.ok)
    return { ok: false, message: `As ${expression}: ${again.problems[0]?.message ?? "it cannot be read"}` };
  return { ok: true, expression, remarks: [...remarks] };
}

function translated(node: Expression, remarks: Set<string>): Expression {
  switch (node.kind) {
    case "negation":
      return { ...node, operand: translated(node.operand, remarks) };
    case "binary":
      return {
        ...node,
        left: translated(node.left, remarks),
        right: translated(node.right, remarks),
      };
    case "call":
      return translatedCall(node, remarks);
    default:
      return node;
  }
}

function translatedCall(node: Call, remarks: Set<string>): Expression {
  const args = node.arguments.map((argument, index) => {
    const inner = translated(argument, remarks);
    return index === 0 && textFunctions.has(node.name) ? asText(argument, inner) : inner;
  });
  const { span } = node;
  const comparison = comparisons[node.name];
  const [first, second, third] = args;
  if (comparison !== undefined && isOperator(comparison) && first !== undefined && second !== undefined)
    return { kind: "binary", operator: comparison, left: first, right: second, parenthesized: true, span };
  if (node.name === "Mid" && third !== undefined) return mid(node, args, third, remarks);
  if (node.name === "DateTimeFormat" && first !== undefined && second !== undefined) {
    remarks.add(
      "DateTimeFormat takes a text; it became FormatDateTime(CDate(…), …), which takes the same texts.",
    );
    return call("FormatDateTime", [call("CDate", [first], span), second], span);
  }
  const name = renamed[node.name] ?? node.name;
  return { ...node, name, arguments: args };
}

/** MIM's Mid gives "" for a negative count, Entra Connect's the whole text. */
function mid(node: Call, args: readonly Expression[], count: Expression, remarks: Set<string>): Expression {
  const plain: Expression = { ...node, arguments: args };
  if (count.kind === "literal" && typeof count.value === "bigint" && count.value > 0n) return plain;
  const { span } = node;
  remarks.add('Mid gives "" for a count that is not positive; the expression says so with IIF.');
  const positive: Expression = {
    kind: "binary",
    operator: ">",
    left: count,
    right: { kind: "literal", value: 0n, span },
    parenthesized: true,
    span,
  };
  return call("IIF", [positive, plain, { kind: "literal", value: "", span }], span);
}

function asText(argument: Expression, inner: Expression): Expression {
  const { span } = argument;
  if (argument.kind === "literal" && typeof argument.value === "bigint")
    return { kind: "literal", value: String(argument.value), span };
  return argument.kind === "call" && numberFunctions.has(argument.name) ? call("CStr", [inner], span) : inner;
}

function call(name: string, args: readonly Expression[], span: Span): Call {
  return { kind: "call", name, nameSpan: span, arguments: args, span };
}

/** MIM's "Allow nulls" is off: a result of NULL leaves the target as it is. */
export function unlessNull(expression: string): string {
  return /^\[[^\]]+\]$/.test(expression)
    ? `IIF(IsPresent(${expression}), ${expression}, IgnoreThisFlow)`
    : `With($value, ${expression}, IIF(IsPresent($value), $value, IgnoreThisFlow))`;
}
