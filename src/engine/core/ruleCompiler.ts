/** Rules are checked, each and together, and compiled into something that can be asked quickly. */
import { compileExpression, type Problem } from "./expression/expression.ts";
import { closest } from "./expression/problems.ts";
import { childrenOf, type Expression } from "./expression/syntax.ts";
import { constantOf } from "./flow.ts";
import {
  type AttributeInfo,
  anyMetaverseObjectType,
  type CompiledFlow,
  type CompiledRule,
  type CompiledRules,
  connectorSpaceAttributes,
  type Flow,
  type JoinCondition,
  type RuleContext,
  type RuleProblem,
  type RuleSet,
  type SyncRule,
} from "./rules.ts";
import { checkTogether } from "./rulesTogether.ts";
import { compileScope, conditionProblem, parametersIn, type ScopeCondition } from "./scope.ts";

/** Compiles the set whole or not at all; every problem of every rule is told. */
export function compileRules(rules: readonly SyncRule[], context: RuleContext): CompiledRules {
  const problems: RuleProblem[] = [];
  const compiled = rules.map((rule) => new RuleCompiler(rule, context, problems).compile());
  checkTogether(rules, problems);
  if (problems.some((problem) => problem.severity === "error")) return { ok: false, problems };
  return { ok: true, rules: ruleSet(compiled), warnings: problems };
}

function ruleSet(all: readonly CompiledRule[]): RuleSet {
  const rules = all.filter((rule) => rule.enabled).sort(byPrecedence);
  const inbound = groupedBy(
    rules.filter((rule) => rule.direction === "inbound"),
    (rule) => [rule.connector, rule.connectorObjectType],
  );
  const outboundRules = rules.filter((rule) => rule.direction === "outbound");
  const outbound = groupedBy(outboundRules, (rule) => [rule.connector, rule.metaverseObjectType]);
  const targets = new Map(
    [...Map.groupBy(outboundRules, (rule) => rule.metaverseObjectType)].map(([type, ofType]) => [
      type,
      [...new Set(ofType.map((rule) => rule.connector))].sort(),
    ]),
  );
  const sources = new Set(rules.filter((rule) => rule.direction === "inbound").map((rule) => rule.connector));
  return {
    rules,
    inbound: (connector, type) => inbound.get(connector)?.get(type) ?? [],
    outbound: (connector, type) => outbound.get(connector)?.get(type) ?? [],
    hasInbound: (connector) => sources.has(connector),
    targets: (type) => targets.get(type) ?? [],
  };
}

function groupedBy(
  rules: readonly CompiledRule[],
  keys: (rule: CompiledRule) => readonly [string, string],
): ReadonlyMap<string, ReadonlyMap<string, readonly CompiledRule[]>> {
  const outer = Map.groupBy(rules, (rule) => keys(rule)[0]);
  return new Map([...outer].map(([key, inner]) => [key, Map.groupBy(inner, (rule) => keys(rule)[1])]));
}

/** Names settle what equal precedence leaves open, so that no outcome depends on the order of files. */
function byPrecedence(a: CompiledRule, b: CompiledRule): number {
  return a.precedence - b.precedence || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}

/** Checks and compiles one rule. */
class RuleCompiler {
  readonly #rule: SyncRule;
  readonly #problems: RuleProblem[];
  readonly #parameters: ReadonlySet<string>;
  readonly #connector: ReadonlyMap<string, AttributeInfo | null> | undefined;
  readonly #metaverse: ReadonlyMap<string, AttributeInfo> | undefined;
  readonly #entryPoints: ReadonlySet<string> | undefined;

