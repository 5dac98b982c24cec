/**
 * A synchronisation rule as Entra Connect exports it, whatever the format, and the two ways between it and ours:
 *
 *   XML, PowerShell, JSON ──► ExportedRule ──► SyncRule (with `origin`) ──► YAML
 *                                  ▲                    │
 *                                  └── exportedFrom ◄───┘   nothing is lost
 */
import { compileExpression } from "../core/expression/expression.ts";
import {
  anyMetaverseObjectType,
  type Flow,
  type LinkType,
  type MergeType,
  type SyncRule,
} from "../core/rules.ts";
import {
  type ScopeCondition,
  type ScopeOperator,
  scopeOperatorAliases,
  scopeOperators,
} from "../core/scope.ts";
import type { Finding, Place } from "./findings.ts";

/** Identifiers are lower case and without braces; `zeroGuid` means none. */
export interface ExportedRule {
  readonly identifier: string | null;
  readonly internalIdentifier: string | null;
  readonly version: number | null;
  readonly name: string;
  readonly description: string;
  /** `Microsoft.<RuleName>.<revision>` for the rules of the product itself. */
  readonly immutableTag: string;
  readonly direction: string;
  readonly disabled: boolean;
  /** The connector's identifier. */
  readonly connector: string;
  readonly sourceObjectType: string;
  /** `*`: any type. */
  readonly targetObjectType: string;
  readonly linkType: string;
  /** Null: the export does not say it in a way that can be read. */
  readonly precedence: number | null;
  readonly precedenceAfter: string;
  readonly precedenceBefore: string;
  /** `hh:mm:ss`; the product documents nothing about it. */
  readonly softDeleteExpiryInterval: string;
  readonly passwordSync: boolean;
  readonly scope: readonly (readonly ExportedCondition[])[];
  readonly join: readonly (readonly ExportedJoinCondition[])[];
  readonly flows: readonly ExportedFlow[];
}
export interface ExportedCondition {
  readonly attribute: string;
  readonly operator: string;
  readonly value: string | null;
}
export interface ExportedJoinCondition {
  readonly csAttribute: string;
  readonly mvAttribute: string;
  readonly caseSensitive: boolean;
}
export interface ExportedFlow {
  readonly destination: string;
  readonly flowType: "Direct" | "Constant" | "Expression";
  /** The attributes named as sources; for an expression a hint, and an incomplete one. Empty for a constant. */
  readonly sources: readonly string[];
  readonly constant: string | null;
  readonly expression: string | null;
  readonly executeOnce: boolean;
  readonly mergeType: string;
}

export const zeroGuid = "00000000-0000-0000-0000-000000000000";

/** `{0A1F…}` and `0a1f…` are the same identifier. */
export function guid(text: string): string {
  return text
    .trim()
    .replace(/^\{(.*)\}$/, "$1")
    .toLowerCase();
}

/** What `SyncRule.origin` holds for a rule of Entra Connect. What is usual is left out. */
export interface EntraConnectOrigin {
  readonly product: "Entra Connect";
  readonly identifier?: string;
  readonly internalIdentifier?: string;
  readonly version?: number;
  /** The name, where another rule has it too. */
  readonly name?: string;
  readonly immutableTag?: string;
  readonly connector: string;
  readonly linkType?: string;
  readonly precedence?: null;
  readonly precedenceAfter?: string;
  readonly precedenceBefore?: string;
  readonly softDeleteExpiryInterval?: string;
  readonly passwordSync?: true;
  /** False where the rule was enabled and is taken over disabled until a decision is made. */
  readonly disabled?: false;
  readonly scope?: readonly (readonly ExportedCondition[])[];
  readonly flows?: readonly FlowOrigin[];
}
export interface FlowOrigin {
  readonly target: string;
  /** Counts the flows with this target, from 0. */
  readonly nth?: number;
  readonly sources?: readonly string[];
  readonly mergeType?: string;
  /** Where it was blank. */
  readonly expression?: string;
  /** Where an expression stands for a direct flow. */
  readonly flowType?: "Direct";
}

/** How the rule is called here, and which of our connectors is its own. */
export interface RuleNames {
  readonly rule: string;
  readonly connector: string;
}

export interface TakenOverRule {
  readonly rule: SyncRule;
  readonly findings: readonly Finding[];
}

