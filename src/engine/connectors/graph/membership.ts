/**
 * The groups whose members alone are in scope.
 *
 * A listing is compared with the members as they are read when it begins (999 to a request). Membership is no
 * property of a user, so no delta round of users tells that it has changed: the watermark holds a digest of the
 * members, and where it differs the import becomes a full one by itself, with all the guards of a full import.
 */
import { createHash } from "node:crypto";
import { type ConnectorContext, ConnectorError } from "../../ports/connector.ts";
import { type GraphClient, notGraph } from "./client.ts";

export interface GroupScope {
  /** Object ids. */
  readonly groups: readonly string[];
  /** Whether the members of groups within the groups count too. */
  readonly transitive: boolean;
}

export interface Members {
  has(id: string): boolean;
  /** Differs when anybody joins or leaves. */
  readonly digest: string;
}

const pageSize = 999;

interface Page {
  readonly items: readonly { readonly id: string; readonly type: string }[];
  readonly next: string | null;
}

/** @throws ConnectorError "configuration" for a group that is not there, which must not pass for an empty one */
export async function readMembers(
  client: GraphClient,
  { groups, transitive }: GroupScope,
  context: ConnectorContext,
): Promise<Members> {
  const looks = await client.getMany(
    groups.map((id) => `/groups/${id}?$select=id`),
    context,
  );
  const missing = groups.filter((_, index) => looks[index]!.status === 404);
  if (missing.length > 0) {
    throw new ConnectorError(
      "configuration",
      `The tenant has no group ${missing.join(", ")}. Check the groups of the connector's settings; nothing is imported until then.`,
    );
  }
  const users = new Set<string>();
  const segment = transitive ? "transitiveMembers" : "members";
  for (const group of groups) {
    const first = client.url(`/groups/${group}/${segment}?$select=id&$top=${pageSize}`);
    for await (const { id, type } of objects(client, first, context))
      if (type === "#microsoft.graph.user") users.add(id);
  }
  const digest = createHash("sha256")
    .update(JSON.stringify([...users].sort()))
    .digest("base64url");
  return { has: (id) => users.has(id), digest };
}

/** Whether users belong to one of the groups, read from each user: what a listing of members did not show. */
export async function areMembers(
  client: GraphClient,
  { groups, transitive }: GroupScope,
  ids: readonly string[],
  context: ConnectorContext,
): Promise<ReadonlySet<string>> {
  const segment = transitive ? "transitiveMemberOf" : "memberOf";
  const paths = ids.map((id) => `/users/${id}/${segment}?$select=id&$top=${pageSize}`);
  const answers = await client.getMany(paths, context);
  const members = new Set<string>();
  for (const [index, id] of ids.entries()) {
    const { status, body } = answers[index]!;
    if (status === 404) continue; // deleted meanwhile
    let page: Page | null = pageOf(body);
    while (page !== null) {
      if (page.items.some((group) => groups.includes(group.id))) members.add(id);
      page = page.next === null || members.has(id) ? null : pageOf(await client.get(page.next, context));
    }
  }
  return members;
}

async function* objects(client: GraphClient, first: string, context: ConnectorContext) {
  for (let next: string | null = first; next !== null; ) {
    const page: Page = pageOf(await client.get(next, context));
    yield* page.items;
    next = page.next;
  }
}

function pageOf(body: unknown): Page {
  const { value, "@odata.nextLink": next = null } = (body ?? {}) as Record<string, unknown>;
  // An object without `value` must not pass for a group without members.
  if (!Array.isArray(value)) throw notGraph("a page of members without `value`");
  if (next !== null && typeof next !== "string") throw notGraph("an @odata.nextLink that is no link");
  const items = (value as Record<string, unknown>[]).map((item) => ({
    id: String(item.id),
    type: String(item["@odata.type"]),
  }));
  return { items, next };
}
