/** What a synchronisation step has shown of one object, put into data and words. */
import { isDeepStrictEqual } from "node:util";
import type { Configuration } from "./core/configuration.ts";
import {
  explainContributions,
  explainFlow,
  explainRule,
  explainScope,
  type RuleExplanation,
  type RuleInScope,
  toJson,
} from "./core/explain.ts";
import { own } from "./core/flow.ts";
import {
  type ConnectionDecision,
  imageContext,
  type JoinCandidates,
  type JoinLookup,
  joinKey,
  parametersOf,
  readImage,
  rulesInScope,
} from "./core/inbound.ts";
import { type ConnectorSpaceObject, importedImage, type MetaverseObject } from "./core/model.ts";
import { nextOfOrphan } from "./core/orphans.ts";
import { syntaxesOf } from "./core/schema.ts";
import type { Cause, SyncDecision } from "./core/synchronize.ts";
import { valuesOf, valueToJson } from "./core/values.ts";
import type {
  ConnectionExplanation,
  MetaverseExplanation,
  PendingExportExplanation,
  Preview,
  Seen,
  TargetDecision,
  TargetExplanation,
} from "./preview.ts";
import { objectSummary } from "./queries.ts";
import type { EngineParts } from "./runs/engine.ts";
import type { Counters } from "./stores/fence.ts";

export class Explanation {
  readonly #configuration: Configuration;
  readonly #object: ConnectorSpaceObject;
  readonly #seen: Seen;
  readonly #parts: EngineParts;

  constructor(configuration: Configuration, object: ConnectorSpaceObject, seen: Seen, parts: EngineParts) {
    this.#configuration = configuration;
    this.#object = object;
    this.#seen = seen;
    this.#parts = parts;
  }

