/**
 * Two forests to try the example with: domain controllers on this machine, a few people and groups in them, and the app
 * settings that point the configuration at them.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Attribute, Change, Client } from "ldapts";
import { DirectorySandbox } from "../../sandbox/directory/sandbox.ts";
import { sambaAvailable, startSamba } from "../../sandbox/samba/samba.ts";

export const configDirectory = import.meta.dirname;

/** One forest's domain controller, and how an administrator and the connector reach it. */
export interface Forest {
  readonly url: string;
  readonly caFile: string;
  readonly serverName: string;
  readonly baseDn: string;
  /** The OU with people and groups. */
  readonly ou: string;
  readonly adminDn: string;
  readonly adminPassword: string;
  readonly bindDn: string;
  readonly bindPassword: string;
  stop(): Promise<void>;
}

/**
 * Samba where it can run (Linux, as root), otherwise the directory sandbox.
 * @param name of the folder below `state`, and of the domain: NAME.LOCAL
 * @param cacheDir keeps the empty domain, so that the next one takes less time
 */
export async function startForest(name: string, state: string, cacheDir?: string): Promise<Forest> {
  const dir = join(state, name);
  if (!sambaAvailable().ok) {
    const sandbox = await DirectorySandbox.start({
      dataDir: dir,
      domain: `${name}.local`,
      guestOu: "People",
    });
    return {
      ...pick(sandbox),
      bindDn: sandbox.bindDn,
      bindPassword: sandbox.bindPassword,
      stop: () => sandbox.close(),
    };
  }
  const samba = await startSamba({
    dir,
    realm: `${name.toUpperCase()}.LOCAL`,
    guestOu: "People",
    ...(cacheDir === undefined ? {} : { cacheDir: join(cacheDir, name) }),
  });
  const { dn: bindDn, password: bindPassword } = samba.serviceAccount;
  return { ...pick(samba), bindDn, bindPassword, stop: () => samba.stop() };
}

type Server = Pick<Forest, "url" | "caFile" | "serverName" | "baseDn" | "adminDn" | "adminPassword"> & {
  readonly guestOu: string;
};

function pick({ url, caFile, serverName, baseDn, guestOu: ou, adminDn, adminPassword }: Server) {
  return { url, caFile, serverName, baseDn, ou, adminDn, adminPassword };
}

/** The app settings of the configuration, beside those of Graph. */
export function forestSettings(accounts: Forest, resources: Forest): Record<string, string> {
  const of = (prefix: string, forest: Forest) => ({
    [`${prefix}_URL`]: forest.url,
    [`${prefix}_BIND_DN`]: forest.bindDn,
    [`${prefix}_BIND_PASSWORD`]: forest.bindPassword,
    [`${prefix}_CA_CERTIFICATE`]: forest.caFile,
    [`${prefix}_SERVER_NAME`]: forest.serverName,
    [`${prefix}_BASE_DN`]: forest.baseDn,
    [`${prefix}_OU`]: forest.ou,
  });
  return { ...of("AD", accounts), ...of("RESOURCE_AD", resources), UPN_SUFFIX: "contoso.com" };
}

/** As Active Directory takes it; nobody logs on with it here. */
const password = Buffer.from('"Correct-Horse-7"', "utf16le");

type Values = Readonly<Record<string, string | readonly string[]>>;

/** The forest's administrator. Objects are named by their CN within the OU. */
export class ForestAdministrator {
  readonly #client: Client;
  readonly #ou: string;

  private constructor(client: Client, ou: string) {
    this.#client = client;
    this.#ou = ou;
  }

  static async logOn(forest: Forest): Promise<ForestAdministrator> {
    const ca = readFileSync(forest.caFile, "utf8");
    const client = new Client({ url: forest.url, tlsOptions: { ca, servername: forest.serverName } });
    await client.bind(forest.adminDn, forest.adminPassword);
    return new ForestAdministrator(client, forest.ou);
  }

  dn(name: string): string {
    return `CN=${name},${this.#ou}`;
  }

