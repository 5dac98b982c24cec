/** Step 3: contributions become the metaverse object; and when it goes. */
import { isDeepStrictEqual } from "node:util";
import type { DeletionRule } from "./configuration.ts";
import { own } from "./flow.ts";
import type { Contribution } from "./inbound.ts";
import type { MetaverseObject, MetaverseValue } from "./model.ts";
import { type AttributeValue, attributesEqual, comparisonKey, type Value, valuesOf } from "./values.ts";

/** What a projection starts from. */
export function newMetaverseObject(id: string, objectType: string): MetaverseObject {
  return { id, objectType, attributes: {}, connectors: [], deleted: false };
}

/**
 * The attributes of the metaverse object: a function of the contributions alone, in whatever order they come. What
 * the object has now only tells since when a value stands.
 *
 * What stays as it is stays the same object, and so do the attributes when all of them do: most often nothing changes.
 *
 * Without merging, the offer of the lowest precedence wins. With merging, all values are collected down to the first
 * `authoritativeNull`; the lineage names the first of their rules.
 */
export function reduceContributions(
  contributions: readonly Contribution[],
  present: MetaverseObject["attributes"],
  now: string,
): MetaverseObject["attributes"] {
  if (staysAsItIs(contributions, present)) return present;
  const attributes: Record<string, MetaverseValue> = {};
  const byAttribute = Map.groupBy(contributions, (contribution) => contribution.attribute);
  let kept = 0;
  for (const name of [...byAttribute.keys()].sort()) {
    const offered = byAttribute.get(name)!;
    const ranked = offered.length === 1 ? offered : offered.sort(byRank);
    const [first] = ranked;
    if (first!.offer === "authoritativeNull") continue;
    const { connector, rule, precedence, mergeType } = first!;
    const value = mergeType === "update" ? first!.offer.value : merged(valuesDownToNull(ranked), mergeType);
    const before = own(present, name);
    const since = before !== undefined && attributesEqual(before.value, value, "exact") ? before.since : now;
    const reduced = { value, connector, rule, precedence, since };
    const stays = before !== undefined && isSame(before, reduced);
    if (stays) kept++;
    attributes[name] = stays ? before : reduced;
  }
  const count = Object.keys(attributes).length;
  return kept === count && count === Object.keys(present).length ? present : attributes;
}

/** Seen at once where each attribute has one offer, and it is the one that stands. */
function staysAsItIs(
  contributions: readonly Contribution[],
  present: MetaverseObject["attributes"],
): boolean {
  if (contributions.length !== Object.keys(present).length) return false;
  const seen = new Set<string>();
  for (const { attribute, offer, mergeType, connector, rule, precedence } of contributions) {
    if (offer === "authoritativeNull" || mergeType !== "update" || seen.has(attribute)) return false;
    seen.add(attribute);
    const before = own(present, attribute);
    if (before === undefined || before.rule !== rule || before.connector !== connector) return false;
    if (before.precedence !== precedence) return false;
    if (before.value !== offer.value && !isDeepStrictEqual(before.value, offer.value)) return false;
  }
  return true;
}

function isSame(a: MetaverseValue, b: MetaverseValue): boolean {
  return (
    (a.value === b.value || isDeepStrictEqual(a.value, b.value)) &&
    a.since === b.since &&
    a.rule === b.rule &&
    a.connector === b.connector &&
    a.precedence === b.precedence
  );
}

function valuesDownToNull(ranked: readonly Contribution[]): readonly AttributeValue[] {
  const values: AttributeValue[] = [];
  for (const { offer } of ranked) {
    if (offer === "authoritativeNull") break;
    values.push(offer.value);
  }
  return values;
}

/** Total, so that the outcome does not depend on the order of arrival. */
export function byRank(a: Contribution, b: Contribution): number {
  return (
    a.precedence - b.precedence ||
    compareText(a.rule, b.rule) ||
    compareText(a.connector, b.connector) ||
    compareText(a.object, b.object)
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function merged(
  values: readonly AttributeValue[],
  mergeType: "merge" | "mergeCaseInsensitive",
): readonly Value[] {
  const syntax = mergeType === "merge" ? "exact" : "caseIgnore";
  const distinct = new Map<string, Value>();
  for (const value of values.flatMap((one) => valuesOf(one))) {
    const key = comparisonKey(value, syntax);
    if (!distinct.has(key)) distinct.set(key, value);
  }
  return [...distinct.values()];
}

/** One connected object as the deletion rule sees it. */
export interface Link {
  readonly connector: string;
  /** Whether an inbound rule of link type provision or stickyJoin holds for it. */
  readonly keepsAlive: boolean;
}

/**
 * Whether the metaverse object goes.
 * @param before the connectors it was connected to; a connector of `anyOf` counts as gone only if it was there
 * @param remaining what stays connected
 * @returns why, in words; null when it stays
 */
export function decideDeletion(
  rule: DeletionRule,
  before: readonly string[],
  remaining: readonly Link[],
): string | null {
  if (remaining.length === 0) return "nothing is connected any more";
  switch (rule.kind) {
    case "lastConnector":
    case "extension": // `synchronize` has asked it about what goes
      return null;
    case "lastProvisioningRule":
      return remaining.some((link) => link.keepsAlive)
        ? null
        : "no connected object is held by a rule that provisions or joins stickily";
    case "anyOf": {
      const gone = rule.connectors.find(
        (connector) => before.includes(connector) && !remaining.some((link) => link.connector === connector),
      );
      return gone === undefined ? null : `its object in ${gone} is gone`;
    }
  }
}

/** Whether what is connected to a tombstone brings it back to life: the same person has returned. */
export function decideRevival(rule: DeletionRule, links: readonly Link[]): boolean {
  return links.some((link) =>
    rule.kind === "anyOf" ? rule.connectors.includes(link.connector) : link.keepsAlive,
  );
}
