/**
 * `GET /users/delta`: rounds of change tracking.
 *
 *   no token ─────────► initial round, all users ──► deltaLink
 *   $deltatoken=latest ────────────────────────────► deltaLink, nothing else
 *   deltaLink ────────► the changes since, merged per user ──► deltaLink
 *
 * Facts: https://learn.microsoft.com/graph/delta-query-overview, https://learn.microsoft.com/graph/api/user-delta.
 * What the service is free to do and mostly does not (empty pages, repeats, partial objects) is off unless asked
 * for with `DeltaManners`.
 */

import type { QueryOptions } from "./odata.ts";
import { badRequest, GraphFault, idsOnly, parseFilter, parseSelect, unsupportedQuery } from "./odata.ts";
import type { Json, UserProperties } from "./properties.ts";
import { defaultProperties, propertyTypes, singleUserOnly } from "./properties.ts";
import type { StateTokens } from "./stateTokens.ts";
import type { TenantStore, TenantUser, UserChange } from "./store.ts";

/** Liberties of the service that a client must bear. All documented, all rare. */
export interface DeltaManners {
  /** Users a page, when the request does not prefer another number. */
  readonly pageSize: number;
  /** Every second page is empty and has a nextLink. */
  readonly emptyPages: boolean;
  /** A page ends with its first user again, and the next one begins with the last user of the one before. */
  readonly duplicates: boolean;
  /** Every second changed user carries only what changed, without the client asking for that. */
  readonly partialObjects: boolean;
  /** A round brings up to this many earlier changes again. */
  readonly replays: number;
  /** The initial round also lists deleted users, as removed. */
  readonly removedInInitialRound: boolean;
  /** Changes younger than this are left for a later round. Milliseconds. */
  readonly lagMs: number;
  /** Tokens older than this are expired. Milliseconds. */
  readonly tokenLifetimeMs: number;
}

export const mildManners: DeltaManners = {
  pageSize: 200,
  emptyPages: false,
  duplicates: false,
  partialObjects: false,
  replays: 0,
  removedInInitialRound: false,
  lagMs: 0,
  tokenLifetimeMs: 7 * 86_400_000,
};

export interface DeltaRequest {
  readonly origin: string;
  readonly options: QueryOptions;
  /** The Prefer header, or "". */
  readonly prefer: string;
  readonly nowMs: number;
}

export interface DeltaAnswer {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, Json>>;
}

/** What a token remembers. Short names: it travels in a URL. */
interface RoundState {
  readonly kind: "delta" | "page";
  /** Version after which changes count; null in an initial round. */
  readonly from: number | null;
  /** Version this round ends at. */
  readonly to: number;
  /** First entry of the next page: an ordinal in an initial round, otherwise an index into the changes. */
  readonly position: number;
  /** Ordinals that exist for an initial round. */
  readonly end: number;
  readonly page: number;
  readonly select?: readonly string[];
  readonly ids?: readonly string[];
  readonly epoch: number;
  readonly issuedMs: number;
}

const pageSizeMax = 999;

export function answerDelta(
  store: TenantStore,
  tokens: StateTokens,
  manners: DeltaManners,
  request: DeltaRequest,
): DeltaAnswer {
  const { options, nowMs } = request;
  for (const option of ["$top", "$orderby", "$expand", "$search", "$skip"] as const) {
    if (options.has(option)) {
      throw unsupportedQuery(`'${option}' is not supported by the service for change tracking.`);
    }
  }
  const preference = parsePrefer(request.prefer);
  const headers: Record<string, string> =
    preference.applied === "" ? {} : { "Preference-Applied": preference.applied };
  const state = openRound(store, tokens, manners, request);
  if (state.kind === "delta") {
    return { headers, body: page(request, tokens, state, [], undefined) };
  }

  const size = preference.pageSize ?? manners.pageSize;
  if (manners.emptyPages && state.page % 2 === 1) {
    const next = { ...state, page: state.page + 1, issuedMs: nowMs };
    return { headers, body: page(request, tokens, state, [], next) };
  }
  const { items, position, done } =
    state.from === null
      ? initialItems(store, manners, state, size)
      : changedItems(store, manners, state, size, preference.minimal);
  const next = done ? undefined : { ...state, page: state.page + 1, position, issuedMs: nowMs };
  return { headers, body: page(request, tokens, state, items, next) };
}

function page(
  request: DeltaRequest,
  tokens: StateTokens,
  state: RoundState,
  value: readonly Json[],
  next: RoundState | undefined,
): Record<string, Json> {
  const base = `${request.origin}/v1.0/users/delta`;
  const link: Record<string, Json> =
    next !== undefined
      ? { "@odata.nextLink": `${base}?$skiptoken=${tokens.seal(next)}` }
      : {
          "@odata.deltaLink": `${base}?$deltatoken=${tokens.seal({
            ...state,
            kind: "delta",
            position: 0,
            page: 0,
            issuedMs: request.nowMs,
          })}`,
        };
  const selected = state.select === undefined ? "" : `(${state.select.join(",")})`;
  return { "@odata.context": `${request.origin}/v1.0/$metadata#users${selected}`, ...link, value };
}

