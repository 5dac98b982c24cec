/**
 * Step 1: an entry of an import becomes a pending import of our copy of the object, and proves or disproves what was
 * exported to it. Imports never touch the metaverse.
 */
import type { ImportEntry, ObjectTypeSchema } from "../ports/connector.ts";
import type { ConnectorSpaceObject, Image, ObjectError } from "./model.ts";

export type StagingCounter =
  | "stageAdd"
  | "stageUpdate"
  | "stageRename"
  | "stageDelete"
  | "stageDeleteAdd"
  | "stageNoChange";

export interface StagingOptions {
  readonly connector: string;
  /** ISO 8601. */
  readonly now: string;
  /** The connector's `onAbsence.retain` in milliseconds; null: an object that is gone is staged as deleted at once. */
  readonly retainMs: number | null;
  /** The schema of the connector; tells by which syntax an exported value is confirmed. */
  readonly schemas: readonly ObjectTypeSchema[];
  /**
   * Whether an inbound rule would take the image (`inboundScope`). A connected object that leaves scope becomes
   * absent when the connector retains; without the function every image counts as in scope.
   */
  inScope?(image: Image): boolean;
}

export type StagingDecision =
  /** The source says that an object is gone that we never had. */
  | { readonly kind: "ignored" }
  | { readonly kind: "unchanged"; readonly counter: "stageNoChange" }
  | {
      readonly kind: "write";
      readonly counter: StagingCounter;
      readonly object: ConnectorSpaceObject;
      /** What the object's unconfirmed export came to; null when it had none. */
      readonly confirmation: "confirmed" | "notReimported" | null;
      /** Also in `object.error`; for the history of the run. */
      readonly error: ObjectError | null;
    }
  /** The object vanishes with its rows: it was never synchronised, or its deletion is confirmed and nobody waits. */
  | { readonly kind: "remove"; readonly counter: "stageDelete"; readonly object: ConnectorSpaceObject };

export declare function decideStaging(
  object: ConnectorSpaceObject | null,
  entry: Extract<ImportEntry, { kind: "object" | "absent" }>,
  options: StagingOptions,
): StagingDecision;
