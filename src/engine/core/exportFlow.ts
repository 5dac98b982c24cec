/**
 * What the outbound rules that hold for a metaverse object give its target: the value of each attribute, what is
 * recalled from it, and the pending export that brings it from how it looks to how it should.
 */

import { isDeepStrictEqual } from "node:util";
import type { SyncConfiguration } from "./configuration.ts";
import { accountDisable } from "./exporting.ts";
import { evaluateFlow, type FlowContext, own } from "./flow.ts";
import {
  type AttributeChange,
  type ConnectorSpaceObject,
  expectedImage,
  type Image,
  importedImage,
  type PendingExport,
} from "./model.ts";
import { withoutErrorOf } from "./objectErrors.ts";
import type { OutboundDecision } from "./outbound.ts";
import type { ProvisioningPlan } from "./provisioning.ts";
import type { AttributeInfo, CompiledFlow, CompiledRule, MergeType } from "./rules.ts";
import { type Syntaxes, syntaxesOf } from "./schema.ts";
import {
  type AttributeValue,
  attributesEqual,
  comparisonKey,
  dnKey,
  type Value,
  valuesOf,
} from "./values.ts";

export interface Wanted {
  /** Null: the attribute shall have no value. */
  readonly value: AttributeValue | null;
  readonly rule: string;
  readonly ownedBits: bigint | undefined;
  /** Given once; nobody takes it back. */
  readonly initial: boolean;
}

/** What the flows into one attribute have offered so far: `value` that of the first, `others` those of more to merge. */
interface Offered extends Wanted {
  value: AttributeValue | null;
  rule: string;
  ownedBits: bigint | undefined;
  initial: boolean;
  mergeType: MergeType;
  others: AttributeValue[] | null;
  /** No further flow is asked. */
  settled: boolean;
}

/** What the rules want, by target attribute; an attribute whose flows are all ignored is not there. */
export function wantedValues(
  rules: readonly CompiledRule[],
  context: FlowContext,
  schema: Syntaxes,
  moment: "creation" | "update",
): Map<string, Wanted> {
  const wanted = new Map<string, Offered>();
  for (const { name: rule, flows } of rules) {
    for (const flow of moment === "creation" ? initialFirst(flows) : flows) {
      const { target, ownedBits, mergeType, applyOnce: initial } = flow;
      if (initial && moment === "update") continue;
      let one = wanted.get(target);
      if (one?.settled) continue;
      const offer = evaluateFlow(rule, flow, context, attributeInfo(target, schema));
      if (offer === "ignore") continue;
      if (one === undefined) {
        one = { value: null, rule, ownedBits, initial, mergeType, others: null, settled: false };
        wanted.set(target, one);
      }
      if (offer === "null") continue;
      if (offer === "authoritativeNull") {
        one.settled = true;
        continue;
      }
      if (one.value === null) {
        Object.assign(one, { value: offer.value, rule, ownedBits, initial, mergeType });
      } else {
        one.others ??= [];
        one.others.push(offer.value);
      }
      one.settled = mergeType === "update";
    }
  }
  for (const one of wanted.values())
    if (one.others !== null) one.value = union([one.value!, ...one.others], one.mergeType);
  return wanted;
}

/** At creation the initial value of a rule goes before its lasting one. */
function initialFirst(flows: readonly CompiledFlow[]): readonly CompiledFlow[] {
  return flows.toSorted((a, b) => Number(b.applyOnce) - Number(a.applyOnce));
}

const dnInfo = { type: "string", multiValued: false } as const;

function attributeInfo(name: string, schema: Syntaxes): AttributeInfo | undefined {
  return name === "dn" ? dnInfo : schema.attribute(name);
}

function union(values: readonly AttributeValue[], mergeType: MergeType): readonly Value[] {
  const syntax = mergeType === "mergeCaseInsensitive" ? "caseIgnore" : "exact";
  const distinct = new Map<string, Value>();
  for (const value of values.flatMap((one) => valuesOf(one))) {
    const key = comparisonKey(value, syntax);
    if (!distinct.has(key)) distinct.set(key, value);
  }
  return [...distinct.values()];
}

