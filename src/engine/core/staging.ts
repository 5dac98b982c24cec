/**
 * Step 1: an entry of an import becomes a pending import of our copy of the object, and proves or disproves what was
 * exported to it. Imports never touch the metaverse.
 */
import type { ImportEntry, ObjectTypeSchema } from "../ports/connector.ts";
import { own } from "./flow.ts";
import { importedId } from "./identity.ts";
import {
  type Absence,
  type ConnectorSpaceObject,
  type Image,
  importedImage,
  newConnectorSpaceObject,
  type ObjectError,
} from "./model.ts";
import { withoutErrorOf, withRefusal } from "./objectErrors.ts";
import { syntaxesOf } from "./schema.ts";
import { attributesEqual, dnKey } from "./values.ts";

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

type Entry = Extract<ImportEntry, { kind: "object" | "absent" }>;

/**
 *   absent, unknown to us ─────────────────► ignored
 *   absent, never linked nor synchronised ─► removed
 *   absent, linked, connector retains ─────► becomes absent: last values stay, to be synchronised as an update
 *   absent otherwise ──────────────────────► pending delete
 *   linked, left scope, connector retains ─► becomes absent (outOfScope)
 *   there ─────────────────────────────────► pending add, update or delete-add; nothing when it looks as before
 *
 * An unconfirmed export is judged by the first entry that comes after it.
 */
export function decideStaging(
  object: ConnectorSpaceObject | null,
  entry: Entry,
  options: StagingOptions,
): StagingDecision {
  if (entry.kind === "absent")
    return object === null ? { kind: "ignored" } : stageAbsence(object, entry.absence, options);
  if (object === null) {
    const staged = newConnectorSpaceObject({
      id: importedId(options.connector, entry.anchor),
      connector: options.connector,
      objectType: entry.image.objectType,
      anchor: entry.anchor,
      dn: entry.image.dn,
      pendingImport: { change: "add", image: entry.image },
    });
    return { kind: "write", counter: "stageAdd", object: staged, confirmation: null, error: null };
  }
  const leavesScope =
    object.metaverseId !== null &&
    options.retainMs !== null &&
    !object.explicitConnector &&
    importedImage(object) !== null &&
    !(options.inScope?.(entry.image) ?? true);
  return leavesScope
    ? stageAbsence(object, "outOfScope", options)
    : stageImage(object, entry.anchor, entry.image, options);
}

function stageImage(
  object: ConnectorSpaceObject,
  anchor: string,
  image: Image,
  options: StagingOptions,
): StagingDecision {
  const last = importedImage(object);
  const unproven = object.unconfirmed === null ? [] : notReimported(object, image, options);
  const error = unproven.length === 0 ? null : notReimportedError(object, unproven, options.now);
  const returned = object.absence !== null && object.absence.byRules !== true;
  // What was exported and is not there must be looked at again, even when nothing else has changed.
  const unchanged =
    last !== null && imagesEqual(last, image) && !returned && error === null && object.anchor === anchor;
  if (unchanged && object.unconfirmed === null) return { kind: "unchanged", counter: "stageNoChange" };

  const { synchronized } = object;
  const change =
    synchronized === null ? "add" : synchronized.objectType !== image.objectType ? "deleteAdd" : "update";
  return {
    kind: "write",
    counter: unchanged ? "stageNoChange" : stagingCounter(change, last, image),
    confirmation: object.unconfirmed === null ? null : error === null ? "confirmed" : "notReimported",
    error,
    object: {
      ...object,
      anchor,
      dn: image.dn,
      objectType: change === "deleteAdd" ? object.objectType : image.objectType,
      pendingImport: unchanged ? object.pendingImport : { change, image },
      unconfirmed: null,
      absence: returned ? null : object.absence,
      error: error === null ? withoutErrorOf(object.error, "import") : withRefusal(error, object.error),
    },
  };
}

