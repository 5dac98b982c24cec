/** What rounds of change tracking bring of users: https://learn.microsoft.com/graph/delta-query-users */
import { memberItem } from "./answers.ts";
import type { ChangeTracking, DeltaManners, Items, RoundState } from "./delta.ts";
import { badRequest, GraphFault } from "./odata.ts";
import type { Json, UserProperties } from "./properties.ts";
import { defaultProperties, propertyTypes, singleUserOnly, userResource } from "./properties.ts";
import type { TenantStore, TenantUser, UserChange } from "./store.ts";

export function userTracking(store: TenantStore, manners: DeltaManners): ChangeTracking {
  return {
    collection: "users",
    resource: userResource,
    end: store.end,
    versionAsOf: (nowMs, lagMs) => store.versionAsOf(nowMs, lagMs),
    assertTrackable,
    initialItems: (state, size) => initialItems(store, manners, state, size),
    changedItems: (state, size, minimal) => changedItems(store, manners, state, size, minimal),
  };
}

function assertTrackable(select: readonly string[]): void {
  if (select.some((name) => singleUserOnly.has(name))) {
    throw new GraphFault(501, "NotImplemented", "This operation target is not yet supported.");
  }
  const navigation = select.find((name) => propertyTypes.get(name) === "navigation" && name !== "manager");
  if (navigation !== undefined) throw badRequest(`Change tracking of '${navigation}' is not supported.`);
}

function initialItems(store: TenantStore, manners: DeltaManners, state: RoundState, size: number): Items {
  const items: Json[] = [];
  let ordinal = state.position;
  for (; ordinal < state.end && items.length < size; ordinal += 1) {
    const removed = store.stateAt(ordinal) !== "active";
    if (removed && !manners.removedInInitialRound) continue;
    const user = store.at(ordinal);
    if (state.ids !== undefined && !state.ids.includes(user.id)) continue;
    items.push(removed ? removedItem(user) : wholeItem(store, user, state.select));
  }
  return { items, position: ordinal, done: ordinal >= state.end };
}

function changedItems(
  store: TenantStore,
  manners: DeltaManners,
  state: RoundState,
  size: number,
  minimal: boolean,
): Items {
  const relevant = store
    .changesBetween(state.from ?? 0, state.to)
    .filter((change) => isTracked(store, state, change));
  const end = Math.min(relevant.length, state.position + size);
  const itemAt = (index: number): Json => {
    const change = relevant[index]!;
    const { names } = change;
    const user = store.at(change.ordinal);
    if (user.state !== "active") return removedItem(user);
    if (names === "all") return wholeItem(store, user, state.select);
    const onlyChanged = minimal || (manners.partialObjects && index % 2 === 0);
    return changedItem(store, user, { ...change, names }, state.select, onlyChanged);
  };
  const items: Json[] = [];
  for (let index = state.position; index < end; index += 1) items.push(itemAt(index));
  if (manners.duplicates && items.length > 0) {
    if (state.position > 0) items.unshift(itemAt(state.position - 1));
    items.push(itemAt(state.position));
  }
  return { items, position: end, done: end >= relevant.length };
}

function isTracked(store: TenantStore, { ids, select }: RoundState, change: UserChange): boolean {
  if (ids !== undefined && !ids.includes(store.at(change.ordinal).id)) return false;
  if (change.names === "all" || select === undefined) return true;
  const { names } = change;
  return select.some((name) => names.has(name));
}

function removedItem(user: TenantUser): Json {
  return { id: user.id, "@removed": { reason: user.state === "purged" ? "deleted" : "changed" } };
}

/** A new or restored user: the selected properties that have a value. */
function wholeItem(store: TenantStore, user: TenantUser, select: readonly string[] | undefined): Json {
  const { id, properties } = user;
  const names = (select ?? defaultProperties).filter((name) => (properties[name] ?? null) !== null);
  return { ...pick(properties, names, id), ...managerOf(store, user, select, []) };
}

/**
 * A changed user. Unchanged properties come along unless only changed ones are wanted; a property that was never
 * set does not come, one that was cleared comes as null.
 */
function changedItem(
  store: TenantStore,
  user: TenantUser,
  { names: changed, formerManagers }: UserChange & { readonly names: ReadonlySet<string> },
  select: readonly string[] | undefined,
  onlyChanged: boolean,
): Json {
  const { id, properties } = user;
  const candidates = select ?? [...new Set([...defaultProperties, ...changed])];
  const names = candidates.filter((name) => name in properties && (!onlyChanged || changed.has(name)));
  const manager = changed.has("manager") ? managerOf(store, user, select, formerManagers) : {};
  return { ...pick(properties, names, id), ...manager };
}

/** Relationships are annotations; a manager who was deleted is not told of. */
function managerOf(
  store: TenantStore,
  { properties: { manager } }: TenantUser,
  select: readonly string[] | undefined,
  former: readonly string[],
): Record<string, Json> {
  if (select?.includes("manager") !== true) return {};
  const removed = [...new Set(former)]
    .filter((id) => id !== manager)
    .map((id) => ({ ...(memberItem({ id, kind: "user" }) as object), "@removed": { reason: "deleted" } }));
  const present =
    typeof manager === "string" && store.find(manager)?.state === "active"
      ? [memberItem({ id: manager, kind: "user" })]
      : [];
  const all: Json[] = [...removed, ...present];
  return all.length === 0 ? {} : { "manager@delta": all };
}

function pick(properties: UserProperties, names: readonly string[], id: string): Record<string, Json> {
  const item: Record<string, Json> = {};
  for (const name of names) {
    const type = propertyTypes.get(name);
    if (type === "navigation") continue;
    item[name] = properties[name] ?? (type === "texts" || type === "objects" ? [] : null);
  }
  item.id = id;
  return item;
}
