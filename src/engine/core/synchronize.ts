/**
 * Steps 2 to 4 as one function: the synchronisation step, preview and simulator all call it.
 *
 *   the metaverse object and all that is linked to it
 *     ─► fates: what stays connected, what goes (deleted, out of scope, grace over, a duplicate)
 *     ─► contributions of what stays ─► deletion rule, or the reduced values
 *     ─► every target: provision, flow, deprovision ─► one decision, to be committed in one go
 *
 * What fails for one object is its error; the others, and the other targets, go on.
 */

import { isDeepStrictEqual } from "node:util";
import {
  askDeletion,
  askProjection,
  connectedMVEntry,
  connectorExtension,
  csEntry,
  ExtensionError,
  extensionName,
  mvEntry,
} from "./callExtension.ts";
import type { SyncConfiguration } from "./configuration.ts";
import { FlowError, own } from "./flow.ts";
import { projectedId } from "./identity.ts";
import {
  asDisconnector,
  type Contribution,
  contributionsOf,
  isInScope,
  joinConflict,
  namesOf,
  rulesInScope,
  severalJoinRules,
  severalJoinRulesMessage,
} from "./inbound.ts";
import { decideDeletion, decideRevival, type Link, reduceContributions } from "./metaverse.ts";
import {
  type ConnectorSpaceObject,
  type Image,
  importedImage,
  type MetaverseObject,
  type ObjectError,
  unclaimed,
} from "./model.ts";
import { withoutErrorOf, withRefusal } from "./objectErrors.ts";
import {
  decideDeprovisioning,
  decideOutbound,
  disconnected,
  isUnsent,
  type OutboundDecision,
  type ReverseJoinLookup,
} from "./outbound.ts";
import { entryOf, type ProvisioningPlan, planProvisioning } from "./provisioning.ts";
import type { References } from "./references.ts";
import type { CompiledRule } from "./rules.ts";
import { type DateTime, dateTimeToMs } from "./values.ts";

export interface SyncInput {
  /** The object as stored; for a projection `newMetaverseObject(id, type)`. Tombstones too. */
  readonly metaverse: MetaverseObject;
  /**
   * All objects linked to it, of every connector: `metaverseId` is its id, or `linking` is (an intent, to be finished
   * here). The caller sets `linking` on an object that `decideConnection` joins or projects.
   */
  readonly objects: readonly ConnectorSpaceObject[];
  /** The connector whose pending imports are applied. The others contribute their `synchronized` image. */
  readonly syncing: string;
  readonly configuration: SyncConfiguration;
  readonly now: DateTime;
  /** [0,1) */
  random(): number;
  /**
   * By connector, the DN of the object that a person has disconnected and that would be meant by what a rule wants to
   * provision there: nothing is provisioned beside it.
   */
  readonly withheld?: ReadonlyMap<string, string>;
  /** Where none are given, every reference leads nowhere. */
  readonly references?: References;
}

/** MIM's names. */
export type InboundCounter =
  | "disconnectorProjectedFlow"
  | "disconnectorProjectedNoFlow"
  | "disconnectorJoinedFlow"
  | "disconnectorJoinedNoFlow"
  | "connectorFlow"
  | "connectorNoFlow"
  | "connectorFilteredRemoveMv"
  | "connectorFilteredLeaveMv"
  | "connectorDeleteRemoveMv"
  | "connectorDeleteLeaveMv"
  | "connectorDeleteAddProcessed"
  | "flowFailure";
/** Per target connector. */
export type OutboundCounter =
  | "provisionedAddFlow"
  | "provisionedRenameFlow"
  | "provisionedDisconnect"
  | "connectorFlow"
  | "connectorNoFlow"
  | "flowFailure";

/** One connector space object that must be written: `before` null is a creation, `after` null a removal. */
export interface ObjectChange {
  readonly id: string;
  readonly connector: string;
  readonly before: ConnectorSpaceObject | null;
  readonly after: ConnectorSpaceObject | null;
}

/**
 * An object that is provisioned here for the first time. Before it is written the caller looks for an unlinked object
 * of that connector that is meant: a row with the same id, then each lookup (exactly one match counts). If there is
 * one, it is passed in `objects` with `linking` set (an explicit disconnector in `withheld`), and `synchronize` is
 * asked again: an account is adopted, not created a second time.
 */
export interface Provisioned {
  readonly id: string;
  readonly connector: string;
  readonly objectType: string;
  readonly rule: string;
  readonly dn: string;
  readonly lookups: readonly ReverseJoinLookup[];
}

