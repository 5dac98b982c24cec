/**
 * One guest's life between the Graph sandbox and a directory, with the real engine, configuration and connectors, and a
 * clock that is moved instead of waited for. Events and accounts are told in the words of docs/guest-life.md.
 */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { DirectorySandbox } from "../../sandbox/directory/sandbox.ts";
import { connectorKinds, openConnector } from "../../src/connectors.ts";
import { loadConfiguration } from "../../src/engine/configuration/loadConfiguration.ts";
import { GraphConnector } from "../../src/engine/connectors/graph/connector.ts";
import type { GraphSettings } from "../../src/engine/connectors/graph/settings.ts";
import type { ConnectorConfiguration } from "../../src/engine/core/configuration.ts";
import { withoutRulesConnector } from "../fast/support/guestWorld.ts";
import { Administrator, type DirectoryUnderTest, directorySettings } from "./activeDirectory.ts";
import { EngineWorld } from "./engineWorld.ts";
import { type GraphBench, impatient, openGraph } from "./graph.ts";

const dayMs = 86_400_000;

export interface GraphUser {
  readonly id: string;
  readonly mail: string;
  readonly userPrincipalName: string;
  readonly displayName: string;
  readonly givenName: string;
}
export type Account = Readonly<Record<string, string[]>>;

/** One guest, the account at every stage, and what can happen to both. */
export class Life {
  readonly #home: Home;
  guest!: GraphUser;
  second: GraphUser | null = null;
  /** The account as it was first seen enabled or disabled. */
  first: Account | undefined;
  now: Account | undefined;
  /** Before the last event. */
  before: Account | undefined;

  constructor(home: Home) {
    this.#home = home;
  }

  async live(events: string): Promise<void> {
    for (const together of events.split(", ")) {
      for (const event of together.split(" and ")) await this.#happen(event);
      await this.#home.cycle();
      this.before = this.now;
      this.now = await this.#home.account(this.guest.id);
      this.first ??= this.now;
    }
  }

  async accountOfSecond(): Promise<Account | undefined> {
    return this.#home.account(this.second!.id);
  }

  async #happen(event: string): Promise<void> {
    const { graph, group } = this.#home;
    const user = this.guest && `/users/${this.guest.id}`;
    const account = () => this.now!.dn![0]!;
    const patch = (properties: object) => graph("PATCH", user, properties);
    const change: Readonly<Record<string, () => Promise<unknown>>> = {
      invited: async () => {
        this.guest = await this.#home.invite();
      },
      accepted: () => graph("POST", `${user}/accept`),
      blocked: () => graph("POST", `${user}/block`),
      unblocked: () => graph("POST", `${user}/unblock`),
      renamed: () => patch({ displayName: "Renamed Guest", givenName: "Renamed" }),
      "new mail": () => patch({ mail: `new.${this.guest.mail}` }),
      "new UPN": () => patch({ userPrincipalName: `new.${this.guest.userPrincipalName}` }),
      "soft-deleted": () => graph("DELETE", user),
      restored: () => graph("POST", `${user}/restore`),
      purged: () => graph("POST", `${user}/purge`),
      "turned member": () => patch({ userType: "Member" }),
      "turned guest": () => patch({ userType: "Guest" }),
      "re-invited": async () => {
        this.second = await this.#home.invite(this.guest);
        expect(this.second.userPrincipalName).toBe(this.guest.userPrincipalName);
        expect(this.second.id).not.toBe(this.guest.id);
      },
      "second deleted": () => graph("DELETE", `/users/${this.second!.id}`),
      "added to the group": () => graph("POST", `/groups/${group}/members`, { id: this.guest.id }),
      "removed from the group": () => graph("DELETE", `/groups/${group}/members`, { id: this.guest.id }),
      "disabled by hand": () => this.#home.administrator.replace(account(), "userAccountControl", "262658"),
      "enabled by hand": () => this.#home.administrator.replace(account(), "userAccountControl", "262656"),
      "deleted by hand": () => this.#home.administrator.delete(account()),
      "moved by hand": () => this.#home.administrator.move(account(), this.#home.archived(account())),
    };
    const [, days] = /^(\d+) days$/.exec(event) ?? [];
    if (days !== undefined) this.#home.world.now += Number(days) * dayMs;
    else if (change[event] === undefined) throw new Error(`Nobody knows how a guest is "${event}".`);
    else await change[event]();
  }
}

