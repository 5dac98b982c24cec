/**
 * Synchronisation rules: their shape, as they are written and as they are compiled.
 *
 * A rule belongs to one connector and one direction. Its scope is an OR of AND-groups, its join groups are tried in
 * order, its flows carry values. What an exported rule of Entra Connect says can be said here, field by field.
 */
import type { CompiledExpression } from "./expression/expression.ts";
import type { ScopeGroup, ScopeTest } from "./scope.ts";
import type { AttributeType, Value } from "./values.ts";

export type Direction = "inbound" | "outbound";

/** `provision` creates what it does not find; `stickyJoin` only links, but keeps the metaverse object alive. */
export type LinkType = "join" | "stickyJoin" | "provision";

/** An inbound rule that joins objects of whatever type, as foreign security principals are joined. */
export const anyMetaverseObjectType = "*";

/** `update`: the lowest precedence wins. The merges collect the values of all rules. */
export type MergeType = "update" | "merge" | "mergeCaseInsensitive";

export interface JoinCondition {
  readonly connectorAttribute: string;
  readonly metaverseAttribute: string;
  readonly caseSensitive: boolean;
}
/** All conditions must hold. */
export type JoinGroup = readonly JoinCondition[];

interface FlowBase {
  /** A metaverse attribute (inbound), or an attribute of the connected directory or `dn` (outbound). */
  readonly target: string;
  /** Outbound: only when the object is created. Inbound: kept as first contributed. */
  readonly applyOnce: boolean;
  readonly mergeType: MergeType;
  /** The bits of an integer that the rules own; the others stay as the directory has them. */
  readonly ownedBits?: bigint;
}
export type Flow =
  | (FlowBase & { readonly kind: "direct"; readonly source: string })
  | (FlowBase & { readonly kind: "constant"; readonly value: Value })
  | (FlowBase & { readonly kind: "expression"; readonly expression: string })
  /** The connector's rules extension maps it, by this name. */
  | (FlowBase & { readonly kind: "extension"; readonly flowRuleName: string });

export interface SyncRule {
  readonly name: string;
  readonly description?: string;
  readonly direction: Direction;
  readonly connector: string;
  readonly connectorObjectType: string;
  /** `*` in an inbound rule that only joins: of any type. */
  readonly metaverseObjectType: string;
  readonly linkType: LinkType;
  /** The lower number wins. */
  readonly precedence: number;
  readonly enabled: boolean;
  /** OR of AND-groups; none: every object is in scope. */
  readonly scope: readonly ScopeGroup[];
  /** Tried in order; the first group that finds exactly one object joins. */
  readonly join: readonly JoinGroup[];
  readonly flows: readonly Flow[];
  /** What the product that the rule was taken over from says beyond this. The engine ignores it. */
  readonly origin?: Readonly<Record<string, unknown>>;
}

export type CompiledFlow =
  | Exclude<Flow, { kind: "expression" }>
  | (Extract<Flow, { kind: "expression" }> & { readonly compiled: CompiledExpression });

export interface CompiledRule extends Omit<SyncRule, "flows"> {
  readonly flows: readonly CompiledFlow[];
  readonly inScope: ScopeTest;
}

/** Whether the rule can connect an object; one that cannot lets values flow where another rule has done so (R8). */
export function canLink(rule: Pick<SyncRule, "join" | "linkType">): boolean {
  return rule.join.length > 0 || rule.linkType === "provision";
}

/** The enabled rules of a set, ready to be asked. Each list is in order of precedence. */
export interface RuleSet {
  readonly rules: readonly CompiledRule[];
  inbound(connector: string, connectorObjectType: string): readonly CompiledRule[];
  outbound(connector: string, metaverseObjectType: string): readonly CompiledRule[];
  /** Whether the connector has any enabled inbound rule; one without is a pure target and has no inbound scope. */
  hasInbound(connector: string): boolean;
  /** The connectors with an outbound rule for the metaverse object type, by name. */
  targets(metaverseObjectType: string): readonly string[];
}

/** One thing wrong with a rule. `path` leads to it in the rule, as zod's paths do. */
export interface RuleProblem {
  readonly rule: string;
  readonly path: readonly (string | number)[];
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
  readonly severity: "error" | "warning";
  /** For a problem inside an expression: 1-based, from the start of the expression. */
  readonly position?: { readonly line: number; readonly column: number; readonly length: number };
}

/** What rules are checked against. What is left out is not checked: directories' schemas are known only later. */
export interface RuleContext {
  /** By connector, then object type: the selected attributes; a type where it is known. */
  readonly connectorAttributes: ReadonlyMap<
    string,
    ReadonlyMap<string, ReadonlyMap<string, AttributeInfo | null>>
  >;
  /** By metaverse object type. */
  readonly metaverseAttributes: ReadonlyMap<string, ReadonlyMap<string, AttributeInfo>>;
  readonly parameters: ReadonlySet<string>;
  /** By connector: the entry points of its rules extension. */
  readonly extensions?: ReadonlyMap<string, ReadonlySet<string>>;
}
export interface AttributeInfo {
  readonly type: AttributeType;
  readonly multiValued: boolean;
  readonly readOnly?: boolean;
  /** A secret: the directory takes it and never shows it. */
  readonly writeOnly?: boolean;
  readonly indexed?: boolean;
}

export type CompiledRules =
  | { readonly ok: true; readonly rules: RuleSet; readonly warnings: readonly RuleProblem[] }
  | { readonly ok: false; readonly problems: readonly RuleProblem[] };

/** What inbound rules may read beside the selected attributes of the object. */
export const connectorSpaceAttributes: ReadonlyMap<string, AttributeInfo> = new Map([
  ["dn", { type: "string", multiValued: false }],
  ["absence", { type: "string", multiValued: false }],
  ["absentSince", { type: "dateTime", multiValued: false }],
]);
