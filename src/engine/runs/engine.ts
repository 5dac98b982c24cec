import type { Configuration } from "../core/configuration.ts";
import type { Connector } from "../ports/connector.ts";
import type { ConnectorSpaceStore } from "../stores/connectorSpace.ts";
import type { ConnectorStateStore } from "../stores/connectorState.ts";
import type { HoldStore } from "../stores/holds.ts";
import type { ImportErrorStore } from "../stores/importErrors.ts";
import type { MetaverseStore } from "../stores/metaverse.ts";
import type { ObjectHistoryStore } from "../stores/objectHistory.ts";
import type { PlanStore } from "../stores/plans.ts";
import type { SeenStore } from "../stores/seen.ts";
import type { Clock } from "./lease.ts";

/** What the step handlers work with. */
export interface EngineParts {
  readonly clock: Clock;
  /** [0,1), for `RandomNum` in rules. */
  random(): number;
  readonly connectorSpace: ConnectorSpaceStore;
  readonly metaverse: MetaverseStore;
  readonly state: ConnectorStateStore;
  readonly seen: SeenStore;
  readonly importErrors: ImportErrorStore;
  readonly plans: PlanStore;
  readonly holds: Pick<HoldStore, "active">;
  readonly objectHistory: Pick<ObjectHistoryStore, "add">;
  /**
   * The configuration with the rule set of this version, and with the schemas of the directories; only with that of
   * `connector` when given, so that an import does not depend on another directory.
   * @throws ConnectorError when a directory cannot be asked for its schema.
   */
  configuration(rulesVersion: string, connector?: string): Promise<Configuration>;
  /**
   * What tells whether the whole connector space was synchronised with these rules; null when the deployment is no
   * longer the one that the run began with: then another full synchronisation is due.
   */
  synchronizationKey(rulesVersion: string, connector: string): Promise<string | null>;
  connector(name: string): Promise<Connector>;
  /** The connectors that rules write to. */
  targets(): readonly string[];
  /** `STAGING_MODE`, read anew at every call. */
  stagingMode(): boolean;
  /** About so many metaverse objects flow in one message. */
  readonly objectsPerMessage: number;
}

/** ISO 8601 with milliseconds, the form of every time in the tables: as text it sorts by time. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** The place of an entry in the histories of objects: later runs first, and in a run later steps. */
export function historyOrder(
  run: { readonly id: string },
  step: { readonly number: number },
  what: string,
): string {
  return `${run.id}|${String(999 - step.number).padStart(3, "0")}|${what}`;
}