  /** `original`: a metaverse object as it is stored now. */
  async explain({
    kind,
    considered,
    at,
    original,
  }: {
    readonly kind: Preview["kind"];
    readonly considered: boolean;
    readonly at: string;
    original(id: string): Promise<MetaverseObject | null>;
  }): Promise<Preview> {
    const object = this.#object;
    const { flowed, errors } = this.#seen;
    const { connector } = object;
    const image = importedImage(object);
    const context = image && imageContext(image, object.absence, connector, this.#configuration);
    const filter = this.#configuration.connectors.get(connector)?.filter ?? [];
    const after = (await this.#parts.connectorSpace.get(connector, object.id))?.object ?? null;
    const connection = this.#connection();
    const metaverse = flowed && this.#metaverse(flowed, await original(flowed.before.id));
    const targets = flowed === null ? [] : await this.#targets(flowed);
    const rules =
      image === null || context === null
        ? []
        : this.#configuration.rules
            .inbound(connector, image.objectType)
            .map((rule) => explainRule(rule, context));
    const decisions = flowed?.decision.causes ?? [];
    return {
      connector,
      kind,
      at,
      rulesVersion: this.#configuration.rulesVersion,
      summary: considered
        ? [
            connection.message,
            ...decisions.filter(({ step }) => step !== "outbound").map(({ message }) => message),
            ...(metaverse === null ? [] : [metaverseInWords(metaverse)]),
            ...targets.map(({ connector: name, message }) => `${name}: ${message}`),
            ...(after === null ? [] : this.#orphanInWords(after)),
            ...errors.map(({ code, message }) => `Error ${code}: ${message}`),
          ]
        : ["Nothing is pending, so a delta synchronisation does not look at it. Ask for a full preview."],
      considered,
      before: objectSummary(object),
      after: after && objectSummary(after),
      filter: context === null || filter.length === 0 ? null : explainScope(filter, context),
      rules,
      connection,
      metaverse,
      targets,
      errors,
      inbound: (flowed?.decision.inbound ?? {}) as Counters,
      outbound: (flowed?.decision.outbound ?? {}) as Readonly<Record<string, Counters>>,
      decisions,
    };
  }

  /** What becomes of it because it belongs to nobody. */
  #orphanInWords(after: ConnectorSpaceObject): readonly string[] {
    if (after.orphan === null) return [];
    const { connector, pendingExport } = after;
    if (pendingExport !== null) return [`${connector}: ${pendingExport.reason}`];
    const next = nextOfOrphan(after, this.#configuration.connectors.get(connector)?.orphans);
    const then = next === null ? "" : ` To ${next.change} it, no earlier than ${next.at}.`;
    return [`${connector}: It belongs to nobody since ${after.orphan.since}.${then}`];
  }

  // ---- the connection ------------------------------------------------------------------------------------------

  #connection(): ConnectionExplanation {
    const { placed, flowed } = this.#seen;
    const { metaverseId, linking } = this.#object;
    if (placed === null) {
      const id = metaverseId ?? linking ?? flowed?.before.id ?? null;
      return {
        decision: id === null ? "disconnector" : "stay",
        metaverseId: id,
        rule: null,
        message:
          id === null ? "It is connected to nothing." : `It is connected to metaverse object ${id} already.`,
        joins: [],
      };
    }
    const { decision } = placed;
    const joins = this.#joins(placed.lookups, placed.candidates);
    if ("error" in decision) {
      const { code, message } = decision.error;
      return {
        decision: "failed",
        metaverseId: null,
        rule: null,
        message: `Its connection cannot be decided: ${code}: ${message}`,
        joins,
      };
    }
    return {
      decision: decision.kind,
      metaverseId: decision.kind === "disconnector" ? null : decision.metaverseId,
      rule: decision.kind === "stay" ? null : (decision.rule ?? null),
      message: connectionInWords(decision),
      joins,
    };
  }

  #joins(lookups: readonly JoinLookup[], candidates: JoinCandidates): ConnectionExplanation["joins"] {
    const image = importedImage(this.#object);
    if (image === null) return [];
    return rulesInScope(this.#object, image, this.#configuration).flatMap((rule) =>
      rule.join.map((group, index) => {
        const lookup = lookups.find((one) => one.rule === rule.name && one.group === index);
        const matches = lookup === undefined ? [] : (candidates.get(joinKey(lookup)) ?? []);
        const conditions = group.map(({ connectorAttribute, metaverseAttribute, caseSensitive }) => ({
          connectorAttribute,
          metaverseAttribute,
          value: toJson(readImage(image, connectorAttribute)),
          caseSensitive,
        }));
        const unfit = group.filter(
          ({ connectorAttribute }) => valuesOf(readImage(image, connectorAttribute)).length !== 1,
        );
        const message =
          lookup === undefined
            ? `It cannot find anybody: ${unfit.map(({ connectorAttribute }) => connectorAttribute).join(", ") || "an attribute"} has no single value.`
            : matches.length === 0
              ? `No metaverse object has ${conditionsText(lookup)}.`
              : matches.length === 1
                ? `Metaverse object ${matches[0]} has ${conditionsText(lookup)}.`
                : `${matches.length} metaverse objects have ${conditionsText(lookup)}: ${matches.join(", ")}. More than one is no match.`;
        return { rule: rule.name, group: index + 1, conditions, matches, message };
      }),
    );
  }

  // ---- the metaverse -------------------------------------------------------------------------------------------

  #metaverse(
    { objects, decision, before }: NonNullable<Seen["flowed"]>,
    original: MetaverseObject | null,
  ): MetaverseExplanation {
    const { metaverse: result, contributions } = decision;
    const isThere = original !== null && !original.deleted;
    const stays = result !== null && !result.deleted;
    const explained = explainContributions(
      contributions,
      this.#rulesInScope(objects, decision),
      result,
      this.#configuration.rules,
    );
    const was = (name: string) => (isThere ? own(original.attributes, name)?.value : undefined);
    const is = (name: string) => (stays ? own(result.attributes, name)?.value : undefined);
    const names = new Set([
      ...explained.keys(),
      ...Object.keys(original?.attributes ?? {}),
      ...Object.keys(result?.attributes ?? {}),
    ]);
    return {
      id: before.id,
      objectType: before.objectType,
      change: changeOf(isThere ? original : null, stays ? result : null),
      attributes: [...names].sort().map((name) => ({
        name,
        before: toJson(was(name)),
        after: toJson(is(name)),
        contributions: explained.get(name) ?? [],
      })),
    };
  }

  /** The inbound rules of everything that is connected in the end, with what they read. */
  #rulesInScope(objects: readonly ConnectorSpaceObject[], decision: SyncDecision): readonly RuleInScope[] {
    return objects.flatMap((object) => {
      const change = decision.objects.find(({ id }) => id === object.id);
      const after = change === undefined ? object : change.after;
      const image = object.connector === this.#object.connector ? importedImage(object) : object.synchronized;
      if (after === null || after.metaverseId === null || image === null) return [];
      const { attribute } = imageContext(image, after.absence, object.connector, this.#configuration);
      return rulesInScope(after, image, this.#configuration).map((rule) => ({
        rule,
        object: object.id,
        read: attribute,
      }));
    });
  }

  // ---- targets -------------------------------------------------------------------------------------------------

  async #targets(flowed: NonNullable<Seen["flowed"]>): Promise<readonly TargetExplanation[]> {
    const { before, objects, decision } = flowed;
    const names = new Set([
      ...this.#configuration.rules.targets(before.objectType),
      ...decision.objects.filter(({ id }) => id !== this.#object.id).map(({ connector }) => connector),
      ...objects.filter(({ pendingExport }) => pendingExport !== null).map(({ connector }) => connector),
    ]);
    return [...names].sort().flatMap((connector) => {
      const present = objects.filter((object) => object.connector === connector);
      const created = decision.objects.filter(
        (change) => change.connector === connector && change.before === null,
      );
      const all = [
        ...present.map((object) => {
          const change = decision.objects.find(({ id }) => id === object.id);
          return { was: object, is: change === undefined ? object : change.after };
        }),
        ...created.map(({ after }) => ({ was: null, is: after })),
      ];
      return (all.length === 0 ? [{ was: null, is: null }] : all).map(({ was, is }) =>
        this.#target(connector, was, is, flowed),
      );
    });
  }

  #target(
    connector: string,
    was: ConnectorSpaceObject | null,
    is: ConnectorSpaceObject | null,
    { before, decision }: NonNullable<Seen["flowed"]>,
  ): TargetExplanation {
    const metaverse = decision.metaverse ?? before;
    const context = {
      attribute: (name: string) => own(metaverse.attributes, name)?.value,
      parameter: parametersOf(connector, this.#configuration),
    };
    const rules = this.#configuration.rules
      .outbound(connector, metaverse.objectType)
      .map((rule) => explainRule(rule, context));
    const about = is ?? was;
    const causes = decision.causes.filter(
      (cause) =>
        cause.step === "outbound" &&
        cause.connector === connector &&
        (cause.object === about?.id || cause.object === ""),
    );
    const kind = targetDecision(was, is, causes);
    return {
      connector,
      id: about?.id ?? null,
      anchor: about?.anchor ?? null,
      dn: about?.dn ?? null,
      decision: kind,
      message: targetInWords(kind, causes, rules, about),
      rules,
      pendingExport: {
        before: this.#pendingExport(was, metaverse),
        after: this.#pendingExport(is, metaverse),
      },
    };
  }

  #pendingExport(
    object: ConnectorSpaceObject | null,
    metaverse: MetaverseObject,
  ): PendingExportExplanation | null {
    if (object?.pendingExport == null) return null;
    const { change, newDn, reason, attributes } = object.pendingExport;
    const schema = syntaxesOf(this.#configuration.schemas.get(object.connector) ?? [], object.objectType);
    return {
      change,
      ...(newDn === undefined ? {} : { newDn }),
      reason,
      attributes: attributes
        .filter(({ name }) => !schema.writeOnly(name))
        .map(({ name, before, after, rule }) => ({
          name,
          before: toJson(before),
          after: toJson(after),
          ...explainFlow(
            this.#configuration.rules,
            rule,
            name,
            (attribute) => own(metaverse.attributes, attribute)?.value,
          ),
        })),
    };
  }
}

