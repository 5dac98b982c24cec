/** Step 2: scope, join and projection of one connector space object, and what it contributes. */
import {
  askFilter,
  askJoin,
  askProjection,
  connectorExtension,
  csEntry,
  extensionName,
  mapForImport,
  mvEntry,
} from "./callExtension.ts";
import type { SyncConfiguration } from "./configuration.ts";
import { evaluateFlow, type FlowContext, FlowError, type Offer, own } from "./flow.ts";
import { projectedId } from "./identity.ts";
import { type ConnectorSpaceObject, type Image, importedImage, type MetaverseObject } from "./model.ts";
import { withoutErrorOf } from "./objectErrors.ts";
import { ledOn, noReferences, type References } from "./references.ts";
import { anyMetaverseObjectType, type CompiledRule, canLink, type MergeType } from "./rules.ts";
import { compileScope, type ScopeContext, type ScopeTest } from "./scope.ts";
import {
  type Attributes,
  type AttributeValue,
  type DateTime,
  dateTimeFromMs,
  type Value,
  valuesEqual,
  valuesOf,
} from "./values.ts";

/** One join group of one rule: the store finds the metaverse objects (no tombstones) that meet all conditions. */
export interface JoinLookup {
  readonly rule: string;
  /** The index of the group in the rule. */
  readonly group: number;
  /** `*`: of any type. */
  readonly metaverseObjectType: string;
  readonly conditions: readonly {
    readonly metaverseAttribute: string;
    readonly value: Value;
    readonly caseSensitive: boolean;
  }[];
}

/** `joinKey(lookup)` → ids of the metaverse objects found; two are enough to know that it is ambiguous. */
export type JoinCandidates = ReadonlyMap<string, readonly string[]>;

export function joinKey(lookup: Pick<JoinLookup, "rule" | "group">): string {
  return `${lookup.group}:${lookup.rule}`;
}

export type DisconnectorReason =
  | "explicit"
  | "filtered"
  | "ambiguous-join"
  | typeof severalJoinRules
  | "no-rule";

/** The error of an object in whose scope several rules would join: precedence does not choose between joins (R6). */
export const severalJoinRules = "several-join-rules-in-scope";
export function severalJoinRulesMessage(names: string): string {
  return `Several rules with a join are in scope: ${names}. Make their scopes exclude each other.`;
}

export type ConnectionDecision =
  | { readonly kind: "stay"; readonly metaverseId: string }
  | {
      readonly kind: "join" | "projection";
      readonly metaverseId: string;
      readonly metaverseObjectType: string;
      readonly rule: string;
    }
  | { readonly kind: "disconnector"; readonly reason: DisconnectorReason; readonly rule?: string };

/** The lookups of an unlinked object, in the order in which they count; none when it is out of scope. */
export function joinLookups(
  object: ConnectorSpaceObject,
  configuration: SyncConfiguration,
): readonly JoinLookup[] {
  const image = importedImage(object);
  if (image === null || object.metaverseId !== null || object.disconnector === "explicit") return [];
  return rulesInScope(object, image, configuration).flatMap((rule) =>
    rule.join.flatMap((group, index) => {
      const conditions = group.map((condition) => {
        const values = valuesOf(readImage(image, condition.connectorAttribute));
        // With several values, or none, the group cannot find one object.
        return values.length === 1 && values[0] !== ""
          ? {
              metaverseAttribute: condition.metaverseAttribute,
              value: values[0]!,
              caseSensitive: condition.caseSensitive,
            }
          : null;
      });
      if (conditions.some((condition) => condition === null)) return [];
      return [
        {
          rule: rule.name,
          group: index,
          metaverseObjectType: rule.metaverseObjectType,
          conditions: conditions.filter((condition) => condition !== null),
        },
      ];
    }),
  );
}

/** Whether the metaverse object is one that the join group looks for; a tombstone never is. */
export function meets(
  object: MetaverseObject,
  { metaverseObjectType: type, conditions }: Pick<JoinLookup, "metaverseObjectType" | "conditions">,
): boolean {
  if (object.deleted || (type !== anyMetaverseObjectType && type !== object.objectType)) return false;
  return conditions.every(({ metaverseAttribute, value, caseSensitive }) => {
    const syntax = caseSensitive ? "exact" : "caseIgnore";
    const values = valuesOf(own(object.attributes, metaverseAttribute)?.value);
    return values.some((one) => valuesEqual(one, value, syntax));
  });
}

