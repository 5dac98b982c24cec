/** What rounds of change tracking bring of groups: https://learn.microsoft.com/graph/delta-query-groups */
import { memberItem } from "./answers.ts";
import type { ChangeTracking, DeltaManners, RoundState } from "./delta.ts";
import { groupResource } from "./groupProperties.ts";
import type { Group } from "./groups.ts";
import { badRequest } from "./odata.ts";
import type { Json } from "./properties.ts";
import type { TenantStore } from "./store.ts";

/**
 * One entry of a round: a group with some of its properties and a part of what became of its members. A group with
 * many comes in several entries, on any page.
 */
interface Entry {
  readonly group: Group;
  readonly names: ReadonlySet<string> | "all";
  /** Ids that joined (true) or left (false). */
  readonly members: readonly (readonly [id: string, joined: boolean])[];
}

export function groupTracking(store: TenantStore, manners: DeltaManners): ChangeTracking {
  const { groups } = store;

  function entriesOf(
    group: Group,
    names: Entry["names"],
    members: Entry["members"],
    select: RoundState["select"],
  ): Entry[] {
    // Members are tracked unless something else is selected.
    const tracked = select === undefined || select.includes("members") ? members : [];
    const first = { group, names, members: tracked.slice(0, manners.membersPerEntry) };
    const more: Entry[] = [];
    for (let start = manners.membersPerEntry; start < tracked.length; start += manners.membersPerEntry)
      more.push({ group, names, members: tracked.slice(start, start + manners.membersPerEntry) });
    return [first, ...more];
  }

  /** Members are told of by their ids: that one was deleted itself is not told at all. */
  const everybody = (group: Group): Entry["members"] =>
    groups
      .members(group.id, false)
      .filter(({ id, kind }) => kind === "group" || store.find(id)?.state === "active")
      .map(({ id }) => [id, true] as const);

  function shownEntry(
    { group, names, members }: Entry,
    select: RoundState["select"],
    minimal: boolean,
  ): Json {
    if (group.state !== "active") {
      return { id: group.id, "@removed": { reason: group.state === "purged" ? "deleted" : "changed" } };
    }
    const wanted = select ?? groupResource.defaultProperties;
    const item: Record<string, Json> = {};
    for (const name of wanted) {
      if (groupResource.propertyTypes.get(name) === "navigation" || !(name in group.properties)) continue;
      if (names === "all" ? group.properties[name] === null : minimal && !names.has(name)) continue;
      item[name] = group.properties[name]!;
    }
    if (members.length > 0) {
      item["members@delta"] = members.map(([id, joined]) => ({
        ...(memberItem({ id, kind: groups.get(id) === undefined ? "user" : "group" }) as object),
        ...(joined ? {} : { "@removed": { reason: "deleted" } }),
      }));
    }
    return { ...item, id: group.id };
  }

  function pageOf(entries: readonly Entry[], state: RoundState, size: number, minimal: boolean) {
    const end = Math.min(entries.length, state.position + size);
    const itemAt = (index: number) =>
      shownEntry(entries[index]!, state.select, minimal || (manners.partialObjects && index % 2 === 0));
    const items: Json[] = [];
    for (let index = state.position; index < end; index += 1) items.push(itemAt(index));
    if (manners.duplicates && items.length > 0) {
      if (state.position > 0) items.unshift(itemAt(state.position - 1));
      items.push(itemAt(state.position));
    }
    return { items, position: end, done: end >= entries.length };
  }

  return {
    collection: "groups",
    resource: groupResource,
    end: groups.all().length,
    versionAsOf: (nowMs, lagMs) => groups.versionAsOf(nowMs, lagMs),
    assertTrackable(select) {
      const navigation = select.find(
        (name) => groupResource.propertyTypes.get(name) === "navigation" && name !== "members",
      );
      if (navigation !== undefined) throw badRequest(`Change tracking of '${navigation}' is not supported.`);
    },
    initialItems(state, size) {
      const all = groups.all().filter(({ id }) => state.ids?.includes(id) !== false);
      const entries = all.flatMap((group) => entriesOf(group, "all", everybody(group), state.select));
      return pageOf(entries, state, size, false);
    },
    changedItems(state, size, minimal) {
      const { ids, select } = state;
      const entries = groups.changesBetween(state.from ?? 0, state.to).flatMap(({ id, names, members }) => {
        if (ids?.includes(id) === false) return [];
        const relevant =
          names === "all" ||
          select === undefined ||
          select.some((name) => names.has(name) || (name === "members" && members.size > 0));
        if (!relevant) return [];
        const group = groups.get(id)!;
        return entriesOf(group, names, names === "all" ? everybody(group) : [...members], select);
      });
      return pageOf(entries, state, size, minimal);
    },
  };
}
