/** Why rules decided what they decided: in words for people, and as the data that the words are made of. */
import type { Contribution } from "./inbound.ts";
import { byRank } from "./metaverse.ts";
import type { MetaverseObject } from "./model.ts";
import type { CompiledFlow, CompiledRule, RuleSet } from "./rules.ts";
import { compileScope, type ScopeContext, type ScopeGroup, type ScopeOperator } from "./scope.ts";
import { type AttributeValue, attributesToJson, type JsonAttributes, valueToJson } from "./values.ts";

export type JsonValue = JsonAttributes[string];

/** One clause of a scope, and what it was compared with. */
export interface ClauseExplanation {
  readonly attribute: string;
  readonly operator: ScopeOperator;
  readonly value: string | readonly string[] | null;
  /** What the object has; null: no value. */
  readonly actual: JsonValue | null;
  readonly holds: boolean;
}

export interface ScopeExplanation {
  readonly holds: boolean;
  /** All clauses of one group must hold; one group is enough. No group: every object is in scope. */
  readonly groups: readonly (readonly ClauseExplanation[])[];
}

export interface RuleExplanation {
  readonly rule: string;
  readonly connector: string;
  readonly direction: CompiledRule["direction"];
  readonly linkType: CompiledRule["linkType"];
  readonly precedence: number;
  readonly inScope: boolean;
  readonly scope: ScopeExplanation;
  readonly message: string;
}

/** Where a value comes from. */
export interface FlowExplanation {
  readonly rule: string;
  readonly precedence: number;
  /** As it stands in the rule: `[source]`, a constant, or the expression. Null: the rule has no such flow any more. */
  readonly expression: string | null;
  /** The attributes that it reads, with what they hold here; null: no value. */
  readonly inputs: Readonly<Record<string, JsonValue | null>>;
}

/** What one rule offered a metaverse attribute, and why it won or lost. */
export interface ContributionExplanation extends FlowExplanation {
  readonly connector: string;
  readonly object: string;
  /** Null: it offers nothing, or `authoritativeNull` says that nothing may be there. */
  readonly value: JsonValue | null;
  readonly authoritativeNull: boolean;
  readonly won: boolean;
  readonly reason: string;
}

export function toJson(value: AttributeValue | undefined): JsonValue | null {
  return value === undefined ? null : attributesToJson({ value }).value!;
}

export function explainScope(groups: readonly ScopeGroup[], context: ScopeContext): ScopeExplanation {
  return {
    holds: compileScope(groups)(context),
    groups: groups.map((group) =>
      group.map((condition) => ({
        attribute: condition.attribute,
        operator: condition.operator,
        value: condition.value ?? null,
        actual: toJson(context.attribute(condition.attribute)),
        holds: compileScope([[condition]])(context),
      })),
    ),
  };
}

export function explainRule(rule: CompiledRule, context: ScopeContext): RuleExplanation {
  const { name, connector, direction, linkType, precedence } = rule;
  const scope = explainScope(rule.scope, context);
  return {
    rule: name,
    connector,
    direction,
    linkType,
    precedence,
    inScope: scope.holds,
    scope,
    message: `Rule ${name} ${scopeInWords(scope)}`,
  };
}

/** `is in scope: …` or `is out of scope: userType EQUAL Guest fails, the value is "Member".` */
export function scopeInWords({ holds, groups }: ScopeExplanation): string {
  if (groups.length === 0) return "is in scope: it takes every object.";
  if (holds) {
    const group = groups.find((clauses) => clauses.every((clause) => clause.holds)) ?? [];
    return `is in scope: ${group.map((clause) => `${clauseText(clause)} holds`).join(", ")}.`;
  }
  // One clause that fails is enough for a group.
  const failing = groups.map((clauses) => clauses.find((clause) => !clause.holds)!);
  return `is out of scope: ${failing
    .map((clause) => `${clauseText(clause)} fails, ${actualText(clause.actual)}`)
    .join("; ")}.`;
}

function clauseText({ attribute, operator, value }: ClauseExplanation): string {
  const operand = value === null ? "" : ` ${Array.isArray(value) ? value.join(";") : value}`;
  return `${attribute} ${operator}${operand}`;
}

function actualText(actual: JsonValue | null): string {
  return actual === null ? "there is no value" : `the value is ${JSON.stringify(actual)}`;
}

/** The flow as it stands in its rule. */
export function flowText(flow: CompiledFlow): string {
  switch (flow.kind) {
    case "direct":
      return `[${flow.source}]`;
    case "constant":
      return JSON.stringify(valueToJson(flow.value));
    case "expression":
      return flow.expression;
    case "extension":
      return `extension: ${flow.flowRuleName}`;
  }
}

