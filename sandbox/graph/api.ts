/** Graph v1.0 as far as a connector for users and groups meets it: request in, answer out, nothing about sockets. */

import { randomUUID } from "node:crypto";
import type { GraphAnswer, GraphRequest } from "./answers.ts";
import {
  decodeSegment,
  failure,
  isEventual,
  linkedId,
  memberItem,
  nextLink,
  ok,
  pageSize,
  position,
  refuseOptions,
  resourceNotFound,
  selection,
  shown,
} from "./answers.ts";
import type { ChangeTracking, DeltaManners } from "./delta.ts";
import { answerDelta } from "./delta.ts";
import { groupApi, groupKey } from "./groupApi.ts";
import { groupTracking } from "./groupChanges.ts";
import type { Filter, QueryOptions } from "./odata.ts";
import {
  badRequest,
  GraphFault,
  idsOnly,
  isGuestFilter,
  matches,
  needsAdvancedQuery,
  parseFilter,
  parseOptions,
  unsupportedQuery,
} from "./odata.ts";
import type { Json } from "./properties.ts";
import { defaultProperties, singleUserOnly } from "./properties.ts";
import type { StateTokens } from "./stateTokens.ts";
import type { TenantStore, TenantUser } from "./store.ts";
import { TenantError } from "./store.ts";
import { tenantDomain } from "./tenant.ts";
import { userTracking } from "./userChanges.ts";
import { expandedLinks, userLinks } from "./userLinks.ts";
import { invitedGuest, newUser, requireObject, userChanges } from "./writes.ts";

export interface GraphApiOptions {
  readonly store: TenantStore;
  readonly tokens: StateTokens;
  readonly manners: () => DeltaManners;
  /** Answers a request in place of the service: faults that a test has ordered. */
  readonly intercept: (method: string, target: string) => GraphAnswer | undefined;
  readonly countRequest: (endpoint: string, status: number) => void;
}

const batchMax = 20;