const linkTypes: Readonly<Record<string, LinkType>> = {
  provision: "provision",
  join: "join",
  stickyjoin: "stickyJoin",
};
const mergeTypes: Readonly<Record<string, MergeType>> = {
  update: "update",
  replace: "update",
  merge: "merge",
  mergecaseinsensitive: "mergeCaseInsensitive",
};
const exportedMergeTypes: Readonly<Record<MergeType, string>> = {
  update: "Update",
  merge: "Merge",
  mergeCaseInsensitive: "MergeCaseInsensitive",
};
const exportedLinkTypes: Readonly<Record<LinkType, string>> = {
  provision: "Provision",
  join: "Join",
  stickyJoin: "StickyJoin",
};
export const noExpiry = "00:00:00";

/**
 * @param place of the rule in its file
 * @param unanswered whether the reader of the export already asks something that the rule's reach depends on
 */
export function toSyncRule(
  exported: ExportedRule,
  names: RuleNames,
  place: Place,
  unanswered = false,
): TakenOverRule {
  const findings: Finding[] = [];
  const find = (kind: Finding["kind"], message: string) =>
    findings.push({ kind, about: names.rule, message, place });
  let decided = !unanswered;
  const ask = (message: string) => {
    decided = false;
    find("decision", message);
  };

  const inbound = exported.direction.toLowerCase() === "inbound";
  if (!inbound && exported.direction.toLowerCase() !== "outbound")
    ask(`The direction "${exported.direction}" is not known; outbound was assumed.`);
  const linkType = linkTypes[exported.linkType.toLowerCase()];
  if (linkType === undefined) ask(`The link type "${exported.linkType}" is not known; join was assumed.`);
  if (exported.precedence === null) ask("The precedence is not known. Write one, and enable the rule.");
  const [connectorObjectType, metaverseObjectType] = inbound
    ? [exported.sourceObjectType, exported.targetObjectType]
    : [exported.targetObjectType, exported.sourceObjectType];
  if (metaverseObjectType === anyMetaverseObjectType && (!inbound || linkType === "provision"))
    ask(
      "Only an inbound rule that joins can be for metaverse objects of any type. Write the type that is meant.",
    );
  if (connectorObjectType === "*")
    ask("The rule is for any object type of the connector. Make one rule for each type that is meant.");

  const scope = exported.scope.map((group) => group.map((condition) => scopeCondition(condition, ask)));
  for (const { operator, attribute } of scope.flat())
    if (operator === "ISMEMBEROF" || operator === "ISNOTMEMBEROF")
      find(
        "differs",
        `${operator} compares the values of "${attribute}" with the group's DN; Entra Connect looks the object up in the group's members. Use an attribute with the DNs of the groups, such as memberOf.`,
      );
  const flowOrigins: FlowOrigin[] = [];
  const flows = exported.flows.map((flow, index) => {
    const nth = exported.flows
      .slice(0, index)
      .filter((other) => other.destination === flow.destination).length;
    return toFlow(flow, nth, flowOrigins, ask);
  });
  explainDifferences(exported, find);

  const enabled = !exported.disabled && decided;
  if (!exported.disabled && !decided)
    find("remark", "The rule is taken over disabled, until the questions about it are answered.");
  const originalScope = exported.scope
    .flat()
    .some(({ operator }) => canonicalOperator(operator) === undefined);
  const origin: EntraConnectOrigin = {
    product: "Entra Connect",
    ...(exported.identifier !== null && { identifier: exported.identifier }),
    ...(exported.internalIdentifier !== null &&
      exported.internalIdentifier !== exported.identifier && {
        internalIdentifier: exported.internalIdentifier,
      }),
    ...(exported.version !== null && { version: exported.version }),
    ...(exported.name !== names.rule && { name: exported.name }),
    ...(exported.immutableTag !== "" && { immutableTag: exported.immutableTag }),
    connector: exported.connector,
    ...(linkType === undefined && { linkType: exported.linkType }),
    ...(exported.precedence === null && { precedence: null }),
    ...(exported.precedenceAfter !== zeroGuid && { precedenceAfter: exported.precedenceAfter }),
    ...(exported.precedenceBefore !== zeroGuid && { precedenceBefore: exported.precedenceBefore }),
    ...(exported.softDeleteExpiryInterval !== noExpiry && {
      softDeleteExpiryInterval: exported.softDeleteExpiryInterval,
    }),
    ...(exported.passwordSync && { passwordSync: true }),
    ...(enabled === exported.disabled && { disabled: false }),
    ...(originalScope && { scope: exported.scope }),
    ...(flowOrigins.length > 0 && { flows: flowOrigins }),
  };
  const rule: SyncRule = {
    name: names.rule,
    ...(exported.description !== "" && { description: exported.description }),
    direction: inbound ? "inbound" : "outbound",
    connector: names.connector,
    connectorObjectType,
    metaverseObjectType,
    linkType: linkType ?? "join",
    precedence: exported.precedence ?? 0,
    enabled,
    scope,
    join: exported.join.map((group) =>
      group.map(({ csAttribute, mvAttribute, caseSensitive }) => ({
        connectorAttribute: csAttribute,
        metaverseAttribute: mvAttribute,
        caseSensitive,
      })),
    ),
    flows,
    origin: { ...origin },
  };
  return { rule, findings };
}

