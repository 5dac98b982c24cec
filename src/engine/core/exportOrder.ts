/** The order in which the changes of a plan are sent. */
import { type ExportKind, exportDigest, exportKind } from "./exporting.ts";
import type { ConnectorSpaceObject, PendingExport } from "./model.ts";
import { dnKey, isReference, parentDn, valuesOf } from "./values.ts";

/** One change of a plan: the object, and the digest of what was decided for it. */
export interface PlanItem {
  readonly id: string;
  readonly kind: ExportKind;
  readonly digest: string;
  /** Of an add: attributes that refer to objects which are only added after it; the next export sends them. */
  readonly without?: readonly string[];
}

/** As much of a pending export as its place among the others depends on. */
export interface PlannedChange {
  readonly item: PlanItem;
  readonly change: PendingExport["change"];
  readonly dn: string;
  /** Of an add: what it refers to. */
  readonly references: readonly { readonly attribute: string; readonly dn: string }[];
}

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
  return { item, change, dn, references };
}

/**
 *   adds     containers before what is in them, objects before those that refer to them
 *   changes
 *   deletes  what is in a container before the container
 *
 * Otherwise by id, so that the same changes have the same order and the plan the same hash.
 */
export function inExportOrder(changes: readonly PlannedChange[]): PlanItem[] {
  const sorted = [...changes].sort((a, b) => (a.item.id < b.item.id ? -1 : 1));
  const of = (change: PendingExport["change"]) => sorted.filter((one) => one.change === change);
  const deletes = of("delete").sort((a, b) => depth(b.dn) - depth(a.dn));
  return [...addsInOrder(of("add")), ...[...of("update"), ...deletes].map(({ item }) => item)];
}

function addsInOrder(adds: readonly PlannedChange[]): PlanItem[] {
  const byDn = new Map(adds.map((add) => [dnKey(add.dn), add]));
  const items: PlanItem[] = [];
  const begun = new Set<PlannedChange>();
  const placed = new Set<PlannedChange>();
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
    items.push(early.length === 0 ? add.item : { ...add.item, without: [...new Set(early)] });
    placed.add(add);
  };
  adds.forEach(place);
  return items;
}

/** How many containers an object is in. */
function depth(dn: string): number {
  let count = 0;
  for (let rest = parentDn(dn); rest !== ""; rest = parentDn(rest)) count++;
  return count;
}