/**
 * An account that a rule of link type join is to be linked with, if there is one. The caller looks as for `Provisioned`,
 * among objects of this type; where it finds none, nothing happens. Also what a provisioned object that was never sent
 * yields to, should it have come since.
 */
export interface OutboundJoin {
  readonly connector: string;
  readonly objectType: string;
  readonly rule: string;
  readonly lookups: readonly ReverseJoinLookup[];
}

/** Why something was decided, in words; for preview and history. */
export interface Cause {
  readonly step: "inbound" | "deletion" | "outbound";
  readonly connector: string;
  readonly object: string;
  readonly rule?: string;
  readonly message: string;
}

export interface SyncDecision {
  /** Null: gone, with its last connection. */
  readonly metaverse: MetaverseObject | null;
  readonly metaverseChanged: boolean;
  /** Only what changes. The caller commits: intents, metaverse, targets, the object of `syncing` last. */
  readonly objects: readonly ObjectChange[];
  readonly provisioned: readonly Provisioned[];
  readonly joins: readonly OutboundJoin[];
  readonly inbound: Readonly<Partial<Record<InboundCounter, number>>>;
  readonly outbound: Readonly<Record<string, Readonly<Partial<Record<OutboundCounter, number>>>>>;
  /** Also in `error` of the object's new state. */
  readonly errors: readonly {
    readonly id: string;
    readonly connector: string;
    readonly error: ObjectError;
  }[];
  /** Hand-made disables that are left alone. */
  readonly held: readonly { readonly id: string; readonly connector: string; readonly attribute: string }[];
  /** All that was offered, winners and others; for lineage. */
  readonly contributions: readonly Contribution[];
  readonly causes: readonly Cause[];
  /** ISO 8601: the earliest instant at which time alone changes the outcome; null if never. */
  readonly due: string | null;
}

export function synchronize(input: SyncInput): SyncDecision {
  return new Synchronization(input).decide();
}

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly rule?: string;
  readonly attribute?: string;
}

/** The error of an object whose synchronisation failed, counted on from the one it has. `now` is ISO 8601. */
export function synchronizationError(
  { error: last }: ConnectorSpaceObject,
  failure: Failure,
  now: string,
): ObjectError {
  const previous = last?.code === failure.code ? last : null;
  const stack = failure instanceof ExtensionError ? failure.extensionStack : null;
  const error: ObjectError = {
    phase: "synchronization",
    code: failure.code,
    message: failure.message,
    ...(failure.rule !== undefined && { rule: failure.rule }),
    ...(failure.attribute !== undefined && { attribute: failure.attribute }),
    firstOccurred: previous?.firstOccurred ?? now,
    retryCount: previous === null ? 0 : previous.retryCount + 1,
    ...(stack !== null && { stack }),
  };
  return withRefusal(error, last);
}

/** How one linked object leaves the first stage. */
type Fate =
  | { readonly kind: "stays"; readonly image: Image | null }
  /** Gone at the source, or its grace is over. */
  | { readonly kind: "deleted"; readonly reason: string }
  | { readonly kind: "retyped" }
  | { readonly kind: "filtered" }
  /** A rules extension could not tell. */
  | { readonly kind: "failed"; readonly error: FlowError };

interface ScopedRules {
  readonly absence: ConnectorSpaceObject["absence"];
  readonly rules: readonly CompiledRule[];
}

/** One decision in the making. It is local to one call, so that the function around it stays pure. */
class Synchronization {
  readonly #input: SyncInput;
  readonly #configuration: SyncConfiguration;
  readonly #now: string;
  /** The new state of each object; null: it goes away. */
  readonly #after = new Map<string, ConnectorSpaceObject | null>();
  readonly #images = new Map<string, Image | null>();
  readonly #errors = new Map<string, ObjectError>();
  readonly #failed = new Set<string>();
  readonly #inbound: Partial<Record<InboundCounter, number>> = {};
  readonly #outbound: Record<string, Partial<Record<OutboundCounter, number>>> = {};
  readonly #held: SyncDecision["held"][number][] = [];
  readonly #causes: Cause[] = [];
  readonly #provisioned: Provisioned[] = [];
  readonly #joins: OutboundJoin[] = [];
  readonly #contributions: Contribution[] = [];
  /** By image: it is asked of each object several times. */
  readonly #inScope = new Map<Image, boolean>();
  readonly #rulesInScope = new Map<Image, ScopedRules>();