/**
 * Places one connector space object. The first line that applies decides:
 *
 *   disconnected by hand ──────► disconnector (explicit)
 *   connected ─────────────────► stays; whether it leaves scope is for `synchronize`
 *   out of scope ──────────────► disconnector (filtered): no rule that could link it takes it
 *   several rules would join ──► disconnector (several-join-rules-in-scope): an error, whatever they would find
 *   a join group, one match ───► join
 *   only ambiguous matches ────► disconnector (ambiguous-join): never project after an ambiguous match
 *   a projection rule ─────────► projection
 *   none ──────────────────────► disconnector (no-rule)
 *
 * A rules extension of the connector may filter, choose among what a join group has found, and project.
 *
 * @param candidates what the store found for `joinLookups(object, configuration)`
 * @param found a metaverse object of the candidates, by its id
 * @throws FlowError when the extension fails: nothing is decided for this object then
 */
export function decideConnection(
  object: ConnectorSpaceObject,
  configuration: SyncConfiguration,
  candidates: JoinCandidates,
  found: (id: string) => MetaverseObject | undefined = () => undefined,
): ConnectionDecision {
  if (object.metaverseId !== null) return { kind: "stay", metaverseId: object.metaverseId };
  if (object.disconnector === "explicit") return { kind: "disconnector", reason: "explicit" };
  const image = importedImage(object);
  if (image === null || isFiltered(object.connector, image, configuration))
    return { kind: "disconnector", reason: "filtered" };
  const rules = rulesInScope(object, image, configuration).filter(canLink);
  if (rules.length === 0) {
    const known = configuration.rules.inbound(object.connector, image.objectType).some(canLink);
    return { kind: "disconnector", reason: known ? "filtered" : "no-rule" };
  }
  const joining = rules.filter(({ join }) => join.length > 0);
  if (joining.length > 1) return { kind: "disconnector", reason: severalJoinRules, rule: namesOf(joining) };

  let ambiguous: string | undefined;
  for (const lookup of joinLookups(object, configuration)) {
    const matches = candidates.get(joinKey(lookup)) ?? [];
    const [match, ...others] = resolved(object, image, lookup, matches, configuration, found);
    if (match === undefined) continue;
    const { rule, metaverseObjectType } = lookup;
    if (others.length === 0) return { kind: "join", metaverseId: match, metaverseObjectType, rule };
    ambiguous ??= rule; // a later group may still find exactly one
  }
  if (ambiguous !== undefined) return { kind: "disconnector", reason: "ambiguous-join", rule: ambiguous };

  const extension = connectorExtension(object.connector, configuration);
  if (extension?.entryPoints.shouldProjectToMV !== undefined) {
    const type = askProjection(extension, csEntry(object.connector, image), configuration);
    if (type === null) return { kind: "disconnector", reason: "no-rule" };
    return {
      kind: "projection",
      metaverseId: projectedId(object.id),
      metaverseObjectType: type,
      rule: extensionName(extension),
    };
  }
  const projection = rules.find((rule) => rule.linkType === "provision" && hasJoinValue(rule, image));
  if (projection === undefined) return { kind: "disconnector", reason: "no-rule" };
  return {
    kind: "projection",
    metaverseId: projectedId(object.id),
    metaverseObjectType: projection.metaverseObjectType,
    rule: projection.name,
  };
}

/** What a join group has found, as the connector's rules extension resolves it. */
function resolved(
  object: ConnectorSpaceObject,
  image: Image,
  lookup: JoinLookup,
  matches: readonly string[],
  configuration: SyncConfiguration,
  found: (id: string) => MetaverseObject | undefined,
): readonly string[] {
  const extension = connectorExtension(object.connector, configuration);
  if (extension?.entryPoints.resolveJoin === undefined || matches.length === 0) return matches;
  const entries = matches.flatMap((id) => {
    const metaverse = found(id);
    return metaverse === undefined ? [] : [mvEntry(metaverse)];
  });
  const chosen = askJoin(extension, lookup.rule, csEntry(object.connector, image), entries, configuration);
  return chosen === null ? [] : [chosen];
}

/** As a message lists them. */
export function namesOf(rules: readonly CompiledRule[]): string {
  return rules.map(({ name }) => name).join(", ");
}

