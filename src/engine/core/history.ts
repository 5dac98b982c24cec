/** What has happened to a metaverse object, as its history keeps it. */
import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { type JsonValue, toJson } from "./explain.ts";
import { own } from "./flow.ts";
import type { ConnectorSpaceObject, MetaverseObject, PendingExport } from "./model.ts";
import type { SyncDecision } from "./synchronize.ts";

export type HistoryKind = "created" | "changed" | "deleted" | "exported" | "held" | "released";

export interface HistoryEntry {
  /** ISO 8601. */
  readonly at: string;
  readonly kind: HistoryKind;
  /** Null: done by hand. */
  readonly runId: string | null;
  /** In words. */
  readonly message: string;
  /** `exported`: of the object in its directory. Otherwise of the metaverse object. */
  readonly attributes: readonly {
    readonly name: string;
    readonly before: JsonValue | null;
    readonly after: JsonValue | null;
    readonly connector: string | null;
    readonly rule: string | null;
  }[];
  /** Objects that were connected or let go. */
  readonly connected: readonly LinkedObject[];
  readonly disconnected: readonly LinkedObject[];
  /** `exported`: the object that was written. */
  readonly object?: LinkedObject;
  readonly who?: string;
  readonly why?: string;
}

export interface LinkedObject {
  readonly connector: string;
  readonly id: string;
  readonly anchor: string | null;
  readonly dn: string;
}

/** What a synchronisation has changed of the metaverse object; null: nothing. */
export function syncHistory(
  before: MetaverseObject,
  decision: SyncDecision,
  { at, runId }: Pick<HistoryEntry, "at" | "runId">,
): HistoryEntry | null {
  const { metaverse, objects } = decision;
  const links = (object: ConnectorSpaceObject | null) => object?.metaverseId === before.id;
  const connected = objects.flatMap((change) =>
    links(change.after) && !links(change.before) ? [linkedObject(change.after!)] : [],
  );
  const disconnected = objects.flatMap((change) =>
    links(change.before) && !links(change.after) ? [linkedObject(change.before!)] : [],
  );
  const isGone = metaverse === null || metaverse.deleted;
  if (isGone && before.deleted && disconnected.length === 0) return null;
  // Placing has written a new person's first values and connections already: it is new if nothing was connected before.
  const newIds = new Set(connected.map(({ id }) => id));
  const isNew = !before.deleted && !isGone && before.connectors.every(({ id }) => newIds.has(id));
  const was = isNew || before.deleted ? {} : before.attributes;
  const is = isGone ? {} : metaverse.attributes;
  const names = [...new Set([...Object.keys(was), ...Object.keys(is)])].sort();
  const attributes = names.flatMap((name) => {
    const [old, now] = [own(was, name), own(is, name)];
    if (isDeepStrictEqual(old?.value, now?.value)) return [];
    return [
      {
        name,
        before: toJson(old?.value),
        after: toJson(now?.value),
        connector: (now ?? old)!.connector,
        rule: (now ?? old)!.rule,
      },
    ];
  });
  if (attributes.length + connected.length + disconnected.length === 0 && !isGone) return null;
  const kind: HistoryKind = isGone ? "deleted" : isNew ? "created" : "changed";
  const causes = decision.causes.filter(({ step }) => step !== "outbound").map(({ message }) => message);
  const parts = [
    ...causes,
    ...connected.map(({ connector, dn }) => `Connected to ${dn} of ${connector}.`),
    ...disconnected.map(({ connector, dn }) => `Disconnected from ${dn} of ${connector}.`),
  ];
  const message = parts.join(" ") || `Changed: ${attributes.map(({ name }) => name).join(", ")}.`;
  return { at, kind, runId, message, attributes, connected, disconnected };
}

/** The same for the same changes whenever they are written: what references bring about comes in a second turn. */
export function changeHash({ kind, attributes, connected, disconnected }: HistoryEntry): string {
  const json = JSON.stringify([kind, attributes, connected, disconnected]);
  return createHash("sha256").update(json).digest("hex").slice(0, 8);
}

/** @param isSecret whether an attribute never comes back, as passwords do not: it is left out */
export function exportHistory(
  object: ConnectorSpaceObject,
  sent: PendingExport,
  isSecret: (attribute: string) => boolean,
  { at, runId }: Pick<HistoryEntry, "at" | "runId">,
): HistoryEntry {
  const what = { add: "Created", update: "Changed", delete: "Deleted" }[sent.change];
  const moved = sent.newDn === undefined ? "" : ` It is ${sent.newDn} now.`;
  return {
    at,
    kind: "exported",
    runId,
    message: `${what} in ${object.connector}: ${sent.reason}${moved}`,
    attributes: sent.attributes
      .filter(({ name }) => !isSecret(name))
      .map(({ name, before, after, rule }) => ({
        name,
        before: toJson(before),
        after: toJson(after),
        connector: object.connector,
        rule,
      })),
    connected: [],
    disconnected: [],
    object: linkedObject(object),
  };
}

export function handHistory(
  kind: "held" | "released",
  { at, who, why }: { readonly at: string; readonly who: string; readonly why: string | null },
  message: string,
): HistoryEntry {
  return {
    at,
    kind,
    runId: null,
    message,
    attributes: [],
    connected: [],
    disconnected: [],
    who,
    ...(why === null ? {} : { why }),
  };
}

function linkedObject({ connector, id, anchor, dn }: ConnectorSpaceObject): LinkedObject {
  return { connector, id, anchor, dn };
}
