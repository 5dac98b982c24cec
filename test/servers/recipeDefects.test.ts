/**
 * The 17 defects of the published recipe, by number (RECIPE.md 1.10): what it does, and what this product does in its
 * place. Both run in the same engine; the published rules are in test/fixtures/publishedRecipe.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DirectorySandbox } from "../../sandbox/directory/sandbox.ts";
import { connectorKinds, openConnector } from "../../src/connectors.ts";
import { loadConfiguration } from "../../src/engine/configuration/loadConfiguration.ts";
import { secretAttributes } from "../../src/engine/connectors/ad/schema.ts";
import { newPassword } from "../../src/engine/connectors/password.ts";
import type { Configuration } from "../../src/engine/core/configuration.ts";
import { readConfiguration } from "../../src/engine/core/readConfiguration.ts";
import { type AttributeValue, parseDn } from "../../src/engine/core/values.ts";
import { ConnectorError } from "../../src/engine/ports/connector.ts";
import type { Run } from "../../src/engine/stores/runs.ts";
import { outcome } from "../fast/expressionSupport.ts";
import { anyKinds, recipe, recipeSettings, withoutRulesConnector } from "../fast/support/guestWorld.ts";
import { Administrator, directorySettings } from "../support/activeDirectory.ts";
import { EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

const folder = "test/fixtures/publishedRecipe";
const files = [
  ...["AADMA", "ADMA"].map((name) => `connectors/${name}`),
  ...["AAD-B2B-IN", "AD-B2B-IN", "AD-B2B-OUT"].map((name) => `rules/${name}`),
  ...["cycles/initial", "cycles/delta", "metaverse"],
];

/** The recipe as published, with texts replaced in its files. */
function publishedRecipe(
  changes: readonly (readonly [file: string, from: string, to: string])[] = [],
  kinds = anyKinds,
) {
  const texts = files.map((name) => {
    const changed = changes.filter(([file]) => file === name);
    const text = changed.reduce(
      (all, [, from, to]) => {
        expect(all).toContain(from);
        return all.replace(from, to);
      },
      readFileSync(`${folder}/${name}.yaml`, "utf8"),
    );
    return { file: `config/${name}.yaml`, text };
  });
  return readConfiguration(texts, recipeSettings, kinds);
}

function worldOf(configuration: Configuration): EngineWorld {
  const world = new EngineWorld({ configuration });
  world.accounts.allow("company", "string");
  world.accounts.allow("unicodePwd", "string");
  return world;
}
const published = (...changes: Parameters<typeof publishedRecipe>[0] & object) =>
  worldOf(publishedRecipe(changes));
const ours = () => worldOf(recipe);

/** runMimSync.ps1: the next step is started whatever became of the one before. */
async function script(world: EngineWorld): Promise<Run[]> {
  const runs: Run[] = [];
  for (const { connector, profile } of world.engine.configuration.cycles.get("initial")!.steps)
    runs.push(await world.profile(connector, profile));
  return runs;
}

const dnOf = (id: string) => `CN=${id},${guestOu}`;
const account = (world: EngineWorld, id: string) =>
  world.accounts.listed().find(({ dn }) => dn.startsWith(`CN=${id},`));
const attributeOf = (world: EngineWorld, id: string, name: string) => account(world, id)?.attributes[name];

/** Both worlds with the same guests, after a first cycle and after a second one that follows the changes. */
async function both(change: (world: EngineWorld, id: string) => void): Promise<[EngineWorld, EngineWorld]> {
  const worlds = [published(), ours()] as const;
  for (const world of worlds) {
    const id = world.addGuest(1);
    await world.cycle("initial");
    expect(attributeOf(world, id, "userAccountControl")).toBe(262656n);
    change(world, id);
    await world.cycle("delta");
    await world.cycle("delta");
  }
  return [...worlds];
}

test("D1: a guest who is deleted leaves no enabled account behind", async () => {
  const [theirs, mine] = await both((world, id) => world.guests.remove(id, "deleted"));
  expect(attributeOf(theirs, guestId(1), "userAccountControl")).toBe(262656n);
  expect(attributeOf(mine, guestId(1), "userAccountControl")).toBe(262658n);
  for (const world of [theirs, mine]) {
    world.now += 31 * 86_400_000;
    await world.cycle("delta");
  }
  expect(attributeOf(theirs, guestId(1), "userAccountControl")).toBe(262656n);
  expect(account(mine, guestId(1))).toBeUndefined();
});