export function updated(
  target: ConnectorSpaceObject,
  rules: readonly CompiledRule[],
  recall: ReadonlyMap<string, string>,
  configuration: SyncConfiguration,
  context: FlowContext,
  rename: Extract<ProvisioningPlan, { kind: "rename" }> | null,
): OutboundDecision {
  const expected = expectedImage(target);
  if (expected === null) return { kind: "leave", reason: "no import has seen it yet" };
  const schema = syntaxesOf(configuration.schemas.get(target.connector) ?? [], target.objectType);
  const keepsDisable = configuration.connectors.get(target.connector)?.keepHandMadeDisable ?? true;
  const wanted = wantedValues(rules, context, schema, "update");
  const given = recallableOf(rules, wanted, target.recallable);
  for (const [name, rule] of recall) {
    if (wanted.has(name)) continue;
    wanted.set(name, { value: null, rule, ownedBits: undefined, initial: false });
    // To be asked again until an import has shown that it is gone.
    const shown = own(importedImage(target)?.attributes ?? {}, name) ?? own(expected.attributes, name);
    if (shown !== undefined) given[rule] = [...(given[rule] ?? []), name];
  }

  const attributes: AttributeChange[] = [];
  const held: string[] = [];
  let { wantedBits } = target;
  let newDn: string | undefined;
  for (const [name, { value, rule, ownedBits }] of wanted) {
    if (name === "dn") {
      if (typeof value === "string" && dnKey(value) !== dnKey(expected.dn)) newDn = value;
      continue;
    }
    // What never comes back cannot be compared; it is sent when the object is created.
    if (schema.writeOnly(name)) continue;
    let after = value ?? undefined;
    if (ownedBits !== undefined && typeof value === "bigint") {
      const bits = ownBits(target, name, value, ownedBits, expected, keepsDisable);
      after = bits.after;
      if (own(wantedBits, name) !== bits.remembered) wantedBits = { ...wantedBits, [name]: bits.remembered };
      if (bits.held) held.push(name);
    }
    const before = own(expected.attributes, name);
    if (attributesEqual(before, after, schema.syntax(name))) continue;
    attributes.push({
      name,
      ...(before !== undefined && { before }),
      ...(after !== undefined && { after }),
      rule,
    });
  }

  if (rename !== null) newDn = dnKey(rename.dn) === dnKey(expected.dn) ? undefined : rename.dn;
  const isSettled = attributes.length === 0 && newDn === undefined;
  const reason = isSettled
    ? asWanted
    : rename === null
      ? reasonOf(attributes, newDn, rules, recall)
      : [
          `dn by ${rename.extension}.`,
          ...(attributes.length === 0 ? [] : [reasonOf(attributes, undefined, rules, recall)]),
        ].join(" ");
  const pendingExport: PendingExport | null = isSettled
    ? null
    : { change: "update", ...(newDn !== undefined && { newDn }), attributes, reason };
  const object: ConnectorSpaceObject = {
    ...target,
    pendingExport: isDeepStrictEqual(target.pendingExport, pendingExport)
      ? target.pendingExport
      : pendingExport,
    wantedBits,
    recallable: sameNames(target.recallable, given) ? target.recallable : given,
    error: pendingExport === null ? withoutErrorOf(target.error, "export") : target.error,
  };
  return { kind: "flow", object, held, reason };
}

/**
 * What is to be taken back, with the rule that gave it (R11): a rule that no longer takes the object recalls its
 * values, and the next in precedence may speak. A rule or a flow that was removed, or disabled, leaves what it gave:
 * the attribute is managed no more.
 * @param rules all of the connector for the metaverse object's type
 * @param flowing those in whose scope the object is
 */
export function recallOf(
  target: ConnectorSpaceObject,
  rules: readonly CompiledRule[],
  flowing: readonly CompiledRule[],
): ReadonlyMap<string, string> {
  const recall = new Map<string, string>();
  for (const [rule, names] of Object.entries(target.recallable)) {
    const isOutOfScope =
      rules.some(({ name }) => name === rule) && !flowing.some(({ name }) => name === rule);
    if (isOutOfScope) for (const name of names) recall.set(name, rule);
  }
  return recall;
}

/**
 * What the rules that can let go of the object give it now. Initial values, bits and the DN are never recalled.
 * @param before what they gave it; a flow that is ignored now leaves its value, and keeps its claim to it
 */
export function recallableOf(
  rules: readonly CompiledRule[],
  wanted: ReadonlyMap<string, Wanted>,
  before: ConnectorSpaceObject["recallable"] = {},
): Record<string, string[]> {
  const recallable: Record<string, string[]> = {};
  for (const { name: rule, scope, flows } of rules) {
    if (scope.length === 0) continue;
    const claimed = before[rule];
    const names: string[] = [];
    for (const { target, applyOnce, ownedBits } of flows) {
      if (applyOnce || ownedBits !== undefined || target === "dn") continue;
      const now = wanted.get(target);
      const gives = now === undefined ? claimed?.includes(target) : now.rule === rule && now.value !== null;
      if (gives && now?.initial !== true && !names.includes(target)) names.push(target);
    }
    if (names.length > 0) recallable[rule] = names;
  }
  return recallable;
}

