/**
 * The syntax tree of an expression. Both front ends, the text of Entra Connect and MIM's (text or `<fn>` XML), build
 * the same tree; only the table of functions it is looked up in differs.
 */

/** Where a node stands in its source: UTF-16 offsets, the end exclusive. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export type Language = "aadc" | "mim";

export type Expression =
  | Literal
  | AttributeRead
  | ParameterRead
  | VariableRead
  | Constant
  | Negation
  | BinaryOperation
  | Call;

/** A negative number written with its sign is one literal, so that the smallest 64-bit number can be written. */
export interface Literal {
  readonly kind: "literal";
  readonly value: string | bigint | boolean;
  readonly span: Span;
}

/** `[name]`; in MIM a bare name. */
export interface AttributeRead {
  readonly kind: "attribute";
  readonly name: string;
  readonly span: Span;
}

/** `%Name.Sub%` */
export interface ParameterRead {
  readonly kind: "parameter";
  readonly name: string;
  readonly span: Span;
}

/** `$name`, the name without its sign; bound by Select, Where and With. */
export interface VariableRead {
  readonly kind: "variable";
  readonly name: string;
  readonly span: Span;
}

/** A bare built-in name: NULL, CRLF, a flow literal, or an option such as vbTextCompare. */
export interface Constant {
  readonly kind: "constant";
  readonly name: ConstantName;
  readonly span: Span;
}

export interface Negation {
  readonly kind: "negation";
  readonly operand: Expression;
  readonly span: Span;
}

export interface BinaryOperation {
  readonly kind: "binary";
  readonly operator: Operator;
  readonly left: Expression;
  readonly right: Expression;
  /** Whether the source has parentheses around it. They change nothing here, but silence the mixed-operators lint. */
  readonly parenthesized: boolean;
  readonly span: Span;
}

export interface Call {
  readonly kind: "call";
  readonly name: string;
  readonly nameSpan: Span;
  readonly arguments: readonly Expression[];
  readonly span: Span;
}

/**
 * Three tiers, left to right inside each; the first binds tightest. Microsoft's page says that all operators have one
 * priority, but its own out-of-box rules (`IsPresent([a]) || IsPresent([b]) = False || …`) only make sense with these.
 */
export const operatorTiers = [
  ["*", "/", "+", "-", "&"],
  ["<", "<=", "<>", "=", ">", ">="],
  ["&&", "||"],
] as const;
export type Operator = (typeof operatorTiers)[number][number];

/** 3 for arithmetic and `&`, 2 for comparisons, 1 for logic. */
export function bindingPower(operator: Operator): number {
  return 3 - operatorTiers.findIndex((tier) => (tier as readonly string[]).includes(operator));
}

export function isOperator(text: string): text is Operator {
  return operatorTiers.some((tier) => (tier as readonly string[]).includes(text));
}

export const flowLiterals = ["IgnoreThisFlow", "AuthoritativeNull"] as const;
export type FlowMarker = (typeof flowLiterals)[number];
export const optionNames = [
  "vbBinaryCompare",
  "vbTextCompare",
  "CaseSensitive",
  "CaseInsensitive",
  "Unicode",
  "ASCII",
  "UTF8",
  "DC",
] as const;
export const constantNames = ["NULL", "CRLF", ...flowLiterals, ...optionNames] as const;
export type ConstantName = (typeof constantNames)[number];

export function isConstantName(name: string): name is ConstantName {
  return (constantNames as readonly string[]).includes(name);
}

/** The parts of a node, in the order they stand in the source. */
export function childrenOf(node: Expression): readonly Expression[] {
  switch (node.kind) {
    case "negation":
      return [node.operand];
    case "binary":
      return [node.left, node.right];
    case "call":
      return node.arguments;
    default:
      return [];
  }
}
