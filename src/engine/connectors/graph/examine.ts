/** What an operator should know of a tenant before he trusts it: permissions, the reads that imports need, Entra Connect. */
import { isUnder } from "../../core/values.ts";
import type { ConnectorContext, Finding } from "../../ports/connector.ts";
import { ConnectorError } from "../../ports/connector.ts";
import type { GraphClient } from "./client.ts";
import type { GraphTypeName } from "./objectTypes.ts";
import type { GraphSettings } from "./settings.ts";

export interface GraphExamination {
  readonly client: GraphClient;
  readonly settings: GraphSettings;
  readonly types: readonly GraphTypeName[];
  readonly token: () => Promise<string>;
  /** OUs whose accounts other connectors make. */
  readonly managedContainers: readonly string[];
  readonly context: ConnectorContext;
}

type Purpose = Pick<GraphSettings, "writable" | "invitationRedirectUrl"> &
  Partial<Pick<GraphSettings, "groups">> & { readonly types?: readonly GraphTypeName[] };

/** Any one of a line is enough; the first is the least. https://learn.microsoft.com/graph/permissions-reference */
export function permissionsNeeded({
  writable,
  invitationRedirectUrl,
  groups = [],
  types = ["user"],
}: Purpose): string[][] {
  const broad = ["Directory.Read.All", "Directory.ReadWrite.All"];
  const hasGroups = types.includes("group");
  const users = writable
    ? ["User.ReadWrite.All", "Directory.ReadWrite.All"]
    : ["User.Read.All", "User.ReadWrite.All", ...broad];
  return [
    ...(types.includes("user") ? [users] : []),
    ...(writable && invitationRedirectUrl !== undefined
      ? [["User.Invite.All", "User.ReadWrite.All", "Directory.ReadWrite.All"]]
      : []),
    ...(hasGroups && writable
      ? [["Group.ReadWrite.All", "Directory.ReadWrite.All"]]
      : hasGroups
        ? // Deleted groups are more than members.
          [["Group.Read.All", "Group.ReadWrite.All", ...broad]]
        : groups.length > 0
          ? [["GroupMember.Read.All", "Group.Read.All", "Group.ReadWrite.All", ...broad]]
          : []),
  ];
}

const userReads: readonly [what: string, path: string][] = [
  ["Graph users", "/users?$top=1&$select=id"],
  ["Graph deleted users", "/directory/deletedItems/microsoft.graph.user?$top=1&$select=id"],
  ["Graph delta", "/users/delta?$select=id&$deltatoken=latest"],
];
const groupReads: readonly [what: string, path: string][] = [
  ["Graph groups", "/groups?$top=1&$select=id"],
  ["Graph deleted groups", "/directory/deletedItems/microsoft.graph.group?$top=1&$select=id"],
  ["Graph delta of groups", "/groups/delta?$select=id,members&$deltatoken=latest"],
];

export async function* examineTenant(examination: GraphExamination): AsyncGenerator<Finding> {
  const { client, settings, types, context, managedContainers } = examination;
  const permissions = await told("Graph permissions", async () =>
    permissionFinding(await examination.token(), { ...settings, types }),
  );
  yield permissions;
  if (permissions.status === "failed") return;
  const reads: readonly [what: string, path: string][] = [
    ...(types.includes("user") ? userReads : []),
    ...(types.includes("group") ? groupReads : []),
  ];
  for (const [what, path] of reads) {
    yield await told(what, async () => {
      await client.get(client.url(path), context);
      return { what, status: "ok", message: `${settings.baseUrl} answers.` };
    });
  }
  if (managedContainers.length > 0) {
    yield await told("Entra Connect", () => examineSynchronised(client, context, managedContainers));
  }
}

async function told(what: string, work: () => Promise<Finding>): Promise<Finding> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ConnectorError)) throw error;
    return { what, status: "failed", message: error.message };
  }
}

/** The roles of the token are what the identity may do; a token that is none of Entra's tells nothing. */
export function permissionFinding(token: string, settings: Purpose): Finding {
  const what = "Graph permissions";
  const roles = rolesOf(token);
  if (roles === undefined) {
    return {
      what,
      status: "ok",
      message: "A token is there; it does not tell its permissions (GRAPH_ACCESS_TOKEN).",
    };
  }
  const needed = permissionsNeeded(settings);
  const missing = needed
    .filter((line) => !line.some((role) => roles.includes(role)))
    .map(([least]) => least!);
  if (missing.length > 0) {
    return {
      what,
      status: "failed",
      message: `The identity lacks ${missing.join(" and ")}; it has ${roles.length === 0 ? "none" : roles.join(", ")}.`,
      remedy: `Run infra/graph/Grant-GraphPermissions.ps1 -Permission ${missing.join(", ")}. A new permission takes up to an hour to be in the token.`,
    };
  }
  const least = new Set(needed.map(([role]) => role));
  const excess = roles.filter((role) => !least.has(role));
  if (excess.length === 0) return { what, status: "ok", message: `The identity has ${roles.join(", ")}.` };
  return {
    what,
    status: "warning",
    message: `The identity has more than it needs: ${excess.join(", ")}.`,
    remedy: `Enough is ${needed.map(([role]) => role).join(" and ")}; remove the rest.`,
  };
}

function rolesOf(token: string): string[] | undefined {
  const [, payload] = token.split(".");
  if (payload === undefined) return undefined;
  try {
    const { roles } = JSON.parse(Buffer.from(payload, "base64url").toString()) as {
      readonly roles?: unknown;
    };
    return Array.isArray(roles) ? roles.map(String) : [];
  } catch {
    return undefined; // no token of Entra's
  }
}

const pagesRead = 10;

/** Whether Entra Connect synchronises what we make: it would match our accounts to the guests and master them. */
async function examineSynchronised(
  client: GraphClient,
  context: ConnectorContext,
  containers: readonly string[],
): Promise<Finding> {
  const what = "Entra Connect";
  let url: string | undefined = client.url(
    "/users?$filter=onPremisesSyncEnabled eq true&$select=id,onPremisesDistinguishedName&$top=999".replaceAll(
      " ",
      "%20",
    ),
  );
  let count = 0;
  for (let page = 0; page < pagesRead && url !== undefined; page++) {
    const body = (await client.get(url, context)) as Record<string, unknown>;
    for (const user of (body.value ?? []) as {
      readonly id: string;
      readonly onPremisesDistinguishedName?: string;
    }[]) {
      count++;
      const dn = user.onPremisesDistinguishedName ?? "";
      const container = containers.find((one) => isUnder(dn, one));
      if (container === undefined) continue;
      return {
        what,
        status: "failed",
        message: `Entra Connect synchronises ${container}: the user ${user.id} comes from there.`,
        remedy:
          "Take that OU out of its OU filtering before anything is exported, or it matches these accounts to the guests and masters them.",
      };
    }
    url = typeof body["@odata.nextLink"] === "string" ? body["@odata.nextLink"] : undefined;
  }
  const message =
    count === 0
      ? "No user is synchronised from a directory."
      : `Of ${count} synchronised users none comes from ${containers.join("; ")}.`;
  return { what, status: "ok", message };
}
