/**
 * Step 4: what the rules want of one target connector for one metaverse object, against what its object there looks
 * like: provision, flow, rename or deprovision. Level, not event: nothing here asks what has just changed.
 */
import { isDeepStrictEqual } from "node:util";
import {
  askDeprovisioning,
  connectorExtension,
  csEntry,
  ExtensionError,
  extensionName,
  mapForExport,
  mvEntry,
} from "./callExtension.ts";
import type { SyncConfiguration } from "./configuration.ts";
import type { DeprovisionAction } from "./extension.ts";
import { convert, evaluateFlow, type FlowContext, FlowError, own } from "./flow.ts";
import { provisionedId } from "./identity.ts";
import { type Clock, namesOf, parametersOf, severalJoinRules, severalJoinRulesMessage } from "./inbound.ts";
import {
  type AttributeChange,
  type ConnectorSpaceObject,
  expectedImage,
  type Image,
  importedImage,
  type MetaverseObject,
  newConnectorSpaceObject,
  type PendingExport,
} from "./model.ts";
import { entryOf, type ProvisioningPlan, planProvisioning } from "./provisioning.ts";
import {
  type AttributeInfo,
  anyMetaverseObjectType,
  type CompiledFlow,
  type CompiledRule,
  type JoinGroup,
  type MergeType,
} from "./rules.ts";
import { type Syntaxes, syntaxesOf } from "./schema.ts";
import {
  type Attributes,
  type AttributeValue,
  attributesEqual,
  comparisonKey,
  dnKey,
  type Value,
  valuesOf,
} from "./values.ts";

/** The bit of userAccountControl that disables an account ([MS-ADTS] 2.2.16). */
const accountDisable = 0x2n;

/** A way to find an unlinked object of the target connector that is meant, before a new one is made. */
export interface ReverseJoinLookup {
  readonly rule: string;
  readonly conditions: readonly {
    readonly connectorAttribute: string;
    readonly value: Value;
    readonly caseSensitive: boolean;
  }[];
}

export type OutboundDecision =
  /** No rule wants anything here. */
  | { readonly kind: "none" }
  /** Something is under way with the object; the next synchronisation after it decides. */
  | { readonly kind: "leave"; readonly reason: string }
  | {
      readonly kind: "provision";
      readonly rule: string;
      readonly object: ConnectorSpaceObject;
      readonly lookups: readonly ReverseJoinLookup[];
    }
  | {
      readonly kind: "flow";
      readonly object: ConnectorSpaceObject;
      /** Attributes in which a hand-made disable is kept. */
      readonly held: readonly string[];
      readonly reason: string;
    }
  | {
      readonly kind: "deprovision";
      /** Null: it was never sent, so it just goes. */
      readonly object: ConnectorSpaceObject | null;
      readonly reason: string;
    };

/** Provisioned, and no attempt to send it has begun. */
export function isUnsent(object: ConnectorSpaceObject): boolean {
  return (
    object.anchor === null &&
    object.escrow === null &&
    object.unconfirmed === null &&
    importedImage(object) === null
  );
}

/**
 * @param metaverse alive, with its values reduced
 * @param target the object of `connector` linked to it
 * @param plan what the metaverse's rules extension wants here (`planProvisioning`); it goes before the rules
 * @throws FlowError when a flow fails: nothing is decided for this target then
 */
