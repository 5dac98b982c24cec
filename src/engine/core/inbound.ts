/** Step 2: scope, join and projection of one connector space object, and what it contributes. */
import type { ConnectorSpaceObject, Image } from "./model.ts";
import type { SyncConfiguration } from "./configuration.ts";
import type { AttributeValue, Value } from "./values.ts";

/** One join group of one rule: the store finds the metaverse objects (no tombstones) that meet all conditions. */
export interface JoinLookup {
  readonly rule: string;
  /** The index of the group in the rule. */
  readonly group: number;
  readonly metaverseObjectType: string;
  readonly conditions: readonly {
    readonly metaverseAttribute: string;
    readonly value: Value;
    readonly caseSensitive: boolean;
  }[];
}

/** `joinKey(lookup)` → ids of the metaverse objects found; two are enough to know that it is ambiguous. */
export type JoinCandidates = ReadonlyMap<string, readonly string[]>;
export declare function joinKey(lookup: Pick<JoinLookup, "rule" | "group">): string;

export type ConnectionDecision =
  | { readonly kind: "stay"; readonly metaverseId: string }
  | {
      readonly kind: "join";
      readonly metaverseId: string;
      readonly metaverseObjectType: string;
      readonly rule: string;
    }
  | {
      readonly kind: "projection";
      readonly metaverseId: string;
      readonly metaverseObjectType: string;
      readonly rule: string;
    }
  | {
      readonly kind: "disconnector";
      readonly reason: "explicit" | "filtered" | "ambiguous-join" | "no-rule";
      readonly rule?: string;
    };

/** The lookups of an unlinked object, in the order in which they count; none when it is out of scope. */
export declare function joinLookups(
  object: ConnectorSpaceObject,
  configuration: SyncConfiguration,
): readonly JoinLookup[];
export declare function decideConnection(
  object: ConnectorSpaceObject,
  configuration: SyncConfiguration,
  candidates: JoinCandidates,
): ConnectionDecision;
/**
 * The object after a decision that does not link it: pending import applied, link and intent gone. Null: it goes away,
 * because its pending import is a delete.
 */
export declare function asDisconnector(
  object: ConnectorSpaceObject,
  reason: "explicit" | "filtered" | "ambiguous-join" | "no-rule",
): ConnectorSpaceObject | null;
/** For `StagingOptions.inScope`. */
export declare function inboundScope(
  connector: string,
  configuration: SyncConfiguration,
): (image: Image) => boolean;

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
  readonly mergeType: "update" | "merge" | "mergeCaseInsensitive";
}
