/** An Active Directory (Samba or the directory sandbox) under test, with its administrator on a client of his own. */

import { randomInt } from "node:crypto";
import { Attribute, Change, Client, Control } from "ldapts";
import { createAuthority } from "../../sandbox/graph/certificates.ts";
import { withPermissions } from "../../src/engine/connectors/ad/adClient.ts";
import { AdConnector } from "../../src/engine/connectors/ad/adConnector.ts";
import { adSettingsSchema } from "../../src/engine/connectors/ad/settings.ts";
import { guidText } from "../../src/engine/connectors/ad/values.ts";
import { inParallel } from "../../src/engine/connectors/inParallel.ts";
import type { ConnectorDefinition, Cursor } from "../../src/engine/ports/connector.ts";
import type { ConformanceTarget, Flaw, NewAccount } from "../conformance/connector.ts";

export interface DirectoryUnderTest {
  readonly url: string;
  readonly caFile: string;
  readonly serverName: string;
  readonly baseDn: string;
  readonly guestOu: string;
  readonly adminDn: string;
  readonly adminPassword: string;
  readonly bindDn: string;
  readonly bindPassword: string;
}

/** The settings of the recipe's AD connector. */
export const directorySettings = (directory: Omit<DirectoryUnderTest, "adminDn" | "adminPassword">) => ({
  AD_URL: directory.url,
  AD_BIND_DN: directory.bindDn,
  AD_BIND_PASSWORD: directory.bindPassword,
  AD_CA_CERTIFICATE: directory.caFile,
  AD_SERVER_NAME: directory.serverName,
  AD_BASE_DN: directory.baseDn,
  GUEST_OU: directory.guestOu,
});

export const guestDefinition: ConnectorDefinition = {
  name: "ADMA",
  objectTypes: [
    {
      name: "user",
      attributes: [
        "adminDescription",
        "cn",
        "displayName",
        "employeeType",
        "givenName",
        "mail",
        "objectGUID",
        "objectSid",
        "otherMailbox",
        "sAMAccountName",
        "sn",
        "unicodePwd",
        "userAccountControl",
        "userPrincipalName",
        "whenCreated",
      ],
    },
  ],
};

/** Settings of a connector, with `changes` in place of the right ones. */
export function adSettings(directory: DirectoryUnderTest, changes: Record<string, unknown> = {}) {
  return adSettingsSchema.parse({
    url: directory.url,
    bindDn: directory.bindDn,
    bindPassword: directory.bindPassword,
    caCertificate: directory.caFile,
    serverName: directory.serverName,
    baseDn: directory.baseDn,
    containers: [directory.guestOu],
    operationTimeoutMs: 10_000,
    ...changes,
  });
}

class ShowDeleted extends Control {
  constructor() {
    super("1.2.840.113556.1.4.417", { critical: true });
  }
}

/** The administrator, who works with a client of his own: ldapts as it comes. */
export class Administrator {
  readonly #client: Client;
  readonly #directory: DirectoryUnderTest;

  private constructor(client: Client, directory: DirectoryUnderTest) {
    this.#client = client;
    this.#directory = directory;
  }

  static async logOn(directory: DirectoryUnderTest, ca: string): Promise<Administrator> {
    const client = new Client({
      url: directory.url,
      tlsOptions: { ca, servername: directory.serverName },
      timeout: 30_000,
    });
    await client.bind(directory.adminDn, directory.adminPassword);
    return new Administrator(client, directory);
  }

  /** A user without a password. @returns its anchor. */
  async addUser(dn: string, attributes: Readonly<Record<string, string>>): Promise<string> {
    await this.#client.add(dn, { objectClass: "user", userAccountControl: "514", ...attributes });
    return this.anchorOf(dn);
  }

