/**
 * What can be wrong with an expression: problems found before it runs, each with its place in the source, and the
 * error that one evaluation ends in.
 */
import type { Span } from "./syntax.ts";

export interface Problem {
  readonly code: string;
  readonly message: string;
  /** 1-based. */
  readonly line: number;
  /** 1-based, in UTF-16 units. */
  readonly column: number;
  readonly length: number;
  /** Text to put in the place of the marked one, or advice where no single text would do. */
  readonly suggestion?: string;
  readonly severity: "error" | "warning";
}

/** The codes of static problems; `docs/expressions.md` prints this table. */
export const problemCodes = {
  "source-too-long": "The expression is longer than the limit.",
  "too-deep": "Functions, parentheses or operators are nested deeper than the limit.",
  "unexpected-character": "A character that starts nothing in this language.",
  "unterminated-string":
    "A string without its closing quote, often because it ends in a backslash: write `\\\\`.",
  "invalid-number": "Not a 64-bit integer.",
  "unexpected-token": "Something else is expected here.",
  "invalid-xml": "The `<fn>` tree is not well-formed, or holds what it may not: a document type, an entity.",
  "unknown-name": "A bare word that is no built-in name; attributes stand in brackets.",
  "unknown-function": "No such function in this dialect.",
  "unknown-attribute": "The schema has no such attribute.",
  "unknown-parameter": "No such parameter is defined.",
  "unknown-variable": "Not bound by an enclosing Select, Where or With.",
  "wrong-case": "Names are case-sensitive, and this one is spelled with other capitals.",
  "wrong-argument-count": "Too few or too many arguments.",
  "variable-expected": "Select, Where and With name their variable first: `$item`.",
  "literal-expected":
    "The name must be written as a string, so that dependencies are known before anything runs.",
  "type-mismatch": "A value of this type cannot stand here.",
  "misplaced-flow-literal": "IgnoreThisFlow and AuthoritativeNull are results; they cannot be computed with.",
  "wrong-option": "The option is not one of those the parameter knows.",
  "mixed-operators": "Operators of equal priority without parentheses; they are read from left to right.",
  "implicit-conversion": "A number or truth value is turned into text without CStr.",
  "culture-format":
    "The text of a date depends on the server's culture in Entra Connect; use FormatDateTime.",
  "always-fails": "With these literals the function fails for every object.",
  "target-read-only": "The target attribute cannot be written.",
  "target-single-valued": "The target holds one value, the expression may give several.",
  "target-type": "The target attribute has another type.",
} as const;
export type ProblemCode = keyof typeof problemCodes;

/** The codes of errors in one object's evaluation, beside `type-mismatch` and `wrong-option` above. */
export const evaluationCodes = {
  "sync-rule-error-function-triggered": "The rule called Error(); the message is the rule's own.",
  "null-argument": "NULL where the function needs a value.",
  "conversion-failed": "The value cannot be converted.",
  "invalid-argument": "The value is outside what the function accepts.",
  "index-out-of-range": "No value or component at this position.",
  "division-by-zero": "Division by zero.",
  "number-out-of-range": "The result does not fit into 64 bits.",
  "list-length-mismatch": "Two lists of different length cannot be combined value by value.",
  "unknown-parameter": "The parameter has no value.",
  "imported-value-unavailable":
    "ImportedValue was used where there is no connected object that an import could have shown.",
  "limit-exceeded": "The evaluation took too many steps or made too large a value.",
} as const;
export type EvaluationCode = keyof typeof evaluationCodes | "type-mismatch" | "wrong-option";

/** Ends the evaluation for one object; the others go on. Only a rule's own Error() can put attribute values in the message. */
export class ExpressionError extends Error {
  readonly code: string;
  /** 1-based; set once the evaluation has ended. */
  position?: { readonly line: number; readonly column: number; readonly length: number };

  constructor(code: EvaluationCode, message: string) {
    super(message);
    this.name = "ExpressionError";
    this.code = code;
  }
}

export function positionOf(source: string, span: Span): { line: number; column: number; length: number } {
  const before = source.slice(0, span.start);
  const lineStart = before.lastIndexOf("\n") + 1;
  let line = 1;
  for (let at = before.indexOf("\n"); at >= 0; at = before.indexOf("\n", at + 1)) line++;
  return { line, column: span.start - lineStart + 1, length: Math.max(1, span.end - span.start) };
}

/** Collects the problems of one source. */
export class ProblemList {
  readonly #source: string;
  readonly problems: Problem[] = [];

  constructor(source: string) {
    this.#source = source;
  }

  error(code: ProblemCode, span: Span, message: string, suggestion?: string): void {
    this.#add("error", code, span, message, suggestion);
  }

  warning(code: ProblemCode, span: Span, message: string, suggestion?: string): void {
    this.#add("warning", code, span, message, suggestion);
  }

  get hasErrors(): boolean {
    return this.problems.some((problem) => problem.severity === "error");
  }

  #add(
    severity: Problem["severity"],
    code: ProblemCode,
    span: Span,
    message: string,
    suggestion?: string,
  ): void {
    this.problems.push({
      code,
      message,
      ...positionOf(this.#source, span),
      severity,
      ...(suggestion === undefined ? {} : { suggestion }),
    });
  }
}

/** The problem with its line and a caret, as a terminal shows it. */
export function renderProblem(source: string, problem: Problem): string {
  const text = [
    `${problem.severity} ${problem.code} at ${problem.line}:${problem.column}: ${problem.message}`,
    ...renderPlace(source, problem),
  ];
  if (problem.suggestion !== undefined) text.push(`  suggestion: ${problem.suggestion}`);
  return text.join("\n");
}

/** The line of the source, and a caret under the place. */
export function renderPlace(
  source: string,
  { line, column, length }: Pick<Problem, "line" | "column" | "length">,
): readonly [string, string] {
  const text = (source.split("\n")[line - 1] ?? "").replace(/\r$/, "").replaceAll("\t", " ");
  const width = Math.max(1, Math.min(length, text.length - column + 1));
  return [`  ${text}`, `  ${" ".repeat(column - 1)}${"^".repeat(width)}`];
}

/** Candidates beyond this many are not compared: a schema has hundreds of names, hostile input could have more. */
const candidatesMax = 5_000;

/** The candidate with the fewest edits, if there are few enough to be a slip of the fingers. */
export function closest(name: string, candidates: Iterable<string>): string | undefined {
  if (name.length > 64) return undefined;
  const wanted = name.toLowerCase();
  let best: string | undefined;
  let fewest = Math.max(1, Math.floor(name.length / 3)) + 1;
  let seen = 0;
  for (const candidate of candidates) {
    if (++seen > candidatesMax) break;
    if (Math.abs(candidate.length - name.length) >= fewest) continue;
    const edits = editDistance(wanted, candidate.toLowerCase());
    if (edits < fewest) {
      fewest = edits;
      best = candidate;
    }
  }
  return best;
}

/** Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      row[j] = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j]!, beforeLast[j - 2]! + 1);
      }
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
