/** The settings of a Graph connector; DESIGN section 10 names the application settings that fill them. */
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import { ConnectorError } from "../../ports/connector.ts";

const publicCloud = "https://graph.microsoft.com";

/** Each cloud has its own authority: https://learn.microsoft.com/graph/deployments */
const authorities: ReadonlyMap<string, string> = new Map([
  [publicCloud, "https://login.microsoftonline.com"],
  ["https://graph.microsoft.us", "https://login.microsoftonline.us"],
  ["https://dod-graph.microsoft.us", "https://login.microsoftonline.us"],
  ["https://microsoftgraph.chinacloudapi.cn", "https://login.chinacloudapi.cn"],
]);

/** Where tokens for a Graph come from; undefined for an address that is none of Microsoft's clouds. */
export function authorityOf(baseUrl: string): string | undefined {
  return authorities.get(baseUrl);
}

const baseUrl = z
  .string()
  .default(publicCloud)
  .transform((text, context) => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    // A bearer token over plain http would be anybody's.
    if (url === undefined || url.protocol !== "https:") {
      context.addIssue(`GRAPH_BASE_URL must be an https address such as ${publicCloud}, not "${text}".`);
      return z.NEVER;
    }
    if (url.pathname !== "/" || url.search !== "" || url.hash !== "" || url.username !== "") {
      context.addIssue(`GRAPH_BASE_URL is scheme, host and port alone, without a version: ${url.origin}`);
      return z.NEVER;
    }
    return url.origin;
  });

const settings = z.object({
  baseUrl,
  /** PEM text or the path of a PEM file. Then only these authorities are trusted, not the public ones. */
  caCertificate: z.string().min(1).optional(),
  /** A fixed bearer token, for sandbox and tests. Otherwise the managed identity (or its like) supplies one. */
  accessToken: z.string().min(1).optional(),
  /** Which users are in scope; `filter.ts` says what is understood. `all`: nobody is left out. */
  filter: z.string().default("userType eq 'Guest'"),
  /** Which groups are in scope, where the connector has the object type group; `filter.ts`. */
  groupFilter: z.string().default("all"),
  /** Object ids of groups: only their members are in scope. Empty: every user whom the filter takes. */
  groups: z
    .array(z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i, "give the object id of a group"))
    .default([])
    .transform((groups) => groups.map((id) => id.toLowerCase()).sort()),
  /** Whether the members of groups within those groups are in scope too. */
  transitiveMembers: z.boolean().default(true),
  /** Where tokens come from; known for the clouds of `authorityOf`. */
  authorityHost: z.url({ protocol: /^https$/ }).optional(),
  /** Client id of a user-assigned managed identity, or of the application that the certificate belongs to. */
  clientId: z.string().min(1).optional(),
  /** For a certificate: the directory (tenant) of the application. */
  tenantId: z.string().min(1).optional(),
  /** PEM text or the path of a PEM file, with certificate and private key, in place of a managed identity. */
  clientCertificate: z.string().min(1).optional(),
  /**
   * Whether exports may create, change and delete users, and groups where they are an object type; the identity then
   * needs User.ReadWrite.All, and Group.ReadWrite.All for groups.
   */
  writable: z.boolean().default(false),
  /**
   * Tells our own users from foreign ones that hold a name we want; a rule must flow a value of its own to it. Of groups
   * it is uniqueName.
   */
  stampAttribute: z.enum(["employeeId", "onPremisesImmutableId", "mailNickname"]).default("employeeId"),
  /** Where an invited guest lands. With it, a new user for whom no userPrincipalName flows is invited by mail. */
  invitationRedirectUrl: z.url({ protocol: /^https$/ }).optional(),
  /** Whether Microsoft sends the invitation's mail. */
  invitationMessage: z.boolean().default(false),
  /** Objects in a page of the full import; fewer where managers, sponsors or members come with them. */
  pageSize: z.int().min(1).max(999).default(999),
});

export const graphSettingsSchema = settings.superRefine(
  ({ accessToken, authorityHost, baseUrl, clientCertificate, clientId, tenantId }, context) => {
    if (accessToken === undefined && authorityHost === undefined && authorityOf(baseUrl) === undefined) {
      const known = [...authorities.keys()].join(", ");
      context.addIssue(
        `GRAPH_BASE_URL (${baseUrl}) is none of Microsoft's clouds (${known}), so nobody knows who gives tokens for it. Correct it, or set authorityHost.`,
      );
    }
    if (clientCertificate === undefined || (clientId !== undefined && tenantId !== undefined)) return;
    context.addIssue(
      "clientCertificate needs clientId and tenantId: the application that it belongs to, and its tenant.",
    );
  },
);

export type GraphSettings = z.infer<typeof graphSettingsSchema>;

/**
 * The authorities to trust, as PEM; undefined for the public ones.
 * @throws ConnectorError "configuration" when there is no certificate there.
 */
export function certificateAuthorities(setting: string | undefined): string | undefined {
  if (setting === undefined) return undefined;
  const isText = setting.includes("-----BEGIN");
  if (!isText && !existsSync(setting)) {
    throw new ConnectorError(
      "configuration",
      `GRAPH_CA_CERTIFICATE is neither PEM text nor an existing file: ${setting.slice(0, 200)}`,
    );
  }
  try {
    const pem = isText ? setting : readFileSync(setting, "utf8");
    const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    if (certificates.length === 0) throw new Error("no certificate in it");
    // TLS would pass over a damaged one, and then trust nobody.
    for (const certificate of certificates) new X509Certificate(certificate);
    return pem;
  } catch (cause) {
    throw new ConnectorError(
      "configuration",
      `GRAPH_CA_CERTIFICATE cannot be used (${(cause as Error).message}). Give PEM text or the path of a PEM file.`,
      { cause },
    );
  }
}