/** A rule that provisions does so only if at least one attribute of its join criteria has a value (DEF, R5). */
function hasJoinValue(rule: CompiledRule, image: Image): boolean {
  const conditions = rule.join.flat();
  return (
    conditions.length === 0 ||
    conditions.some(({ connectorAttribute }) => valuesOf(readImage(image, connectorAttribute)).length > 0)
  );
}

/**
 * The object after a decision that does not link it: pending import applied, link and intent gone. Null: it goes away,
 * because its pending import is a delete.
 */
export function asDisconnector(
  object: ConnectorSpaceObject,
  reason: DisconnectorReason,
): ConnectorSpaceObject | null {
  const image = importedImage(object);
  if (image === null) return null;
  return {
    ...object,
    objectType: image.objectType,
    dn: image.dn,
    synchronized: image,
    pendingImport: null,
    pendingExport: null,
    metaverseId: null,
    linking: null,
    disconnector: reason === "explicit" || reason === "filtered" ? reason : "normal",
    explicitConnector: false,
    absence: null,
    orphan: reason === "no-rule" ? object.orphan : null,
    // Of an orphan: that it was disabled by us.
    wantedBits: object.metaverseId === null ? object.wantedBits : {},
    exported: false,
    recallable: {},
    error: withoutErrorOf(object.error, "synchronization"),
  };
}

/** For `StagingOptions.inScope`. An extension that fails begins no absence: the synchronisation tells its error. */
export function inboundScope(connector: string, configuration: SyncConfiguration): (image: Image) => boolean {
  return (image) => {
    try {
      return isInScope(connector, image, configuration);
    } catch (error) {
      if (error instanceof FlowError) return true;
      throw error;
    }
  };
}

/**
 * Whether the connector's filter lets the image pass and an inbound rule that can link takes it. Rules that only flow
 * hold no object (R7, R8). True where no rule links: what is connected there was joined from the other side.
 */
export function isInScope(connector: string, image: Image, configuration: SyncConfiguration): boolean {
  if (isFiltered(connector, image, configuration)) return false;
  if (!configuration.rules.hasInbound(connector)) return true;
  const rules = configuration.rules.inbound(connector, image.objectType);
  const linking = rules.filter(canLink);
  if (linking.length === 0) return rules.length > 0;
  const context = imageContext(image, null, connector, configuration);
  return linking.some((rule) => rule.inScope(context));
}

const filters = new WeakMap<object, ScopeTest>();

function isFiltered(connector: string, image: Image, configuration: SyncConfiguration): boolean {
  if (meetsFilter(connector, image, configuration)) return true;
  const extension = connectorExtension(connector, configuration);
  if (extension?.entryPoints.filterForDisconnection === undefined) return false;
  return askFilter(extension, csEntry(connector, image), configuration);
}

function meetsFilter(connector: string, image: Image, configuration: SyncConfiguration): boolean {
  const filter = configuration.connectors.get(connector)?.filter ?? [];
  if (filter.length === 0) return false;
  let test = filters.get(filter);
  if (test === undefined) {
    test = compileScope(filter);
    filters.set(filter, test);
  }
  return test(imageContext(image, null, connector, configuration));
}

/** The inbound rules that hold for the object with this image, in order of precedence. */
export function rulesInScope(
  object: ConnectorSpaceObject,
  image: Image,
  configuration: SyncConfiguration,
): readonly CompiledRule[] {
  const rules = configuration.rules.inbound(object.connector, image.objectType);
  const context = imageContext(image, object.absence, object.connector, configuration);
  const inScope = rules.filter((rule) => rule.inScope(context));
  if (object.absence === null) return inScope;
  // When the rules have let go of an object that is still in its grace period, no scope holds for it any more; without
  // values the metaverse object would lose what the grace period is to keep.
  const isHeld = rules.some(canLink) ? inScope.some(canLink) : inScope.length > 0;
  return isHeld ? inScope : rules;
}

/** The rules that would join the object, if they are several: its error, also when it is connected already (R6). */
export function joinConflict(
  object: ConnectorSpaceObject,
  image: Image,
  configuration: SyncConfiguration,
): readonly CompiledRule[] | null {
  const rules = configuration.rules
    .inbound(object.connector, image.objectType)
    .filter(({ join }) => join.length > 0);
  if (rules.length < 2) return null;
  const context = imageContext(image, object.absence, object.connector, configuration);
  const inScope = rules.filter((rule) => rule.inScope(context));
  return inScope.length > 1 ? inScope : null;
}

