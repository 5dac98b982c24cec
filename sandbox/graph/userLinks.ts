/**
 * A user's relationships to others: the manager, and the sponsors of a guest. They are kept among the user's properties
 * as ids, and shown only where they are asked for.
 *
 * https://learn.microsoft.com/graph/api/user-list-manager, https://learn.microsoft.com/graph/api/user-list-sponsors; one
 * relationship can be expanded in a request, with 20 objects at most and at most 100 users on a page:
 * https://learn.microsoft.com/graph/query-parameters#expand
 */
import type { GraphAnswer, Member } from "./answers.ts";
import { memberItem, resourceNotFound } from "./answers.ts";
import type { QueryOptions } from "./odata.ts";
import { badRequest, unsupportedQuery } from "./odata.ts";
import type { Json } from "./properties.ts";
import type { TenantStore, TenantUser } from "./store.ts";

type Link = "manager" | "sponsors";

const expandedMax = 20;
const sponsorsMax = 5;
const noContent: GraphAnswer = { status: 204, headers: {} };

/** @throws GraphFault for anything but one of the two */
export function expandedLinks(options: QueryOptions): Link | undefined {
  const text = options.get("$expand");
  if (text === undefined) return undefined;
  const [, name] = /^(manager|sponsors)(\(\$select=[\w,]+\))?$/.exec(text.trim()) ?? [];
  if (name === undefined) {
    throw unsupportedQuery("Only one relationship can be expanded in a request, here manager or sponsors.");
  }
  return name as Link;
}

export function userLinks(store: TenantStore) {
  function require(key: string): TenantUser {
    const user = store.find(key);
    if (user?.state !== "active") throw resourceNotFound(key);
    return user;
  }

  function living(id: string): Member | undefined {
    if (store.groups.find(id) !== undefined) return { id, kind: "group" };
    return store.find(id)?.state === "active" ? { id, kind: "user" } : undefined;
  }

  function linked({ properties }: TenantUser, link: Link): Member[] {
    return [properties[link] ?? []].flat().flatMap((id) => living(String(id)) ?? []);
  }

  const sponsorIds = ({ properties }: TenantUser) => (properties.sponsors ?? []) as readonly string[];

  return {
    /** As a part of the user. */
    expanded(user: TenantUser, link: Link | undefined): Record<string, Json> {
      if (link === undefined) return {};
      const found = linked(user, link).slice(0, expandedMax).map(memberItem);
      if (link === "sponsors") return { sponsors: found };
      return found.length === 0 ? {} : { manager: found[0]! };
    },

    manager(key: string): Member {
      const [manager] = linked(require(key), "manager");
      if (manager === undefined) throw resourceNotFound("manager");
      return manager;
    },

    setManager(key: string, manager: string | null): GraphAnswer {
      const user = require(key);
      if (manager !== null && living(manager)?.kind !== "user") throw resourceNotFound(manager);
      if (manager === null && linked(user, "manager").length === 0) throw resourceNotFound("manager");
      store.change(user.id, { manager }, Date.now());
      return noContent;
    },

    sponsors: (key: string): Member[] => linked(require(key), "sponsors"),

    addSponsor(key: string, sponsor: string): GraphAnswer {
      const user = require(key);
      if (living(sponsor) === undefined) throw resourceNotFound(sponsor);
      const ids = sponsorIds(user);
      if (ids.includes(sponsor)) {
        throw badRequest(
          "One or more added object references already exist for the following modified properties: 'sponsors'.",
        );
      }
      if (ids.length >= sponsorsMax) throw badRequest(`A user has at most ${sponsorsMax} sponsors.`);
      store.change(user.id, { sponsors: [...ids, sponsor] }, Date.now());
      return noContent;
    },

    removeSponsor(key: string, sponsor: string): GraphAnswer {
      const user = require(key);
      const ids = sponsorIds(user);
      if (!ids.includes(sponsor)) throw resourceNotFound(sponsor);
      store.change(user.id, { sponsors: ids.filter((id) => id !== sponsor) }, Date.now());
      return noContent;
    },
  };
}
