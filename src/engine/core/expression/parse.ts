/** Tokens → syntax tree, by operator precedence; one parser for both dialects' text. */
import { lex, type Token } from "./lex.ts";
import type { ProblemList } from "./problems.ts";
import {
  bindingPower,
  type Call,
  type ConstantName,
  constantNames,
  type Expression,
  isConstantName,
  type Language,
  type Span,
} from "./syntax.ts";

export const parseLimits = {
  /** UTF-16 units. The longest rule Microsoft ships has under 2,000. */
  sourceLengthMax: 32_768,
  /** Nested functions and parentheses, and operators in a row: each costs a level of the stack when it runs. */
  depthMax: 250,
} as const;

/** Stops the parser at its first problem, which is reported already. */
class Stop extends Error {}

/** @returns the tree, or undefined when a problem was reported. */
export function parse(source: string, language: Language, problems: ProblemList): Expression | undefined {
  if (source.length > parseLimits.sourceLengthMax) {
    problems.error(
      "source-too-long",
      { start: parseLimits.sourceLengthMax, end: parseLimits.sourceLengthMax + 1 },
      `The expression has ${source.length} characters; ${parseLimits.sourceLengthMax} are allowed.`,
    );
    return undefined;
  }
  const tokens = lex(source, language, problems);
  if (tokens === undefined) return undefined;
  try {
    return new Parser(tokens, language, problems).whole();
  } catch (error) {
    if (error instanceof Stop) return undefined;
    throw error;
  }
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #language: Language;
  readonly #problems: ProblemList;
  /** How deep each operator chain is, as the tree leans to the left. */
  readonly #depths = new WeakMap<Expression, number>();
  #next = 0;
  #nesting = 0;

  constructor(tokens: readonly Token[], language: Language, problems: ProblemList) {
    this.#tokens = tokens;
    this.#language = language;
    this.#problems = problems;
  }

  whole(): Expression {
    if (this.#peek().kind === "end") this.#fail(this.#peek().span, "The expression is empty.");
    const expression = this.#expression(0);
    const rest = this.#peek();
    if (rest.kind !== "end") {
      this.#fail(
        rest.span,
        rest.kind === "close"
          ? "A closing parenthesis without its opening one."
          : "An operator is expected here.",
      );
    }
    return expression;
  }

  #expression(minimumPower: number): Expression {
    const opened = this.#peek();
    if (++this.#nesting > parseLimits.depthMax) this.#tooDeep(opened.span);
    let left = this.#operand();
    for (;;) {
      const token = this.#peek();
      if (token.kind !== "operator") break;
      const power = bindingPower(token.operator);
      if (power <= minimumPower) break;
      if (this.#language === "mim" && token.operator !== "+") {
        this.#fail(
          token.span,
          "MIM knows only the operator +; comparisons are functions such as Eq and GreaterThan.",
        );
      }
      this.#next++;
      const right = this.#expression(power);
      const operator = this.#language === "mim" ? "&" : token.operator;
      const span = { start: left.span.start, end: right.span.end };
      const depth = Math.max(this.#depthOf(left), this.#depthOf(right)) + 1;
      left = { kind: "binary", operator, left, right, parenthesized: false, span };
      this.#depths.set(left, depth);
      if (depth + this.#nesting > parseLimits.depthMax) this.#tooDeep(token.span);
    }
    this.#nesting--;
    return left;
  }

  #operand(): Expression {
    const token = this.#take();
    switch (token.kind) {
      case "string":
        return { kind: "literal", value: token.text, span: token.span };
      case "number":
        return this.#number(token.value, token.span);
      case "attribute":
      case "parameter":
      case "variable":
        return { kind: token.kind, name: token.name, span: token.span };
      case "word":
        return this.#peek().kind === "open"
          ? this.#call(token.name, token.span)
          : this.#name(token.name, token.span);
      case "open": {
        const inner = this.#expression(0);
        const close = this.#expect("close", "The parenthesis is not closed.", token.span);
        if (inner.kind !== "binary") return inner;
        const grouped = {
          ...inner,
          parenthesized: true,
          span: { start: token.span.start, end: close.span.end },
        };
        this.#depths.set(grouped, this.#depthOf(inner));
        return grouped;
      }
      case "operator":
        if (token.operator === "-") return this.#negation(token.span);
        return this.#fail(token.span, `A value is expected before ${token.operator}.`);
      case "end":
        return this.#fail(token.span, "The expression ends where a value is expected.");
      default:
        return this.#fail(token.span, "A value is expected here.");
    }
  }

  #negation(minus: Span): Expression {
    const token = this.#peek();
    if (token.kind === "number") {
      this.#next++;
      return this.#number(-token.value, { start: minus.start, end: token.span.end });
    }
    if (++this.#nesting > parseLimits.depthMax) this.#tooDeep(minus);
    const operand = this.#operand();
    this.#nesting--;
    const negation: Expression = {
      kind: "negation",
      operand,
      span: { start: minus.start, end: operand.span.end },
    };
    this.#depths.set(negation, this.#depthOf(operand) + 1);
    return negation;
  }

  #number(value: bigint, span: Span): Expression {
    if (BigInt.asIntN(64, value) !== value) {
      this.#problems.error("invalid-number", span, "The number does not fit into 64 bits.");
      throw new Stop();
    }
    return { kind: "literal", value, span };
  }

  #name(name: string, span: Span): Expression {
    const lower = name.toLowerCase();
    if (lower === "true" || lower === "false") {
      const spelled = lower === "true" ? "True" : "False";
      if (name !== spelled && this.#language === "aadc") {
        this.#problems.warning("wrong-case", span, `${spelled} is written with a capital.`, spelled);
      }
      return { kind: "literal", value: lower === "true", span };
    }
    if (this.#language === "mim") return { kind: "attribute", name, span };
    if (isConstantName(name)) return { kind: "constant", name, span };
    const respelled = constantNames.find((constant) => constant.toLowerCase() === lower);
    if (respelled === undefined) {
      this.#problems.error(
        "unknown-name",
        span,
        `${name} is no built-in name. An attribute stands in brackets, text in quotes.`,
        lower === "vbcrlf" ? "CRLF" : `[${name}]`,
      );
      throw new Stop();
    }
    // The documentation itself writes Null; nothing else can be meant.
    this.#problems.warning("wrong-case", span, `The name is spelled ${respelled}.`, respelled);
    return { kind: "constant", name: respelled, span };
  }

  #call(name: string, nameSpan: Span): Expression {
    const open = this.#take();
    const args: Expression[] = [];
    if (this.#peek().kind !== "close") {
      do args.push(this.#expression(0));
      while (this.#skip("comma"));
    }
    const close = this.#expect("close", `The parenthesis of ${name} is not closed.`, open.span);
    const call: Call = {
      kind: "call",
      name,
      nameSpan,
      arguments: args,
      span: { start: nameSpan.start, end: close.span.end },
    };
    let depth = Math.max(0, ...args.map((argument) => this.#depthOf(argument))) + 1;
    const node = this.#language === "mim" ? canonicalMimCall(call) : call;
    if (node === undefined) return this.#fail(call.span, `${name} takes other arguments.`);
    if (node.kind === "binary") depth += args.length;
    if (depth + this.#nesting > parseLimits.depthMax) this.#tooDeep(nameSpan);
    this.#depths.set(node, depth);
    return node;
  }

  #depthOf(node: Expression): number {
    return this.#depths.get(node) ?? 0;
  }

  #peek(): Token {
    return this.#tokens[this.#next]!;
  }

  #take(): Token {
    const token = this.#peek();
    if (token.kind !== "end") this.#next++;
    return token;
  }

  #skip(kind: Token["kind"]): boolean {
    if (this.#peek().kind !== kind) return false;
    this.#next++;
    return true;
  }

  #expect(kind: Token["kind"], message: string, opened: Span): Token {
    const token = this.#peek();
    if (token.kind === kind) return this.#take();
    if (token.kind === "end") return this.#fail(opened, message);
    return this.#fail(
      token.span,
      token.kind === "operator" ? message : "A comma or a closing parenthesis is expected here.",
    );
  }

  #tooDeep(span: Span): never {
    this.#problems.error(
      "too-deep",
      span,
      `The expression is nested deeper than ${parseLimits.depthMax} levels.`,
    );
    throw new Stop();
  }

  #fail(span: Span, message: string): never {
    this.#problems.error("unexpected-token", span, message);
    throw new Stop();
  }
}

/**
 * MIM writes some of the common tree as functions: `Null()` and `CRLF()` are constants, `Concatenate(a, b)` and
 * `<fn id="+">` are the operator. Undefined when the number of arguments is wrong.
 */
export function canonicalMimCall(call: Call): Expression | undefined {
  const constant: ConstantName | undefined =
    call.name === "Null" ? "NULL" : call.name === "CRLF" ? "CRLF" : undefined;
  if (constant !== undefined) {
    return call.arguments.length === 0 ? { kind: "constant", name: constant, span: call.span } : undefined;
  }
  if (call.name !== "Concatenate" && call.name !== "+") return call;
  const [first, ...others] = call.arguments;
  if (first === undefined) return undefined;
  return others.reduce<Expression>(
    (left, right) => ({ kind: "binary", operator: "&", left, right, parenthesized: true, span: call.span }),
    first,
  );
}