export function graphApi({ store, tokens, manners, intercept, countRequest }: GraphApiOptions) {
  const groups = groupApi(store, tokens);
  const links = userLinks(store);

  /** Answers one request, also one from within a batch. Never throws for what a client did wrong. */
  function answer(request: GraphRequest): GraphAnswer {
    const route = routeOf(request);
    const result = withinService(request, route.handle);
    countRequest(`${request.method} ${route.endpoint}`, result.status);
    return result;
  }

  function routeOf(request: GraphRequest): Route {
    const [version, ...segments] = request.path.split("/").filter((segment) => segment !== "");
    if (version !== "v1.0") return refused(request.path, badRequest(`Invalid version: ${version ?? ""}`));
    const words = segments.map((segment) => segment.toLowerCase());
    const [first, second, third, ...more] = words;
    const only = (method: string, endpoint: string, handle: () => GraphAnswer): Route =>
      request.method === method ? { endpoint, handle } : refused(endpoint, methodNotAllowed());

    if (first === "$batch" && second === undefined) return only("POST", "/$batch", () => batch(request));
    if (first === "organization" && second === undefined) {
      return only("GET", "/organization", () => ok(organization(request.origin)));
    }
    if (first === "users" && third === undefined) {
      if (second === undefined && request.method === "POST") {
        return { endpoint: "/users", handle: () => create(request) };
      }
      if (second === undefined) return only("GET", "/users", () => list(request, "active"));
      if (second === "$count") return only("GET", "/users/$count", () => count(request));
      if (/^(microsoft\.graph\.)?delta(\(\))?$/.test(second)) {
        return only("GET", "/users/delta", () => delta(request, userTracking(store, manners())));
      }
      const key = decodeSegment(segments[1]!);
      if (request.method === "PATCH") return { endpoint: "/users/{id}", handle: () => update(request, key) };
      if (request.method === "DELETE") return { endpoint: "/users/{id}", handle: () => remove(key) };
      return only("GET", "/users/{id}", () => single(request, key));
    }
    if (first === "invitations" && second === undefined) {
      return only("POST", "/invitations", () => invite(request));
    }
    const alternateKey = groupKey(decodeSegment(segments[0] ?? ""));
    if (alternateKey !== undefined && second === undefined && "uniqueName" in alternateKey) {
      const endpoint = "/groups(uniqueName='{name}')";
      const { uniqueName } = alternateKey;
      if (request.method === "PATCH") return { endpoint, handle: () => groups.upsert(request, uniqueName) };
      return only("GET", endpoint, () => groups.single(request, alternateKey));
    }
    if (first === "groups" && (second === undefined || third === undefined)) {
      if (second === undefined) {
        if (request.method === "POST") return { endpoint: "/groups", handle: () => groups.create(request) };
        return only("GET", "/groups", () => groups.list(request, "active"));
      }
      if (/^(microsoft\.graph\.)?delta(\(\))?$/.test(second)) {
        return only("GET", "/groups/delta", () => delta(request, groupTracking(store, manners())));
      }
      const endpoint = "/groups/{id}";
      if (request.method === "PATCH") return { endpoint, handle: () => groups.update(request, second) };
      if (request.method === "DELETE") return { endpoint, handle: () => groups.remove(second) };
      return only("GET", endpoint, () => groups.single(request, { id: second }));
    }
    if (first === "groups" && second !== undefined) {
      const [fourth, fifth, ...rest] = more;
      if ((third === "members" || third === "transitivemembers") && fourth === undefined) {
        const transitive = third === "transitivemembers";
        const endpoint = `/groups/{id}/${transitive ? "transitiveMembers" : "members"}`;
        return only("GET", endpoint, () => groups.members(request, second, transitive));
      }
      if (third === "members" && fourth === "$ref" && fifth === undefined) {
        return only("POST", "/groups/{id}/members/$ref", () => groups.addMember(request, second));
      }
      if (third === "members" && fourth !== undefined && rest.length === 0) {
        const isReference = fifth === "$ref";
        if (isReference || fifth === undefined) {
          const endpoint = `/groups/{id}/members/{id}${isReference ? "/$ref" : ""}`;
          return only("DELETE", endpoint, () => groups.removeMember(second, fourth, isReference));
        }
      }
    }
    if (first === "users" && second !== undefined) {
      const key = decodeSegment(segments[1]!);
      if ((third === "memberof" || third === "transitivememberof") && more.length === 0) {
        const transitive = third === "transitivememberof";
        const endpoint = `/users/{id}/${transitive ? "transitiveMemberOf" : "memberOf"}`;
        return only("GET", endpoint, () => groups.groupsOf(request, key, transitive));
      }
      const route = linkRoute(request, key, third!, more);
      if (route !== undefined) return route;
    }
    if (first === "directory" && second === "deleteditems" && third !== undefined) {
      if (more.length === 0 && third === "microsoft.graph.user") {
        return only("GET", "/directory/deletedItems/microsoft.graph.user", () => list(request, "deleted"));
      }
      if (more.length === 0 && third === "microsoft.graph.group") {
        return only("GET", "/directory/deletedItems/microsoft.graph.group", () =>
          groups.list(request, "deleted"),
        );
      }
      if (more.length === 0 || (more.length === 1 && more[0] === "microsoft.graph.user")) {
        return only("GET", "/directory/deletedItems/{id}", () => deletedItem(request, third));
      }
    }
    return refused(
      request.path,
      badRequest(`Resource not found for the segment '${segments.at(-1) ?? ""}'.`),
    );
  }

  /** A user's manager and sponsors. */
  function linkRoute(
    request: GraphRequest,
    key: string,
    name: string,
    more: readonly string[],
  ): Route | undefined {
    const body = () => linkedId(requireObject(request.body)["@odata.id"]);
    switch (
      `${request.method} ${[name, ...more.map((part) => (part === "$ref" ? part : "{id}"))].join("/")}`
    ) {
      case "GET manager":
        return { endpoint: "/users/{id}/manager", handle: () => ok(memberItem(links.manager(key))) };
      case "PUT manager/$ref":
        return { endpoint: "/users/{id}/manager/$ref", handle: () => links.setManager(key, body()) };
      case "DELETE manager/$ref":
        return { endpoint: "/users/{id}/manager/$ref", handle: () => links.setManager(key, null) };
      case "GET sponsors":
        return {
          endpoint: "/users/{id}/sponsors",
          handle: () => ok({ value: links.sponsors(key).map(memberItem) }),
        };
      case "POST sponsors/$ref":
        return { endpoint: "/users/{id}/sponsors/$ref", handle: () => links.addSponsor(key, body()) };
      case "DELETE sponsors/{id}/$ref":
        return {
          endpoint: "/users/{id}/sponsors/{id}/$ref",
          handle: () => links.removeSponsor(key, more[0]!),
        };
      default:
        return undefined;
    }
  }

  function list(request: GraphRequest, state: "active" | "deleted"): GraphAnswer {
    const options = parseOptions(request.query);
    refuseOptions(options, ["$skip", "$orderby", "$deltatoken"]);
    const select = selection(options);
    const expanded = expandedLinks(options);
    if (select?.some((name) => singleUserOnly.has(name))) {
      throw new GraphFault(501, "NotImplemented", "This operation target is not yet supported.");
    }
    const size = Math.min(pageSize(options, select), expanded === undefined ? 999 : 100);
    const query = userQuery(request, options);
    if (query.counted && expanded !== undefined)
      throw unsupportedQuery("$expand is not supported with advanced queries.");
    const found: number[] = [];
    for (const ordinal of candidates(query, state, position(tokens, options))) {
      if (found.push(ordinal) > size) break;
    }
    const more = found.length > size ? found.pop() : undefined;

    const selected = select === undefined ? "" : `(${select.join(",")})`;
    return ok({
      "@odata.context": `${request.origin}/v1.0/$metadata#users${selected}`,
      ...(query.counted ? { "@odata.count": countMatches(query, state) } : {}),
      ...(more === undefined
        ? {}
        : { "@odata.nextLink": nextLink(request, tokens.seal({ kind: "list", next: more })) }),
      value: found.map((ordinal) => {
        const user = store.at(ordinal);
        return { ...shown(user.properties, select), ...links.expanded(user, expanded) };
      }),
    });
  }

  function count(request: GraphRequest): GraphAnswer {
    if (!isEventual(request)) {
      throw new GraphFault(400, "Request_BadRequest", "$count is not currently supported.");
    }
    const query = userQuery(request, parseOptions(request.query), true);
    return { status: 200, headers: {}, body: String(countMatches(query, "active")) };
  }

  function single(request: GraphRequest, key: string): GraphAnswer {
    const options = parseOptions(request.query);
    const select = selection(options);
    const expanded = expandedLinks(options);
    const user = store.find(key);
    if (user?.state !== "active") throw resourceNotFound(key);
    const selected = select === undefined ? "" : `(${select.join(",")})`;
    return ok({
      "@odata.context": `${request.origin}/v1.0/$metadata#users${selected}/$entity`,
      ...shown(user.properties, select),
      ...links.expanded(user, expanded),
    });
  }

  function deletedItem(request: GraphRequest, id: string): GraphAnswer {
    const select = selection(parseOptions(request.query));
    const user = store.find(id);
    const group = store.groups.get(id);
    if (group?.state === "deleted")
      return ok({ "@odata.type": "#microsoft.graph.group", ...group.properties });
    if (user?.state !== "deleted") throw resourceNotFound(id);
    return ok({
      "@odata.context": `${request.origin}/v1.0/$metadata#directoryObjects/$entity`,
      "@odata.type": "#microsoft.graph.user",
      ...shown(user.properties, select ?? ["deletedDateTime", ...defaultProperties]),
    });
  }

  function delta(request: GraphRequest, tracking: ChangeTracking): GraphAnswer {
    const { headers, body } = answerDelta(store, tracking, tokens, manners(), {
      origin: request.origin,
      options: parseOptions(request.query),
      prefer: request.headers.prefer ?? "",
      nowMs: Date.now(),
    });
    return { status: 200, headers, body };
  }

  /** https://learn.microsoft.com/graph/api/user-post-users */
  function create(request: GraphRequest): GraphAnswer {
    const user = store.addUser(newUser(requireObject(request.body), Date.now()), Date.now());
    return {
      status: 201,
      headers: { Location: `${request.origin}/v1.0/users/${user.id}` },
      body: {
        "@odata.context": `${request.origin}/v1.0/$metadata#users/$entity`,
        ...shown(user.properties, undefined),
      },
    };
  }

  function update(request: GraphRequest, key: string): GraphAnswer {
    const properties = requireObject(request.body);
    const user = store.find(key);
    if (user?.state !== "active") throw resourceNotFound(key);
    store.change(key, userChanges(user.properties, properties), Date.now());
    return { status: 204, headers: {} };
  }

  function remove(key: string): GraphAnswer {
    if (store.find(key)?.state !== "active") throw resourceNotFound(key);
    store.delete(key, Date.now());
    return { status: 204, headers: {} };
  }

  /** https://learn.microsoft.com/graph/api/invitation-post; whoever is there already is invited once more. */
  function invite(request: GraphRequest): GraphAnswer {
    const now = Date.now();
    const { mail, redirectUrl, properties } = invitedGuest(requireObject(request.body), now);
    const user = store.findByMail(mail) ?? store.addUser(properties, now);
    if (user.properties.userType !== "Guest") {
      throw new GraphFault(
        400,
        "BadRequest",
        `The invited user already exists in the directory as object ID: ${user.id}. They can use that account to sign in to shared apps and resources.`,
      );
    }
    return {
      status: 201,
      headers: {},
      body: {
        "@odata.context": `${request.origin}/v1.0/$metadata#invitations/$entity`,
        id: randomUUID(),
        invitedUserEmailAddress: mail,
        inviteRedirectUrl: redirectUrl,
        sendInvitationMessage: false,
        status: user.properties.externalUserState ?? "PendingAcceptance",
        invitedUser: { id: user.id },
      },
    };
  }

  /** https://learn.microsoft.com/graph/json-batching; answers come in another order than the requests. */
  function batch(outer: GraphRequest): GraphAnswer {
    const requests = batchRequests(outer.body);
    const answers = new Map<string, GraphAnswer>();
    for (const inner of requests) {
      const failed = inner.dependsOn.some((id) => (answers.get(id)?.status ?? 500) >= 400);
      answers.set(inner.id, failed ? failedDependency(outer) : answerInner(outer, inner));
    }
    const responses = [...answers].reverse().map(([id, { status, headers, body }]) => ({
      id,
      status,
      headers: { "Cache-Control": "no-cache", "Content-Type": "application/json", ...headers },
      ...(body === undefined ? {} : { body }),
    }));
    return ok({ responses });
  }

  function answerInner(outer: GraphRequest, inner: BatchRequest): GraphAnswer {
    const target = `/v1.0/${inner.url.replace(/^\/+/, "")}`;
    const [path = "", query = ""] = target.split(/\?(.*)/s);
    if (path.toLowerCase() === "/v1.0/$batch") {
      return failure(outer, badRequest("A batch cannot hold a batch."));
    }
    const ordered = intercept(inner.method, target);
    if (ordered !== undefined) return ordered;
    return answer({
      method: inner.method,
      path,
      query: new URLSearchParams(query),
      headers: inner.headers,
      body: inner.body,
      origin: outer.origin,
    });
  }

  interface UserQuery {
    readonly filter: Filter | undefined;
    readonly search: ((value: (property: string) => Json) => boolean) | undefined;
    readonly counted: boolean;
    readonly key: string;
  }

  function userQuery(request: GraphRequest, options: QueryOptions, countedByPath = false): UserQuery {
    const eventual = isEventual(request);
    const counted = eventual && (countedByPath || options.get("$count")?.toLowerCase() === "true");
    const filterText = options.get("$filter");
    const filter = filterText === undefined ? undefined : parseFilter(filterText);
    if (filter !== undefined && needsAdvancedQuery(filter) && !counted) throw unsupportedQuery();
    const searchText = options.get("$search");
    if (searchText !== undefined && !eventual) {
      throw unsupportedQuery(
        "Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'",
      );
    }
    return {
      filter,
      search: searchText === undefined ? undefined : parseSearch(searchText),
      counted,
      key: `${filterText ?? ""}\n${searchText ?? ""}`,
    };
  }

  /** Ordinals of matching users from `start` on, found as they are asked for. */
  function* candidates(
    { filter, search }: UserQuery,
    state: "active" | "deleted",
    start: number,
  ): Iterable<number> {
    const guestsOnly = filter !== undefined && isGuestFilter(filter) && search === undefined;
    for (const ordinal of within(filter, state, start)) {
      if (guestsOnly) {
        if (store.isGuestAt(ordinal)) yield ordinal;
        continue;
      }
      if (filter === undefined && search === undefined) {
        yield ordinal;
        continue;
      }
      const { properties } = store.at(ordinal);
      const value = (name: string): Json => properties[name] ?? null;
      if ((filter === undefined || matches(filter, value)) && search?.(value) !== false) yield ordinal;
    }
  }

  function* within(filter: Filter | undefined, state: "active" | "deleted", start: number): Iterable<number> {
    const ids = filter && idsOnly(filter);
    if (ids !== undefined) {
      const found = ids
        .map((id) => store.find(id))
        .filter((user): user is TenantUser => user?.state === state);
      const ordinals = found.map((user) => user.ordinal).filter((ordinal) => ordinal >= start);
      yield* [...new Set(ordinals)].sort((a, b) => a - b);
      return;
    }
    if (state === "deleted") {
      yield* store.deletedOrdinals().filter((ordinal) => ordinal >= start);
      return;
    }
    for (let ordinal = start; ordinal < store.end; ordinal += 1) {
      if (store.stateAt(ordinal) === "active") yield ordinal;
    }
  }

  let lastCount = { key: "", version: -1, count: 0 };
  function countMatches(query: UserQuery, state: "active" | "deleted"): number {
    const key = `${state}\n${query.key}`;
    if (lastCount.key !== key || lastCount.version !== store.version) {
      let found = 0;
      for (const _ of candidates(query, state, 0)) found += 1;
      lastCount = { key, version: store.version, count: found };
    }
    return lastCount.count;
  }

  return { answer };
}