function stagingCounter(
  change: "add" | "update" | "deleteAdd",
  last: Image | null,
  image: Image,
): StagingCounter {
  if (change === "deleteAdd") return "stageDeleteAdd";
  if (change === "add" && last === null) return "stageAdd";
  return last !== null && dnKey(last.dn) !== dnKey(image.dn) ? "stageRename" : "stageUpdate";
}

function stageAbsence(object: ConnectorSpaceObject, kind: Absence, options: StagingOptions): StagingDecision {
  const deletionConfirmed = object.unconfirmed?.change === "delete";
  const confirmation = deletionConfirmed ? "confirmed" : object.unconfirmed === null ? null : "notReimported";
  const linked = object.metaverseId !== null || object.linking !== null;
  if (!linked && (object.synchronized === null || deletionConfirmed))
    return { kind: "remove", counter: "stageDelete", object };

  const image = importedImage(object);
  if (linked && options.retainMs !== null && image !== null && !deletionConfirmed) {
    // Written once: the grace period counts from the first absence, whatever becomes of the object at the source.
    // Only that it is deleted there is news, for its names are free then.
    const known = object.absence !== null && object.absence.byRules !== true ? object.absence.kind : null;
    if (known !== null && (isDeletion(known) || !isDeletion(kind)))
      return { kind: "unchanged", counter: "stageNoChange" };
    return {
      kind: "write",
      counter: "stageUpdate",
      confirmation,
      error: null,
      object: {
        ...object,
        pendingImport: { change: object.synchronized === null ? "add" : "update", image },
        unconfirmed: null,
        absence: { kind, since: object.absence?.since ?? options.now },
      },
    };
  }
  if (object.pendingImport?.change === "delete") return { kind: "unchanged", counter: "stageNoChange" };
  return {
    kind: "write",
    counter: "stageDelete",
    confirmation,
    error: null,
    object: { ...object, pendingImport: { change: "delete", image: null }, unconfirmed: null },
  };
}

/** Whether an absence of that kind leaves nobody at the source who holds the object's names. */
export function isDeletion(kind: Absence): boolean {
  return kind === "softDeleted" || kind === "deleted";
}

/** The attributes (or `dn`) whose exported value the import does not show. */
function notReimported(
  object: ConnectorSpaceObject,
  image: Image,
  options: StagingOptions,
): readonly string[] {
  const { unconfirmed } = object;
  if (unconfirmed === null) return [];
  if (unconfirmed.change === "delete") return ["(the deletion)"];
  const syntaxes = syntaxesOf(options.schemas, image.objectType);
  const names = Object.entries(unconfirmed.expected)
    .filter(
      ([name, value]) =>
        !attributesEqual(own(image.attributes, name), value ?? undefined, syntaxes.syntax(name)),
    )
    .map(([name]) => name);
  if (unconfirmed.newDn !== undefined && dnKey(unconfirmed.newDn) !== dnKey(image.dn)) names.push("dn");
  return names;
}

function notReimportedError(
  object: ConnectorSpaceObject,
  attributes: readonly string[],
  now: string,
): ObjectError {
  const previous = object.error?.code === "exported-change-not-reimported" ? object.error : null;
  return {
    phase: "import",
    code: "exported-change-not-reimported",
    message:
      `${object.dn}: the import does not show what was exported to ${attributes.join(", ")}. ` +
      "Another writer or the directory itself has changed it; the next synchronisation decides again.",
    attribute: attributes[0]!,
    firstOccurred: previous?.firstOccurred ?? now,
    retryCount: previous === null ? 0 : previous.retryCount + 1,
  };
}

/** Equal to the letter: a change of capitals is a change. */
export function imagesEqual(a: Image, b: Image): boolean {
  const names = Object.keys(a.attributes);
  return (
    a.objectType === b.objectType &&
    a.dn === b.dn &&
    names.length === Object.keys(b.attributes).length &&
    names.every(
      (name) =>
        Object.hasOwn(b.attributes, name) && attributesEqual(a.attributes[name], b.attributes[name], "exact"),
    )
  );
}
