/** The order in which the changes of a plan are sent. */
import { type ExportKind, exportDigest, exportKind } from "./exporting.ts";
import type { ConnectorSpaceObject, PendingExport } from "./model.ts";
import { dnKey, isReference, parentDn, valuesOf } from "./values.ts";

/** One change of a plan: the object, and the digest of what was decided for it. */
export interface PlanItem {
  readonly id: string;
  readonly kind: ExportKind;
  readonly digest: string;
  /** What has a higher one is begun when all below are done; what has the same may be sent side by side. */
  readonly rank: number;
  /** Of an add: attributes that refer to objects which are only added after it; the next export sends them. */
  readonly without?: readonly string[];
}

/** As much of a pending export as its place among the others depends on. */
export interface PlannedChange {
  readonly item: Omit<PlanItem, "rank">;
  readonly change: PendingExport["change"];
  readonly dn: string;
  /** Of an add: what it refers to. */
  readonly references: readonly { readonly attribute: string; readonly dn: string }[];
  /** Of an update: somebody else may have a name as soon as it is done. */
  readonly givesUpName: boolean;
}

/** Names that no two objects of a directory may have. */
const uniqueNames: ReadonlySet<string> = new Set(["userPrincipalName", "sAMAccountName"]);

export function plannedChange(object: ConnectorSpaceObject, pending: PendingExport): PlannedChange {
  const { id, dn } = object;
  const { change, attributes } = pending;
  const references =
    change !== "add"
      ? []
      : attributes.flatMap(({ name, after }) =>
          valuesOf(after).flatMap((value) => (isReference(value) ? { attribute: name, dn: value.dn } : [])),
        );
  const item = { id, kind: exportKind(object, pending), digest: exportDigest(pending) };
  return { item, change, dn, references, givesUpName: givesUpName(pending) };
}

/** An update that waits for objects to be added, which it refers to or moves into, cannot go before them. */
function givesUpName({ change, newDn, attributes }: PendingExport): boolean {
  if (change !== "update" || newDn !== undefined) return false;
  if (attributes.some(({ after }) => valuesOf(after).some(isReference))) return false;
  return attributes.some(({ name, before }) => uniqueNames.has(name) && before !== undefined);
}

/**
 *   names    what gives up a name that another may wait for: a guest was deleted, and is invited again
 *   adds     containers before what is in them, objects before those that refer to them
 *   changes
 *   deletes  what is in a container before the container
 *
 * Otherwise by id, so that the same changes have the same order and the plan the same hash.
 */
export function inExportOrder(changes: readonly PlannedChange[]): PlanItem[] {
  const sorted = [...changes].sort((a, b) => (a.item.id < b.item.id ? -1 : 1));
  const [names, others] = [true, false].map((first) =>
    sorted.filter(({ change, givesUpName: given }) => change === "update" && given === first),
  );
  const adds = inLevels(sorted.filter(({ change }) => change === "add"));
  const deletes = sorted.filter(({ change }) => change === "delete");
  const depths = [...Map.groupBy(deletes, ({ dn }) => depth(dn))].sort(([a], [b]) => b - a);
  const groups = [names!, ...adds, others!, ...depths.map(([, group]) => group)];
  return groups.flatMap((group, rank) => group.map(({ item }) => ({ ...item, rank })));
}

/** Adds that need nothing of one another, then those that need the first, and so on. */
function inLevels(adds: readonly PlannedChange[]): PlannedChange[][] {
  const byDn = new Map(adds.map((add) => [dnKey(add.dn), add]));
  const levels: PlannedChange[][] = [];
  const begun = new Set<PlannedChange>();
  const placed = new Map<PlannedChange, number>();
  const place = (add: PlannedChange): void => {
    if (begun.has(add)) return;
    begun.add(add);
    const container = byDn.get(dnKey(parentDn(add.dn)));
    if (container !== undefined) place(container);
    const references = add.references.flatMap(({ attribute, dn }) => {
      const other = byDn.get(dnKey(dn));
      return other === undefined ? [] : { attribute, other };
    });
    for (const { other } of references) place(other);
    // Whoever is still being placed refers, through others, to this one: one of them has to wait.
    const early = references.filter(({ other }) => !placed.has(other)).map(({ attribute }) => attribute);
    const needed = [container, ...references.map(({ other }) => other)];
    const level =
      Math.max(-1, ...needed.map((one) => (one === undefined ? -1 : (placed.get(one) ?? -1)))) + 1;
    levels[level] ??= [];
    levels[level].push(
      early.length === 0 ? add : { ...add, item: { ...add.item, without: [...new Set(early)] } },
    );
    placed.set(add, level);
  };
  adds.forEach(place);
  return levels;
}

/** How many containers an object is in. */
function depth(dn: string): number {
  let count = 0;
  for (let rest = parentDn(dn); rest !== ""; rest = parentDn(rest)) count++;
  return count;
}