  async addUser(name: string, values: Values, enabled = true): Promise<void> {
    await this.#client.add(this.dn(name), [
      ...attributes({ objectClass: "user", userAccountControl: enabled ? "512" : "514", ...values }),
      ...(enabled ? [new Attribute({ type: "unicodePwd", values: [password] })] : []),
    ]);
  }

  /** @param security false: a distribution group */
  async addGroup(
    name: string,
    members: readonly string[],
    values: Values = {},
    security = true,
  ): Promise<void> {
    const groupType = security ? "-2147483646" : "2";
    const member = members.map((one) => this.dn(one));
    await this.#client.add(
      this.dn(name),
      attributes({ objectClass: "group", groupType, ...(member.length === 0 ? {} : { member }), ...values }),
    );
  }

  async change(
    name: string,
    operation: "add" | "replace" | "delete",
    type: string,
    ...values: string[]
  ): Promise<void> {
    await this.#client.modify(
      this.dn(name),
      new Change({ operation, modification: new Attribute({ type, values }) }),
    );
  }

  /** An account without a password cannot be enabled. */
  async enable(name: string): Promise<void> {
    const modification = new Attribute({ type: "unicodePwd", values: [password] });
    await this.#client.modify(this.dn(name), new Change({ operation: "replace", modification }));
    await this.change(name, "replace", "userAccountControl", "512");
  }

  async delete(name: string): Promise<void> {
    await this.#client.del(this.dn(name));
  }

  async logOff(): Promise<void> {
    await this.#client.unbind();
  }
}

function attributes(values: Values): Attribute[] {
  return Object.entries(values).map(([type, value]) => new Attribute({ type, values: [value].flat() }));
}

/**
 *            account forest                  resource forest                    in the tenant
 *   anna     enabled                         disabled (department)              one user, logs on as in the account forest
 *   ben      enabled                         –                                  a user; anna is the manager
 *   clara    disabled                        enabled                            one user, logs on as in the resource forest
 *   dora     disabled                        –                                  a user who cannot log on
 *   room     –                               disabled                           nobody: never had an enabled account
 *
 *   Staff            anna, ben, clara        security group                     a group
 *   Managers         anna, and in Staff      security group in a group          a group, member of Staff
 *   Applications     –   anna, clara, room   security group                     a group with the same two users
 *   Newsletter       ben                     distribution group with mail       a Microsoft 365 group
 *   Lunch            ben                     distribution group without mail    nothing
 */
export async function populate(accounts: ForestAdministrator, resources: ForestAdministrator): Promise<void> {
  const person = (first: string, last: string, userPrincipalName = `${first}@contoso.com`): Values => ({
    displayName: `${first} ${last}`,
    givenName: first,
    mail: `${first}.${last}@contoso.com`.toLowerCase(),
    sAMAccountName: first.toLowerCase(),
    sn: last,
    userPrincipalName: userPrincipalName.toLowerCase(),
  });
  await accounts.addUser("anna", person("Anna", "Schmidt"));
  await accounts.addUser("ben", { ...person("Ben", "Jensen"), manager: accounts.dn("anna") });
  await accounts.addUser("clara", person("Clara", "Rossi", "clara.rossi@contoso.com"), false);
  await accounts.addUser("dora", { ...person("Dora", "Novak") }, false);
  await resources.addUser(
    "anna",
    { ...person("Anna", "Schmidt", "anna@resources.local"), department: "Finance" },
    false,
  );
  await resources.addUser("clara", person("Clara", "Rossi"));
  await resources.addUser("room", { displayName: "Meeting room", sAMAccountName: "room" }, false);

  await accounts.addGroup("Managers", ["anna"], { sAMAccountName: "Managers" });
  await accounts.addGroup("Staff", ["anna", "ben", "clara", "Managers"], {
    description: "Everybody",
    sAMAccountName: "Staff",
  });
  await accounts.addGroup(
    "Newsletter",
    ["ben"],
    { mail: "newsletter@contoso.com", sAMAccountName: "Newsletter" },
    false,
  );
  await accounts.addGroup("Lunch", ["ben"], { sAMAccountName: "Lunch" }, false);
  await resources.addGroup("Applications", ["anna", "clara", "room"], { sAMAccountName: "Applications" });
}