export function decideOutbound(
  metaverse: MetaverseObject,
  connector: string,
  target: ConnectorSpaceObject | null,
  configuration: SyncConfiguration,
  clock: Clock,
  plan?: ProvisioningPlan,
): OutboundDecision {
  const rules = configuration.rules.outbound(connector, metaverse.objectType);
  const planned = plan?.kind === "connect" ? provisionerOf(plan) : undefined;
  const context = metaverseContext(metaverse, connector, configuration, clock, () => {
    const expected = target === null ? null : expectedImage(target);
    const objectType = target?.objectType ?? (planned ?? provision)?.connectorObjectType ?? "";
    return expected ?? { objectType, dn: planned?.dn ?? "", attributes: planned?.attributes ?? {} };
  });
  const inScope = rules.filter((rule) => rule.inScope(context));
  const provision = inScope.find(
    (rule) =>
      rule.linkType === "provision" && (target === null || target.objectType === rule.connectorObjectType),
  );
  if (target === null) {
    if (planned !== undefined) {
      assertOneJoins(inScope, planned.connectorObjectType);
      return provisioned(metaverse, planned, inScope, configuration, context);
    }
    if (provision === undefined || !hasJoinValue(provision, metaverse)) return { kind: "none" };
    assertOneJoins(inScope, provision.connectorObjectType);
    return provisioned(metaverse, provision, inScope, configuration, context);
  }
  const underWay = workUnderWay(target);
  if (underWay !== null) return { kind: "leave", reason: underWay };

  if (plan?.kind === "deprovision") {
    const how = deprovisionOf(target, configuration, clock);
    return deprovisioned(target, how, `Deprovisioned by ${plan.extension}.`);
  }
  const couldProvision = rules.filter(
    (rule) => rule.linkType === "provision" && rule.connectorObjectType === target.objectType,
  );
  if (couldProvision.length > 0 && provision === undefined) {
    const reason = `It left the scope of rule ${couldProvision[0]!.name}.`;
    // An account that was only joined may never have been in scope: it is let go, not deleted.
    return isProvisionedFor(metaverse, target)
      ? deprovisioned(target, deprovisionOf(target, configuration, clock), reason)
      : deprovisioned(target, "disconnect", reason);
  }
  const provisioner = planned?.connectorObjectType === target.objectType ? planned : provision;
  if (isUnsent(target) && provisioner === undefined && provisionsByExtension(configuration))
    return deprovisioned(target, "disconnect", "The rules extension no longer wants it.");
  if (isUnsent(target) && provisioner !== undefined) {
    const again = provisioned(metaverse, provisioner, inScope, configuration, context);
    if (again.kind !== "provision") return again;
    const { dn, pendingExport, wantedBits } = again.object;
    const object = { ...target, dn, pendingExport, wantedBits };
    return { kind: "flow", object, held: [], reason: pendingExport?.reason ?? "" };
  }
  assertOneJoins(inScope, target.objectType);
  const flowing = inScope.filter((rule) => rule.connectorObjectType === target.objectType);
  return updated(target, flowing, configuration, context, plan?.kind === "rename" ? plan : null);
}

function provisionsByExtension(configuration: SyncConfiguration): boolean {
  return configuration.metaverseExtension?.entryPoints.provision !== undefined;
}

/** What the target's connector says, or its rules extension. @throws FlowError */
function deprovisionOf(
  target: ConnectorSpaceObject,
  configuration: SyncConfiguration,
  clock: Clock,
): DeprovisionAction {
  const how = configuration.connectors.get(target.connector)?.deprovision ?? "disconnect";
  if (how !== "extension") return how;
  const extension = connectorExtension(target.connector, configuration);
  if (extension === undefined)
    throw new TypeError(
      `${target.connector} has no extension to deprovision with. This is a bug in the engine.`,
    );
  return askDeprovisioning(extension, entryOf(target), configuration, clock.now);
}

/** Precedence does not choose between joins (R6). @throws FlowError */
function assertOneJoins(inScope: readonly CompiledRule[], objectType: string): void {
  const joining = inScope.filter((rule) => rule.connectorObjectType === objectType && rule.join.length > 0);
  if (joining.length < 2) return;
  throw new FlowError(severalJoinRules, severalJoinRulesMessage(namesOf(joining)), joining[0]!.name);
}

/**
 * What becomes of a target when its metaverse object goes. R10: an object that a rule provisions is deprovisioned as
 * its connector says; any other is only disconnected. A rules extension provisions what it would connect anew.
 * @param metaverse with the values it had: they tell whether the account was in the scope of such a rule
 * @throws FlowError when a rules extension fails
 */
export function decideDeprovisioning(
  metaverse: MetaverseObject,
  target: ConnectorSpaceObject,
  configuration: SyncConfiguration,
  clock: Clock,
  cause: string,
): OutboundDecision {
  const underWay = workUnderWay(target);
  if (underWay !== null) return { kind: "leave", reason: underWay };
  const context = metaverseContext(metaverse, target.connector, configuration, clock);
  const rule = configuration.rules
    .outbound(target.connector, metaverse.objectType)
    .find(
      (candidate) =>
        candidate.linkType === "provision" &&
        candidate.connectorObjectType === target.objectType &&
        (isProvisionedFor(metaverse, target) || candidate.inScope(context)),
    );
  const reason = `The metaverse object goes: ${cause}.`;
  const by =
    rule === undefined ? provisioningExtension(metaverse, target, configuration, clock) : `rule ${rule.name}`;
  if (by === null) return deprovisioned(target, "disconnect", reason);
  const how = deprovisionOf(target, configuration, clock);
  return deprovisioned(target, how, `${reason} Provisioned by ${by}.`);
}

