/**
 * Requests about groups and their members.
 *
 * https://learn.microsoft.com/graph/api/resources/group; what is easy to get wrong with members is said in
 * https://learn.microsoft.com/graph/api/group-post-members (20 to a request, all or nothing) and
 * https://learn.microsoft.com/graph/api/group-delete-members (without `/$ref` the member itself is deleted).
 */
import type { GraphAnswer, GraphRequest, Member } from "./answers.ts";
import {
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
import { groupResource } from "./groupProperties.ts";
import type { Group } from "./groups.ts";
import {
  badRequest,
  matches,
  needsAdvancedQuery,
  parseFilter,
  parseOptions,
  unsupportedQuery,
} from "./odata.ts";
import type { Json, UserProperties } from "./properties.ts";
import type { StateTokens } from "./stateTokens.ts";
import type { TenantStore } from "./store.ts";
import { checkedGroup, requireObject } from "./writes.ts";

const membersAddedMax = 20;

/** A group by its id, or by its other key: `groups(uniqueName='…')`. */
export type GroupKey = { readonly id: string } | { readonly uniqueName: string };

export function groupKey(segment: string): GroupKey | undefined {
  const [, name] = /^groups\(uniqueName='((?:[^']|'')+)'\)$/i.exec(segment) ?? [];
  return name === undefined ? undefined : { uniqueName: name.replaceAll("''", "'") };
}

