import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { z } from "zod";
import { isUnder, parseDn } from "../../core/values.ts";
import { ConnectorError } from "../../ports/connector.ts";
import type { ConnectionTarget } from "./ldapConnection.ts";

const connectTimeoutMs = 10_000;

function isLdapsUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, pathname, search, username } = new URL(value);
  return protocol === "ldaps:" && hostname !== "" && ["", "/"].includes(pathname) && search + username === "";
}

function isDn(value: string): boolean {
  try {
    return parseDn(value).length > 0;
  } catch {
    return false; // the message of the check says what a DN is
  }
}

const dn = (setting: string) =>
  z
    .string()
    .refine(isDn, { error: `${setting} must be a distinguished name such as OU=Guests,DC=contoso,DC=local` });

/** What an operator says of one Active Directory domain. The messages name the app settings of DESIGN.md 10. */
export const adSettingsSchema = z
  .strictObject({
    url: z.string().refine(isLdapsUrl, {
      error:
        "AD_URL must be ldaps://host or ldaps://host:port; a connection without TLS (ldap://) is never used, not even with StartTLS",
    }),
    /** A DN, a UPN or DOMAIN\user. */
    bindDn: z.string().min(1, { error: "AD_BIND_DN is empty" }),
    bindPassword: z.string().min(1, { error: "AD_BIND_PASSWORD is empty" }),
    /** PEM text or a file with it. Without it the public authorities that Node.js knows are trusted. */
    caCertificate: z.string().optional(),
    /** The name that the certificate must be issued to, when it is not the host of `url`. */
    serverName: z.string().optional(),
    /** DN of the domain. */
    baseDn: dn("AD_BASE_DN"),
    /** The OUs in scope, with all that is in them. */
    containers: z.array(dn("GUEST_OU")).min(1, { error: "GUEST_OU is missing" }),
    operationTimeoutMs: z.number().int().min(1000).default(30_000),
    /** Requests on their way at the same time. */
    inFlight: z.number().int().min(1).max(64).default(16),
    /**
     * Active Directory sends at most 1,000 entries a page unless its MaxPageSize was raised. Half of that takes as long, and
     * keeps the heap small: what is alive of a page at a collection is what makes V8 widen its space for new objects.
     */
    pageSize: z.number().int().min(1).max(5000).default(500),
    /** Tells our own accounts from foreign ones that hold a name we want. */
    stampAttribute: z.string().default("adminDescription"),
    /**
     * A group whose members may not log on interactively (docs/kerberos.md): accounts become its members when they are
     * created or changed.
     */
    denyLogonGroup: z
      .string()
      .refine(isDn, { error: "DENY_LOGON_GROUP must be the distinguished name of a group" })
      .optional(),
    /** `ldaps://host:3269`: account and principal names are looked for in the whole forest before they are given. */
    globalCatalogUrl: z
      .string()
      .refine(isLdapsUrl, { error: "AD_GLOBAL_CATALOG_URL must be ldaps://host:3269" })
      .optional(),
    /** New accounts get a password that nobody knows. */
    randomPassword: z.boolean().default(true),
    /** `auto`: deletions are read where the account may see them, and otherwise left to a comparison. */
    readDeleted: z.literal("auto").default("auto"),
    /** `auto`: delta imports use DirSync where the account may replicate directory changes. */
    dirSync: z.enum(["auto", "never"]).default("auto"),
  })
  .superRefine(({ baseDn, containers }, context) => {
    if (!isDn(baseDn)) return;
    for (const [index, container] of containers.entries()) {
      if (!isDn(container) || isUnder(container, baseDn)) continue;
      const message = `GUEST_OU (${container}) does not lie in AD_BASE_DN (${baseDn})`;
      context.addIssue({ code: "custom", path: ["containers", index], message });
    }
  });

export type AdSettings = z.output<typeof adSettingsSchema>;

/**
 * How to reach the directory, or another server of its forest: TLS 1.2 or newer, certificate and name verified.
 * @throws ConnectorError "configuration" when AD_CA_CERTIFICATE is neither PEM nor a file with PEM.
 */
export function connectionTarget(settings: AdSettings, url = settings.url): ConnectionTarget {
  const hostOf = (address: string) => new URL(address).hostname.replace(/^\[(.*)\]$/, "$1");
  const host = hostOf(url);
  const named = host === hostOf(settings.url) ? settings.serverName : undefined;
  const serverName = named ?? (isIP(host) === 0 ? host : undefined);
  return {
    url,
    connectTimeoutMs: Math.min(connectTimeoutMs, settings.operationTimeoutMs),
    tls: {
      minVersion: "TLSv1.2",
      // An issuing authority may be given without its root: what the operator names is trusted.
      allowPartialTrustChain: true,
      ...(serverName === undefined ? {} : { servername: serverName }),
      ...(settings.caCertificate === undefined ? {} : { ca: certificates(settings.caCertificate) }),
    },
  };
}

function certificates(textOrFile: string): string[] {
  const fail = (what: string, cause?: unknown): never => {
    throw new ConnectorError("configuration", `AD_CA_CERTIFICATE ${what}.`, { cause });
  };
  let text = textOrFile;
  if (!text.includes("-----BEGIN")) {
    try {
      text = readFileSync(textOrFile, "utf8");
    } catch (error) {
      fail(`is neither PEM text nor a file that can be read (${(error as Error).message})`, error);
    }
  }
  const found = text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) fail("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
  for (const pem of found) {
    try {
      new X509Certificate(pem);
    } catch (error) {
      fail(`holds a certificate that cannot be read (${(error as Error).message})`, error);
    }
  }
  return found;
}