/** The rules extension that has made, or would make, this account; null when none does. */
function provisioningExtension(
  metaverse: MetaverseObject,
  target: ConnectorSpaceObject,
  configuration: SyncConfiguration,
  clock: Clock,
): string | null {
  const plan = planProvisioning(metaverse, [], configuration, clock.now).get(target.connector);
  if (plan?.kind === "connect" && plan.objectType === target.objectType) return plan.extension;
  return provisionsByExtension(configuration) && isProvisionedFor(metaverse, target)
    ? extensionName(configuration.metaverseExtension!)
    : null;
}

function workUnderWay(target: ConnectorSpaceObject): string | null {
  if (target.pendingImport?.change === "delete")
    return "its deletion in the directory is not synchronised yet";
  if (target.escrow !== null) return "an export of it is under way";
  if (target.unconfirmed?.change === "delete") return "its deletion was exported and is not confirmed yet";
  return null;
}

function isProvisionedFor(metaverse: MetaverseObject, target: ConnectorSpaceObject): boolean {
  return target.id === provisionedId(target.connector, metaverse.id, target.objectType);
}

function deprovisioned(
  target: ConnectorSpaceObject,
  how: DeprovisionAction,
  reason: string,
): OutboundDecision {
  if (isUnsent(target)) return { kind: "deprovision", object: null, reason };
  if (how === "delete") {
    // The first cause stands: asked again, nothing changes.
    const decided = target.pendingExport?.change === "delete" ? target.pendingExport : null;
    const pendingExport = decided ?? { change: "delete" as const, attributes: [], reason };
    return { kind: "deprovision", object: { ...target, pendingExport }, reason: pendingExport.reason };
  }
  const disconnector = how === "explicitDisconnect" ? "explicit" : "normal";
  return { kind: "deprovision", object: disconnected(target, disconnector), reason };
}

/** The target without its link; what its imports say stays as it is. */
export function disconnected(
  target: ConnectorSpaceObject,
  disconnector: ConnectorSpaceObject["disconnector"],
): ConnectorSpaceObject {
  return {
    ...target,
    pendingExport: null,
    metaverseId: null,
    linking: null,
    disconnector,
    explicitConnector: false,
    absence: null,
    wantedBits: {},
    exported: false,
  };
}

// ---- provisioning ----------------------------------------------------------------------------------------------

/** Who provisions: a rule, or a rules extension, which brings DN and initial values itself. */
interface Provisioner {
  readonly name: string;
  readonly connector: string;
  readonly connectorObjectType: string;
  readonly join: readonly JoinGroup[];
  readonly dn?: string;
  readonly attributes?: Attributes;
}

function provisionerOf(plan: Extract<ProvisioningPlan, { kind: "connect" }>): Required<Provisioner> {
  const { connector, objectType, dn, attributes, extension } = plan;
  return { name: extension, connector, connectorObjectType: objectType, join: [], dn, attributes };
}