  /** Objects that need nothing but a name. */
  async addMany(dns: readonly string[], objectClass: string): Promise<void> {
    await inParallel(16, dns, (dn) => this.#client.add(dn, { objectClass }));
  }

  async addOu(dn: string): Promise<void> {
    await this.#client.add(dn, { objectClass: "organizationalUnit" });
  }

  /** A global security group. */
  async addGroup(dn: string, members: readonly string[]): Promise<void> {
    const member = members.length === 0 ? {} : { member: [...members] };
    await this.#client.add(dn, { objectClass: "group", groupType: "-2147483646", ...member });
  }

  async anchorOf(dn: string): Promise<string> {
    const { searchEntries } = await this.#client.search(dn, {
      scope: "base",
      attributes: ["objectGUID"],
      explicitBufferAttributes: ["objectGUID"],
    });
    return guidText(searchEntries[0]!.objectGUID as Buffer);
  }

  async sidOf(dn: string): Promise<Buffer> {
    const { searchEntries } = await this.#client.search(dn, {
      scope: "base",
      attributes: ["objectSid"],
      explicitBufferAttributes: ["objectSid"],
    });
    return searchEntries[0]!.objectSid as Buffer;
  }

  /** All values of an object as text; undefined when it is not there. */
  async read(dn: string): Promise<Record<string, string[]> | undefined> {
    try {
      const { searchEntries } = await this.#client.search(dn, { scope: "base", timeLimit: 0 });
      const { dn: found, ...attributes } = searchEntries[0] ?? { dn: "" };
      const texts = Object.entries(attributes).map(([name, value]) => [name, [value].flat().map(String)]);
      return { dn: [found], ...Object.fromEntries(texts) };
    } catch (error) {
      if ((error as { code?: number }).code === 32) return undefined;
      throw error;
    }
  }

  /** Every object below `base` with all its values, by DN. */
  async everything(base: string): Promise<ReadonlyMap<string, unknown>> {
    const { searchEntries } = await this.#client.search(base, { paged: true, timeLimit: 0 });
    return new Map(searchEntries.map((entry) => [entry.dn, entry]));
  }

  /** How many objects have the value. */
  async count(base: string, name: string, value: string): Promise<number> {
    const { searchEntries } = await this.#client.search(base, {
      filter: `(${name}=${value})`,
      attributes: ["1.1"],
      timeLimit: 0,
    });
    return searchEntries.length;
  }

  async replace(dn: string, name: string, ...values: string[]): Promise<void> {
    await this.#client.modify(
      dn,
      new Change({ operation: "replace", modification: new Attribute({ type: name, values }) }),
    );
  }

  /** Edits the entries of the access control list of an object, each as its bytes. [MS-DTYP] 2.4.5 */
  async editPermissions(dn: string, edit: (entries: Buffer[]) => Buffer[]): Promise<void> {
    const type = "nTSecurityDescriptor";
    const { searchEntries } = await this.#client.search(
      dn,
      { scope: "base", attributes: [type], explicitBufferAttributes: [type] },
      withPermissions,
    );
    const descriptor = [searchEntries[0]![type]].flat()[0] as Buffer;
    const start = descriptor.readUInt32LE(16);
    const entries: Buffer[] = [];
    for (let at = start + 8; at < descriptor.length; at += entries.at(-1)!.length)
      entries.push(descriptor.subarray(at, at + descriptor.readUInt16LE(at + 2)));
    const edited = edit(entries);
    const list = Buffer.concat([descriptor.subarray(start, start + 8), ...edited]);
    list.writeUInt16LE(list.length, 2);
    list.writeUInt16LE(edited.length, 4);
    const values = [Buffer.concat([descriptor.subarray(0, start), list])];
    const change = new Change({ operation: "replace", modification: new Attribute({ type, values }) });
    await this.#client.modify(dn, change, withPermissions);
  }

  async move(dn: string, newDn: string): Promise<void> {
    await this.#client.modifyDN(dn, newDn);
  }

  async delete(dn: string): Promise<void> {
    await this.#client.del(dn);
  }

  /** Brings a deleted object back to `dn`. */
  async restore(anchor: string, dn: string): Promise<void> {
    const remove = new Change({ operation: "delete", modification: new Attribute({ type: "isDeleted" }) });
    const place = new Change({
      operation: "replace",
      modification: new Attribute({ type: "distinguishedName", values: [dn] }),
    });
    const { searchEntries } = await this.#client.search(
      byGuid(anchor),
      { scope: "base", attributes: ["1.1"] },
      new ShowDeleted(),
    );
    await this.#client.modify(searchEntries[0]!.dn, [remove, place], new ShowDeleted());
  }

  /** Whether an account can log on with a password. */
  async canBind(dn: string, password: string, ca: string): Promise<boolean> {
    const client = new Client({
      url: this.#directory.url,
      tlsOptions: { ca, servername: this.#directory.serverName },
    });
    try {
      await client.bind(dn, password);
      return true;
    } catch {
      return false; // refused, which is the answer
    } finally {
      await client.unbind();
    }
  }

  async logOff(): Promise<void> {
    await this.#client.unbind();
  }
}

