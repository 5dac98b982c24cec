/**
 * Syntax tree → text. `parse(print(tree))` is the tree again, spans aside. Parentheses are written wherever a reader
 * could wonder, so printing is also how the mixed-operators lint words its suggestion.
 */
import { type BinaryOperation, bindingPower, type Expression, type Language } from "./syntax.ts";

export function print(node: Expression, language: Language = "aadc"): string {
  switch (node.kind) {
    case "literal":
      if (typeof node.value === "string") return printString(node.value);
      return typeof node.value === "boolean" ? (node.value ? "True" : "False") : String(node.value);
    case "attribute":
      return language === "mim" && isBareName(node.name) ? node.name : `[${node.name}]`;
    case "parameter":
      return `%${node.name}%`;
    case "variable":
      return `$${node.name}`;
    case "constant":
      if (language === "mim" && node.name === "NULL") return "Null()";
      return language === "mim" && node.name === "CRLF" ? "CRLF()" : node.name;
    case "negation": {
      // -5 is a literal; the negation of 5 is -(5).
      const isNumber = node.operand.kind === "literal" && typeof node.operand.value === "bigint";
      const operand = print(node.operand, language);
      return isNumber || node.operand.kind === "binary" ? `-(${operand})` : `-${operand}`;
    }
    case "binary": {
      const operator = language === "mim" ? "+" : node.operator;
      return `${printOperand(node, node.left, language)} ${operator} ${printOperand(node, node.right, language)}`;
    }
    case "call":
      return `${node.name}(${node.arguments.map((argument) => print(argument, language)).join(", ")})`;
  }
}

function printOperand(parent: BinaryOperation, operand: Expression, language: Language): string {
  const text = print(operand, language);
  if (operand.kind !== "binary") return text;
  const inner = bindingPower(operand.operator);
  const outer = bindingPower(parent.operator);
  const reads =
    inner > outer ||
    (inner === outer && operand === parent.left && operand.operator === parent.operator && outer !== 2);
  return reads ? text : `(${text})`;
}

export function printString(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '""')}"`;
}

function isBareName(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_-]*$/.test(name) && !/^(true|false)$/i.test(name);
}
