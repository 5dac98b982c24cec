/** Steps 2 to 4 as one function: the synchronisation step, preview and simulator all call it. */
import type { SyncConfiguration } from "./configuration.ts";
import type { Contribution } from "./inbound.ts";
import type { ConnectorSpaceObject, MetaverseObject, ObjectError } from "./model.ts";
import type { DateTime, Value } from "./values.ts";

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
}

export type InboundCounter =
  | "disconnectorProjectedFlow"
  | "disconnectorProjectedNoFlow"
  | "disconnectorJoinedFlow"
  | "disconnectorJoinedNoFlow"
  | "disconnectorFiltered"
  | "disconnectorRemains"
  | "connectorFlow"
  | "connectorNoFlow"
  | "connectorFilteredRemoveMv"
  | "connectorFilteredLeaveMv"
  | "connectorDeleteRemoveMv"
  | "connectorDeleteLeaveMv"
  | "connectorDeleteAddProcessed"
  | "flowFailure";
export type OutboundCounter =
  | "provisionedAddFlow"
  | "provisionedRenameFlow"
  | "provisionedDisconnect"
  | "provisionedDelete"
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
 * one, it is passed in `objects` with `linking` set, and `synchronize` is asked again: an account is adopted, not
 * created a second time.
 */
export interface Provisioned {
  readonly id: string;
  readonly connector: string;
  readonly objectType: string;
  readonly rule: string;
  readonly dn: string;
  readonly lookups: readonly {
    readonly rule: string;
    readonly conditions: readonly {
      readonly connectorAttribute: string;
      readonly value: Value;
      readonly caseSensitive: boolean;
    }[];
  }[];
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

export declare function synchronize(input: SyncInput): SyncDecision;
