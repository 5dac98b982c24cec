/** Accounts that are in the connector's scope and belong to nobody. */
import { stateOf } from "./connectorSpaceSearch.ts";
import type { ConnectorConfiguration } from "./core/configuration.ts";
import { accountDisable } from "./core/exporting.ts";
import { own } from "./core/flow.ts";
import { type ConnectorSpaceObject, importedImage } from "./core/model.ts";
import { nextOfOrphan } from "./core/orphans.ts";
import { valuesOf } from "./core/values.ts";

export interface Orphan {
  readonly id: string;
  readonly connector: string;
  readonly objectType: string;
  readonly anchor: string | null;
  readonly dn: string;
  readonly state: string;
  /** Whether it carries a stamp: an account that we have made, or MIM or a script before us. */
  readonly stamped: boolean;
  readonly stamp: string | null;
  /** Null: its directory does not say. */
  readonly disabled: boolean | null;
  readonly reason: string;
  /**
   * Since when it is known to belong to nobody (ISO 8601); null: nothing is done about it, or it is not known yet
   * whether somebody owns it.
   */
  readonly since: string | null;
  /** What is done about it next, no earlier than `at` (ISO 8601); null: nothing. */
  readonly next: { readonly change: "disable" | "delete"; readonly at: string } | null;
}

/** The attribute by which accounts of ours are known again; null where the kind of connector has none. */
export function stampAttributeOf(settings: unknown): string | null {
  if (typeof settings !== "object" || settings === null || !("stampAttribute" in settings)) return null;
  return typeof settings.stampAttribute === "string" ? settings.stampAttribute : null;
}

/** Null: it belongs to somebody, or the directory does not show it. */
export function orphanOf(
  object: ConnectorSpaceObject,
  stampAttribute: string | null,
  times: ConnectorConfiguration["orphans"],
): Orphan | null {
  const image = importedImage(object);
  if (object.metaverseId !== null || object.linking !== null || image === null) return null;
  const [stamp] = stampAttribute === null ? [] : valuesOf(own(image.attributes, stampAttribute));
  const control = own(image.attributes, "userAccountControl");
  const isStamped = typeof stamp === "string" && stamp !== "";
  return {
    id: object.id,
    connector: object.connector,
    objectType: object.objectType,
    anchor: object.anchor,
    dn: object.dn,
    state: stateOf(object),
    stamped: isStamped,
    stamp: isStamped ? stamp : null,
    disabled: typeof control === "bigint" ? (control & accountDisable) !== 0n : null,
    reason: reasonOf(object, isStamped),
    since: object.orphan?.since ?? null,
    next: nextOfOrphan(object, times),
  };
}

function reasonOf({ disconnector, pendingImport, error }: ConnectorSpaceObject, isStamped: boolean): string {
  if (disconnector === "explicit") return "Somebody has disconnected it by hand.";
  if (pendingImport !== null) return "It is imported and not synchronised yet; a rule may still join it.";
  if (disconnector === "filtered") return "The connector's filter, or the scopes of its rules, keep it out.";
  if (error !== null) return error.message;
  return isStamped ? "The person of its stamp is not in the metaverse." : "No rule joins it to anybody.";
}