const byGuid = (anchor: string) => `<GUID=${anchor}>`;

/** `directory` as the conformance suite wants it. `close` ends it. */
export async function adTarget({
  directory,
  ca,
  close,
}: {
  readonly directory: DirectoryUnderTest;
  readonly ca: string;
  close(): Promise<void>;
}): Promise<ConformanceTarget> {
  const administrator = await Administrator.logOn(directory, ca);
  const archive = `OU=Archive ${randomInt(1_000_000)},${directory.baseDn}`;
  await administrator.addOu(archive);
  const otherAuthority = (await createAuthority("Somebody Else")).certificate;
  const flaws: Record<Flaw, Record<string, unknown>> = {
    wrongPassword: { bindPassword: "not the password" },
    untrustedCertificate: { caCertificate: otherAuthority },
    wrongServerName: { serverName: "elsewhere.example" },
    unreachable: { url: "ldaps://127.0.0.1:1" },
  };
  let made = 0;
  return {
    objectType: "user",
    outOfScope: "movedOutOfScope",
    connect: (flaw) =>
      new AdConnector(
        guestDefinition,
        adSettings(directory, { pageSize: 5, ...(flaw === undefined ? {} : flaws[flaw]) }),
      ),
    fixtures: {
      add: (displayName) => {
        const name = `fixture${++made}`;
        return administrator.addUser(`CN=${name},${directory.guestOu}`, {
          sAMAccountName: name,
          displayName,
        });
      },
      change: (anchor, displayName) => administrator.replace(byGuid(anchor), "displayName", displayName),
      delete: (anchor) => administrator.delete(byGuid(anchor)),
      restore: (anchor) => administrator.restore(anchor, `CN=restored${++made},${directory.guestOu}`),
      moveOut: (anchor) => administrator.move(byGuid(anchor), `CN=moved${++made},${archive}`),
      read: (anchor) => administrator.read(byGuid(anchor)),
      newAccount: (name): NewAccount => {
        const id = `account${++made}`;
        return {
          dn: `CN=${id},${directory.guestOu}`,
          renamedDn: `CN=${id} \\"O'Brien\\"\\, Zoë \\<\\+\\> \\=\\;#\\\\,${directory.guestOu}`,
          attributes: {
            adminDescription: `User_${id}`,
            displayName: name,
            employeeType: "Guest",
            sAMAccountName: id,
            sn: "漢字",
            userAccountControl: 262_656n,
            userPrincipalName: `${id}_fabrikam.com#EXT#@contoso.onmicrosoft.com`,
            otherMailbox: [`${id}@fabrikam.com`, `${id}@contoso.com`],
          },
        };
      },
      occupy: (account) =>
        administrator.addUser(`CN=holder${++made},${directory.guestOu}`, {
          sAMAccountName: `holder${made}`,
          userPrincipalName: String(account.attributes.userPrincipalName),
        }),
      expired: async (watermark): Promise<Cursor> => {
        // As another domain controller would have left it.
        const other = { ...JSON.parse(watermark), invocationId: "3f2b1c5e-0000-4000-8000-5a6b7c8d9e0f" };
        return JSON.stringify(other);
      },
    },
    async close() {
      await administrator.logOff();
      await close();
    },
  };
}
