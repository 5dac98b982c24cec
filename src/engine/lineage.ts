/** Why a metaverse object has the values that it has. */
import type { Configuration } from "./core/configuration.ts";
import { explainContributions, type JsonValue, type RuleInScope, toJson } from "./core/explain.ts";
import { own } from "./core/flow.ts";
import { type Contribution, contributionsOf, imageContext, rulesInScope } from "./core/inbound.ts";
import type { ConnectorSpaceObject, MetaverseObject } from "./core/model.ts";
import { type DateTime, dateTimeFromMs } from "./core/values.ts";

/** One value that was offered for an attribute. */
export interface LineageEntry {
  /** Null: nothing was offered, or that there be nothing (`reason` says which). */
  readonly value: JsonValue | null;
  readonly connector: string;
  readonly rule: string;
  readonly precedence: number;
  /** ISO 8601; of the winner: when the value last changed. */
  readonly since: string | null;
  readonly won: boolean;
  /** As it stands in the rule. */
  readonly expression: string | null;
  /** The attributes that the flow reads, as they were last synchronised. */
  readonly inputs: Readonly<Record<string, JsonValue | null>>;
  readonly reason: string;
}

/** By attribute, the winner first. @param linked the objects connected to it */
export function lineageOf(
  object: MetaverseObject,
  linked: readonly ConnectorSpaceObject[],
  configuration: Configuration,
  nowMs: number,
): Readonly<Record<string, readonly LineageEntry[]>> {
  const now = dateTimeFromMs(nowMs);
  const contributions = linked.flatMap((one) => offersOf(one, object, configuration, now));
  const inScope = linked.flatMap((one): RuleInScope[] => {
    if (one.synchronized === null) return [];
    const { attribute } = imageContext(one.synchronized, one.absence, one.connector, configuration);
    return rulesInScope(one, one.synchronized, configuration).map((rule) => ({
      rule,
      object: one.id,
      read: attribute,
    }));
  });
  const explained = explainContributions(contributions, inScope, object, configuration.rules);
  const names = new Set([
    ...Object.keys(object.attributes),
    ...contributions.map(({ attribute }) => attribute),
  ]);
  return Object.fromEntries(
    [...names].sort().map((name) => {
      const kept = own(object.attributes, name);
      // What a rule does not offer has lost to nobody; a preview shows that too.
      const given = (explained.get(name) ?? []).filter(
        ({ value, authoritativeNull }) => value !== null || authoritativeNull,
      );
      const offers = given.map(
        ({ value, connector, rule, precedence, won, expression, inputs, reason }): LineageEntry => ({
          value,
          connector,
          rule,
          precedence,
          since: null,
          won: won && (kept === undefined || (kept.connector === connector && kept.rule === rule)),
          expression,
          inputs,
          reason,
        }),
      );
      if (kept === undefined) return [name, offers];
      const { connector, rule, precedence, since } = kept;
      const source = offers.find((offer) => offer.connector === connector && offer.rule === rule);
      const winner: LineageEntry = {
        value: toJson(kept.value),
        connector,
        rule,
        precedence,
        since,
        won: true,
        expression: source?.expression ?? null,
        inputs: source?.inputs ?? {},
        // The rules have changed since, or the object's flows fail now: its error says so.
        reason: source?.won
          ? source.reason
          : "It was given by the last synchronisation; it would not be now.",
      };
      return [name, [winner, ...offers.filter((offer) => offer !== source)]];
    }),
  );
}

function offersOf(
  one: ConnectorSpaceObject,
  object: MetaverseObject,
  configuration: Configuration,
  now: DateTime,
): readonly Contribution[] {
  if (one.synchronized === null) return [];
  try {
    return contributionsOf(one, one.synchronized, object, configuration, { now, random: () => 0 });
  } catch {
    return []; // its flow fails: that is shown as the error of the connector space object
  }
}
