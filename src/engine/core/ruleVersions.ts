/**
 * What tells one set of rules from another.
 *
 * A run works with one version: `<set>.<rest>`, the hash of the rule texts and the hash of what they are compiled
 * with (connectors, metaverse, parameters, rules extensions). The first is versioned and can be rolled back; the
 * second comes with the deployment.
 */
import { createHash } from "node:crypto";
import type { Configuration, ConfigurationFile } from "./configuration.ts";
import type { CompiledRule, SyncRule } from "./rules.ts";

const hashLength = 16;

export function shortHash(value: unknown): string {
  const json = JSON.stringify(value, (_, one: unknown) => (typeof one === "bigint" ? `${one}n` : one));
  return createHash("sha256").update(json).digest("hex").slice(0, hashLength);
}

/** The same for the same texts under the same names, in whatever order. */
export function ruleSetHash(texts: readonly ConfigurationFile[]): string {
  const sorted = texts.map(({ file, text }) => [file, text]).sort(([a], [b]) => (a! < b! ? -1 : 1));
  return shortHash(sorted);
}

export function rulesVersionOf(set: string, rest: string): string {
  return `${set}.${rest}`;
}

export function partsOfVersion(rulesVersion: string): { readonly set: string; readonly rest: string } {
  const [set = "", rest = ""] = rulesVersion.split(".");
  return { set, rest };
}

/**
 * Differs when a full synchronisation of the connector is required: its own rules have changed, or anything that all
 * rules are compiled with. What another connector's rules do to the metaverse flows with that connector's full
 * synchronisation, which decides every metaverse object anew.
 */
export function synchronizationKey(
  { rules, rulesVersion }: Pick<Configuration, "rules" | "rulesVersion">,
  connector: string,
): string {
  const own = rules.rules.filter((rule) => rule.connector === connector).map(plainRule);
  return shortHash([partsOfVersion(rulesVersion).rest, own]);
}

/** Without what compiling has added, and without what no synchronisation reads. */
function plainRule({ inScope: _, description: __, origin: ___, flows, ...rule }: CompiledRule): unknown {
  return {
    ...rule,
    flows: flows.map((flow) => {
      const { compiled: ____, ...plain } = flow as typeof flow & { compiled?: unknown };
      return plain;
    }),
  };
}

export interface RuleSetChanges {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly deleted: readonly string[];
  /** What a person has to approve: rules that create, or keep alive, and no longer do so; each as a sentence. */
  readonly withdrawn: readonly string[];
}

/** What `after` changes of `before`, by the names of the rules. */
export function compareRuleSets(before: readonly SyncRule[], after: readonly SyncRule[]): RuleSetChanges {
  const old = new Map(before.map((rule) => [rule.name, rule]));
  const now = new Map(after.map((rule) => [rule.name, rule]));
  const withdrawn = before.flatMap((rule) => {
    if (!rule.enabled || rule.linkType === "join") return [];
    const next = now.get(rule.name);
    const what = `The ${rule.linkType} rule ${JSON.stringify(rule.name)}`;
    if (next === undefined) return [`${what} is gone.`];
    if (!next.enabled) return [`${what} is disabled.`];
    const moved =
      next.connector !== rule.connector ||
      next.direction !== rule.direction ||
      next.connectorObjectType !== rule.connectorObjectType ||
      next.metaverseObjectType !== rule.metaverseObjectType;
    if (moved) return [`${what} is for other objects now.`];
    const keeps = next.linkType === "provision" || next.linkType === rule.linkType;
    return keeps ? [] : [`${what} is of link type ${next.linkType} now.`];
  });
  const isChanged = (rule: SyncRule) => shortHash(old.get(rule.name)) !== shortHash(rule);
  return {
    added: [...now.keys()].filter((name) => !old.has(name)),
    changed: after.filter((rule) => old.has(rule.name) && isChanged(rule)).map(({ name }) => name),
    deleted: [...old.keys()].filter((name) => !now.has(name)),
    withdrawn,
  };
}