test("D2: a guest who is blocked, or has not accepted, has a disabled account", async () => {
  const [theirs, mine] = await both((world, id) => {
    world.guests.change(id, { accountEnabled: false });
    world.addGuest(2, { externalUserState: "PendingAcceptance" });
  });
  const states = (world: EngineWorld) =>
    [1, 2].map((number) => attributeOf(world, guestId(number), "userAccountControl"));
  expect(states(theirs)).toEqual([262656n, 262656n]);
  expect(states(mine)).toEqual([262658n, 262658n]);
});

test("D3: passwords cannot be guessed, and flow through no rule", async () => {
  const rule = readFileSync(`${folder}/rules/AD-B2B-OUT.yaml`, "utf8");
  const [, expression] = /target: unicodePwd\n\s+expression: '(.*)'/.exec(rule)!;
  expect(outcome(expression!)).toMatch(/^kjgh\d{1,5}&\*\^\*&\^#sadufyseflikh$/);
  const documented = outcome("CStr(RandomNum(0, 999)) & [userPrincipalName]", {
    attributes: { userPrincipalName: "ann#EXT#@contoso" },
  });
  expect(documented).toMatch(/^\d{1,3}ann#EXT#@contoso$/);

  const real = new Map(anyKinds).set("ad", { ...anyKinds.get("ad")!, secretAttributes });
  expect(() => publishedRecipe([], real)).toThrow(/AD-B2B-OUT.yaml:\d+:\d+ "unicodePwd" is a secret/);
  const flowing = [...recipe.rules.outbound("ADMA", "person")].flatMap(({ flows }) =>
    flows.map(({ target }) => target),
  );
  expect(flowing).not.toContain("unicodePwd");
  const made = Array.from({ length: 2000 }, () => newPassword({ accountName: "abcdef" }));
  expect(new Set(made).size).toBe(2000);
  const symbols = new Set(made.flatMap((password) => [...password])).size;
  expect(made[0]!.length * Math.log2(symbols)).toBeGreaterThan(128);
  // No place of the password is known beforehand.
  for (let place = 0; place < made[0]!.length; place++)
    expect(new Set(made.map((password) => password[place])).size).toBeGreaterThan(symbols / 2);
});

test("D4: the given name arrives, for what a rule reads another one fills", async () => {
  const [theirs, mine] = await both(() => undefined);
  expect(attributeOf(theirs, guestId(1), "givenName")).toBeUndefined();
  expect(attributeOf(mine, guestId(1), "givenName")).toBe("Guest");
  const filled = (configuration: Configuration) =>
    new Set(
      [...configuration.connectors.keys()].flatMap((name) =>
        configuration.rules.inbound(name, "user").flatMap(({ flows }) => flows.map(({ target }) => target)),
      ),
    );
  expect([...filled(theirs.engine.configuration)]).not.toContain("givenName");
  expect([...filled(recipe)]).toContain("givenName");
});

test("D5: an attribute that a rule uses and its connector does not select stops the start, by name", () => {
  const asPublished = () =>
    publishedRecipe([["connectors/ADMA", "      - mail\n      - userPrincipalName\n", ""]]);
  expect(asPublished).toThrow(/\bmail\b/);
  expect(asPublished).toThrow(/\buserPrincipalName\b/);
  const selected = recipe.connectors.get("ADMA")!.objectTypes[0]!.attributes;
  for (const { flows } of recipe.rules.outbound("ADMA", "person"))
    for (const { target } of flows) expect(["dn", ...selected]).toContain(target);
});

test("D6: an account that is there first is no person of its own", async () => {
  const persons: number[] = [];
  for (const world of [published(), ours()]) {
    const id = world.addGuest(1);
    world.accounts.add(dnOf(id), {
      sAMAccountName: id.slice(0, 20),
      userPrincipalName: `${id}_example.org#EXT#@corp.example`,
      employeeType: "Guest",
      userAccountControl: 262656n,
    });
    // Microsoft's own order: Active Directory first.
    for (const connector of ["ADMA", "AADMA", "ADMA"]) {
      await world.profile(connector, "Full Import (Stage Only)");
      await world.profile(connector, "Full Synchronization");
    }
    persons.push([...(await world.persons()).values()].flat().length);
  }
  expect(persons).toEqual([2, 1]);
});

test("D7: an account is found again by what never changes, when its UPN has changed and the link is lost", async () => {
  for (const world of [published(), ours()]) {
    const id = world.addGuest(1);
    await world.cycle("initial");
    const { anchor } = account(world, id)!;
    // The tables are lost, an administrator has tidied up, and the guest has a new UPN.
    world.restore(new (Object.getPrototypeOf(world.tables).constructor)());
    world.accounts.rename(anchor, `CN=${id},OU=Partners,${guestOu}`);
    world.guests.change(id, { userPrincipalName: "new#EXT#@corp.example" });
    await world.cycle("initial");
    await world.cycle("initial");
    const found = attributeOf(world, id, "userPrincipalName") === "new#EXT#@corp.example";
    expect([world.engine.configuration === recipe, found]).toEqual([
      world.engine.configuration === recipe,
      world.engine.configuration === recipe,
    ]);
    expect(world.accounts.listed()).toHaveLength(1);
  }
});

test("D8: no attribute of the person comes from both sides, so that nothing hangs on an order nobody stated", async () => {
  const from = (configuration: Configuration, connector: string) =>
    configuration.rules.inbound(connector, "user").flatMap(({ flows }) => flows.map(({ target }) => target));
  const shared = (configuration: Configuration) =>
    from(configuration, "AADMA").filter((name) => from(configuration, "ADMA").includes(name));
  expect(shared(publishedRecipe())).toContain("displayName");
  expect(shared(recipe)).toEqual([]);
  // With the other order of the two rules, Active Directory would win, and no rename in Entra would ever arrive.
  const world = published(["rules/AD-B2B-IN", "precedence: 110", "precedence: 90"]);
  const id = world.addGuest(1);
  for (let cycle = 0; cycle < 2; cycle++) await world.cycle("initial");
  world.guests.change(id, { displayName: "Renamed" });
  for (let cycle = 0; cycle < 2; cycle++) await world.cycle("initial");
  expect(attributeOf(world, id, "displayName")).not.toBe("Renamed");
});

test("D9: what was exported is proven by an import in the same cycle", async () => {
  const left: string[][] = [];
  for (const world of [published(), ours()]) {
    world.addGuest(1);
    await world.cycle("initial");
    left.push(await world.outstanding());
  }
  expect(left[0]!.join()).toContain("unconfirmed");
  expect(left[1]).toEqual([]);
  for (const { steps } of recipe.cycles.values()) {
    const profiles = steps.map(({ connector, profile }) => `${connector} ${profile}`);
    const exported = profiles.lastIndexOf("ADMA Export");
    expect(profiles.slice(exported + 1).join()).toMatch(/ADMA .*Import.*ADMA .*Synchronization/);
  }
});

test("D10: after an import that failed nothing is exported from what is stale", async () => {
  const enabled: unknown[] = [];
  for (const [world, run] of [
    [published(), script],
    [ours(), (one: EngineWorld) => one.cycle("delta")],
  ] as const) {
    const id = world.addGuest(1);
    await world.profile("AADMA", "Full Import (Stage Only)");
    await world.profile("AADMA", "Full Synchronization");
    // Before the account is made the guest is blocked, and Graph cannot be asked.
    world.guests.change(id, { accountEnabled: false });
    world.guests.failure = new ConnectorError("unreachable", "Graph does not answer.");
    await run(world);
    enabled.push(attributeOf(world, id, "userAccountControl"));
  }
  expect(enabled).toEqual([262656n, undefined]);
});

test("D11: a loss of many is held", async () => {
  const left: number[] = [];
  // As the guide would delete, had it ticked the box that it offers.
  const deleting = ["connectors/ADMA", "deprovision: disconnect", "deprovision: delete"] as const;
  const anyOf = ["metaverse", "deletionRule: lastConnector", "deletionRule: { anyOf: [AADMA] }"] as const;
  for (const world of [published(deleting, anyOf), ours()]) {
    for (let number = 0; number < 30; number++) world.addGuest(number);
    await world.cycle("initial");
    for (let number = 0; number < 30; number++) world.guests.remove(guestId(number), "deleted");
    for (let cycle = 0; cycle < 3; cycle++) await world.cycle("initial");
    const right = world.accounts
      .listed()
      .filter(({ attributes }) => attributes.userAccountControl === 262656n);
    left.push(right.length);
  }
  expect(left).toEqual([0, 30]);
});

test("D12: a cycle without a change reads no object again", async () => {
  const read: (number | undefined)[] = [];
  for (const world of [published(), ours()]) {
    for (let number = 0; number < 30; number++) world.addGuest(number);
    await world.cycle("initial");
    await world.cycle("delta");
    read.push((await world.cycle("delta")).steps[0]!.statistics.stageNoChange);
  }
  expect(read).toEqual([30, undefined]);
});

test("D13: the account name has 20 characters, and a misspelt attribute stops the start with a suggestion", async () => {
  const [, mine] = await both(() => undefined);
  expect(guestId(1).substring(0, 19)).toHaveLength(19); // what the DLL does
  expect(String(attributeOf(mine, guestId(1), "sAMAccountName"))).toHaveLength(20);
  const misspelt = () => publishedRecipe([["rules/AAD-B2B-IN", "target: accountName", "target: accounName"]]);
  expect(misspelt).toThrow(/accounName[\s\S]*accountName/);
});

test("D14: every symbol of a password's alphabet comes up, by a source of chance that is made for it", () => {
  // As the DLL does it: gaps in the alphabet, `next(length - 1)`, and a generator that is no secret.
  const alphabet = "abcdefghijklmnopqursuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ123456789!*";
  const theirs = Array.from(
    { length: 50_000 },
    () => alphabet[Math.floor(Math.random() * (alphabet.length - 1))]!,
  );
  expect(["t", "0", "*"].filter((symbol) => theirs.includes(symbol))).toEqual([]);
  const mine = new Set(Array.from({ length: 3000 }, () => newPassword({})).flatMap((one) => [...one]));
  const wanted = [..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"];
  expect(wanted.filter((symbol) => !mine.has(symbol))).toEqual([]);
  expect(readFileSync("src/engine/connectors/password.ts", "utf8")).toMatch(/randomInt.*from "node:crypto"/);
});

test("D15: pwdLastSet is what the extension says that it is", async () => {
  const set: (AttributeValue | undefined)[] = [];
  for (const configuration of [
    publishedRecipe(),
    loadConfiguration("examples/rules-extension", recipeSettings, anyKinds),
  ]) {
    const world = worldOf(configuration);
    world.accounts.allow("pwdLastSet", "integer");
    const id = world.addGuest(1);
    await world.cycle("initial");
    set.push(attributeOf(world, id, "pwdLastSet"));
  }
  expect(set).toEqual([undefined, -1n]);
});

test("D16: no value can lead out of its place in a DN", () => {
  const hostile = { attributes: { uid: "x,OU=Admins" }, parameters: { GuestOU: guestOu } };
  const theirs = String(outcome('"CN=" & [uid] & ",OU=Guests,DC=corp,DC=example"', hostile));
  expect(parseDn(theirs)).toHaveLength(5);
  const flow = recipe.rules.outbound("ADMA", "person")[0]!.flows.find(({ target }) => target === "dn")!;
  expect(readFileSync("config/rules/AD-B2B-OUT.yaml", "utf8")).toContain("EscapeDNComponent");
  expect(flow.applyOnce).toBe(true);
  const mine = String(outcome('EscapeDNComponent("CN=" & [uid]) & "," & %GuestOU%', hostile));
  expect(parseDn(mine)).toHaveLength(4);
});

test("D17: the organisational unit need not be imported first, and a missing one is told before anything is sent", async () => {
  const directory = await DirectorySandbox.start();
  const administrator = await Administrator.logOn(directory, directory.ca);
  const worldWith = (ou: string) => {
    const whole = loadConfiguration(
      "config",
      {
        ...recipeSettings,
        ...directorySettings(directory),
        GUEST_OU: ou,
        GRAPH_BASE_URL: "https://127.0.0.1:1",
        GRAPH_ACCESS_TOKEN: "never asked for",
      },
      connectorKinds,
    );
    const configuration = withoutRulesConnector(whole);
    const world: EngineWorld = new EngineWorld({
      configuration,
      open: (name) => (name === "ADMA" ? openConnector(configuration.connectors.get(name)!) : undefined),
    });
    world.addGuest(1);
    return world;
  };
  const missing = `OU=Missing,${directory.guestOu}`;
  const stopped = worldWith(missing);
  const { steps } = await stopped.cycle("initial");
  expect(steps[2]!.detail).toContain(`There is no ${missing}`);
  expect(steps.map(({ status }) => status).slice(3)).toEqual(Array(4).fill("not-run"));
  await stopped.engine.connector("ADMA").close();

  const world = worldWith(directory.guestOu);
  await world.profile("AADMA", "Full Import (Stage Only)");
  await world.profile("AADMA", "Full Synchronization");
  expect((await world.profile("ADMA", "Export")).status).toBe("success");
  expect(await administrator.read(`CN=${guestId(1)},${directory.guestOu}`)).toBeDefined();
  await world.engine.connector("ADMA").close();
  await administrator.logOff();
  await directory.close();
});
