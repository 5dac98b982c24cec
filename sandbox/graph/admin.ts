/**
 * The tenant's administrator: a plain HTTP endpoint on the loopback that changes users and orders bad days.
 *
 *   GET    /admin/users?userType=Guest&state=active&top=&skip=    {count, users}
 *   GET    /admin/users/{id}                PATCH the same        any property; null clears; manager: id, sponsors: [ids]
 *   POST   /admin/guests                    {count} and/or properties -> 201 {users}
 *   POST   /admin/users/{id}/block  /unblock  /accept  /restore  /purge
 *   DELETE /admin/users/{id}                soft delete
 *   GET    /admin/groups                    POST {members: [ids]} and/or properties -> 201 {id}
 *   GET    /admin/groups/{id}               PATCH and DELETE the same; POST /admin/groups/{id}/restore
 *   POST   /admin/groups/{id}/members       {id} of a user or a group; DELETE the same
 *   POST   /admin/tokens/expire             {answer: "reset" | "expired"}
 *   GET    /admin/stats
 *   POST   /admin/faults                    a list of faults; DELETE takes back those still waiting
 *   GET    /admin/manners                   PATCH the same: liberties of delta rounds
 *
 * {id} is an id or a percent-encoded user principal name.
 */

import type { DeltaManners } from "./delta.ts";
import { mildManners } from "./delta.ts";
import type { Fault, FaultQueue } from "./faults.ts";
import type { Json, UserProperties } from "./properties.ts";
import type { TenantStore, TenantUser, UserState } from "./store.ts";
import { TenantError } from "./store.ts";
import { isoSeconds } from "./tenant.ts";

export interface AdminRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: Json | undefined;
}

export interface AdminAnswer {
  readonly status: number;
  readonly body?: Json;
}

export interface AdminOptions {
  readonly store: TenantStore;
  readonly faults: FaultQueue;
  readonly manners: { current: DeltaManners };
  readonly requestCounts: () => Json;
}

const statusOf: Record<TenantError["kind"], number> = { "not-found": 404, conflict: 409, invalid: 400 };