/** The round that the request begins or goes on with; of kind "delta" when only a deltaLink is wanted. */
function openRound(
  store: TenantStore,
  tokens: StateTokens,
  manners: DeltaManners,
  { options, nowMs, origin }: DeltaRequest,
): RoundState {
  const select = options.has("$select") ? trackable(parseSelect(options.get("$select")!)) : undefined;
  const deltaToken = options.get("$deltatoken") ?? "";
  const skipToken = options.get("$skiptoken");
  if (skipToken === undefined && (deltaToken === "" || deltaToken.toLowerCase() === "latest")) {
    const ids = trackedIds(options);
    return {
      kind: deltaToken === "" ? "page" : "delta",
      from: null,
      to: store.versionAsOf(nowMs, manners.lagMs),
      position: 0,
      end: store.end,
      page: 0,
      ...(select && { select }),
      ...(ids && { ids }),
      epoch: store.tokenEpoch,
      issuedMs: nowMs,
    };
  }
  if (options.has("$filter"))
    throw unsupportedQuery("A filter belongs to the first request of change tracking.");
  const state = tokens.open(skipToken ?? deltaToken) as RoundState | undefined;
  if (state?.kind !== (skipToken === undefined ? "delta" : "page")) {
    throw new GraphFault(400, "Request_BadRequest", "Badly formed token.");
  }
  refuseOldToken(store, manners, state, nowMs, origin);
  if (skipToken !== undefined) {
    if (select !== undefined) throw unsupportedQuery("'$select' cannot be combined with '$skiptoken'.");
    return state;
  }
  const to = Math.max(state.to, store.versionAsOf(nowMs, manners.lagMs));
  return {
    ...state,
    kind: "page",
    from: Math.max(0, state.to - manners.replays),
    to,
    ...(select && { select }),
  };
}

function refuseOldToken(
  store: TenantStore,
  manners: DeltaManners,
  state: RoundState,
  nowMs: number,
  origin: string,
): void {
  const answer =
    nowMs - state.issuedMs > manners.tokenLifetimeMs ? "expired" : store.answerForEpoch(state.epoch);
  if (answer === "expired") {
    throw new GraphFault(
      400,
      "syncStateNotFound",
      "The sync state was not found. Start with a full synchronization.",
    );
  }
  if (answer === "reset") {
    const select = state.select === undefined ? "" : `$select=${state.select.join(",")}&`;
    throw new GraphFault(410, "resyncRequired", "Resync required. The delta token is no longer valid.", {
      Location: `${origin}/v1.0/users/delta?${select}$deltatoken=`,
    });
  }
}

function trackable(select: readonly string[]): readonly string[] {
  if (select.some((name) => singleUserOnly.has(name))) {
    throw new GraphFault(501, "NotImplemented", "This operation target is not yet supported.");
  }
  const navigation = select.find((name) => propertyTypes.get(name) === "navigation" && name !== "manager");
  if (navigation !== undefined) throw badRequest(`Change tracking of '${navigation}' is not supported.`);
  return select;
}

/** The only filter of change tracking: up to 50 ids. */
function trackedIds(options: QueryOptions): string[] | undefined {
  const text = options.get("$filter");
  if (text === undefined) return undefined;
  const ids = idsOnly(parseFilter(text));
  if (ids === undefined)
    throw unsupportedQuery("Unsupported Query. Change tracking can be filtered by id only.");
  if (ids.length > 50) throw unsupportedQuery("Too many ids in the filter: 50 is the maximum.");
  return ids;
}

interface Items {
  readonly items: readonly Json[];
  readonly position: number;
  readonly done: boolean;
}

function initialItems(store: TenantStore, manners: DeltaManners, state: RoundState, size: number): Items {
  const items: Json[] = [];
  let ordinal = state.position;
  for (; ordinal < state.end && items.length < size; ordinal += 1) {
    const removed = store.stateAt(ordinal) !== "active";
    if (removed && !manners.removedInInitialRound) continue;
    const user = store.at(ordinal);
    if (state.ids !== undefined && !state.ids.includes(user.id)) continue;
    items.push(removed ? removedItem(user) : wholeItem(user, state.select));
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
    const user = store.at(change.ordinal);
    if (user.state !== "active") return removedItem(user);
    if (change.names === "all") return wholeItem(user, state.select);
    const onlyChanged = minimal || (manners.partialObjects && index % 2 === 0);
    return changedItem(user, change.names, state.select, onlyChanged);
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
function wholeItem({ id, properties }: TenantUser, select: readonly string[] | undefined): Json {
  const names = (select ?? defaultProperties).filter((name) => (properties[name] ?? null) !== null);
  return pick(properties, names, id);
}

/**
 * A changed user. Unchanged properties come along unless only changed ones are wanted; a property that was never
 * set does not come, one that was cleared comes as null.
 */
function changedItem(
  { id, properties }: TenantUser,
  changed: ReadonlySet<string>,
  select: readonly string[] | undefined,
  onlyChanged: boolean,
): Json {
  const candidates = select ?? [...new Set([...defaultProperties, ...changed])];
  const names = candidates.filter((name) => name in properties && (!onlyChanged || changed.has(name)));
  return pick(properties, names, id);
}

function pick(properties: UserProperties, names: readonly string[], id: string): Json {
  const item: Record<string, Json> = {};
  for (const name of names) {
    const type = propertyTypes.get(name);
    item[name] = properties[name] ?? (type === "texts" || type === "objects" ? [] : null);
  }
  item.id = id;
  return item;
}

function parsePrefer(prefer: string): { minimal: boolean; pageSize: number | undefined; applied: string } {
  const minimal = /\breturn\s*=\s*minimal\b/i.test(prefer);
  const wanted = Number(/\bodata\.maxpagesize\s*=\s*(\d+)/i.exec(prefer)?.[1] ?? 0);
  const pageSize = wanted > 0 ? Math.min(wanted, pageSizeMax) : undefined;
  const applied = [
    ...(minimal ? ["return=minimal"] : []),
    ...(pageSize === undefined ? [] : [`odata.maxpagesize=${pageSize}`]),
  ];
  return { minimal, pageSize, applied: applied.join(", ") };
}