/** What the rule was in the export, out of what is written here. */
export function exportedFrom(rule: SyncRule): ExportedRule {
  const origin = rule.origin as unknown as EntraConnectOrigin;
  const inbound = rule.direction === "inbound";
  const counts = new Map<string, number>();
  const types = [rule.connectorObjectType, rule.metaverseObjectType] as const;
  return {
    identifier: origin.identifier ?? null,
    internalIdentifier: origin.internalIdentifier ?? origin.identifier ?? null,
    version: origin.version ?? null,
    name: origin.name ?? rule.name,
    description: rule.description ?? "",
    immutableTag: origin.immutableTag ?? "",
    direction: inbound ? "Inbound" : "Outbound",
    disabled: origin.disabled ?? !rule.enabled,
    connector: origin.connector,
    sourceObjectType: types[inbound ? 0 : 1],
    targetObjectType: types[inbound ? 1 : 0],
    linkType: origin.linkType ?? exportedLinkTypes[rule.linkType],
    precedence: origin.precedence === null ? null : rule.precedence,
    precedenceAfter: origin.precedenceAfter ?? zeroGuid,
    precedenceBefore: origin.precedenceBefore ?? zeroGuid,
    softDeleteExpiryInterval: origin.softDeleteExpiryInterval ?? noExpiry,
    passwordSync: origin.passwordSync ?? false,
    scope:
      origin.scope ??
      rule.scope.map((group) =>
        group.map(({ attribute, operator, value }) => ({
          attribute,
          operator,
          value: value === undefined ? null : Array.isArray(value) ? value.join(";") : (value as string),
        })),
      ),
    join: rule.join.map((group) =>
      group.map(({ connectorAttribute, metaverseAttribute, caseSensitive }) => ({
        csAttribute: connectorAttribute,
        mvAttribute: metaverseAttribute,
        caseSensitive,
      })),
    ),
    flows: rule.flows.map((flow) => {
      const nth = counts.get(flow.target) ?? 0;
      counts.set(flow.target, nth + 1);
      const kept = origin.flows?.find((one) => one.target === flow.target && (one.nth ?? 0) === nth);
      return exportedFlow(flow, kept);
    }),
  };
}

function exportedFlow(flow: Flow, origin: FlowOrigin | undefined): ExportedFlow {
  const base = {
    destination: flow.target,
    executeOnce: flow.applyOnce,
    mergeType: origin?.mergeType ?? exportedMergeTypes[flow.mergeType],
  };
  if (flow.kind === "constant")
    return { ...base, flowType: "Constant", sources: [], constant: String(flow.value), expression: null };
  const expression = flow.kind === "expression" ? flow.expression : null;
  return {
    ...base,
    flowType: expression === null || origin?.flowType === "Direct" ? "Direct" : "Expression",
    sources: origin?.sources ?? (flow.kind === "direct" ? [flow.source] : attributesOf(expression ?? "")),
    constant: null,
    expression: origin?.flowType === "Direct" ? null : (origin?.expression ?? expression),
  };
}