/** What a row may say of the account, and what that means. */
const phrases: Readonly<Record<string, (life: Life) => unknown>> = {
  "no account": ({ first }) => expect(first).toBeUndefined(),
  created: ({ now, before }) => expect([now === undefined, before]).toEqual([false, undefined]),
  "created anew": ({ now, first }) => {
    expect(now?.objectSid).toBeDefined();
    expect(now?.objectSid).not.toEqual(first?.objectSid);
  },
  enabled: ({ now }) => expect(now?.userAccountControl).toEqual(["262656"]),
  disabled: ({ now }) => expect(now?.userAccountControl).toEqual(["262658"]),
  deleted: ({ now, first }) => expect([now, first === undefined]).toEqual([undefined, false]),
  "same SID": ({ now, first }) =>
    expect([now?.objectSid, now?.objectGUID]).toEqual([first!.objectSid, first!.objectGUID]),
  "same DN": ({ now, first }) => expect(now?.dn).toEqual(first!.dn),
  "DN as moved": ({ now, first }) => {
    expect(now?.dn?.[0]).toContain("OU=Archive");
    expect(now?.dn?.[0]).toContain(first!.dn![0]!.split(",")[0]);
  },
  "same UPN": ({ now, guest }) => expect(now?.userPrincipalName).toEqual([guest.userPrincipalName]),
  "UPN follows": ({ now, guest }) =>
    expect(now?.userPrincipalName).toEqual([`new.${guest.userPrincipalName}`]),
  "UPN freed": ({ now }) => expect([now === undefined, now?.userPrincipalName]).toEqual([false, undefined]),
  "mail follows": ({ now, guest }) => expect(now?.mail).toEqual([`new.${guest.mail}`]),
  "display name and given name follow": ({ now, guest }) => {
    expect([now?.displayName, now?.givenName]).toEqual([["Renamed Guest"], ["Renamed"]]);
    expect(guest.displayName).not.toBe("Renamed Guest");
  },
  "display name as before": ({ now, guest }) => expect(now?.displayName).toEqual([guest.displayName]),
  "no reason": ({ now }) => expect([now === undefined, now?.info]).toEqual([false, undefined]),
  "second account with the UPN": async (life) => {
    const second = await life.accountOfSecond();
    expect(second?.userPrincipalName).toEqual([life.guest.userPrincipalName]);
    expect(second?.objectSid).not.toEqual(life.first!.objectSid);
  },
  "second account without a UPN": async (life) => {
    const second = await life.accountOfSecond();
    expect([second?.userAccountControl, second?.userPrincipalName]).toEqual([["262658"], undefined]);
  },
};

export async function expectAccount(life: Life, said: string): Promise<void> {
  for (const phrase of said.split(", ")) {
    const [, reason] = /^reason (\w+)$/.exec(phrase) ?? [];
    if (reason !== undefined)
      expect(life.now?.info?.[0]).toMatch(`Disabled: the guest is absent (${reason}) since 20`);
    else if (phrases[phrase] === undefined) throw new Error(`Nobody knows what "${phrase}" means.`);
    else await phrases[phrase](life);
  }
}

export interface HomeOptions {
  /** Only members of the group are let in. */
  readonly isLimited?: boolean;
  readonly keepHandMadeDisable?: boolean;
  /** What becomes of accounts that belong to nobody. */
  readonly orphans?: NonNullable<ConnectorConfiguration["orphans"]>;
  /** Samba in place of the directory sandbox; it is not stopped with the home. */
  readonly directory?: DirectoryUnderTest;
}

/** A tenant, a directory, and the engine between them. */
export class Home {
  readonly bench: GraphBench;
  readonly directory: DirectoryUnderTest;
  readonly administrator: Administrator;
  readonly world: EngineWorld;
  readonly group: string;
  readonly #ou: string;
  readonly #invited: GraphUser[] = [];
  readonly #sandbox: DirectorySandbox | null;
  #addresses = 0;