interface Route {
  /** The path with its parameters named: what requests are counted under. */
  readonly endpoint: string;
  readonly handle: () => GraphAnswer;
}

function refused(endpoint: string, refusal: GraphFault): Route {
  return {
    endpoint,
    handle: () => {
      throw refusal;
    },
  };
}

function methodNotAllowed(): GraphFault {
  return new GraphFault(
    405,
    "Request_BadRequest",
    "Specified HTTP method is not allowed for the request target.",
  );
}

/** Runs a handler and puts what it throws into the service's form. */
function withinService(request: GraphRequest, handle: () => GraphAnswer): GraphAnswer {
  try {
    return handle();
  } catch (error) {
    if (error instanceof GraphFault) return failure(request, error);
    if (error instanceof TenantError) {
      return failure(request, new GraphFault(400, "Request_BadRequest", error.message));
    }
    throw error;
  }
}

const searchable = new Set(["displayName", "givenName", "surname", "mail", "userPrincipalName"]);

/** `"property:text"`: some word of the property begins with the text. */
function parseSearch(text: string): (value: (property: string) => Json) => boolean {
  const [, property, wanted] = /^"(\w+):(.+)"$/.exec(text.trim()) ?? [];
  if (property === undefined || wanted === undefined || !searchable.has(property)) {
    throw badRequest(`Syntax error: character '${text[0] ?? ""}' is not valid at position 0 in '${text}'.`);
  }
  return (value) =>
    String(value(property) ?? "")
      .toLowerCase()
      .split(/[\s.,_@#-]+/)
      .some((word) => word.startsWith(wanted.toLowerCase()));
}

interface BatchRequest {
  readonly id: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Json | undefined;
  readonly dependsOn: readonly string[];
}

function batchRequests(body: Json | undefined): BatchRequest[] {
  const list = (body as { requests?: unknown } | undefined)?.requests;
  if (!Array.isArray(list)) throw badRequest("Invalid batch payload format.");
  if (list.length > batchMax) {
    throw badRequest(`Number of batch request steps exceeds the maximum value of ${batchMax}.`);
  }
  const requests = list.map((entry): BatchRequest => {
    const {
      id,
      method,
      url,
      headers = {},
      body: innerBody,
      dependsOn = [],
    } = (entry ?? {}) as Partial<BatchRequest>;
    if (typeof id !== "string" || typeof method !== "string" || typeof url !== "string") {
      throw badRequest("Invalid batch payload format: id, method and url are required.");
    }
    const lowered = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]);
    return {
      id,
      method: method.toUpperCase(),
      url,
      headers: Object.fromEntries(lowered),
      body: innerBody,
      dependsOn,
    };
  });
  if (new Set(requests.map(({ id }) => id.toLowerCase())).size < requests.length) {
    throw badRequest("Invalid batch payload format: request ids must be unique.");
  }
  return requests;
}

function failedDependency(outer: GraphRequest): GraphAnswer {
  return failure(
    outer,
    new GraphFault(424, "FailedDependency", "A request that this one depends on failed."),
  );
}

function organization(origin: string): Json {
  return {
    "@odata.context": `${origin}/v1.0/$metadata#organization`,
    value: [
      {
        id: "7f1c1b4e-5d0a-4c39-9a55-0e6f0b6c2d11",
        displayName: "Contoso",
        countryLetterCode: "DE",
        createdDateTime: "2021-01-01T08:00:00Z",
        tenantType: "AAD",
        onPremisesSyncEnabled: null,
        verifiedDomains: [
          { name: tenantDomain, type: "Managed", isInitial: true, isDefault: true, capabilities: "Email" },
          { name: "contoso.com", type: "Managed", isInitial: false, isDefault: false, capabilities: "Email" },
        ],
      },
    ],
  };
}