function changeOf(
  before: MetaverseObject | null,
  after: MetaverseObject | null,
): MetaverseExplanation["change"] {
  if (before === null) return after === null ? "none" : "add";
  if (after === null) return "delete";
  return isDeepStrictEqual(before, after) ? "none" : "update";
}

function targetDecision(
  was: ConnectorSpaceObject | null,
  is: ConnectorSpaceObject | null,
  causes: readonly Cause[],
): TargetDecision {
  if (is === null) return was === null ? "none" : "withdraw";
  if (was === null) return "provision";
  if (is.metaverseId === null) return was.metaverseId === null ? "none" : "disconnect";
  if (causes.some(({ message }) => message.startsWith("Left alone"))) return "leave";
  if (is.pendingExport?.change === "delete") return "delete";
  if (was.metaverseId === null) return "adopt";
  if (is.pendingExport === null) return "none";
  if (is.pendingExport.change === "add") return "provision";
  return is.pendingExport.newDn === undefined ? "flow" : "rename";
}

function targetInWords(
  kind: TargetDecision,
  causes: readonly Cause[],
  rules: readonly RuleExplanation[],
  object: ConnectorSpaceObject | null,
): string {
  const why = causes.map(({ message }) => message).join(" ");
  const at = object === null ? "" : ` ${object.dn}`;
  switch (kind) {
    case "provision":
      return `A new object${at} is provisioned. ${why}`.trim();
    case "adopt":
      return `The object${at} is adopted. ${why}`.trim();
    case "flow":
      return `Attributes of${at} change: ${why || object?.pendingExport?.reason}`;
    case "rename":
      return `${at.trim()} becomes ${object?.pendingExport?.newDn}: ${why || object?.pendingExport?.reason}`;
    case "delete":
      return `${at.trim()} is deleted: ${why || object?.pendingExport?.reason}`;
    case "disconnect":
      return `${at.trim()} is disconnected: ${why}`;
    case "withdraw":
      return `${at.trim()} is withdrawn before it was ever exported: ${why}`;
    case "leave":
      return why;
    case "none": {
      if (object !== null) return `${object.dn} is as the rules want it.`;
      const [first] = rules.filter(({ linkType, inScope }) => linkType === "provision" && !inScope);
      return first === undefined
        ? "No rule provisions an object here."
        : `Nothing is provisioned. ${first.message}`;
    }
  }
}