  private constructor(
    bench: GraphBench,
    directory: DirectoryUnderTest,
    sandbox: DirectorySandbox | null,
    administrator: Administrator,
    group: string,
    options: HomeOptions,
  ) {
    this.bench = bench;
    this.directory = directory;
    this.#sandbox = sandbox;
    this.administrator = administrator;
    this.group = group;
    this.#ou = `OU=Archive,${directory.guestOu}`;
    const settings = {
      GRAPH_BASE_URL: bench.sandbox.url,
      GRAPH_CA_CERTIFICATE: bench.sandbox.ca,
      GRAPH_ACCESS_TOKEN: bench.sandbox.token,
      ...directorySettings(directory),
      ...(options.isLimited && { GUEST_GROUP: group }),
    };
    const delivered = withoutRulesConnector(loadConfiguration("config", settings, connectorKinds));
    const { keepHandMadeDisable = true, orphans } = options;
    const definition = (name: string) => delivered.connectors.get(name)!;
    const accounts = { ...definition("ADMA"), keepHandMadeDisable, ...(orphans && { orphans }) };
    const configuration = {
      ...delivered,
      connectors: new Map(delivered.connectors).set("ADMA", accounts),
    };
    this.world = new EngineWorld({
      configuration,
      open: (name) =>
        name === "AADMA"
          ? new GraphConnector(definition(name), definition(name).settings as GraphSettings, impatient)
          : openConnector(definition(name)),
    });
  }

  static async open(options: HomeOptions = {}): Promise<Home> {
    const bench = await openGraph({ guests: 0, members: 3 });
    const sandbox = options.directory === undefined ? await DirectorySandbox.start() : null;
    const directory = options.directory ?? sandbox!;
    const administrator = await Administrator.logOn(directory, readFileSync(directory.caFile, "utf8"));
    const archive = `OU=Archive,${directory.guestOu}`;
    if ((await administrator.read(archive)) === undefined) await administrator.addOu(archive);
    const { id } = await bench.admin("POST", "/groups", { displayName: "Guests that are let in" });
    const home = new Home(bench, directory, sandbox, administrator, String(id), options);
    await home.world.cycle("initial");
    return home;
  }

  graph = (method: string, path: string, body?: unknown): Promise<unknown> =>
    this.bench.admin(method, path, body);

  /** @param again the guest whose address is invited once more */
  async invite(again?: GraphUser): Promise<GraphUser> {
    const { users } = (await this.graph("POST", "/guests", {
      externalUserState: "PendingAcceptance",
      accountEnabled: true,
      givenName: "Given",
      mail: again?.mail ?? `guest${++this.#addresses}@fabrikam.example`,
    })) as { users: GraphUser[] };
    this.#invited.push(users[0]!);
    return users[0]!;
  }

  async cycle(): Promise<void> {
    const run = await this.world.cycle("delta");
    const failures = run.steps.filter(({ status }) => status !== "success");
    expect(failures).toEqual([]);
  }

  /** Makes room, so that no percentage of the accounts is ever reached: all guests go, and their grace passes. */
  async empty(): Promise<void> {
    for (const { id } of this.#invited) {
      const { state } = (await this.graph("GET", `/users/${id}`)) as { state: string };
      if (state !== "purged") await this.graph("POST", `/users/${id}/purge`);
    }
    this.#invited.length = 0;
    await this.cycle();
    this.world.now += 31 * dayMs;
    await this.cycle();
  }

  archived(dn: string): string {
    return `${dn.split(",")[0]},${this.#ou}`;
  }

  async account(guest: string): Promise<Account | undefined> {
    const here = await this.administrator.read(`CN=${guest},${this.directory.guestOu}`);
    return here ?? (await this.administrator.read(`CN=${guest},${this.#ou}`));
  }

  async close(): Promise<void> {
    for (const name of ["AADMA", "ADMA"]) await this.world.engine.connector(name).close();
    await this.administrator.logOff();
    await this.bench.close();
    await this.#sandbox?.close();
  }
}