  constructor(input: SyncInput) {
    this.#input = input;
    this.#configuration = input.configuration;
    this.#now = isoOf(input.now);
  }

  decide(): SyncDecision {
    const { metaverse, objects } = this.#input;
    const fates = new Map(objects.map((object) => [object.id, this.#decideFate(object)]));
    for (const object of objects) this.#applyFate(object, fates.get(object.id)!);
    this.#settleDuplicates();
    const deletedBy = this.#askDeletion();
    for (const object of this.#linked()) this.#contribute(object);

    const remaining = this.#linked();
    const links = remaining.map((object) => this.#link(object));
    const rule = this.#configuration.metaverse.get(metaverse.objectType)?.deletionRule ?? {
      kind: "lastConnector",
    };
    const before = metaverse.connectors.map(({ connector }) => connector);
    const isNew = metaverse.connectors.length === 0 && !metaverse.deleted;
    const cause = metaverse.deleted
      ? decideRevival(rule, links)
        ? null
        : "it was deleted before"
      : (deletedBy ?? decideDeletion(rule, before, links));
    const result = cause === null ? this.#live(remaining) : this.#delete(remaining, isNew ? null : cause);
    this.#countInbound(fates, result);
    return this.#decision(result);
  }

  // ---- what stays --------------------------------------------------------------------------------------------

  #decideFate(object: ConnectorSpaceObject): Fate {
    try {
      return this.#fate(object);
    } catch (error) {
      if (!(error instanceof FlowError)) throw error;
      return { kind: "failed", error };
    }
  }

  #fate(object: ConnectorSpaceObject): Fate {
    const { connector, absence } = object;
    const isSyncing = connector === this.#input.syncing;
    const retainMs = this.#configuration.connectors.get(connector)?.retainMs ?? null;
    if (isSyncing && object.pendingImport?.change === "delete")
      return { kind: "deleted", reason: "It is gone in the connected directory." };
    if (absence !== null && dueOf(absence.since, retainMs) <= dateTimeToMs(this.#input.now)) {
      // The source still offers what only the rules have let go of; they may take it back.
      if (absence.byRules === true)
        return this.#isTakenBack(object) ? this.#staying(object) : { kind: "filtered" };
      return { kind: "deleted", reason: `It has been absent since ${absence.since}; its grace is over.` };
    }
    if (isSyncing && object.pendingImport?.change === "deleteAdd") return { kind: "retyped" };
    const staying = this.#staying(object);
    if (!isSyncing || staying.image === null || object.explicitConnector) return staying;
    return this.#scopeFate(object, staying.image, retainMs);
  }

  #staying(object: ConnectorSpaceObject): { readonly kind: "stays"; readonly image: Image | null } {
    const isSyncing = object.connector === this.#input.syncing;
    return { kind: "stays", image: isSyncing ? importedImage(object) : object.synchronized };
  }

  #isTakenBack(object: ConnectorSpaceObject): boolean {
    const { image } = this.#staying(object);
    return image !== null && this.#isInScope(object.connector, image);
  }

  #isInScope(connector: string, image: Image): boolean {
    let found = this.#inScope.get(image);
    if (found === undefined) {
      found = isInScope(connector, image, this.#configuration);
      this.#inScope.set(image, found);
    }
    return found;
  }

  #rulesOf(object: ConnectorSpaceObject, image: Image): readonly CompiledRule[] {
    let found = this.#rulesInScope.get(image);
    if (found?.absence !== object.absence) {
      found = { absence: object.absence, rules: rulesInScope(object, image, this.#configuration) };
      this.#rulesInScope.set(image, found);
    }
    return found.rules;
  }

  #scopeFate(object: ConnectorSpaceObject, image: Image, retainMs: number | null): Fate {
    const absent = object.absence !== null && object.absence.byRules !== true;
    // An object that is absent shows the last values that were in scope; only a change of the rules can put it out.
    if (this.#isInScope(object.connector, image)) return { kind: "stays", image };
    if (object.metaverseId === null) return { kind: "filtered" };
    return absent || retainMs !== null ? { kind: "stays", image } : { kind: "filtered" };
  }

  #applyFate(object: ConnectorSpaceObject, fate: Fate): void {
    switch (fate.kind) {
      case "deleted":
        this.#after.set(object.id, null);
        this.#because("inbound", object, fate.reason);
        return;
      case "retyped": {
        const image = importedImage(object)!;
        this.#after.set(object.id, {
          ...disconnected(object, "normal"),
          objectType: image.objectType,
          synchronized: null,
          pendingImport: { change: "add", image },
        });
        this.#because("inbound", object, "Its object type has changed: it is placed anew.");
        return;
      }
      case "filtered":
        this.#after.set(object.id, asDisconnector(object, "filtered"));
        this.#because("inbound", object, "It has left the scope of the rules.");
        return;
      case "failed":
        // What the rules say of it still counts: an exception ends no metaverse object.
        this.#images.set(object.id, importedImage(object));
        this.#fail(object, fate.error);
        return;
      case "stays":
        this.#images.set(object.id, fate.image);
        this.#after.set(object.id, this.#connected(object, fate.image));
    }
  }

  /** The object once this synchronisation has dealt with it. */
  #connected(object: ConnectorSpaceObject, image: Image | null): ConnectorSpaceObject {
    const linked: ConnectorSpaceObject = {
      ...unclaimed(object),
      metaverseId: this.#input.metaverse.id,
      linking: null,
      disconnector: "normal",
      error: withoutErrorOf(object.error, "synchronization"),
    };
    if (object.connector !== this.#input.syncing || image === null) return linked;
    return {
      ...linked,
      dn: image.dn,
      objectType: image.objectType,
      synchronized: image,
      pendingImport: null,
      absence: this.#absenceOf(object, image),
    };
  }

  /** `byRules` is set and taken back here: the rules let go of an object that the source still offers. */
  #absenceOf(object: ConnectorSpaceObject, image: Image): ConnectorSpaceObject["absence"] {
    const { absence } = object;
    if (absence !== null && absence.byRules !== true) return absence;
    const retains = (this.#configuration.connectors.get(object.connector)?.retainMs ?? null) !== null;
    if (object.explicitConnector || this.#isInScope(object.connector, image)) return null;
    return retains ? (absence ?? { kind: "outOfScope", since: this.#now, byRules: true }) : null;
  }

  /** Two objects of one connector: one that was only provisioned yields; otherwise neither may flow. */
  #settleDuplicates(): void {
    for (const [connector, group] of Map.groupBy(this.#linked(), (object) => object.connector)) {
      if (group.length < 2) continue;
      const sent = group.filter((object) => !isUnsent(object));
      const kept = sent.length > 0 ? sent : group.slice(0, 1);
      for (const object of group) {
        if (kept.includes(object)) continue;
        this.#after.set(object.id, null);
        this.#because("inbound", object, `It was never sent, and ${connector} has the object already.`);
      }
      if (kept.length < 2) continue;
      const others = kept.map((object) => object.dn);
      const wasConnected = ({ id }: ConnectorSpaceObject) =>
        this.#input.objects.some((object) => object.id === id && object.metaverseId !== null);
      const newcomers = kept.filter((object) => !wasConnected(object));
      // What one object was connected to stays its own; only the newcomer is not let in.
      const settled = newcomers.length === kept.length - 1;
      for (const object of settled ? newcomers : kept) {
        this.#fail(object, {
          code: "ambiguous-import-flow-from-multiple-connectors",
          message: `${others.join(" and ")} of ${connector} belong to one metaverse object. Disconnect all but one of them.`,
        });
      }
    }
  }

  /** Whether the rules extension ends the metaverse object because of what has just been disconnected; why, or null. */
  #askDeletion(): string | null {
    const { metaverse, objects, now } = this.#input;
    const extension = this.#configuration.metaverseExtension;
    const rule = this.#configuration.metaverse.get(metaverse.objectType)?.deletionRule;
    if (rule?.kind !== "extension" || extension === undefined || metaverse.deleted) return null;
    const connected = objects.filter((object) => object.metaverseId === metaverse.id && !isUnsent(object));
    const mventry = connectedMVEntry(mvEntry(metaverse), connected.map(entryOf), this.#configuration);
    for (const object of connected) {
      if (this.#after.get(object.id)?.metaverseId === metaverse.id) continue;
      const last = object.synchronized ?? importedImage(object);
      if (last === null) continue;
      try {
        const csentry = csEntry(object.connector, last);
        if (askDeletion(extension, csentry, mventry, this.#configuration, now))
          return `its object in ${object.connector} is gone, and ${extensionName(extension)} ends it then`;
      } catch (error) {
        if (!(error instanceof FlowError)) throw error;
        this.#images.set(object.id, last);
        this.#fail(object, error);
      }
    }
    return null;
  }

  #contribute(object: ConnectorSpaceObject): void {
    const image = this.#images.get(object.id) ?? null;
    if (this.#failed.has(object.id)) {
      this.#contributions.push(...this.#frozen(object));
      return;
    }
    if (image === null) return;
    const { metaverse } = this.#input;
    const joining = object.explicitConnector ? null : joinConflict(object, image, this.#configuration);
    if (joining !== null) {
      this.#fail(object, {
        code: severalJoinRules,
        message: severalJoinRulesMessage(namesOf(joining)),
        rule: joining[0]!.name,
      });
      if (this.#after.get(object.id)?.metaverseId === metaverse.id)
        this.#contributions.push(...this.#frozen(object));
      return;
    }
    try {
      const rules = this.#rulesOf(object, image);
      this.#contributions.push(
        ...contributionsOf(object, image, metaverse, this.#configuration, this.#input, rules),
      );
    } catch (error) {
      if (!(error instanceof FlowError)) throw error;
      this.#fail(object, error);
      if (this.#after.get(object.id)?.metaverseId === metaverse.id)
        this.#contributions.push(...this.#frozen(object));
    }
  }

  /**
   * What the object contributed before, for as long as its new values cannot be computed. Of a merged attribute nobody
   * remembers which values were whose, so all of them stay, and the other objects may still add to them. An attribute
   * without a value that a flow of the object can keep empty (AuthoritativeNull) stays so.
   */
  #frozen(object: ConnectorSpaceObject): readonly Contribution[] {
    const { connector } = object;
    const merging = new Map(
      this.#configuration.rules
        .inbound(connector, object.objectType)
        .flatMap((rule) => rule.flows.map((flow) => [flow.target, { rule, flow }] as const))
        .filter(([, { flow }]) => flow.mergeType !== "update"),
    );
    const values = Object.entries(this.#input.metaverse.attributes).flatMap(
      ([attribute, present]): Contribution[] => {
        const merge = merging.get(attribute);
        if (merge === undefined && present.connector !== connector) return [];
        const isFirst = present.connector === connector;
        return [
          {
            attribute,
            connector,
            object: object.id,
            rule: isFirst ? present.rule : merge!.rule.name,
            precedence: isFirst ? present.precedence : merge!.rule.precedence,
            offer: { value: present.value },
            mergeType: merge?.flow.mergeType ?? "update",
          },
        ];
      },
    );
    return [...values, ...this.#keptEmpty(object)];
  }

  #keptEmpty(object: ConnectorSpaceObject): readonly Contribution[] {
    const { metaverse } = this.#input;
    const image = importedImage(object);
    // Of a newcomer nothing has been kept empty yet.
    if (image === null || object.metaverseId !== metaverse.id || isNewcomer(object, this.#input)) return [];
    return this.#rulesOf(object, image).flatMap(({ name, precedence, flows }) =>
      flows.flatMap(({ target, mergeType, ...flow }): Contribution[] =>
        flow.kind === "expression" &&
        flow.expression.includes("AuthoritativeNull") &&
        own(metaverse.attributes, target) === undefined
          ? [
              {
                attribute: target,
                connector: object.connector,
                object: object.id,
                rule: name,
                precedence,
                offer: "authoritativeNull",
                mergeType,
              },
            ]
          : [],
      ),
    );
  }

  /** The object keeps its pending import for a retry; one that was to be linked just now is not linked. */
  #fail(object: ConnectorSpaceObject, failure: Failure): void {
    const original = this.#input.objects.find(({ id }) => id === object.id)!;
    const error = this.#error(original, failure);
    this.#failed.add(object.id);
    const explicitConnector = original.metaverseId !== null && original.explicitConnector;
    const pendingImport = this.#stillPending(original);
    this.#after.set(object.id, { ...original, linking: null, explicitConnector, pendingImport, error });
  }

  /** In a full synchronisation an object may fail for which nothing was pending: a delta one is to try it again. */
  #stillPending({
    connector,
    synchronized,
    pendingImport,
  }: ConnectorSpaceObject): ConnectorSpaceObject["pendingImport"] {
    if (pendingImport !== null || connector !== this.#input.syncing || synchronized === null)
      return pendingImport;
    return { change: "update", image: synchronized };
  }

  #error(object: ConnectorSpaceObject, failure: Failure): ObjectError {
    const error = synchronizationError(object, failure, this.#now);
    this.#errors.set(object.id, error);
    return error;
  }

  /** The objects that are, or will be, connected. */
  #linked(): ConnectorSpaceObject[] {
    const id = this.#input.metaverse.id;
    return [...this.#after.values()].filter(
      (object) => object !== null && object.metaverseId === id,
    ) as ConnectorSpaceObject[];
  }

  #link(object: ConnectorSpaceObject): Link {
    const image = this.#images.get(object.id) ?? null;
    const keepsAlive =
      image !== null &&
      (this.#rulesOf(object, image).some((rule) => rule.linkType !== "join") ||
        this.#projects(object, image));
    return { connector: object.connector, keepsAlive };
  }

  /** Whether the connector's rules extension would project it; one that fails ends nothing. */
  #projects(object: ConnectorSpaceObject, image: Image): boolean {
    const extension = connectorExtension(object.connector, this.#configuration);
    if (extension?.entryPoints.shouldProjectToMV === undefined) return false;
    try {
      return askProjection(extension, csEntry(object.connector, image), this.#configuration) !== null;
    } catch (error) {
      if (error instanceof FlowError) return true;
      throw error;
    }
  }

  // ---- the metaverse object and its targets -------------------------------------------------------------------

  #live(remaining: readonly ConnectorSpaceObject[]): MetaverseObject {
    const { metaverse, configuration } = this.#input;
    const attributes = reduceContributions(
      this.#contributions,
      metaverse.deleted ? {} : metaverse.attributes,
      this.#now,
    );
    const live: MetaverseObject = { ...metaverse, attributes, deleted: false };
    const plans = this.#plans(live, remaining);
    // What was decided before stands where the extension cannot tell what it wants.
    if (plans === null) return { ...live, connectors: this.#connections() };
    // What rules of the past have left pending is taken back where no rule is left.
    const connectors = new Set([
      ...configuration.rules.targets(metaverse.objectType),
      ...plans.keys(),
      ...remaining.filter((object) => object.pendingExport !== null).map((object) => object.connector),
    ]);
    for (const connector of [...connectors].sort()) this.#target(live, connector, plans.get(connector));
    return { ...live, connectors: this.#connections() };
  }

  /** What the metaverse's rules extension wants; null: it failed. */
  #plans(
    live: MetaverseObject,
    remaining: readonly ConnectorSpaceObject[],
  ): ReadonlyMap<string, ProvisioningPlan> | null {
    const sent = remaining.filter((object) => !isUnsent(object));
    try {
      return planProvisioning(live, sent, this.#configuration, this.#input.now);
    } catch (error) {
      if (!(error instanceof FlowError)) throw error;
      this.#count("flowFailure");
      this.#bearFailure(null, error);
      return null;
    }
  }

  #target(live: MetaverseObject, connector: string, plan: ProvisioningPlan | undefined): void {
    const linked = this.#linked().filter((object) => object.connector === connector);
    if (linked.length > 1) return; // an error of theirs already
    const [target = null] = linked;
    // One that has just been let go could be meant: the next synchronisation finds it, or creates another.
    const letGo = this.#input.objects.some(
      (object) => object.connector === connector && this.#after.get(object.id)?.metaverseId === null,
    );
    if (target === null && letGo) return;
    const isNew = target === null || isUnsent(target);
    const withheld = isNew ? this.#input.withheld?.get(connector) : undefined;
    if (withheld !== undefined) {
      if (target !== null) this.#after.set(target.id, null);
      const message = `Nothing is provisioned: ${withheld} is meant and was disconnected by hand. Join it, or make it a normal disconnector.`;
      this.#because("outbound", { connector, id: "" }, message);
      return;
    }
    try {
      this.#apply(
        connector,
        target,
        decideOutbound(live, connector, target, this.#configuration, this.#input, plan),
      );
    } catch (error) {
      if (!(error instanceof FlowError)) throw error;
      this.#failOutbound(connector, target, error);
    }
  }

  #apply(connector: string, target: ConnectorSpaceObject | null, decision: OutboundDecision): void {
    const about = { connector, id: target?.id ?? "" };
    switch (decision.kind) {
      case "none":
        return;
      case "join": {
        const { rule, objectType, lookups } = decision;
        this.#joins.push({ connector, objectType, rule, lookups });
        return;
      }
      case "leave":
        this.#because("outbound", about, `Left alone: ${decision.reason}.`);
        return;
      case "provision": {
        const { object, rule, lookups } = decision;
        this.#after.set(object.id, object);
        const { id, objectType, dn } = object;
        this.#provisioned.push({ id, connector, objectType, rule, dn, lookups });
        this.#countOutbound(connector, "provisionedAddFlow");
        this.#because("outbound", object, object.pendingExport!.reason, rule);
        return;
      }
      case "flow": {
        const { object, held, reason, instead } = decision;
        this.#after.set(object.id, object);
        if (instead !== undefined) {
          const { rule, lookups } = instead;
          this.#joins.push({ connector, objectType: object.objectType, rule, lookups });
        }
        const changed = object.pendingExport !== null && object.pendingExport !== target!.pendingExport;
        const renamed = object.pendingExport?.newDn !== undefined;
        this.#countOutbound(
          connector,
          !changed ? "connectorNoFlow" : renamed ? "provisionedRenameFlow" : "connectorFlow",
        );
        for (const attribute of held) this.#held.push({ id: object.id, connector, attribute });
        if (object.pendingExport !== null) this.#because("outbound", object, reason);
        return;
      }
      case "deprovision": {
        this.#after.set(target!.id, decision.object);
        const repeated = isDeepStrictEqual(decision.object?.pendingExport, target!.pendingExport);
        if (!repeated) this.#countOutbound(connector, "provisionedDisconnect");
        this.#because("outbound", target!, decision.reason);
      }
    }
  }

  /**
   * The failure stands at the target, or where there is none yet at the object being synchronised; what was being
   * synchronised stays pending, so that the next delta step tries again.
   */
  #failOutbound(connector: string, target: ConnectorSpaceObject | null, error: FlowError): void {
    this.#countOutbound(connector, "flowFailure");
    this.#bearFailure(target, error);
  }

  #bearFailure(target: ConnectorSpaceObject | null, error: FlowError): void {
    const originals = this.#input.objects.filter((object) =>
      this.#linked().some(({ id }) => id === object.id),
    );
    const syncing = originals.filter((object) => object.connector === this.#input.syncing);
    const bearer = originals.find(({ id }) => id === target?.id) ?? syncing[0] ?? originals[0];
    for (const original of new Set([bearer, ...syncing])) {
      if (original === undefined) continue;
      const after = this.#after.get(original.id)!;
      const image = this.#images.get(original.id) ?? null;
      const isPending = original.connector === this.#input.syncing && image !== null;
      this.#after.set(original.id, {
        ...after,
        ...(isPending && { pendingImport: { change: "update" as const, image } }),
        error: original === bearer ? this.#error(original, error) : after.error,
      });
    }
  }

  /** @param cause null: it never came into being */
  #delete(remaining: readonly ConnectorSpaceObject[], cause: string | null): MetaverseObject | null {
    const { metaverse } = this.#input;
    if (cause === null) return null;
    this.#causes.push({
      step: "deletion",
      connector: "",
      object: metaverse.id,
      message: `The metaverse object goes: ${cause}.`,
    });
    for (const object of remaining) {
      try {
        const decision = decideDeprovisioning(metaverse, object, this.#configuration, this.#input, cause);
        this.#apply(object.connector, object, decision);
      } catch (error) {
        if (!(error instanceof FlowError)) throw error;
        this.#failOutbound(object.connector, object, error);
      }
    }
    const connectors = this.#connections();
    // The tombstone keeps the values: they say what was in the scope of which rule, should this be asked again.
    return connectors.length === 0 ? null : { ...metaverse, deleted: true, connectors };
  }

  #connections(): MetaverseObject["connectors"] {
    return this.#linked()
      .map(({ connector, id }) => ({ connector, id }))
      .sort((a, b) => (a.connector + a.id < b.connector + b.id ? -1 : 1));
  }

  // ---- the decision ------------------------------------------------------------------------------------------

  #decision(metaverse: MetaverseObject | null): SyncDecision {
    const before = new Map<string, ConnectorSpaceObject>();
    for (const object of this.#input.objects) before.set(object.id, object);
    const objects: ObjectChange[] = [];
    for (const [id, after] of this.#after) {
      const original = before.get(id) ?? null;
      if (!isSame(original, after))
        objects.push({ id, connector: (original ?? after)!.connector, before: original, after });
    }
    return {
      metaverse,
      metaverseChanged: !isSameMetaverse(metaverse, this.#input.metaverse),
      objects,
      provisioned: this.#provisioned,
      joins: this.#joins,
      inbound: this.#inbound,
      outbound: this.#outbound,
      errors: [...this.#errors].map(([id, error]) => ({
        id,
        connector: before.get(id)!.connector,
        error,
      })),
      held: this.#held,
      contributions: this.#contributions,
      causes: this.#causes,
      due: this.#due(),
    };
  }

  #countInbound(fates: ReadonlyMap<string, Fate>, result: MetaverseObject | null): void {
    const { metaverse, objects, syncing } = this.#input;
    const removed = result === null || result.deleted;
    const flowed =
      result?.attributes !== metaverse.attributes &&
      !isDeepStrictEqual(result?.attributes, metaverse.attributes);
    for (const object of objects) {
      const fate = fates.get(object.id)!;
      const after = this.#after.get(object.id);
      if (this.#failed.has(object.id)) this.#count("flowFailure");
      else if (fate.kind === "deleted")
        this.#count(removed ? "connectorDeleteRemoveMv" : "connectorDeleteLeaveMv");
      else if (fate.kind === "retyped") this.#count("connectorDeleteAddProcessed");
      else if (fate.kind === "filtered")
        this.#count(removed ? "connectorFilteredRemoveMv" : "connectorFilteredLeaveMv");
      else if (object.connector !== syncing || after === null || isUnsent(object)) continue;
      else if (object.metaverseId !== null) this.#count(flowed ? "connectorFlow" : "connectorNoFlow");
      else if (projectedId(object.id) === metaverse.id)
        this.#count(flowed ? "disconnectorProjectedFlow" : "disconnectorProjectedNoFlow");
      else this.#count(flowed ? "disconnectorJoinedFlow" : "disconnectorJoinedNoFlow");
    }
  }

  #due(): string | null {
    const instants = this.#linked().flatMap((object) => {
      if (object.absence === null) return [];
      const retainMs = this.#configuration.connectors.get(object.connector)?.retainMs ?? null;
      return [dueOf(object.absence.since, retainMs)];
    });
    return instants.length === 0 ? null : new Date(Math.min(...instants)).toISOString();
  }

  #count(counter: InboundCounter): void {
    this.#inbound[counter] = (this.#inbound[counter] ?? 0) + 1;
  }

  #countOutbound(connector: string, counter: OutboundCounter): void {
    this.#outbound[connector] ??= {};
    const counters = this.#outbound[connector];
    counters[counter] = (counters[counter] ?? 0) + 1;
  }

  #because(
    step: Cause["step"],
    about: { connector: string; id: string },
    message: string,
    rule?: string,
  ): void {
    const { connector, id: object } = about;
    this.#causes.push({ step, connector, object, ...(rule !== undefined && { rule }), message });
  }
}

