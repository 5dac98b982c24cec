/** The settings of a Graph connector; DESIGN section 10 names the application settings that fill them. */
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import { ConnectorError } from "../../ports/connector.ts";

/**
 * The national clouds have their own addresses and authorities:
 * https://learn.microsoft.com/graph/deployments
 */
const publicCloud = "https://graph.microsoft.com";

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

export const graphSettingsSchema = z.object({
  baseUrl,
  /** PEM text or the path of a PEM file. Then only these authorities are trusted, not the public ones. */
  caCertificate: z.string().min(1).optional(),
  /** A fixed bearer token, for sandbox and tests. Otherwise the managed identity (or its like) supplies one. */
  accessToken: z.string().min(1).optional(),
  /** Which users are in scope; `filter.ts` says what is understood. */
  filter: z.string().default("userType eq 'Guest'"),
  /** Where tokens come from, for national clouds: `https://login.microsoftonline.us`. */
  authorityHost: z.url({ protocol: /^https$/ }).optional(),
  /** Client id of a user-assigned managed identity. */
  clientId: z.string().min(1).optional(),
  /** Users in a page of the full import. */
  pageSize: z.int().min(1).max(999).default(999),
});

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