export function adminApi(options: AdminOptions): (request: AdminRequest) => AdminAnswer {
  const { store, faults, manners } = options;

  function route({ method, path, query, body }: AdminRequest): AdminAnswer {
    const [prefix, resource, encodedId, action, ...rest] = path
      .split("/")
      .filter((segment) => segment !== "");
    if (prefix !== "admin" || rest.length > 0) return unknown(method, path);
    const now = Date.now();
    const id = encodedId === undefined ? undefined : decodeURIComponent(encodedId);

    switch (
      `${method} ${[resource, id && (resource === "users" || resource === "groups" ? "{id}" : id), action].filter(Boolean).join("/")}`
    ) {
      case "GET users":
        return { status: 200, body: listed(query) };
      case "POST guests": {
        const { count = 1, ...properties } = object(body);
        const users = store.addGuests(count as number, properties, now);
        return { status: 201, body: { users: users.map(described) } };
      }
      case "GET users/{id}":
        return one(store.find(id!), id!);
      case "PATCH users/{id}":
        return { status: 200, body: described(store.change(id!, object(body), now)) };
      case "DELETE users/{id}":
        return { status: 200, body: described(store.delete(id!, now)) };
      case "POST users/{id}/block":
        return { status: 200, body: described(store.change(id!, { accountEnabled: false }, now)) };
      case "POST users/{id}/unblock":
        return { status: 200, body: described(store.change(id!, { accountEnabled: true }, now)) };
      case "POST users/{id}/accept": {
        const accepted = { externalUserState: "Accepted", externalUserStateChangeDateTime: isoSeconds(now) };
        return { status: 200, body: described(store.change(id!, accepted, now)) };
      }
      case "POST users/{id}/restore":
        return { status: 200, body: described(store.restore(id!, now)) };
      case "POST users/{id}/purge":
        store.purge(id!, now);
        return { status: 204 };
      case "GET groups": {
        const groups = store.groups.all().map((group) => ({
          ...group.properties,
          state: group.state,
          members: store.groups.members(group.id, false).map((member) => member.id),
        }));
        return { status: 200, body: { groups } };
      }
      case "POST groups": {
        const { members = [], ...properties } = object(body);
        const usual = {
          displayName: "Guests",
          mailEnabled: false,
          mailNickname: "guests",
          securityEnabled: true,
        };
        const id = store.addGroup({ ...usual, groupTypes: [], ...properties }, members as string[], now);
        return { status: 201, body: { id } };
      }
      case "GET groups/{id}": {
        const group = store.groups.get(id!);
        if (group === undefined) throw new TenantError("not-found", `There is no group '${id}'.`);
        const members = store.groups.members(group.id, false).map((member) => member.id);
        return { status: 200, body: { ...group.properties, state: group.state, members } };
      }
      case "PATCH groups/{id}":
        store.changeGroup(id!, object(body), now);
        return { status: 204 };
      case "DELETE groups/{id}":
        store.deleteGroup(id!, now);
        return { status: 204 };
      case "POST groups/{id}/restore":
        store.restoreGroup(id!, now);
        return { status: 204 };
      case "POST groups/{id}/members":
      case "DELETE groups/{id}/members": {
        const type = method === "POST" ? "addMember" : "removeMember";
        store.changeMember(type, id!, String(object(body).id), now);
        return { status: 204 };
      }
      case "POST tokens/expire": {
        const { answer = "reset" } = object(body ?? {});
        if (answer !== "reset" && answer !== "expired") {
          throw new TenantError("invalid", 'answer must be "reset" or "expired".');
        }
        store.expireTokens(answer, now);
        return { status: 204 };
      }
      case "GET stats":
        return { status: 200, body: stats() };
      case "POST faults": {
        const list = Array.isArray(body) ? body : [body];
        faults.add(list.map((fault) => object(fault) as Fault));
        return { status: 201, body: { waiting: faults.waiting } };
      }
      case "DELETE faults":
        faults.clear();
        return { status: 204 };
      case "GET manners":
        return { status: 200, body: { ...manners.current } };
      case "PATCH manners":
        manners.current = withManners(manners.current, object(body));
        return { status: 200, body: { ...manners.current } };
      default:
        return unknown(method, path);
    }
  }

  function listed(query: URLSearchParams): Json {
    const state = (query.get("state") ?? "active") as UserState;
    const userType = query.get("userType");
    const skip = Number(query.get("skip") ?? 0);
    const top = Number(query.get("top") ?? Number.POSITIVE_INFINITY);
    const users: Json[] = [];
    let count = 0;
    for (let ordinal = 0; ordinal < store.end; ordinal += 1) {
      if (store.stateAt(ordinal) !== state) continue;
      if (userType === "Guest" && !store.isGuestAt(ordinal)) continue;
      if (userType !== null && userType !== "Guest" && store.at(ordinal).properties.userType !== userType)
        continue;
      if (count >= skip && users.length < top) users.push(described(store.at(ordinal)));
      count += 1;
    }
    return { count, users };
  }

  function stats(): Json {
    const counts = { guests: 0, members: 0, deleted: 0, purged: 0 };
    for (let ordinal = 0; ordinal < store.end; ordinal += 1) {
      const state = store.stateAt(ordinal);
      if (state !== "active") counts[state] += 1;
      else counts[store.isGuestAt(ordinal) ? "guests" : "members"] += 1;
    }
    return {
      users: counts,
      version: store.version,
      requests: options.requestCounts(),
      faultsWaiting: faults.waiting,
    };
  }

  return (request) => {
    try {
      return route(request);
    } catch (error) {
      if (!(error instanceof TenantError)) throw error;
      return { status: statusOf[error.kind], body: { error: { code: error.kind, message: error.message } } };
    }
  };
}

function object(body: Json | undefined): UserProperties {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new TenantError("invalid", "The body must be a JSON object.");
  }
  return body as UserProperties;
}

/** All properties of a user and the state it is in. */
function described(user: TenantUser): Json {
  return { ...user.properties, id: user.id, state: user.state };
}

function one(user: TenantUser | undefined, id: string): AdminAnswer {
  if (user === undefined) throw new TenantError("not-found", `There is no user '${id}'.`);
  return { status: 200, body: described(user) };
}

function unknown(method: string, path: string): AdminAnswer {
  return { status: 404, body: { error: { code: "not-found", message: `There is no ${method} ${path}.` } } };
}

function withManners(current: DeltaManners, changes: UserProperties): DeltaManners {
  for (const [name, value] of Object.entries(changes)) {
    const example = mildManners[name as keyof DeltaManners];
    if (typeof value !== typeof example) {
      throw new TenantError(
        "invalid",
        `'${name}' is not a manner of delta rounds, or ${JSON.stringify(value)} no value for it.`,
      );
    }
  }
  return { ...current, ...changes } as DeltaManners;
}