function toFlow(
  flow: ExportedFlow,
  nth: number,
  origins: FlowOrigin[],
  ask: (message: string) => void,
): Flow {
  const mergeType = mergeTypes[flow.mergeType.toLowerCase()];
  if (mergeType === undefined)
    ask(
      `The merge type "${flow.mergeType}" of the flow into "${flow.destination}" is not known; update was assumed.`,
    );
  const base = {
    target: flow.destination,
    applyOnce: flow.executeOnce,
    mergeType: mergeType ?? "update",
  } as const;
  const isUsualMerge = exportedMergeTypes[base.mergeType] === flow.mergeType;
  const keep = (sources: readonly string[] | undefined) => {
    if (sources === undefined && isUsualMerge) return;
    origins.push({
      target: flow.destination,
      ...(nth > 0 && { nth }),
      ...(sources !== undefined && { sources }),
      ...(!isUsualMerge && { mergeType: flow.mergeType }),
    });
  };
  if (flow.flowType === "Constant") {
    keep(undefined);
    return { ...base, kind: "constant", value: flow.constant ?? "" };
  }
  if (flow.flowType === "Direct") {
    const [source] = flow.sources;
    if (flow.sources.length !== 1)
      ask(
        `The direct flow into "${flow.destination}" has ${flow.sources.length} sources (${flow.sources.join(", ") || "none"}) instead of one.`,
      );
    keep(flow.sources.length === 1 ? undefined : flow.sources);
    return { ...base, kind: "direct", source: source ?? flow.destination };
  }
  const expression = flow.expression ?? "";
  if (expression.trim() === "") {
    ask(`The expression for "${flow.destination}" is not there; IgnoreThisFlow stands for it.`);
    origins.push({
      target: flow.destination,
      ...(nth > 0 && { nth }),
      sources: flow.sources,
      mergeType: flow.mergeType,
      expression,
    });
    return { ...base, kind: "expression", expression: "IgnoreThisFlow" };
  }
  const known = attributesOf(expression);
  keep(sameTexts(known, flow.sources) ? undefined : flow.sources);
  return { ...base, kind: "expression", expression };
}

/** The attributes that an expression reads, in the order of their first use; none when it cannot be read. */
function attributesOf(expression: string): readonly string[] {
  const compiled = compileExpression(expression);
  if (!compiled.ok) return [];
  const names = [...compiled.expression.attributes];
  return names.sort((a, b) => expression.indexOf(a) - expression.indexOf(b));
}

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}

function canonicalOperator(operator: string): ScopeOperator | undefined {
  const upper = operator.toUpperCase();
  const known = scopeOperatorAliases[upper] ?? upper;
  return scopeOperators.find((candidate) => candidate === known);
}

function scopeCondition(condition: ExportedCondition, ask: (message: string) => void): ScopeCondition {
  const operator = canonicalOperator(condition.operator);
  if (operator === undefined)
    ask(
      `The scope's operator "${condition.operator}" on "${condition.attribute}" is not known; EQUAL was assumed.`,
    );
  return {
    attribute: condition.attribute,
    operator: operator ?? "EQUAL",
    ...(condition.value !== null && { value: condition.value }),
  };
}

/** What Vestibule makes of a field is not what Entra Connect makes of it. */
function explainDifferences(
  exported: ExportedRule,
  find: (kind: Finding["kind"], message: string) => void,
): void {
  const texts = [
    ...exported.flows.map(({ expression }) => expression ?? ""),
    ...exported.scope.flat().map(({ value }) => value ?? ""),
  ];
  const named = new Set(
    texts.flatMap((text) => [...text.matchAll(/%((?:Domain|Forest)\.\w+)%/g)].map(([name]) => name)),
  );
  if (named.size > 0)
    find(
      "differs",
      `${[...named].sort().join(", ")}: Entra Connect fills in the domain or forest of each object; here a parameter has one value for the installation (metaverse.yaml).`,
    );
  if (texts.some((text) => text.includes("%Connector.ID%")))
    find("differs", "%Connector.ID% is the connector's name here, not its GUID.");
  if (exported.passwordSync)
    find("differs", "Password hash synchronisation: Vestibule does not synchronise password hashes.");
  if (exported.softDeleteExpiryInterval !== noExpiry)
    find(
      "differs",
      `softDeleteExpiryInterval ${exported.softDeleteExpiryInterval} has no effect here. How long an absent object is kept is said in onAbsence.retain of the connector.`,
    );
  for (const [field, value] of [
    ["precedence-before", exported.precedenceBefore],
    ["precedence-after", exported.precedenceAfter],
  ] as const)
    if (value !== zeroGuid)
      find(
        "decision",
        `${field} ${value}: Entra Connect renumbers its rules so that this one stands ${field === "precedence-before" ? "before" : "after"} that one; here precedence ${exported.precedence ?? "?"} counts as it is written.`,
      );
  if (exported.direction.toLowerCase() === "inbound" && exported.flows.some(({ executeOnce }) => executeOnce))
    find("differs", "Apply once in an inbound rule: the first value that is contributed stays.");
}