function provisioned(
  metaverse: MetaverseObject,
  rule: Provisioner,
  inScope: readonly CompiledRule[],
  configuration: SyncConfiguration,
  context: FlowContext,
): OutboundDecision {
  const by = rule.dn === undefined ? `rule ${rule.name}` : rule.name;
  const { connector, connectorObjectType: objectType } = rule;
  const schema = syntaxesOf(configuration.schemas.get(connector) ?? [], objectType);
  const rules = inScope.filter((one) => one.connectorObjectType === objectType);
  const wanted = wantedValues(rules, context, schema, "creation");
  const dn = rule.dn ?? wanted.get("dn")?.value;
  if (typeof dn !== "string")
    throw new FlowError("missing-dn", `Rule ${rule.name} gives no DN to provision at.`, rule.name, "dn");
  const attributes: AttributeChange[] = [];
  const wantedBits: Record<string, bigint> = {};
  for (const [name, { value, rule: from, ownedBits }] of wanted) {
    if (name === "dn" || value === null) continue;
    attributes.push({ name, after: value, rule: from });
    if (ownedBits !== undefined && typeof value === "bigint") wantedBits[name] = value & ownedBits;
  }
  for (const [name, value] of Object.entries(rule.attributes ?? {}))
    if (!wanted.has(name))
      attributes.push({ name, after: initial(rule, name, value, schema), rule: rule.name });
  const object = newConnectorSpaceObject({
    id: provisionedId(connector, metaverse.id, objectType),
    connector,
    objectType,
    anchor: null,
    dn,
    metaverseId: metaverse.id,
    wantedBits,
    pendingExport: { change: "add", attributes, reason: `Provisioned by ${by}.` },
  });
  return {
    kind: "provision",
    rule: rule.name,
    object,
    lookups: reverseJoins(metaverse, rule, configuration, dn),
  };
}

/** A value of an extension in the type that the directory has for it. @throws ExtensionError */
function initial(
  { name: extension, connector, connectorObjectType }: Provisioner,
  attribute: string,
  value: AttributeValue,
  schema: Syntaxes,
): AttributeValue {
  if (!schema.known) return value;
  const about = { rule: extension, attribute };
  const info = schema.attribute(attribute);
  const what = `The initial value of "${attribute}"`;
  if (info === undefined || info.readOnly === true)
    throw new ExtensionError(
      "extension-dll-exception",
      info === undefined
        ? `${what} has no place: it is not a selected attribute of ${connectorObjectType} in ${connector}.`
        : `${what} cannot be set: the directory sets it itself.`,
      about,
    );
  const converted = convert(value, info);
  if ("value" in converted) return converted.value;
  throw new ExtensionError(converted.code, `${what}: it ${converted.message}.`, about);
}

/** The joins of the connector's rules, read from the metaverse's side, and the DN. */
function reverseJoins(
  metaverse: MetaverseObject,
  rule: Provisioner,
  configuration: SyncConfiguration,
  dn: string,
): readonly ReverseJoinLookup[] {
  const inbound = configuration.rules
    .inbound(rule.connector, rule.connectorObjectType)
    .filter(
      ({ metaverseObjectType: type }) => type === metaverse.objectType || type === anyMetaverseObjectType,
    );
  const lookups = [...inbound, rule].flatMap((one) =>
    one.join.flatMap((group) => {
      const conditions = reverseConditions(group, metaverse);
      return conditions === null ? [] : [{ rule: one.name, conditions }];
    }),
  );
  return [
    ...lookups,
    { rule: rule.name, conditions: [{ connectorAttribute: "dn", value: dn, caseSensitive: false }] },
  ];
}

function reverseConditions(
  group: JoinGroup,
  metaverse: MetaverseObject,
): ReverseJoinLookup["conditions"] | null {
  const conditions = group.map(({ connectorAttribute, metaverseAttribute, caseSensitive }) => {
    const values = valuesOf(own(metaverse.attributes, metaverseAttribute)?.value);
    return values.length === 1 ? { connectorAttribute, value: values[0]!, caseSensitive } : null;
  });
  return conditions.includes(null) ? null : conditions.filter((condition) => condition !== null);
}

/** A rule that provisions does so only if at least one attribute of its join criteria has a value (DEF, R5). */
function hasJoinValue(rule: CompiledRule, metaverse: MetaverseObject): boolean {
  const conditions = rule.join.flat();
  return (
    conditions.length === 0 ||
    conditions.some(({ metaverseAttribute }) => own(metaverse.attributes, metaverseAttribute) !== undefined)
  );
}

// ---- flows -----------------------------------------------------------------------------------------------------

interface Wanted {
  /** Null: the attribute shall have no value. */
  readonly value: AttributeValue | null;
  readonly rule: string;
  readonly ownedBits: bigint | undefined;
}

/** What the flows into one attribute have offered so far. */
interface Offered {
  rule: string;
  flow: CompiledFlow;
  readonly values: AttributeValue[];
  /** No further flow is asked. */
  settled: boolean;
}