/** What one rule offers for one metaverse attribute. */
export interface Contribution {
  readonly attribute: string;
  readonly connector: string;
  /** The connector space object. */
  readonly object: string;
  readonly rule: string;
  readonly precedence: number;
  /** `authoritativeNull`: no rule of lower precedence may contribute either. */
  readonly offer: { readonly value: AttributeValue } | "authoritativeNull";
  readonly mergeType: MergeType;
}

/** What a decision may ask besides its values. */
export interface Surroundings {
  readonly now: DateTime;
  random(): number;
  /** Where none are given, every reference leads nowhere. */
  readonly references?: References;
}

/**
 * What the object offers its metaverse object through the rules in whose scope it is.
 * @param rules those, where the caller knows them
 * @throws FlowError when a flow fails: the object offers all or nothing
 */
export function contributionsOf(
  object: ConnectorSpaceObject,
  image: Image,
  metaverse: MetaverseObject,
  configuration: SyncConfiguration,
  clock: Surroundings,
  rules = rulesInScope(object, image, configuration),
): readonly Contribution[] {
  const extension = connectorExtension(object.connector, configuration);
  const context: FlowContext = {
    ...imageContext(image, object.absence, object.connector, configuration),
    // Our images hold nothing that an import has not shown, so what is read is what is confirmed.
    importedValue: (name) => readImage(image, name),
    now: clock.now,
    random: () => clock.random(),
    ...(extension !== undefined && {
      mapped: (flow) => {
        const entry = csEntry(object.connector, image, absenceAttributes(object.absence));
        const before = mvEntry(metaverse);
        return mapForImport(extension, flow, entry, before, configuration, clock.now);
      },
    }),
  };
  const types = configuration.metaverse.get(metaverse.objectType)?.attributes;
  const { references = noReferences } = clock;
  const contributions: Contribution[] = [];
  for (const rule of rules) {
    const isOfAnyType = rule.metaverseObjectType === anyMetaverseObjectType;
    if (!isOfAnyType && rule.metaverseObjectType !== metaverse.objectType) continue;
    for (const flow of rule.flows) {
      if (isOfAnyType && types?.has(flow.target) === false) continue;
      const given = flow.applyOnce ? givenBefore(metaverse, flow.target, object.connector, rule) : null;
      const info = types?.get(flow.target);
      let offer: Offer = given ?? evaluateFlow(rule.name, flow, context, info);
      if (given === null && info?.type === "reference" && typeof offer !== "string") {
        const value = ledOn(offer.value, (to) => references.toMetaverse(object.connector, to));
        offer = value === undefined ? "null" : { value };
      }
      if (offer === "ignore") offer = givenBefore(metaverse, flow.target, object.connector, rule) ?? "null";
      if (offer === "null") continue;
      contributions.push({
        attribute: flow.target,
        connector: object.connector,
        object: object.id,
        rule: rule.name,
        precedence: rule.precedence,
        offer,
        mergeType: flow.mergeType,
      });
    }
  }
  return contributions;
}

/** What this rule of this connector has already given the attribute. */
function givenBefore(
  metaverse: MetaverseObject,
  attribute: string,
  connector: string,
  rule: CompiledRule,
): { readonly value: AttributeValue } | null {
  const kept = own(metaverse.attributes, attribute);
  return kept?.connector === connector && kept.rule === rule.name ? { value: kept.value } : null;
}

/** `%Connector.ID%` is the connector's name: that is what rules compare it with. */
export function parametersOf(
  connector: string,
  configuration: SyncConfiguration,
): (name: string) => Value | undefined {
  return (name) => (name === "Connector.ID" ? connector : configuration.parameters.get(name));
}

/** What the scopes and flows of inbound rules read of an object. */
export function imageContext(
  image: Image,
  absence: ConnectorSpaceObject["absence"],
  connector: string,
  configuration: SyncConfiguration,
): Required<ScopeContext> {
  return {
    attribute: (name) => {
      if (absence !== null && name === "absence") return absence.kind;
      if (absence !== null && name === "absentSince") return dateTimeFromMs(Date.parse(absence.since));
      return readImage(image, name);
    },
    parameter: parametersOf(connector, configuration),
  };
}

function absenceAttributes(absence: ConnectorSpaceObject["absence"]): Attributes {
  if (absence === null) return {};
  return { absence: absence.kind, absentSince: dateTimeFromMs(Date.parse(absence.since)) };
}

export function readImage(image: Image, name: string): AttributeValue | undefined {
  return name === "dn" ? image.dn : own(image.attributes, name);
}