function readBy(flow: CompiledFlow): readonly string[] {
  if (flow.kind === "direct") return [flow.source];
  return flow.kind === "expression" ? [...flow.compiled.attributes] : [];
}

/** @param read the value of an attribute that flows read: of the connected object, or of the metaverse object */
export function explainFlow(
  rules: RuleSet,
  ruleName: string,
  target: string,
  read: (attribute: string) => AttributeValue | undefined,
): FlowExplanation {
  const rule = rules.rules.find(({ name }) => name === ruleName);
  const flows = rule?.flows.filter((flow) => flow.target === target) ?? [];
  const inputs = new Set(flows.flatMap(readBy));
  return {
    rule: ruleName,
    precedence: rule?.precedence ?? 0,
    // Two flows of one rule into one attribute: the initial one and the lasting one.
    expression: flows.length === 0 ? null : flows.map(flowText).join(" | "),
    inputs: Object.fromEntries([...inputs].sort().map((name) => [name, toJson(read(name))])),
  };
}

/** An inbound rule in whose scope a connected object is, and what it reads there. */
export interface RuleInScope {
  readonly rule: CompiledRule;
  readonly object: string;
  read(attribute: string): AttributeValue | undefined;
}

/**
 * Every offer for every attribute, the strongest first, and those rules that offered nothing.
 * @param result the metaverse object that came of it; null: it goes
 */
export function explainContributions(
  contributions: readonly Contribution[],
  inScope: readonly RuleInScope[],
  result: MetaverseObject | null,
  rules: RuleSet,
): ReadonlyMap<string, readonly ContributionExplanation[]> {
  const offered = Map.groupBy(contributions, ({ attribute }) => attribute);
  const names = new Set([
    ...offered.keys(),
    ...inScope.flatMap(({ rule }) => rule.flows.map(({ target }) => target)),
  ]);
  return new Map(
    [...names].sort().map((name) => {
      const ranked = [...(offered.get(name) ?? [])].sort(byRank);
      const silent = inScope
        .filter(({ rule }) => rule.flows.some(({ target }) => target === name))
        .filter(({ rule, object }) => !ranked.some((one) => one.rule === rule.name && one.object === object));
      return [
        name,
        [
          ...ranked.map((one, index) => {
            const from = inScope.find(({ rule, object }) => rule.name === one.rule && object === one.object);
            const { won, reason } = verdict(ranked, index, result);
            return {
              ...explainFlow(rules, one.rule, name, (attribute) => from?.read(attribute)),
              precedence: one.precedence,
              connector: one.connector,
              object: one.object,
              value: one.offer === "authoritativeNull" ? null : toJson(one.offer.value),
              authoritativeNull: one.offer === "authoritativeNull",
              won,
              reason,
            };
          }),
          ...silent.map(({ rule, object, read }) => ({
            ...explainFlow(rules, rule.name, name, read),
            connector: rule.connector,
            object,
            value: null,
            authoritativeNull: false,
            won: false,
            reason: "It offers nothing: its flow has no value here.",
          })),
        ],
      ] as const;
    }),
  );
}

function verdict(
  ranked: readonly Contribution[],
  index: number,
  result: MetaverseObject | null,
): { readonly won: boolean; readonly reason: string } {
  if (result === null || result.deleted) return { won: false, reason: "The metaverse object goes." };
  const [first] = ranked;
  const one = ranked[index]!;
  const stopped = ranked.findIndex(({ offer }) => offer === "authoritativeNull");
  if (one.offer === "authoritativeNull")
    return index === stopped
      ? { won: true, reason: "It says with authority that there is no value; no later rule may offer one." }
      : { won: false, reason: stoppedBy(ranked[stopped]!) };
  if (stopped >= 0 && index > stopped) return { won: false, reason: stoppedBy(ranked[stopped]!) };
  if (first!.mergeType !== "update") return { won: true, reason: "Its values are merged with the others'." };
  if (index === 0)
    return {
      won: true,
      reason:
        ranked.length === 1
          ? "It is the only offer."
          : `Precedence ${one.precedence} goes before ${ranked[1]!.precedence}.`,
    };
  return {
    won: false,
    reason:
      first!.precedence === one.precedence
        ? `Rule ${first!.rule} has the same precedence ${one.precedence} and comes first by name.`
        : `It loses to rule ${first!.rule}: precedence ${first!.precedence} goes before ${one.precedence}.`,
  };
}

function stoppedBy({ rule, precedence }: Contribution): string {
  return `Rule ${rule} (precedence ${precedence}) says with authority that there is no value.`;
}
