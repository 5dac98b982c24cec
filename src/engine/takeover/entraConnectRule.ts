/**
 * `SynchronizationRules/SynchronizationRule_{guid}.xml` of an Entra Connect server configuration
 * (`Get-ADSyncServerConfiguration`).
 */
import {
  type ExportedCondition,
  type ExportedFlow,
  type ExportedRule,
  guid,
  noExpiry,
  zeroGuid,
} from "./exportedRule.ts";
import { TakeoverError } from "./findings.ts";
import { attributeOf, childNamed, childrenNamed, textOf, type XmlElement } from "./xml.ts";

/** @throws TakeoverError for a rule without what every rule has */
export function readRuleElement(rule: XmlElement): ExportedRule {
  const optional = (name: string) => textOf(rule, name)?.trim() ?? "";
  const required = (name: string): string => {
    const text = optional(name);
    if (text === "") throw new TakeoverError(`<${name}> is missing or empty in the rule.`, rule.place);
    return text;
  };
  const precedence = Number(required("precedence"));
  if (!Number.isSafeInteger(precedence) || precedence < 0)
    throw new TakeoverError("The precedence is not a whole number.", childNamed(rule, "precedence")!.place);
  const version = optional("version");
  const identifier = guid(required("id"));
  return {
    identifier,
    internalIdentifier: guid(optional("internal-id")) || identifier,
    version: version === "" ? null : Number(version),
    name: required("name"),
    description: textOf(rule, "description") ?? "",
    immutableTag: optional("immutable-tag"),
    direction: required("direction"),
    disabled: optional("disabled").toLowerCase() === "true",
    connector: guid(required("connector")),
    sourceObjectType: required("sourceObjectType"),
    targetObjectType: required("targetObjectType"),
    linkType: required("linkType"),
    precedence,
    precedenceAfter: guid(optional("precedence-after")) || zeroGuid,
    precedenceBefore: guid(optional("precedence-before")) || zeroGuid,
    softDeleteExpiryInterval: optional("softDeleteExpiryInterval") || noExpiry,
    passwordSync: optional("EnablePasswordSync").toLowerCase() === "true",
    // The element is called csAttribute in outbound rules too; it is a metaverse attribute then.
    scope: groups(rule, "synchronizationCriteria").map((group) =>
      childrenNamed(group, "scope").map(condition),
    ),
    join: groups(rule, "relationshipCriteria").map((group) =>
      childrenNamed(group, "condition").map((one) => ({
        csAttribute: requiredText(one, "csAttribute"),
        mvAttribute: requiredText(one, "ilmAttribute"),
        caseSensitive: caseSensitive(one),
      })),
    ),
    flows: childrenNamed(childNamed(rule, "attribute-mappings"), "mapping").map(flow),
  };
}

function groups(rule: XmlElement, criteria: string): readonly XmlElement[] {
  return childrenNamed(childNamed(rule, criteria), "conditions").filter(
    ({ children }) => children.length > 0,
  );
}

/** In the wild it is an element of the condition or an attribute; absent it is false. */
function caseSensitive(condition: XmlElement): boolean {
  const text = textOf(condition, "caseSensitive") ?? attributeOf(condition, "caseSensitive");
  return text?.trim().toLowerCase() === "true";
}

/** Scope conditions are written alike in Entra Connect and MIM. */
export function condition(scope: XmlElement): ExportedCondition {
  const value = textOf(scope, "csValue") ?? "";
  return {
    attribute: requiredText(scope, "csAttribute"),
    operator: requiredText(scope, "csOperator"),
    value: value === "" ? null : value,
  };
}

/** There is no element for the kind of a flow: an expression, else source attributes, else the text is a constant. */
function flow(mapping: XmlElement): ExportedFlow {
  const source = childNamed(mapping, "src");
  const sources = childrenNamed(source, "attr")
    .map(({ text }) => text.trim())
    .filter((name) => name !== "");
  const expression = textOf(mapping, "expression");
  const flowType = expression !== undefined ? "Expression" : sources.length > 0 ? "Direct" : "Constant";
  return {
    destination: requiredText(mapping, "dest"),
    flowType,
    sources,
    constant: flowType === "Constant" ? (source?.text ?? "") : null,
    expression: expression ?? null,
    executeOnce: attributeOf(mapping, "execute-once")?.toLowerCase() === "true",
    mergeType: textOf(mapping, "valueMergeType")?.trim() || "Update",
  };
}

export function requiredText(element: XmlElement, name: string): string {
  const text = textOf(element, name)?.trim() ?? "";
  if (text === "") throw new TakeoverError(`<${name}> is missing or empty.`, element.place);
  return text;
}