let lastInstant: { readonly of: DateTime; readonly iso: string } | undefined;

/** A whole step has one instant. */
function isoOf(instant: DateTime): string {
  if (lastInstant?.of !== instant)
    lastInstant = { of: instant, iso: new Date(dateTimeToMs(instant)).toISOString() };
  return lastInstant.iso;
}

/** Whether the object is connected to the metaverse object only by this synchronisation. */
function isNewcomer({ id }: ConnectorSpaceObject, { objects }: SyncInput): boolean {
  return !objects.some((object) => object.id === id && object.metaverseId !== null);
}

/** Most of what an unchanged object holds is the very same. */
function isSame(a: ConnectorSpaceObject | null, b: ConnectorSpaceObject | null): boolean {
  if (a === null || b === null) return a === b;
  const keys = Object.keys(a) as (keyof ConnectorSpaceObject)[];
  if (keys.length !== Object.keys(b).length) return false;
  for (const key of keys) if (a[key] !== b[key] && !isDeepStrictEqual(a[key], b[key])) return false;
  return true;
}

function isSameMetaverse(a: MetaverseObject | null, b: MetaverseObject): boolean {
  return (
    a !== null &&
    a.deleted === b.deleted &&
    a.objectType === b.objectType &&
    a.connectors.length === b.connectors.length &&
    a.connectors.every(({ connector, id }, index) => {
      const other = b.connectors[index]!;
      return connector === other.connector && id === other.id;
    }) &&
    (a.attributes === b.attributes || isDeepStrictEqual(a.attributes, b.attributes))
  );
}

/** Milliseconds since 1970; without a retention the grace is over at once. */
function dueOf(since: string, retainMs: number | null): number {
  return Date.parse(since) + (retainMs ?? 0);
}
