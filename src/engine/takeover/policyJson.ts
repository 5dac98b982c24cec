/**
 * The JSON that the wizard of Entra Connect writes (`Applied-SynchronizationPolicy-*.JSON`). It names the standard rules
 * without their content and has no join rules, so it cannot stand for the server configuration; what it has is read.
 * There is no description of it: the keys are those that public scripts read.
 */

import { entraConnectorIdentifier } from "./connector.ts";
import { type ExportedFlow, type ExportedRule, guid, noExpiry, zeroGuid } from "./exportedRule.ts";
import { type Place, TakeoverError } from "./findings.ts";

export interface PolicyRules {
  readonly custom: readonly ExportedRule[];
  /** Name and precedence; there is nothing else of them. */
  readonly standard: readonly string[];
}

/** Undefined when the JSON is something else. @throws TakeoverError */
export function readPolicy(file: string, text: string): PolicyRules | undefined {
  const place: Place = { file, line: 1, column: 1 };
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw new TakeoverError(`This is not JSON: ${(error as Error).message.slice(0, 200)}.`, place);
  }
  const onPremises = listOf(get(json, "onpremisesDirectoryPolicy"));
  const entra = get(json, "azureDirectoryPolicy");
  if (onPremises.length === 0 && entra === undefined) return undefined;
  const custom: ExportedRule[] = [];
  const standard: string[] = [];
  for (const directory of [...onPremises, ...(entra === undefined ? [] : [entra])]) {
    const connector =
      directory === entra ? entraConnectorIdentifier : guid(textAt(directory, "uniqueIdentifier"));
    for (const rule of listOf(get(directory, "customSynchronizationRules")))
      custom.push(customRule(rule, connector));
    for (const rule of listOf(get(directory, "standardSynchronizationRules")))
      standard.push(`${textAt(rule, "name")} (${textAt(rule, "precedence") || "no precedence"})`);
  }
  return { custom, standard };
}

function customRule(rule: unknown, connector: string): ExportedRule {
  const precedence = textAt(rule, "precedence");
  const identifier = guid(textAt(rule, "uniqueIdentifier"));
  return {
    identifier: identifier || null,
    internalIdentifier: guid(textAt(rule, "internalIdentifier")) || identifier || null,
    version: null,
    name: textAt(rule, "name") || "unknown",
    description: textAt(rule, "description"),
    immutableTag: textAt(rule, "immutableTag"),
    direction: textAt(rule, "direction") || "unknown",
    disabled: textAt(rule, "disabled").toLowerCase() === "true",
    connector,
    sourceObjectType: textAt(rule, "source") || textAt(rule, "sourceObjectType") || "unknown",
    targetObjectType: textAt(rule, "target") || textAt(rule, "targetObjectType") || "unknown",
    linkType: textAt(rule, "linkType") || "unknown",
    precedence: /^\d+$/.test(precedence) ? Number(precedence) : null,
    precedenceAfter: zeroGuid,
    precedenceBefore: zeroGuid,
    softDeleteExpiryInterval: noExpiry,
    passwordSync: textAt(rule, "enablePasswordSync").toLowerCase() === "true",
    scope: scopeOf(listOf(get(rule, "scopeFilters"))),
    join: [],
    flows: listOf(get(rule, "attributeMappings")).map(flow),
  };
}

/** One list of conditions, or a list of lists. */
function scopeOf(filters: readonly unknown[]): ExportedRule["scope"] {
  const groups = filters.some(Array.isArray) ? filters.map(listOf) : [filters];
  return groups
    .filter((group) => group.length > 0)
    .map((group) =>
      group.map((filter) => ({
        attribute: textAt(filter, "attribute") || "unknown",
        operator: textAt(filter, "condition") || textAt(filter, "operator") || "unknown",
        value: textAt(filter, "value") || null,
      })),
    );
}

function flow(mapping: unknown): ExportedFlow {
  const sources = listOf(get(mapping, "source")).map(String);
  const expression = textAt(mapping, "expression");
  const stated = textAt(mapping, "flowType").toLowerCase();
  const flowType = expression !== "" ? "Expression" : stated === "constant" ? "Constant" : "Direct";
  return {
    destination: textAt(mapping, "destination") || "unknown",
    flowType,
    sources: flowType === "Constant" ? [] : sources,
    constant: flowType === "Constant" ? (sources[0] ?? "") : null,
    expression: flowType === "Expression" ? expression : null,
    executeOnce: textAt(mapping, "executeOnce").toLowerCase() === "true",
    mergeType: textAt(mapping, "valueMergeType") || textAt(mapping, "mergeType") || "Update",
  };
}

/** The case of the keys differs between versions. */
function get(from: unknown, key: string): unknown {
  if (typeof from !== "object" || from === null) return undefined;
  return Object.entries(from).find(([name]) => name.toLowerCase() === key.toLowerCase())?.[1] ?? undefined;
}

function textAt(from: unknown, key: string): string {
  const value = get(from, key);
  return typeof value === "object" || value === undefined ? "" : String(value).trim();
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
}