function connectionInWords(decision: ConnectionDecision): string {
  switch (decision.kind) {
    case "stay":
      return `It is connected to metaverse object ${decision.metaverseId} already.`;
    case "join":
      return `It joins metaverse object ${decision.metaverseId} by rule ${decision.rule}.`;
    case "projection":
      return `It becomes a new metaverse object of type ${decision.metaverseObjectType} by rule ${decision.rule}.`;
    case "disconnector":
      return `It stays unconnected: ${disconnectorReasons[decision.reason]}`;
  }
}

const disconnectorReasons: Readonly<
  Record<Extract<ConnectionDecision, { kind: "disconnector" }>["reason"], string>
> = {
  explicit: "somebody has disconnected it by hand.",
  filtered: "the connector's filter, or the scopes of all rules that could link it, keep it out.",
  "ambiguous-join": "a join found more than one metaverse object.",
  "several-join-rules-in-scope":
    "several rules with a join are in scope; precedence does not choose between them.",
  "no-rule": "no join finds anybody, and no rule in scope projects it.",
};

function conditionsText({ conditions }: JoinLookup): string {
  return conditions
    .map(({ metaverseAttribute, value }) => `${metaverseAttribute} = ${JSON.stringify(valueToJson(value))}`)
    .join(" and ");
}

function metaverseInWords({ id, change, attributes }: MetaverseExplanation): string {
  const changed = attributes.filter(({ before, after }) => JSON.stringify(before) !== JSON.stringify(after));
  const names = changed.map(({ name }) => name).join(", ");
  switch (change) {
    case "add":
      return `Metaverse object ${id} is new, with ${names || "no values"}.`;
    case "update":
      return names === ""
        ? `Metaverse object ${id} changes its connections.`
        : `Metaverse object ${id} changes: ${names}.`;
    case "delete":
      return `Metaverse object ${id} is deleted.`;
    case "none":
      return `Metaverse object ${id} stays as it is.`;
  }
}