  constructor(rule: SyncRule, context: RuleContext, problems: RuleProblem[]) {
    this.#rule = rule;
    this.#problems = problems;
    this.#parameters = context.parameters;
    const types = context.connectorAttributes.get(rule.connector);
    if (types === undefined)
      this.#unknown(["connector"], "connector", rule.connector, context.connectorAttributes.keys());
    else if (!types.has(rule.connectorObjectType))
      this.#unknown(["connectorObjectType"], "object type", rule.connectorObjectType, types.keys());
    this.#connector = types?.get(rule.connectorObjectType);
    this.#entryPoints = context.extensions?.get(rule.connector);
    const isOfAnyType = rule.metaverseObjectType === anyMetaverseObjectType && rule.direction === "inbound";
    this.#metaverse = isOfAnyType
      ? new Map([...context.metaverseAttributes.values()].flatMap((attributes) => [...attributes]))
      : context.metaverseAttributes.get(rule.metaverseObjectType);
    if (isOfAnyType && rule.linkType === "provision")
      this.#error(
        ["metaverseObjectType"],
        "misplaced-any-type",
        "A rule that provisions must say of which type.",
        `Name one: ${[...context.metaverseAttributes.keys()].join(", ")}.`,
      );
    if (this.#metaverse === undefined)
      this.#unknown(
        ["metaverseObjectType"],
        "metaverse object type",
        rule.metaverseObjectType,
        context.metaverseAttributes.keys(),
      );
  }

  compile(): CompiledRule {
    const rule = this.#rule;
    rule.scope.forEach((group, g) => {
      group.forEach((condition, c) => {
        this.#scopeCondition(condition, ["scope", g, c]);
      });
    });
    rule.join.forEach((group, g) => {
      group.forEach((condition, c) => {
        this.#joinCondition(condition, ["join", g, c]);
      });
    });
    if (rule.direction === "outbound") this.#outbound();
    return {
      ...rule,
      inScope: compileScope(rule.scope),
      flows: rule.flows.flatMap((flow, index) => this.#flow(flow, ["flows", index])),
    };
  }

  #outbound(): void {
    const rule = this.#rule;
    if (rule.linkType === "stickyJoin")
      this.#error(
        ["linkType"],
        "misplaced-link-type",
        "stickyJoin keeps a metaverse object alive, so only an inbound rule can have it.",
        "Write join or provision.",
      );
    if (rule.linkType === "provision" && !rule.flows.some((flow) => flow.target === "dn"))
      this.#error(
        ["linkType"],
        "no-dn-flow",
        "The rule provisions, but no flow says where.",
        'Add a flow with target "dn".',
      );
  }

  #scopeCondition(condition: ScopeCondition, path: (string | number)[]): void {
    this.#source(condition.attribute, [...path, "attribute"]);
    for (const name of parametersIn(condition)) {
      if (this.#parameters.has(name)) continue;
      const suggestion = closest(name, this.#parameters);
      this.#error(
        [...path, "value"],
        "unknown-parameter",
        `There is no parameter ${name}.`,
        suggestion === undefined ? "Add it in metaverse.yaml." : `Did you mean %${suggestion}%?`,
      );
    }
    const problem = conditionProblem(condition, this.#typeOfSource(condition.attribute)?.type);
    if (problem !== null) this.#error([...path, problem.at], problem.code, problem.message, problem.remedy);
  }

  #joinCondition(condition: JoinCondition, path: (string | number)[]): void {
    const { connectorAttribute, metaverseAttribute } = condition;
    if (this.#connector && !this.#connector.has(connectorAttribute) && connectorAttribute !== "dn")
      this.#unknownAttribute([...path, "connectorAttribute"], connectorAttribute, "connector");
    if (this.#metaverse === undefined) return;
    const info = this.#metaverse.get(metaverseAttribute);
    if (info === undefined)
      this.#unknownAttribute([...path, "metaverseAttribute"], metaverseAttribute, "metaverse");
    else if (info.indexed === false)
      this.#error(
        [...path, "metaverseAttribute"],
        "join-attribute-not-indexed",
        `The metaverse attribute "${metaverseAttribute}" is not indexed, so it cannot be joined on.`,
        'Set "indexed: true" for it in metaverse.yaml.',
      );
  }

  #flow(flow: Flow, path: (string | number)[]): CompiledFlow[] {
    const target = this.#target(flow.target, [...path, "target"]);
    if (flow.ownedBits !== undefined && target != null && target.type !== "integer")
      this.#error(
        [...path, "ownedBits"],
        "target-type",
        `ownedBits is for integers, and "${flow.target}" is of type ${target.type}.`,
        "Remove ownedBits.",
      );
    if (flow.ownedBits !== undefined && this.#rule.direction === "inbound")
      this.#error(
        [...path, "ownedBits"],
        "misplaced-owned-bits",
        "Bits are owned in a connected directory, not in the metaverse.",
        "Use ownedBits in the outbound rule.",
      );
    if (flow.kind === "constant") {
      if (target == null) return [flow];
      const value = constantOf(flow.value, target.type);
      if (value !== undefined) return [{ ...flow, value }];
      this.#error(
        [...path, "constant"],
        "target-type",
        `The constant cannot be a value of type ${target.type}, which "${flow.target}" has.`,
        "Write a value of that type.",
      );
      return [];
    }
    if (flow.kind === "direct") {
      this.#source(flow.source, [...path, "source"]);
      const source = this.#typeOfSource(flow.source);
      if (source != null && target != null) this.#direct(flow, source, target, [...path, "source"]);
      return [flow];
    }
    if (flow.kind === "extension") {
      this.#mapped([...path, "extension"]);
      return [flow];
    }
    return this.#expression(flow, target, [...path, "expression"]);
  }

  #mapped(path: (string | number)[]): void {
    const { direction, connector } = this.#rule;
    const entryPoint = direction === "inbound" ? "mapAttributesForImport" : "mapAttributesForExport";
    if (this.#entryPoints?.has(entryPoint)) return;
    this.#error(
      path,
      "no-extension",
      this.#entryPoints === undefined
        ? `The connector ${connector} has no rules extension that could map it.`
        : `The rules extension of ${connector} has no ${entryPoint}.`,
      this.#entryPoints === undefined
        ? `Name one in the connector's file, as in "extension: guests.ts".`
        : `Add it to the export "connector" of the extension.`,
    );
  }

  #direct(
    flow: Extract<Flow, { kind: "direct" }>,
    source: AttributeInfo,
    target: AttributeInfo,
    path: (string | number)[],
  ): void {
    // Entra Connect's own rules do it (photo): with one value it is well, with more it is that object's error.
    if (source.multiValued && !target.multiValued)
      this.#problems.push({
        rule: this.#rule.name,
        path,
        code: "target-single-valued",
        message: `"${flow.target}" holds one value; an object with several in "${flow.source}" will have an error.`,
        remedy: `Choose one with an expression: ItemOrNull([${flow.source}], 1).`,
        severity: "warning",
      });
    const types = new Set([source.type, target.type]);
    if (types.size > 1 && !(types.has("string") && types.has("reference")))
      this.#error(
        path,
        "target-type",
        `"${flow.target}" is of type ${target.type}, and "${flow.source}" of type ${source.type}.`,
        "Convert the value with an expression.",
      );
  }

  #expression(
    flow: Extract<Flow, { kind: "expression" }>,
    target: AttributeInfo | null,
    path: (string | number)[],
  ): CompiledFlow[] {
    const attributes = this.#typedSources();
    const result = compileExpression(flow.expression, {
      schema: { ...(attributes && { attributes }), parameters: this.#parameters },
      ...(target && flow.target !== "dn" && { target: { name: flow.target, ...target } }),
    });
    for (const problem of result.ok ? result.warnings : result.problems)
      this.#problems.push(inExpression(this.#rule.name, flow.target, path, problem));
    if (!result.ok) return [];
    if (attributes === undefined) for (const name of result.expression.attributes) this.#source(name, path);
    // What is applied once may keep the time at which it was.
    if (!flow.applyOnce && calls(result.expression.ast, "Now"))
      this.#problems.push({
        rule: this.#rule.name,
        path,
        code: "depends-on-the-clock",
        message: `The expression for "${flow.target}" uses Now(), and nothing synchronises an object because time has passed.`,
        remedy: "Let onAbsence.retain of the connector decide about grace periods.",
        severity: "warning",
      });
    return [{ ...flow, compiled: result.expression }];
  }

  /** The attributes that an expression may read, once the types of all of them are known. */
  #typedSources(): ReadonlyMap<string, AttributeInfo> | undefined {
    if (this.#rule.direction === "outbound") return this.#metaverse;
    if (this.#connector === undefined) return undefined;
    const typed = new Map(connectorSpaceAttributes);
    for (const [name, info] of this.#connector) {
      if (info === null) return undefined;
      typed.set(name, info);
    }
    return typed;
  }

  /** Null and undefined: not known. */
  #typeOfSource(name: string): AttributeInfo | null | undefined {
    if (this.#rule.direction === "outbound") return this.#metaverse?.get(name);
    return this.#connector?.get(name) ?? connectorSpaceAttributes.get(name);
  }

  #source(name: string, path: (string | number)[]): void {
    if (this.#rule.direction === "inbound") {
      if (this.#connector && !this.#connector.has(name) && !connectorSpaceAttributes.has(name))
        this.#unknownAttribute(path, name, "connector");
    } else if (this.#metaverse && !this.#metaverse.has(name)) this.#unknownAttribute(path, name, "metaverse");
  }

  /** What is known of the target; null when its type is not, or it does not exist. */
  #target(name: string, path: (string | number)[]): AttributeInfo | null {
    if (this.#rule.direction === "inbound") {
      const info = this.#metaverse?.get(name);
      if (this.#metaverse && info === undefined) this.#unknownAttribute(path, name, "metaverse");
      return info ?? null;
    }
    if (name === "dn") return { type: "string", multiValued: false };
    if (this.#connector === undefined) return null;
    const info = this.#connector.get(name);
    if (info === undefined) this.#unknownAttribute(path, name, "connector");
    if (info?.readOnly)
      this.#error(
        path,
        "target-read-only",
        `The directory sets "${name}" itself, no flow can.`,
        "Remove the flow.",
      );
    if (info?.writeOnly)
      this.#error(
        path,
        "target-write-only",
        `"${name}" is a secret, and what flows is stored. Passwords are made by the connector when it creates an account, sent, and never stored.`,
        "Remove the flow.",
      );
    return info ?? null;
  }

  #unknownAttribute(path: (string | number)[], name: string, where: "connector" | "metaverse"): void {
    const rule = this.#rule;
    const known = where === "connector" ? this.#connector : this.#metaverse;
    const what =
      where === "connector"
        ? `"${name}" is not a selected attribute of ${rule.connectorObjectType} in ${rule.connector}`
        : `"${name}" is not an attribute of the metaverse object type ${rule.metaverseObjectType}`;
    const suggestion = closest(name, known?.keys() ?? []);
    const file = where === "connector" ? "the connector's file" : "metaverse.yaml";
    this.#error(
      path,
      "unknown-attribute",
      `${what}.`,
      suggestion === undefined ? `Add it in ${file}.` : `Did you mean "${suggestion}"? Or add it in ${file}.`,
    );
  }

  #unknown(path: (string | number)[], what: string, name: string, known: Iterable<string>): void {
    const names = [...known];
    const suggestion = closest(name, names);
    this.#error(
      path,
      `unknown-${what.replaceAll(" ", "-")}`,
      `There is no ${what} "${name}".`,
      suggestion === undefined ? `Known: ${names.join(", ") || "none"}.` : `Did you mean "${suggestion}"?`,
    );
  }

  #error(path: readonly (string | number)[], code: string, message: string, remedy: string): void {
    this.#problems.push({ rule: this.#rule.name, path, code, message, remedy, severity: "error" });
  }
}

function inExpression(
  rule: string,
  target: string,
  path: readonly (string | number)[],
  { code, message, suggestion, severity, line, column, length }: Problem,
): RuleProblem {
  return {
    rule,
    path,
    code,
    message: `In the expression for "${target}": ${message}`,
    remedy: suggestion === undefined ? "" : `Suggestion: ${suggestion}`,
    severity,
    position: { line, column, length },
  };
}

/** What is wrong with the rule's expressions whatever attributes there are. */
export function expressionProblems(rule: SyncRule): readonly RuleProblem[] {
  return rule.flows.flatMap((flow, index) => {
    if (flow.kind !== "expression") return [];
    const result = compileExpression(flow.expression);
    if (result.ok) return [];
    return result.problems
      .filter(({ severity }) => severity === "error")
      .map((problem) => inExpression(rule.name, flow.target, ["flows", index, "expression"], problem));
  });
}

function calls(node: Expression, name: string): boolean {
  if (node.kind === "call" && node.name.toLowerCase() === name.toLowerCase()) return true;
  return childrenOf(node).some((child) => calls(child, name));
}
