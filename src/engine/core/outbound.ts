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
import { recallableOf, recallOf, updated, wantedValues } from "./exportFlow.ts";
import type { DeprovisionAction } from "./extension.ts";
import { convert, type FlowContext, FlowError, own } from "./flow.ts";
import { provisionedId } from "./identity.ts";
import {
  namesOf,
  parametersOf,
  rulesInScope,
  type Surroundings,
  severalJoinRules,
  severalJoinRulesMessage,
} from "./inbound.ts";
import {
  type AttributeChange,
  type ConnectorSpaceObject,
  expectedImage,
  type Image,
  importedImage,
  type MetaverseObject,
  newConnectorSpaceObject,
} from "./model.ts";
import { entryOf, type ProvisioningPlan, planProvisioning } from "./provisioning.ts";
import { ledOn, noReferences } from "./references.ts";
import { anyMetaverseObjectType, type CompiledRule, canLink, type JoinGroup } from "./rules.ts";
import { type Syntaxes, syntaxesOf } from "./schema.ts";
import { type Attributes, type AttributeValue, isReference, type Value, valuesOf } from "./values.ts";

/** A way to find an unlinked object of the target connector that is meant, before a new one is made. */
export interface ReverseJoinLookup {
  readonly rule: string;
  /** An inbound rule's join, read from the other side: its object is meant only if it would join this very person. */
  readonly inbound?: true;
  readonly conditions: readonly {
    readonly connectorAttribute: string;
    /** Whose value this is; a join by DN has none. */
    readonly metaverseAttribute?: string;
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
  /** A rule that only joins would link an account that is there already; none is made. */
  | {
      readonly kind: "join";
      readonly rule: string;
      readonly objectType: string;
      readonly lookups: readonly ReverseJoinLookup[];
    }
  | {
      readonly kind: "flow";
      readonly object: ConnectorSpaceObject;
      /** Attributes in which a hand-made disable is kept. */
      readonly held: readonly string[];
      readonly reason: string;
      /** Of a target that was never sent: an object that has come since may be meant (SEMANTICS S6). */
      readonly instead?: Extract<OutboundDecision, { kind: "provision" }>;
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
  clock: Surroundings,
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
    if (provision === undefined) return joined(metaverse, inScope);
    if (!hasJoinValue(provision, metaverse)) return { kind: "none" };
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
    const { dn, wantedBits, recallable } = again.object;
    const isSame = isDeepStrictEqual(target.pendingExport, again.object.pendingExport);
    const { pendingExport } = isSame ? target : again.object;
    const object = { ...target, dn, pendingExport, wantedBits, recallable };
    return { kind: "flow", object, held: [], reason: pendingExport?.reason ?? "", instead: again };
  }
  assertOneJoins(inScope, target.objectType);
  const flowing = inScope.filter((rule) => rule.connectorObjectType === target.objectType);
  const recall = recallOf(target, rules, flowing);
  const rename = plan?.kind === "rename" ? plan : null;
  const decision = updated(target, flowing, recall, configuration, context, rename);
  const letGoBy = lettingGo(target, rules, inScope, configuration);
  if (letGoBy === null || decision.kind !== "flow") return decision;
  // What is recalled is sent and confirmed first: nothing is exported to what is not linked.
  if (decision.object.pendingExport !== null || target.unconfirmed !== null) return decision;
  return deprovisioned(target, "disconnect", `It left the scope of rule ${letGoBy}.`);
}

/** The outbound rule that would join the target and no longer takes it, when nothing else links it (R7); null: it stays. */
function lettingGo(
  target: ConnectorSpaceObject,
  rules: readonly CompiledRule[],
  inScope: readonly CompiledRule[],
  configuration: SyncConfiguration,
): string | null {
  const links = (rule: CompiledRule) => canLink(rule) && rule.connectorObjectType === target.objectType;
  const linking = rules.find(links);
  if (target.explicitConnector || linking === undefined || inScope.some(links)) return null;
  if (provisionsByExtension(configuration)) return null; // which deprovisions what it no longer wants
  const image = importedImage(target);
  if (image === null || rulesInScope(target, image, configuration).some(canLink)) return null;
  return linking.name;
}

/** What a rule of link type join looks for (R4): its groups in order, the first that finds exactly one links. */
function joined(metaverse: MetaverseObject, inScope: readonly CompiledRule[]): OutboundDecision {
  const rule = inScope.find(({ join }) => join.length > 0);
  if (rule === undefined) return { kind: "none" };
  const { name, connectorObjectType: objectType } = rule;
  assertOneJoins(inScope, objectType);
  const lookups = lookupsOf(rule, metaverse);
  return lookups.length === 0 ? { kind: "none" } : { kind: "join", rule: name, objectType, lookups };
}

function provisionsByExtension(configuration: SyncConfiguration): boolean {
  return configuration.metaverseExtension?.entryPoints.provision !== undefined;
}

/** What the target's connector says, or its rules extension. @throws FlowError */
function deprovisionOf(
  target: ConnectorSpaceObject,
  configuration: SyncConfiguration,
  clock: Surroundings,
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
  clock: Surroundings,
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
  clock: Surroundings,
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
    orphan: null,
    wantedBits: target.metaverseId === null ? target.wantedBits : {},
    exported: false,
    recallable: {},
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
    recallable: recallableOf(rules, wanted),
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
  const wrong =
    info === undefined
      ? `has no place: it is not a selected attribute of ${connectorObjectType} in ${connector}`
      : info.readOnly === true
        ? "cannot be set: the directory sets it itself"
        : info.writeOnly === true
          ? "cannot be set: it is a secret, and values are stored. The connector makes passwords when it creates accounts"
          : null;
  if (info === undefined || wrong !== null)
    throw new ExtensionError("extension-dll-exception", `${what} ${wrong}.`, about);
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
  return [
    ...inbound.flatMap((one) => lookupsOf(one, metaverse)).map((one) => ({ ...one, inbound: true as const })),
    ...lookupsOf(rule, metaverse),
    { rule: rule.name, conditions: [{ connectorAttribute: "dn", value: dn, caseSensitive: false }] },
  ];
}

/** A group looks for nothing when a value of it is missing, or there are several. */
function lookupsOf(
  { name: rule, join }: Pick<Provisioner, "name" | "join">,
  metaverse: MetaverseObject,
): readonly ReverseJoinLookup[] {
  return join.flatMap((group) => {
    const conditions = reverseConditions(group, metaverse);
    return conditions === null ? [] : [{ rule, conditions }];
  });
}

function reverseConditions(
  group: JoinGroup,
  metaverse: MetaverseObject,
): ReverseJoinLookup["conditions"] | null {
  const conditions = group.map(({ connectorAttribute, metaverseAttribute, caseSensitive }) => {
    const values = valuesOf(own(metaverse.attributes, metaverseAttribute)?.value);
    return values.length === 1
      ? { connectorAttribute, metaverseAttribute, value: values[0]!, caseSensitive }
      : null;
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

/** @param image of the target, as it will be shown or is to be made; only flows by an extension ask for it */
function metaverseContext(
  metaverse: MetaverseObject,
  connector: string,
  configuration: SyncConfiguration,
  clock: Surroundings,
  image?: () => Image,
): FlowContext & { parameter(name: string): Value | undefined } {
  const extension = connectorExtension(connector, configuration);
  const { references = noReferences } = clock;
  const led = new Map<string, AttributeValue | undefined>();
  const attribute = (name: string) => {
    const value = own(metaverse.attributes, name)?.value;
    if (typeof value !== "object" || !valuesOf(value).some(isReference)) return value;
    // A group's members are looked up once, however many scopes and flows read them.
    if (!led.has(name))
      led.set(
        name,
        ledOn(value, (to) => references.toConnector(connector, to)),
      );
    return led.get(name);
  };
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
