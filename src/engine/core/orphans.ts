/**
 * What becomes of accounts that belong to nobody, where the connector says that something shall:
 *
 *   found ──► disableAfter ──► disabled ──► deleteAfter ──► deleted
 *     └──────────┴───────────────┴── joined: theirs whose it is, enabled again if its rules want it so
 */

import { isDeepStrictEqual } from "node:util";
import type { ConnectorConfiguration, SyncConfiguration } from "./configuration.ts";
import { accountDisable, isDisabled } from "./exporting.ts";
import type { DisconnectorReason } from "./inbound.ts";
import {
  type AttributeChange,
  type ConnectorSpaceObject,
  expectedImage,
  type Image,
  importedImage,
  type PendingExport,
} from "./model.ts";
import { withoutErrorOf } from "./objectErrors.ts";
import { canLink } from "./rules.ts";

type OrphanTimes = NonNullable<ConnectorConfiguration["orphans"]>;

const disabledBy = "orphans";

/** The attributes by which accounts are disabled; an object without one can only be listed. */
export const disablingAttributes: readonly string[] = ["userAccountControl", "accountEnabled"];

/**
 * Whether an object that was placed as a disconnector for this reason is an orphan: the rules would have linked it,
 * and found nobody. What the filter or the scopes keep out, what a person has disconnected, what several could own and
 * what no rule speaks of is none.
 */
export function isOrphan(
  { connector, objectType }: Pick<ConnectorSpaceObject, "connector" | "objectType">,
  reason: DisconnectorReason,
  { rules }: Pick<SyncConfiguration, "rules">,
): boolean {
  if (reason !== "no-rule") return false;
  return rules.rules.some(
    (rule) => rule.connector === connector && rule.connectorObjectType === objectType && canLink(rule),
  );
}

/**
 * The orphan with what time has come for; the same object when there is nothing new.
 * @param object unlinked, its pending import applied
 * @param isProven whether everybody is known who could own it; until then nothing is done, and done things stand
 * @param now ISO 8601
 */
export function decideOrphan(
  object: ConnectorSpaceObject,
  times: OrphanTimes | undefined,
  { isProven, now }: { readonly isProven: boolean; readonly now: string },
): ConnectorSpaceObject {
  const image = importedImage(object);
  if (times === undefined && object.orphan === null && object.pendingExport === null) return object;
  if (times === undefined || image === null || object.anchor === null) return withOrphan(object, null, null);
  if (object.escrow !== null || object.unconfirmed?.change === "delete") return object; // its outcome decides
  if (!isProven) return withOrphan(object, object.orphan, null);
  const { since, disabledSince } = object.orphan ?? { since: now, disabledSince: null };
  const expected = expectedImage(object) ?? image;
  if (!isDisabled(expected.attributes)) {
    const isDue = now >= after(since, times.disableAfterMs);
    return withOrphan(object, { since, disabledSince: null }, isDue ? disabling(expected, since) : null);
  }
  // Only what an import has shown is disabled: from then on the second grace counts.
  const isShown = isDisabled(image.attributes) && now >= after(since, times.disableAfterMs);
  const shownSince = isShown ? (disabledSince ?? now) : null;
  const isOver =
    shownSince !== null && times.deleteAfterMs !== null && now >= after(shownSince, times.deleteAfterMs);
  return withOrphan(
    object,
    { since, disabledSince: shownSince },
    isOver ? deleting(since, shownSince) : null,
  );
}

/**
 * When an unlinked object is to be looked at because of the time alone (ISO 8601); null: never. One of which it is not
 * known yet whether it is an orphan is to be looked at now.
 */
export function orphanDue(
  object: ConnectorSpaceObject,
  times: OrphanTimes | undefined,
  now: string,
): string | null {
  const { orphan, metaverseId, linking, disconnector, anchor } = object;
  if (times === undefined || metaverseId !== null || linking !== null) return null;
  if (disconnector !== "normal" || anchor === null || importedImage(object) === null) return null;
  if (object.escrow !== null || object.unconfirmed !== null || object.pendingExport !== null) return null;
  if (orphan === null) return now;
  const { since, disabledSince } = orphan;
  if (disabledSince !== null && times.deleteAfterMs === null) return null;
  const at =
    disabledSince === null ? after(since, times.disableAfterMs) : after(disabledSince, times.deleteAfterMs!);
  return at > now ? at : null; // what has been due has been decided
}

/** What comes next for it, and when (ISO 8601); null: nothing. */
export function nextOfOrphan(
  { orphan, pendingExport, synchronized }: ConnectorSpaceObject,
  times: OrphanTimes | undefined,
): { readonly change: "disable" | "delete"; readonly at: string } | null {
  if (times === undefined || orphan === null) return null;
  if (!disablingAttributes.some((name) => synchronized?.attributes[name] !== undefined)) return null;
  const disableAt = after(orphan.since, times.disableAfterMs);
  if (!isDisabled(synchronized?.attributes ?? {}) && pendingExport?.change !== "delete")
    return { change: "disable", at: disableAt };
  if (times.deleteAfterMs === null) return null;
  return { change: "delete", at: after(orphan.disabledSince ?? disableAt, times.deleteAfterMs) };
}

function withOrphan(
  object: ConnectorSpaceObject,
  orphan: ConnectorSpaceObject["orphan"],
  wanted: PendingExport | null,
): ConnectorSpaceObject {
  const pendingExport = isDeepStrictEqual(object.pendingExport, wanted) ? object.pendingExport : wanted;
  const disables = wanted !== null && wanted.change === "update";
  const isEnabled = !isDisabled(importedImage(object)?.attributes ?? {});
  return {
    ...object,
    orphan: isDeepStrictEqual(object.orphan, orphan) ? object.orphan : orphan,
    pendingExport,
    // Whose disable it is: should somebody own the account one day, ours does not keep it closed.
    wantedBits: disables
      ? bitsOf(wanted.attributes)
      : isEnabled && object.unconfirmed === null
        ? {}
        : object.wantedBits,
    error: wanted === null ? withoutErrorOf(object.error, "export") : object.error,
  };
}

function bitsOf(attributes: readonly AttributeChange[]): Readonly<Record<string, bigint>> {
  return Object.fromEntries(
    attributes.flatMap(({ name, after: value }) =>
      typeof value === "bigint" ? [[name, accountDisable]] : [],
    ),
  );
}

/** Null: its directory does not say of such an object whether it is disabled. */
function disabling({ attributes }: Image, since: string): PendingExport | null {
  const changes = disablingAttributes.flatMap((name): AttributeChange[] => {
    const before = attributes[name];
    if (typeof before === "bigint")
      return [{ name, before, after: before | accountDisable, rule: disabledBy }];
    return typeof before === "boolean" ? [{ name, before, after: false, rule: disabledBy }] : [];
  });
  const reason = `It belongs to nobody since ${since}: such accounts are disabled.`;
  return changes.length === 0 ? null : { change: "update", attributes: changes, reason };
}

function deleting(since: string, disabledSince: string): PendingExport {
  const reason = `It belongs to nobody since ${since} and is disabled since ${disabledSince}: such accounts are deleted.`;
  return { change: "delete", attributes: [], reason };
}

const after = (since: string, ms: number) => new Date(Date.parse(since) + ms).toISOString();
