/**
 * The declarative provisioning expression language: source → checked, compiled expression → value.
 *
 *   text ──► lex ──► parse ─┐
 *                           ├─► tree ──► check ──► compile ──► evaluate(object) ──► value, list, NULL or flow marker
 *   <fn> XML ──► mim ───────┘              └─► problems, each with its place
 */
import { check, type ExpressionSchema, type FlowTarget } from "./check.ts";
import { compile } from "./compile.ts";
import { type EvaluationContext, type Frame, type Result, resultOf } from "./evaluate.ts";
import { parseMimXml } from "./mim.ts";
import { parse } from "./parse.ts";
import { ExpressionError, type Problem, ProblemList, positionOf } from "./problems.ts";
import { childrenOf, type Expression, type FlowMarker, type Language } from "./syntax.ts";

export { asFlowValue } from "./evaluate.ts";
export { ExpressionError, renderPlace, renderProblem } from "./problems.ts";
export type { EvaluationContext, Expression, ExpressionSchema, FlowMarker, FlowTarget, Problem, Result };

export interface CompiledExpression {
  readonly source: string;
  readonly ast: Expression;
  /** Every attribute it may read, those of ImportedValue and ValueCount included. */
  readonly attributes: ReadonlySet<string>;
  readonly parameters: ReadonlySet<string>;
  /** @throws ExpressionError the error of this one object. */
  evaluate(context: EvaluationContext): Result;
}

export interface CompileOptions {
  /** "aadc", the default: Entra Connect's text. "mim": MIM's text, or its `<fn>` XML. */
  readonly language?: Language;
  readonly schema?: ExpressionSchema;
  readonly target?: FlowTarget;
}

export type CompileResult =
  | { readonly ok: true; readonly expression: CompiledExpression; readonly warnings: Problem[] }
  | { readonly ok: false; readonly problems: Problem[] };

export function compileExpression(source: string, options: CompileOptions = {}): CompileResult {
  const language = options.language ?? "aadc";
  const problems = new ProblemList(source);
  const isXml = language === "mim" && source.trimStart().startsWith("<");
  const ast = isXml ? parseMimXml(source, problems) : parse(source, language, problems);
  if (ast === undefined) return { ok: false, problems: problems.problems };
  check(ast, language, problems, options.schema, options.target);
  if (problems.hasErrors) return { ok: false, problems: problems.problems };
  const run = compile(ast, language);
  const { attributes, parameters, bindsVariables } = dependenciesOf(ast);
  const expression: CompiledExpression = {
    source,
    ast,
    attributes,
    parameters,
    evaluate: (context) => {
      const frame: Frame = { context, variables: bindsVariables ? [] : noVariables, at: ast.span, steps: 0 };
      try {
        return resultOf(run(frame));
      } catch (error) {
        if (error instanceof ExpressionError) error.position ??= positionOf(source, frame.at);
        throw error;
      }
    },
  };
  return { ok: true, expression, warnings: problems.problems };
}

/** Shared by the evaluations of expressions that bind none. */
const noVariables: never[] = [];

function dependenciesOf(ast: Expression) {
  const attributes = new Set<string>();
  const parameters = new Set<string>();
  let bindsVariables = false;
  const waiting = [ast];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (node.kind === "attribute") attributes.add(node.name);
    if (node.kind === "parameter") parameters.add(node.name);
    if (node.kind === "variable") bindsVariables = true;
    if (node.kind === "call" && (node.name === "ImportedValue" || node.name === "ValueCount")) {
      const [name] = node.arguments;
      if (name?.kind === "literal" && typeof name.value === "string") attributes.add(name.value);
    }
    waiting.push(...childrenOf(node));
  }
  return { attributes, parameters, bindsVariables };
}
