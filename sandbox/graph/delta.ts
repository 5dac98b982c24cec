/**
 * `GET /users/delta` and `GET /groups/delta`: rounds of change tracking. What is in them: userChanges.ts, groupChanges.ts.
 *
 *   no token ─────────► initial round, everything ─► deltaLink
 *   $deltatoken=latest ────────────────────────────► deltaLink, nothing else
 *   deltaLink ────────► the changes since, merged per object ──► deltaLink
 *
 * Facts: https://learn.microsoft.com/graph/delta-query-overview, https://learn.microsoft.com/graph/api/user-delta.
 * What the service is free to do and mostly does not (empty pages, repeats, partial objects) is off unless asked
 * for with `DeltaManners`.
 */

import type { QueryOptions } from "./odata.ts";
import { GraphFault, idsOnly, parseFilter, parseSelect, unsupportedQuery } from "./odata.ts";
import type { Json, ResourceType } from "./properties.ts";
import type { StateTokens } from "./stateTokens.ts";
import type { TenantStore } from "./store.ts";

/** Liberties of the service that a client must bear. All documented, all rare. */
export interface DeltaManners {
  /** Objects a page, when the request does not prefer another number. */
  readonly pageSize: number;
  /** Every second page is empty and has a nextLink. */
  readonly emptyPages: boolean;
  /** A page ends with its first user again, and the next one begins with the last user of the one before. */
  readonly duplicates: boolean;
  /** Every second changed user carries only what changed, without the client asking for that. */
  readonly partialObjects: boolean;
  /** A round brings up to this many earlier changes again. */
  readonly replays: number;
  /** Members in one entry of a group; what is more comes with further entries of the same group. */
  readonly membersPerEntry: number;
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
  membersPerEntry: 1000,
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
export interface RoundState {
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
  tracking: ChangeTracking,
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
  const state = openRound(store, tracking, tokens, manners, request);
  if (state.kind === "delta") {
    return { headers, body: page(request, tracking, tokens, state, [], undefined) };
  }

  const size = preference.pageSize ?? manners.pageSize;
  if (manners.emptyPages && state.page % 2 === 1) {
    const next = { ...state, page: state.page + 1, issuedMs: nowMs };
    return { headers, body: page(request, tracking, tokens, state, [], next) };
  }
  const { items, position, done } =
    state.from === null
      ? tracking.initialItems(state, size)
      : tracking.changedItems(state, size, preference.minimal);
  const next = done ? undefined : { ...state, page: state.page + 1, position, issuedMs: nowMs };
  return { headers, body: page(request, tracking, tokens, state, items, next) };
}

function page(
  request: DeltaRequest,
  { collection }: ChangeTracking,
  tokens: StateTokens,
  state: RoundState,
  value: readonly Json[],
  next: RoundState | undefined,
): Record<string, Json> {
  const base = `${request.origin}/v1.0/${collection}/delta`;
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
  return { "@odata.context": `${request.origin}/v1.0/$metadata#${collection}${selected}`, ...link, value };
}

/** The round that the request begins or goes on with; of kind "delta" when only a deltaLink is wanted. */
function openRound(
  store: TenantStore,
  tracking: ChangeTracking,
  tokens: StateTokens,
  manners: DeltaManners,
  { options, nowMs, origin }: DeltaRequest,
): RoundState {
  const select = options.has("$select") ? parseSelect(options.get("$select")!, tracking.resource) : undefined;
  if (select !== undefined) tracking.assertTrackable(select);
  const deltaToken = options.get("$deltatoken") ?? "";
  const skipToken = options.get("$skiptoken");
  if (skipToken === undefined && (deltaToken === "" || deltaToken.toLowerCase() === "latest")) {
    const ids = trackedIds(options, tracking);
    return {
      kind: deltaToken === "" ? "page" : "delta",
      from: null,
      to: tracking.versionAsOf(nowMs, manners.lagMs),
      position: 0,
      end: tracking.end,
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
  refuseOldToken(store, tracking, manners, state, nowMs, origin);
  if (skipToken !== undefined) {
    if (select !== undefined) throw unsupportedQuery("'$select' cannot be combined with '$skiptoken'.");
    return state;
  }
  const to = Math.max(state.to, tracking.versionAsOf(nowMs, manners.lagMs));
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
  { collection }: ChangeTracking,
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
      Location: `${origin}/v1.0/${collection}/delta?${select}$deltatoken=`,
    });
  }
}

/** The only filter of change tracking: up to 50 ids. */
function trackedIds(options: QueryOptions, { resource }: ChangeTracking): string[] | undefined {
  const text = options.get("$filter");
  if (text === undefined) return undefined;
  const ids = idsOnly(parseFilter(text, resource));
  if (ids === undefined)
    throw unsupportedQuery("Unsupported Query. Change tracking can be filtered by id only.");
  if (ids.length > 50) throw unsupportedQuery("Too many ids in the filter: 50 is the maximum.");
  return ids;
}

/** Some of a round, and where the next page begins. */
export interface Items {
  readonly items: readonly Json[];
  readonly position: number;
  readonly done: boolean;
}

/** What a collection that tracks changes knows of them. */
export interface ChangeTracking {
  readonly collection: "users" | "groups";
  readonly resource: ResourceType;
  /** One past the last object of an initial round. */
  readonly end: number;
  versionAsOf(nowMs: number, lagMs: number): number;
  /** @throws GraphFault for what cannot be tracked */
  assertTrackable(select: readonly string[]): void;
  initialItems(state: RoundState, size: number): Items;
  changedItems(state: RoundState, size: number, minimal: boolean): Items;
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