export function groupApi(store: TenantStore, tokens: StateTokens) {
  function named(uniqueName: string): Group | undefined {
    return store.groups.all().find((group) => group.properties.uniqueName === uniqueName);
  }

  function require(id: string): Group {
    const found = store.groups.find(id);
    if (found === undefined) throw resourceNotFound(id);
    return found;
  }

  function list(request: GraphRequest, state: "active" | "deleted"): GraphAnswer {
    const options = parseOptions(request.query);
    refuseOptions(options, ["$skip", "$orderby", "$expand", "$search", "$deltatoken"]);
    const select = selection(options, groupResource);
    const counted = isEventual(request) && options.get("$count")?.toLowerCase() === "true";
    const filterText = options.get("$filter");
    const filter = filterText === undefined ? undefined : parseFilter(filterText, groupResource);
    if (filter !== undefined && needsAdvancedQuery(filter, groupResource) && !counted)
      throw unsupportedQuery();
    const found = store.groups
      .all(state)
      .filter(
        ({ properties }) => filter === undefined || matches(filter, (name) => properties[name] ?? null),
      );
    return page(request, found, counted, (group) => shown(group.properties, select, groupResource), "groups");
  }

  /** A part of a list whose order stays, so that a page token is a position. */
  function page<Item>(
    request: GraphRequest,
    all: readonly Item[],
    counted: boolean,
    show: (item: Item) => Json,
    context: string,
  ): GraphAnswer {
    const options = parseOptions(request.query);
    const start = position(tokens, options);
    const end = start + pageSize(options, undefined);
    return ok({
      "@odata.context": `${request.origin}/v1.0/$metadata#${context}`,
      ...(counted ? { "@odata.count": all.length } : {}),
      ...(end < all.length
        ? { "@odata.nextLink": nextLink(request, tokens.seal({ kind: "list", next: end })) }
        : {}),
      value: all.slice(start, end).map(show),
    });
  }

  const isLiving = (member: Member) => member.kind === "group" || store.find(member.id)?.state === "active";

  function single(request: GraphRequest, key: GroupKey): GraphAnswer {
    const select = selection(parseOptions(request.query), groupResource);
    const group = "id" in key ? require(key.id) : named(key.uniqueName);
    if (group === undefined) throw resourceNotFound("uniqueName");
    const { properties } = group;
    return ok({
      "@odata.context": `${request.origin}/v1.0/$metadata#groups/$entity`,
      ...shown(properties, select, groupResource),
    });
  }

  /** Deleted users are shown in no group, and are in it again once they are restored. */
  function members(request: GraphRequest, id: string, transitive: boolean): GraphAnswer {
    const { id: group } = require(id);
    return page(
      request,
      store.groups.members(group, transitive).filter(isLiving),
      false,
      memberItem,
      "directoryObjects",
    );
  }

  function groupsOf(request: GraphRequest, key: string, transitive: boolean): GraphAnswer {
    const user = store.find(key);
    if (user?.state !== "active") throw resourceNotFound(key);
    const groups = store.groups.groupsOf(user.id, transitive);
    const all = groups.map(({ id }): Member => ({ id, kind: "group" }));
    return page(request, all, false, memberItem, "directoryObjects");
  }

  /** https://learn.microsoft.com/graph/api/group-post-groups */
  function create(request: GraphRequest, key: UserProperties = {}): GraphAnswer {
    const { "members@odata.bind": bound, ...properties } = requireObject(request.body);
    const wanted = checkedGroup(undefined, properties);
    const members = boundMembers(bound);
    for (const member of members) requireLiving(member);
    const id = store.addGroup({ ...wanted, ...key }, members, Date.now());
    return {
      status: 201,
      headers: { Location: `${request.origin}/v1.0/groups/${id}` },
      body: {
        "@odata.context": `${request.origin}/v1.0/$metadata#groups/$entity`,
        ...shown(require(id).properties, undefined, groupResource),
      },
    };
  }

  /** https://learn.microsoft.com/graph/api/group-upsert: created where it is missing, if that is preferred. */
  function upsert(request: GraphRequest, uniqueName: string): GraphAnswer {
    const group = named(uniqueName);
    if (group !== undefined) return update(request, group.id);
    if (!/\bcreate-if-missing\b/.test(request.headers.prefer ?? "")) throw resourceNotFound("uniqueName");
    return create(request, { uniqueName });
  }

  /** All or nothing. */
  function update(request: GraphRequest, id: string): GraphAnswer {
    const group = require(id);
    const { "members@odata.bind": bound, ...properties } = requireObject(request.body);
    const changes = checkedGroup(group.properties, properties);
    const joining = boundMembers(bound);
    if (joining.length > 0) requireAssigned(group);
    for (const member of joining) {
      requireLiving(member);
      if (store.groups.hasMember(group.id, member)) throw alreadyMember();
    }
    store.changeGroup(group.id, changes, Date.now());
    for (const member of joining) store.changeMember("addMember", group.id, member, Date.now());
    return { status: 204, headers: {} };
  }

  function addMember(request: GraphRequest, id: string): GraphAnswer {
    const group = require(id);
    requireAssigned(group);
    const member = linkedId(requireObject(request.body)["@odata.id"]);
    requireLiving(member);
    if (store.groups.hasMember(group.id, member)) throw alreadyMember();
    store.changeMember("addMember", group.id, member, Date.now());
    return { status: 204, headers: {} };
  }

  /** @param isReference false: `/$ref` was forgotten, and the service deletes the member itself */
  function removeMember(id: string, member: string, isReference: boolean): GraphAnswer {
    const group = require(id);
    if (!store.groups.hasMember(group.id, member)) throw resourceNotFound(member);
    if (!isReference) {
      if (store.groups.find(member) !== undefined) store.deleteGroup(member, Date.now());
      else store.delete(member, Date.now());
      return { status: 204, headers: {} };
    }
    requireAssigned(group);
    store.changeMember("removeMember", group.id, member, Date.now());
    return { status: 204, headers: {} };
  }

  function remove(id: string): GraphAnswer {
    store.deleteGroup(require(id).id, Date.now());
    return { status: 204, headers: {} };
  }

  function requireLiving(id: string): void {
    if (store.groups.find(id) === undefined && store.find(id)?.state !== "active") throw resourceNotFound(id);
  }

  return { list, single, members, groupsOf, create, upsert, update, addMember, removeMember, remove };
}

function boundMembers(bound: Json | undefined): string[] {
  if (bound === undefined) return [];
  if (!Array.isArray(bound)) throw badRequest("Invalid value for members@odata.bind.");
  if (bound.length > membersAddedMax) {
    throw badRequest(
      `The number of references added in one request must not be more than ${membersAddedMax}.`,
    );
  }
  return bound.map(linkedId);
}

function requireAssigned({ properties }: { readonly properties: UserProperties }): void {
  if ((properties.groupTypes as readonly string[] | undefined)?.includes("DynamicMembership") !== true)
    return;
  throw badRequest(
    "Insufficient privileges: the members of a group with dynamic membership cannot be changed.",
  );
}

function alreadyMember() {
  return badRequest(
    "One or more added object references already exist for the following modified properties: 'members'.",
  );
}
