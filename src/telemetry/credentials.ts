/** The credentials of the connectors whose end can be known without asking anybody, and whose certificate is whose. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { AdSettings } from "../engine/connectors/ad/settings.ts";
import type { GraphSettings } from "../engine/connectors/graph/settings.ts";
import type { ConnectorConfiguration } from "../engine/core/configuration.ts";

export interface KnownCredential {
  readonly connector: string;
  /** "password of CN=svc-vestibule,…" */
  readonly what: string;
  /** Milliseconds since 1970. */
  readonly validTo: number;
  readonly remedy: string;
}

type Definition = Pick<ConnectorConfiguration, "name" | "kind" | "settings">;

/**
 * @param passwordEnds when the password of the directory accounts ends, as the operator says; undefined: never, or not known
 * @throws nothing: a certificate that cannot be read is told of by the connector that needs it
 */
export function knownCredentials(
  definitions: Iterable<Definition>,
  passwordEnds: number | undefined,
): readonly KnownCredential[] {
  return [...definitions].flatMap(({ name: connector, kind, settings }): KnownCredential[] => {
    if (kind === "ad" && passwordEnds !== undefined) {
      return [
        {
          connector,
          what: `password of the account of ${connector}`,
          validTo: passwordEnds,
          remedy:
            "Set a new one in Active Directory, write it as a new version of its secret, and move AD_BIND_PASSWORD_EXPIRES.",
        },
      ];
    }
    if (kind !== "graph") return [];
    const { clientCertificate, clientId } = settings as GraphSettings;
    const validTo = clientCertificate === undefined ? undefined : endOf(clientCertificate);
    if (validTo === undefined) return [];
    return [
      {
        connector,
        what: `certificate of the application ${clientId}`,
        validTo,
        remedy:
          "Add a new one to the application, change the secret behind clientCertificate, restart, and remove the old one.",
      },
    ];
  });
}

/** The connectors that a directory server with this name serves: `ADMA`, or the name itself where nobody knows it. */
export function connectorOfHost(definitions: Iterable<Definition>, host: string): string {
  const names = [...definitions]
    .filter(({ kind, settings }) => {
      if (kind !== "ad") return false;
      const { url, serverName, globalCatalogUrl } = settings as AdSettings;
      const addresses = [url, ...(globalCatalogUrl === undefined ? [] : [globalCatalogUrl])];
      const hosts = [serverName ?? "", ...addresses.map((address) => new URL(address).hostname)];
      return hosts.some((known) => known.toLowerCase() === host.toLowerCase());
    })
    .map(({ name }) => name);
  return names.join(", ") || host;
}

function endOf(textOrFile: string): number | undefined {
  try {
    const text = textOrFile.includes("-----BEGIN") ? textOrFile : readFileSync(textOrFile, "utf8");
    const [pem] = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/.exec(text) ?? [];
    return pem === undefined ? undefined : Date.parse(new X509Certificate(pem).validTo);
  } catch {
    return undefined; // the connector's next call to Graph says what is wrong with it
  }
}
