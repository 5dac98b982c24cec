/**
 * examples/forests-to-entra, as a newcomer runs it: every process of the local platform, an account forest and a resource
 * forest (two Samba domain controllers), and the Graph sandbox.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Api, type Run } from "../../cli/api.ts";
import { followRun } from "../../cli/followRun.ts";
import {
  configDirectory,
  type Forest,
  ForestAdministrator,
  forestSettings,
  populate,
  startForest,
} from "../../examples/forests-to-entra/forests.ts";
import { Platform, type PlatformFile } from "../../sandbox/platform.ts";
import { sambaAvailable } from "../../sandbox/samba/samba.ts";

const root = join(import.meta.dirname, "../..");
const state = join(root, `.test/forests-${process.pid}`);
const available = sambaAvailable();

interface Described {
  readonly id: string;
  readonly displayName: string;
  readonly state: string;
  readonly [name: string]: unknown;
}
interface Tenant {
  readonly user: (displayName: string) => Described | undefined;
  readonly group: (displayName: string) => Described | undefined;
  /** Display names, sorted. */
  readonly members: (group: string) => string[];
  readonly userNames: readonly string[];
  readonly groupNames: readonly string[];
}

describe.skipIf(!available.ok)(available.ok ? "two forests and a tenant" : available.reason, () => {
  let forests: Forest[];
  let administrators: ForestAdministrator[];
  let accounts: ForestAdministrator;
  let resources: ForestAdministrator;
  let platform: Platform;
  let api: Api;

  beforeAll(async () => {
    const cache = join(root, ".test/forests-cache");
    forests = await Promise.all(
      ["accounts", "resources"].map((name) => startForest(name, join(state, "forests"), cache)),
    );
    administrators = await Promise.all(forests.map((forest) => ForestAdministrator.logOn(forest)));
    [accounts, resources] = administrators as [ForestAdministrator, ForestAdministrator];
    await populate(accounts, resources);
    platform = await Platform.start({
      appDirectory: root,
      stateDirectory: join(state, "platform"),
      fresh: true,
      port: 0,
      hosts: 1,
      directory: "sandbox",
      guests: 2,
      members: 3,
      settings: {
        ...forestSettings(forests[0]!, forests[1]!),
        CONFIG_DIR: configDirectory,
        CYCLE_SCHEDULE: "0 0 0 1 1 *",
      },
      say: () => undefined,
    });
    api = new Api({ url: platform.api, trigger: "cli" });
  }, 180_000);

  afterAll(async () => {
    await platform?.stop();
    await Promise.all((administrators ?? []).map((administrator) => administrator.logOff()));
    await Promise.all((forests ?? []).map((forest) => forest.stop()));
    rmSync(state, { recursive: true, force: true });
  });

  async function cycle(name: "initial" | "delta"): Promise<Run> {
    const { id } = await api.startCycle(name);
    const run = await followRun(api, id, { out: { write: () => undefined }, isTerminal: false });
    expect(run.status, JSON.stringify(run.steps)).toBe("success");
    return run;
  }

  /** What the tenant's own administrator sees of those that are active; without who was there before. */
  async function tenant(): Promise<Tenant> {
    const { graph } = JSON.parse(readFileSync(join(state, "platform/platform.json"), "utf8")) as PlatformFile;
    const get = async (path: string) => (await fetch(`${graph.admin}/admin/${path}`)).json();
    const { users } = (await get("users?userType=Member&state=active")) as { users: Described[] };
    const all = ((await get("groups")) as { groups: Described[] }).groups;
    const groups = all.filter((group) => group.state === "active");
    const names = new Map([...users, ...groups].map(({ id, displayName }) => [id, displayName]));
    const group = (name: string) => groups.find(({ displayName }) => displayName === name);
    const made = users.filter(({ onPremisesImmutableId }) => typeof onPremisesImmutableId === "string");
    return {
      user: (name) => made.find(({ displayName }) => displayName === name),
      group,
      members: (name) =>
        ((group(name)?.members ?? []) as string[]).map((id) => names.get(id) ?? id).toSorted(),
      userNames: made.map(({ displayName }) => displayName).toSorted(),
      groupNames: groups.map(({ displayName }) => displayName).toSorted(),
    };
  }

  const exported = (run: Run) =>
    run.steps
      .filter(({ profile }) => profile === "Export")
      .map(({ statistics = {} }) =>
        Object.fromEntries(Object.entries(statistics).filter(([, count]) => count > 0)),
      );

  let annaId: unknown;
  let claraId: unknown;

  test("an initial cycle makes one user of a person's two accounts, and groups with their members", async () => {
    const run = await cycle("initial");
    expect(exported(run)).toEqual([{ exportAdd: 8 }, { exportUpdate: 5 }]);
    const { user, group, members, userNames, groupNames } = await tenant();
    expect(userNames).toEqual(["Anna Schmidt", "Ben Jensen", "Clara Rossi", "Dora Novak"]);
    // Log-on attributes from where the account is enabled, the rest from both.
    expect(user("Anna Schmidt")).toMatchObject({
      accountEnabled: true,
      department: "Finance",
      mailNickname: "anna",
      userPrincipalName: "anna@contoso.com",
      userType: "Member",
    });
    expect(user("Clara Rossi")).toMatchObject({
      accountEnabled: true,
      userPrincipalName: "clara@contoso.com",
    });
    expect(user("Dora Novak")).toMatchObject({
      accountEnabled: false,
      userPrincipalName: "dora@contoso.com",
    });
    expect(user("Ben Jensen")).toMatchObject({ manager: user("Anna Schmidt")!.id });
    const { onPremisesExtensionAttributes: extension } = user("Anna Schmidt")!;
    expect((extension as Record<string, unknown>).extensionAttribute15).toMatch(/^20\d{12}\.0Z$/);

    expect(groupNames).toEqual(["Applications", "Managers", "Newsletter", "Staff"]);
    expect(members("Staff")).toEqual(["Anna Schmidt", "Ben Jensen", "Clara Rossi", "Managers"]);
    // The resource forest's group holds its own accounts: they are the same persons.
    expect(members("Applications")).toEqual(["Anna Schmidt", "Clara Rossi"]);
    expect(group("Staff")).toMatchObject({
      description: "Everybody",
      securityEnabled: true,
      mailEnabled: false,
    });
    expect(group("Newsletter")).toMatchObject({
      groupTypes: ["Unified"],
      mailEnabled: true,
      mailNickname: "newsletter",
      securityEnabled: false,
    });
    annaId = user("Anna Schmidt")!.id;
    claraId = user("Clara Rossi")!.id;
  }, 180_000);

  test("a delta cycle follows accounts that move, people who leave, members who come and go", async () => {
    // Clara's enabled account is now that of the account forest; Anna's is disabled; Ben leaves.
    await accounts.enable("clara");
    await resources.change("clara", "replace", "userAccountControl", "514");
    await accounts.change("anna", "replace", "userAccountControl", "514");
    await accounts.delete("ben");
    await accounts.change("Staff", "add", "member", accounts.dn("dora"));
    await accounts.change("Staff", "delete", "member", accounts.dn("Managers"));
    await accounts.delete("Managers");
    await resources.addGroup("Travel", ["anna"], { sAMAccountName: "Travel" });
    await cycle("delta");

    const { user, members, userNames, groupNames } = await tenant();
    expect(userNames).toEqual(["Anna Schmidt", "Clara Rossi", "Dora Novak"]);
    // The same users as before, whichever forest the enabled account is in.
    expect(user("Clara Rossi")).toMatchObject({
      id: claraId,
      accountEnabled: true,
      userPrincipalName: "clara.rossi@contoso.com",
    });
    expect(user("Anna Schmidt")).toMatchObject({ id: annaId, accountEnabled: false });
    expect(groupNames).toEqual(["Applications", "Newsletter", "Staff", "Travel"]);
    expect(members("Staff")).toEqual(["Anna Schmidt", "Clara Rossi", "Dora Novak"]);
    expect(members("Newsletter")).toEqual([]);
    expect(members("Travel")).toEqual(["Anna Schmidt"]);
  }, 180_000);

  test("and then there is nothing left to do, and nobody else in the tenant was touched", async () => {
    expect(exported(await cycle("delta"))).toEqual([{}, {}]);
    const { graph } = JSON.parse(readFileSync(join(state, "platform/platform.json"), "utf8")) as PlatformFile;
    const response = await fetch(`${graph.admin}/admin/stats`);
    const { users } = (await response.json()) as { users: Record<string, number> };
    expect(users).toMatchObject({ guests: 2, members: 3 + 3, deleted: 1 });
  }, 180_000);
});