/** What the rules want, by target attribute; an attribute whose flows are all ignored is not there. */
function wantedValues(
  rules: readonly CompiledRule[],
  context: FlowContext,
  schema: Syntaxes,
  moment: "creation" | "update",
): ReadonlyMap<string, Wanted> {
  const offered = new Map<string, Offered>();
  for (const { name: rule, flows } of rules) {
    for (const flow of moment === "creation" ? initialFirst(flows) : flows) {
      if (flow.applyOnce && moment === "update") continue;
      let one = offered.get(flow.target);
      if (one?.settled) continue;
      const offer = evaluateFlow(rule, flow, context, attributeInfo(flow.target, schema));
      if (offer === "ignore") continue;
      if (one === undefined) {
        one = { rule, flow, values: [], settled: false };
        offered.set(flow.target, one);
      }
      if (offer === "null") continue;
      if (offer === "authoritativeNull") {
        one.settled = true;
        continue;
      }
      if (one.values.length === 0) Object.assign(one, { rule, flow });
      one.values.push(offer.value);
      one.settled = flow.mergeType === "update";
    }
  }
  const wanted = new Map<string, Wanted>();
  for (const [target, { rule, flow, values }] of offered) {
    const [first = null] = values;
    const value = values.length > 1 ? union(values, flow.mergeType) : first;
    wanted.set(target, { value, rule, ownedBits: flow.ownedBits });
  }
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

function updated(
  target: ConnectorSpaceObject,
  rules: readonly CompiledRule[],
  configuration: SyncConfiguration,
  context: FlowContext,
  rename: Extract<ProvisioningPlan, { kind: "rename" }> | null,
): OutboundDecision {
  const expected = expectedImage(target);
  if (expected === null) return { kind: "leave", reason: "no import has seen it yet" };
  const schema = syntaxesOf(configuration.schemas.get(target.connector) ?? [], target.objectType);
  const keepsDisable = configuration.connectors.get(target.connector)?.keepHandMadeDisable ?? true;
  const wanted = wantedValues(rules, context, schema, "update");

  const attributes: AttributeChange[] = [];
  const held: string[] = [];
  const wantedBits: Record<string, bigint> = { ...target.wantedBits };
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
      wantedBits[name] = bits.remembered;
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
  const reason =
    rename === null
      ? reasonOf(attributes, newDn, rules)
      : `dn by ${rename.extension}${attributes.length === 0 ? "" : `; ${reasonOf(attributes, undefined, rules)}`}.`;
  const pendingExport: PendingExport | null =
    attributes.length === 0 && newDn === undefined
      ? null
      : { change: "update", ...(newDn !== undefined && { newDn }), attributes, reason };
  const object: ConnectorSpaceObject = {
    ...target,
    pendingExport: isDeepStrictEqual(target.pendingExport, pendingExport)
      ? target.pendingExport
      : pendingExport,
    wantedBits,
    error: pendingExport === null && target.error?.phase === "export" ? null : target.error,
  };
  return { kind: "flow", object, held, reason };
}

function reasonOf(
  attributes: readonly AttributeChange[],
  newDn: string | undefined,
  rules: readonly CompiledRule[],
): string {
  const names = attributes.map((attribute) => attribute.name);
  if (newDn !== undefined) names.unshift("dn");
  const by = [...new Set(attributes.map((attribute) => attribute.rule))];
  if (by.length === 0) by.push(...rules.map((rule) => rule.name));
  return names.length === 0 ? "As the rules want it." : `${names.join(", ")} by rule ${by.join(", ")}.`;
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

/** @param image of the target, as it will be shown or is to be made; only flows by an extension ask for it */
function metaverseContext(
  metaverse: MetaverseObject,
  connector: string,
  configuration: SyncConfiguration,
  clock: Clock,
  image?: () => Image,
): FlowContext & { parameter(name: string): Value | undefined } {
  const extension = connectorExtension(connector, configuration);
  const attribute = (name: string) => own(metaverse.attributes, name)?.value;
  return {
    attribute,
    // Nothing but imports fills the metaverse: its values are confirmed ones.
    importedValue: attribute,
    parameter: parametersOf(connector, configuration),
    now: clock.now,
    random: () => clock.random(),
    ...(extension !== undefined &&
      image !== undefined && {
        mapped: (flow) => {
          const entry = csEntry(connector, image());
          return mapForExport(extension, flow, mvEntry(metaverse), entry, configuration, clock.now);
        },
      }),
  };
}
