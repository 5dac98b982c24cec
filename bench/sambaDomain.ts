/** A Samba domain to measure against: accounts as the guest recipe makes them, and OpenLDAP's own programs. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createServer, type Socket, connect as tcpConnect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { type SambaServer, sambaAvailable, startSamba } from "../sandbox/samba/samba.ts";
import { AdConnector } from "../src/engine/connectors/ad/adConnector.ts";
import { adSettingsSchema } from "../src/engine/connectors/ad/settings.ts";
import { encodePassword } from "../src/engine/connectors/ad/values.ts";
import { newPassword } from "../src/engine/connectors/password.ts";
import type { ExportChange } from "../src/engine/ports/connector.ts";

const root = join(import.meta.dirname, "..", ".test");

/** `name` is the folder under .test that keeps the domain from one run to the next. Debian's packages are installed. */
export async function openDomain(name: string, store: "tdb" | "mdb"): Promise<SambaServer> {
  const available = sambaAvailable();
  if (!available.ok) throw new Error(`${available.reason}; the parts graph and memory need none.`);
  return startSamba({ dir: join(root, name), cacheDir: join(root, "samba-cache"), store });
}

export const guestAttributes = [
  "sAMAccountName",
  "userPrincipalName",
  "displayName",
  "givenName",
  "sn",
  "mail",
  "employeeType",
  "adminDescription",
  "userAccountControl",
] as const;

export function connectTo(samba: SambaServer, changes: Record<string, unknown> = {}): AdConnector {
  const settings = adSettingsSchema.parse({
    url: samba.url,
    bindDn: samba.serviceAccount.dn,
    bindPassword: samba.serviceAccount.password,
    caCertificate: samba.caFile,
    serverName: samba.serverName,
    baseDn: samba.baseDn,
    containers: [samba.guestOu],
    operationTimeoutMs: 300_000,
    ...changes,
  });
  const attributes = [...guestAttributes, "cn", "unicodePwd"];
  return new AdConnector({ name: "ADMA", objectTypes: [{ name: "user", attributes }] }, settings);
}

export interface Account {
  readonly dn: string;
  readonly attributes: Readonly<Record<(typeof guestAttributes)[number], string>>;
}

/** @param control userAccountControl: 262656 as the recipe has it, 514 for disabled accounts without a password */
export function accounts(samba: SambaServer, count: number, control: number): Account[] {
  return Array.from({ length: count }, (_, index): Account => {
    const id = `${randomBytes(6).toString("hex")}${String(index).padStart(6, "0")}`;
    return {
      dn: `CN=${id},${samba.guestOu}`,
      attributes: {
        sAMAccountName: id,
        userPrincipalName: `${id}_fabrikam.com#EXT#@contoso.onmicrosoft.com`,
        displayName: `Guest ${index} of Fabrikam`,
        givenName: `Guest ${index}`,
        sn: "Fabrikam",
        mail: `${id}@fabrikam.com`,
        employeeType: "Guest",
        adminDescription: `User_${id}`,
        userAccountControl: String(control),
      },
    };
  });
}

export function toChange({ dn, attributes }: Account): ExportChange {
  const values = Object.entries(attributes).map(([name, value]) => ({
    name,
    after: name === "userAccountControl" ? BigInt(value) : value,
    rule: "bench",
  }));
  return {
    id: dn,
    objectType: "user",
    change: "add",
    anchor: null,
    dn,
    attributes: values,
    outcomeUnknown: false,
  };
}

/** A file for ldapadd with the same entries. */
export async function writeLdif(
  file: string,
  made: readonly Account[],
  withPassword: boolean,
): Promise<void> {
  const entries = made.map(({ dn, attributes }) => {
    const lines = [`dn: ${dn}`, "objectClass: user"];
    for (const [name, value] of Object.entries(attributes)) lines.push(`${name}: ${value}`);
    if (withPassword) {
      const { sAMAccountName: accountName, displayName } = attributes;
      const password = encodePassword(newPassword({ accountName, displayName }));
      lines.push(`unicodePwd:: ${password.toString("base64")}`);
    }
    return lines.join("\n");
  });
  await writeFile(file, `${entries.join("\n\n")}\n`);
}

/** ldapadd or ldapsearch as the service account; in milliseconds. The answer is read and thrown away. */
export async function timedProgram(
  program: "ldapadd" | "ldapsearch",
  samba: SambaServer,
  url: string,
  args: readonly string[],
): Promise<number> {
  const { dn, passwordFile } = samba.serviceAccount;
  const begun = performance.now();
  await promisify(execFile)(program, ["-x", "-H", url, "-D", dn, "-y", passwordFile, ...args], {
    env: { ...process.env, LDAPTLS_CACERT: samba.caFile },
    maxBuffer: 2 ** 30,
  });
  return performance.now() - begun;
}

/** A way to the server, on its own address, on which every answer takes `milliseconds` longer. */
export async function slowWay(
  samba: SambaServer,
  milliseconds: number,
): Promise<{ url: string; close(): Promise<void> }> {
  const { hostname, port } = new URL(samba.url);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = tcpConnect({ host: hostname, port: Number(port) });
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.setNoDelay(true);
      sockets.add(from);
      const later = (work: () => void) => setTimeout(work, milliseconds / 2);
      from.on("data", (bytes) => later(() => to.writable && to.write(bytes)));
      from.on("end", () => later(() => to.end()));
      from.on("error", () => to.destroy()); // the other side learns of it
    }
  });
  await new Promise<void>((listening) => server.listen(0, hostname, listening));
  return {
    url: `ldaps://${hostname}:${(server.address() as { port: number }).port}`,
    close: () =>
      new Promise((closed) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => closed());
      }),
  };
}