function sameNames(a: ConnectorSpaceObject["recallable"], b: ConnectorSpaceObject["recallable"]): boolean {
  const rules = Object.keys(a);
  return (
    rules.length === Object.keys(b).length &&
    rules.every((rule) => {
      const [some, others] = [a[rule]!, b[rule]];
      return some.length === others?.length && some.every((name, index) => name === others[index]);
    })
  );
}

const asWanted = "As the rules want it.";

function reasonOf(
  attributes: readonly AttributeChange[],
  newDn: string | undefined,
  rules: readonly CompiledRule[],
  recall: ReadonlyMap<string, string>,
): string {
  const [recalled, flowed] = [true, false].map((isRecalled) =>
    attributes.filter(({ name, rule }) => (recall.get(name) === rule) === isRecalled),
  ) as [AttributeChange[], AttributeChange[]];
  const sentences: string[] = [];
  const names = flowed.map(({ name }) => name);
  if (newDn !== undefined) names.unshift("dn");
  const by = [...new Set(flowed.map(({ rule }) => rule))];
  if (by.length === 0) by.push(...rules.map((rule) => rule.name));
  if (names.length > 0) sentences.push(`${names.join(", ")} by rule ${by.join(", ")}.`);
  for (const [rule, ofRule] of Map.groupBy(recalled, ({ rule }) => rule))
    sentences.push(
      `${ofRule.map(({ name }) => name).join(", ")} recalled: it left the scope of rule ${rule}.`,
    );
  return sentences.length === 0 ? asWanted : sentences.join(" ");
}

/**
 * The value of an attribute whose other bits belong to the directory, and whether a hand-made disable is kept in it.
 *
 * A disable is hand-made when the directory shows it, the rules do not want it, and it cannot be ours: what they
 * wanted last (`wantedBits`) was "enabled", and no enabling of ours is on its way. When nothing is remembered (an
 * adopted account) a disabled account stays disabled: whoever disabled it is asked before it opens again.
 */
function ownBits(
  target: ConnectorSpaceObject,
  name: string,
  wanted: bigint,
  mask: bigint,
  expected: Image,
  keepsDisable: boolean,
): { readonly after: bigint; readonly held: boolean; readonly remembered: bigint } {
  const bits = wanted & mask;
  const now = own(expected.attributes, name);
  if (typeof now !== "bigint") return { after: wanted, held: false, remembered: bits };
  const after = (now & ~mask) | bits;
  const disable = accountDisable & mask;
  if (!keepsDisable || disable === 0n) return { after, held: false, remembered: bits };

  const imported = own(importedImage(target)?.attributes ?? {}, name);
  const isDisabled = typeof imported === "bigint" && (imported & now & disable) !== 0n;
  const pending = target.pendingExport?.attributes.find((attribute) => attribute.name === name)?.after;
  const enablingOnItsWay = typeof pending === "bigint" && (pending & disable) === 0n;
  const last = own(target.wantedBits, name);
  const wantsDisabled = (bits & disable) !== 0n;
  const notOurs = last === undefined ? !wantsDisabled : (last & disable) === 0n;
  if (!isDisabled || enablingOnItsWay || !notOurs) return { after, held: false, remembered: bits };
  // Remembered as enabled even while the rules want it disabled too: the hand-made disable outlasts ours.
  return { after: after | disable, held: !wantsDisabled, remembered: bits & ~disable };
}

/** The attributes in which the directory shows a hand-made disable that is kept; for those who look at the object. */
export function heldAttributes(object: ConnectorSpaceObject): readonly string[] {
  const shown = expectedImage(object)?.attributes ?? {};
  return Object.entries(object.wantedBits).flatMap(([name, bits]) => {
    const now = own(shown, name);
    const pending = object.pendingExport?.attributes.find((attribute) => attribute.name === name);
    const then = pending === undefined ? now : pending.after;
    const isDisabled = [now, then].every(
      (value) => typeof value === "bigint" && (value & accountDisable) !== 0n,
    );
    return isDisabled && (bits & accountDisable) === 0n ? [name] : [];
  });
}
